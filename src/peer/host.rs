//! The side that keeps a repository's store and serves it to clients.
//!
//! What comes in is proven before anyone can rely on it: each object decodes to its id, each file to its SHA-256.

use std::collections::{HashMap, HashSet};
use std::io::{self, Read, Write};

use super::arrival::{OutOfReach, arrivals, is_here};
use super::frame::{Frame, FrameError, FrameReader, Want, write_end, write_frame, write_head, write_unmade};
use crate::chain::Chain;
use crate::codec::{self, Effort};
use crate::id::{ObjectId, Oid};
use crate::index::Found;
use crate::pack::{self, Record};
use crate::progress::Progress;
use crate::recipe::{Recipe, RecipeError};
use crate::reconstruct::{ReconstructError, rehash};
use crate::store::{self, Store, StoreError};

/// Records that are gathered and sent together, whatever a list asks for.
const MOST_RECORDS: usize = 1 << 14;

/// Why a request was not done.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    #[error("{0}")]
    Store(#[from] StoreError),
    #[error("{0}")]
    Frame(#[from] FrameError),
    #[error("send: {0}")]
    Send(io::Error),
    #[error("file {oid}: {size} bytes are more than this hub takes")]
    TooLarge { oid: Oid, size: u64 },
    /// One word for what is not there and what may not be known.
    #[error("object {object} needs object {base}, which this repository does not have")]
    NoBase { object: ObjectId, base: ObjectId },
    #[error("object {object} is not what its id says{why}")]
    WrongObject { object: ObjectId, why: String },
    #[error("file {oid} needs object {object}, which this repository does not have")]
    Hole { oid: Oid, object: ObjectId },
    #[error("recipe of {oid}: {error}")]
    Recipe { oid: Oid, error: RecipeError },
    #[error("file {oid}: {error}")]
    Rebuild { oid: Oid, error: Box<ReconstructError> },
}

impl HostError {
    /// Whether what the client sent was wrong, and not something here.
    pub fn is_the_clients(&self) -> bool {
        match self {
            HostError::Frame(_) | HostError::NoBase { .. } | HostError::WrongObject { .. } => true,
            HostError::Hole { .. } | HostError::Recipe { .. } | HostError::TooLarge { .. } => true,
            HostError::Rebuild { error, .. } => {
                matches!(**error, ReconstructError::Hash(_) | ReconstructError::Length { .. })
            }
            HostError::Store(_) | HostError::Send(_) => false,
        }
    }
}

/// Which of these files are there whole: a client may delete its own copy for it, or push no more than the rest.
pub fn has(store: &Store, oids: &[Oid]) -> Result<Vec<bool>, StoreError> {
    oids.iter().map(|oid| has_whole(store, oid)).collect()
}

fn has_whole(store: &Store, oid: &Oid) -> Result<bool, StoreError> {
    let recipe = match store.recipe(oid) {
        // Pushed again, it is written anew.
        Err(StoreError::Recipe { .. }) => None,
        recipe => recipe?,
    };
    let Some(recipe) = recipe else { return Ok(false) };
    for part in &recipe.parts {
        if !is_here(store, &part.object)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Which of these objects can't be relied on here.
pub fn lacking(store: &Store, objects: &[ObjectId]) -> Result<Vec<bool>, StoreError> {
    store.refresh()?;
    Ok(objects.iter().map(|object| !store.holds_whole(object)).collect())
}

/// The records of these objects and of all that they are decoded with, bases first.
pub fn records(store: &Store, objects: &[ObjectId], out: &mut dyn Write) -> Result<(), HostError> {
    let (mut sent, mut found) = (HashSet::new(), HashMap::new());
    for object in objects {
        if !sent.contains(object) && !found.contains_key(object) {
            let chain = store.chain(object)?;
            let new = chain.links().iter().filter(|link| !sent.contains(&link.record.object));
            found.extend(new.map(|link| (link.record.object, *link)));
        }
        if found.len() >= MOST_RECORDS {
            write_records(&mut found, &mut sent, out)?;
        }
    }
    write_records(&mut found, &mut sent, out)?;
    write_end(out).map_err(HostError::Send)
}

fn write_records(
    found: &mut HashMap<ObjectId, Found>,
    sent: &mut HashSet<ObjectId>,
    out: &mut dyn Write,
) -> Result<(), HostError> {
    let mut found: Vec<Found> = found.drain().map(|(_, found)| found).collect();
    found.sort_by_key(|found| (found.record.depth, found.pack, found.record.offset));
    for found in found {
        sent.insert(found.record.object);
        write_frame(out, &found.record, None).map_err(HostError::Send)?;
    }
    Ok(())
}

/// Does work that may hold so many bytes meanwhile, when there is room for them.
pub type Within<'a> = dyn Fn(u64, &mut dyn FnMut()) + 'a;

/// What an object needs that is encoded anew: it, its base, and what both are made from or into.
const WHOLE_COPIES: u64 = 4;

/// Sends objects, in the order of the wants; what must be encoded for that is `within` bounds.
pub fn give(
    store: &Store,
    wants: &[Want],
    within: &Within<'_>,
    out: &mut dyn Write,
) -> Result<(), HostError> {
    for want in wants {
        if want.whole_below > 0 {
            let bytes = u64::from(store.find(&want.object)?.record.logical_len) * WHOLE_COPIES;
            let mut made = Ok(None);
            within(bytes, &mut || made = whole(store, want));
            match made? {
                Some((record, payload)) => write_frame(out, &record, Some(&payload)),
                None => write_unmade(out, &want.object),
            }
            .map_err(HostError::Send)?;
        } else {
            let Found { pack, record } = store.find(&want.object)?;
            write_head(out, &record).map_err(HostError::Send)?;
            let mut sent = Ok(());
            let copied = pack::copy_payload(store.backend(), pack, &record, |piece| {
                sent = out.write_all(piece);
                sent.is_ok()
            });
            sent.map_err(HostError::Send)?;
            copied.map_err(StoreError::Pack)?;
        }
    }
    write_end(out).map_err(HostError::Send)
}

/// The object without a base, if that is as short as wanted.
fn whole(store: &Store, want: &Want) -> Result<Option<(Record, Vec<u8>)>, StoreError> {
    let bytes = store.get(&want.object)?;
    let encoded = codec::encode(&bytes, want.dtype, want.row_len, &[], Effort::Push);
    if encoded.payload.len() as u64 >= want.whole_below {
        return Ok(None);
    }
    let record = store::record_for(want.object, None, encoded.codec, bytes.len() as u32);
    let (payload_len, checksum) = (encoded.payload.len() as u32, pack::checksum(&encoded.payload));
    Ok(Some((Record { payload_len, checksum, ..record }, encoded.payload)))
}

/// Takes objects in. Returns how many payload bytes were new.
///
/// An object's bases are in the store, or came before it within the first `KEPT_BYTES` of this stream.
pub fn take(store: &Store, from: impl Read, progress: &Progress<'_>) -> Result<u64, HostError> {
    store::check_config(store.backend())?;
    let mut reader = FrameReader::new(from);
    arrivals(store, OutOfReach::Refused, &|_, _| Ok(()), |mut arrivals| {
        let mut stored = 0;
        while let Some(frame) = reader.next_frame()? {
            let Frame::Object(record, payload) = frame else {
                return Err(FrameError::Malformed("a record without its payload".into()).into());
            };
            if arrivals.has_seen(&record.object) || store.holds_whole(&record.object) {
                continue;
            }
            stored += payload.len() as u64;
            arrivals.add(record, payload)?;
            progress(0).map_err(|_| HostError::Send(io::ErrorKind::BrokenPipe.into()))?;
        }
        arrivals.wait()?;
        arrivals.finish()?;
        Ok(stored)
    })
}

/// Makes a file of at most `most` bytes exist, after it was rebuilt and hashed.
pub fn accept(
    store: &Store,
    oid: Oid,
    recipe: &[u8],
    most: u64,
    progress: &Progress<'_>,
) -> Result<(), HostError> {
    let wrong = |error| HostError::Recipe { oid, error };
    let recipe = Recipe::decode(recipe, oid).map_err(wrong)?;
    // A short recipe can name one object a million times, and would be rebuilt for hours.
    if recipe.size > most {
        return Err(HostError::TooLarge { oid, size: recipe.size });
    }
    store::check_config(store.backend())?;
    for part in &recipe.parts {
        if !is_here(store, &part.object)? {
            return Err(HostError::Hole { oid, object: part.object });
        }
    }
    let found = rehash(store, &recipe, progress).map_err(|error| match error {
        ReconstructError::Store(error) => HostError::Store(error),
        error => HostError::Rebuild { oid, error: Box::new(error) },
    })?;
    let proven = recipe.prove(found).map_err(|error| HostError::Recipe { oid, error })?;
    store.publish(&proven)?;
    lost(store, proven.recipe())?.map_or(Ok(()), |object| Err(HostError::Hole { oid, object }))
}

/// Whether a file exists, all that it needs being there after its recipe was seen.
pub fn stands(store: &Store, oid: &Oid) -> Result<bool, StoreError> {
    let recipe = match store.recipe(oid) {
        // Stored again, it is written anew.
        Err(StoreError::Recipe { .. }) => None,
        recipe => recipe?,
    };
    let Some(recipe) = recipe else { return Ok(false) };
    // Another server may have stored it.
    store.refresh()?;
    Ok(lost(store, &recipe)?.is_none())
}

/// What a file, whose recipe is there, needs and no pack has.
///
/// A gc of this store by another process moves packs first and reads recipes then: whoever publishes looks again after
/// that (docs/architecture.md, "Collecting a remote").
fn lost(store: &Store, recipe: &Recipe) -> Result<Option<ObjectId>, StoreError> {
    let packs: HashSet<_> = store.packs()?.into_iter().collect();
    let lies = |object: &ObjectId| store.probe(object).filter(|found| packs.contains(&found.pack));
    let lost = recipe.parts.iter().find(|part| !Chain::is_whole(&part.object, lies));
    Ok(lost.map(|part| part.object))
}
