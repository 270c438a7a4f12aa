//! The side that has a file and gives it to a hub, or lacks one and fetches what it lacks of it.

use std::collections::{HashMap, HashSet};
use std::io::{self, Read};
use std::time::Duration;

use serde::Deserialize;

use super::MAX_IDS;
use super::arrival::{Arrivals, OutOfReach, arrivals};
use super::frame::{Frame, FrameError, FrameReader, Want, write_end, write_frame, write_ids};
use super::host::HostError;
use super::line::{Line, LineError};
use super::plan::{Plan, requests};
use crate::draft::{Draft, Front, Sheet};
use crate::id::{ObjectId, Oid};
use crate::index::Found;
use crate::pack::{self, Record};
use crate::progress::{Cancelled, Progress};
use crate::recipe::{MAX_RECIPE_BYTES, Recipe};
use crate::store::{Store, StoreError};
use crate::sync::Moved;
use crate::web;

/// Times that a stream may break before anything came by it.
const ATTEMPTS: u32 = 5;
const PAUSE: Duration = Duration::from_millis(500);
/// How often a push begins anew because the hub lost what it had.
const ROUNDS: u32 = 5;
/// The status of a hub that lacks what it said to have.
const UNSETTLED: u16 = 409;
/// That of one that lacks the base of what it was given.
const NO_BASE: u16 = 422;
const MAX_ANSWER_BYTES: u64 = 1 << 20;
/// Records that a hub may name for each object that it is asked for, and for all: a chain with all its bases is shorter.
const MAX_RECORDS_EACH: usize = 1024;
const MAX_RECORDS: usize = 1 << 20;

/// Why a push or fetch failed.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    #[error("here: {0}")]
    Here(#[from] StoreError),
    #[error("{0}")]
    Line(#[from] LineError),
    #[error("hub {hub}: {error}")]
    Answer { hub: String, error: FrameError },
    #[error("hub {hub}: it has no file {oid}")]
    NoFile { hub: String, oid: Oid },
    #[error("hub {hub}: file {oid}: {why}")]
    Wrong { hub: String, oid: Oid, why: String },
    #[error("hub {hub} did not take file {oid} ({status}): {message}")]
    Refused { hub: String, oid: Oid, status: u16, message: String },
    #[error("{0}")]
    Cancelled(#[from] Cancelled),
}

/// Whether there is a hub that lets this client in.
pub fn greet(line: &Line, progress: &Progress<'_>) -> Result<(), LineError> {
    line.post("has", &[], progress).map(drop)
}

impl PeerError {
    /// Whether the hub may have lost something since it was asked what it lacks.
    fn is_of_a_moment(&self) -> bool {
        match self {
            PeerError::Refused { status, .. } => *status == UNSETTLED,
            PeerError::Line(LineError::Status { status, .. }) => *status == NO_BASE,
            _ => false,
        }
    }
}

/// Which files the hub has.
pub fn has_all(line: &Line, oids: &[Oid], progress: &Progress<'_>) -> Result<Vec<bool>, PeerError> {
    flags(line, "has", oids.iter().map(Oid::as_bytes).collect(), progress)
}

/// Makes the objects of a file that the hub has exist here; returns its recipe, not yet proven.
///
/// `soon` are files that are wanted besides: a base that is one of them is not done without. What comes of the file is
/// written to `draft`, too.
pub fn fetch(
    store: &Store,
    line: &Line,
    oid: Oid,
    soon: &HashSet<Oid>,
    draft: Option<&mut Draft>,
    progress: &Progress<'_>,
) -> Result<(Recipe, Moved), PeerError> {
    let hub = || line.name().to_owned();
    let answer = |error: io::Error| PeerError::Answer { hub: hub(), error: error.into() };
    let body = line.get(&format!("recipes/{oid}"), progress)?;
    let body = body.ok_or_else(|| PeerError::NoFile { hub: hub(), oid })?;
    let mut bytes = Vec::new();
    body.take(MAX_RECIPE_BYTES).read_to_end(&mut bytes).map_err(answer)?;
    let recipe = Recipe::decode(&bytes, oid).map_err(|error| PeerError::Wrong {
        hub: hub(),
        oid,
        why: error.to_string(),
    })?;
    let mut draft = draft.map(|draft| {
        draft.begin(&recipe);
        draft.divided()
    });
    let mut moved = Moved { bytes: bytes.len() as u64, objects: 0 };
    let (mut failures, mut unmade) = (0, HashSet::new());
    loop {
        let lacking: HashSet<_> = recipe.parts.iter().map(|part| part.object).collect();
        let lacking: Vec<_> = lacking.into_iter().filter(|object| !store.holds_whole(object)).collect();
        if lacking.is_empty() {
            return Ok((recipe, moved));
        }
        let (before, unmade_before) = (moved.objects, unmade.len());
        let turn = || -> Result<(), PeerError> {
            let records = records(line, &lacking, progress)?;
            let wants = Plan::of(store, &recipe, &records, soon, &unmade).wants();
            receive(store, line, &wants, draft.as_mut(), &mut unmade, &mut moved, progress)
        };
        match { turn }() {
            Ok(()) if moved.objects > before || unmade.len() > unmade_before => failures = 0,
            Ok(()) => {
                let why = "it does not give all objects that the file needs".into();
                return Err(PeerError::Wrong { hub: hub(), oid, why });
            }
            // What came is stored: the next request is for the rest.
            Err(PeerError::Answer { error: FrameError::Io(error), .. }) if failures < ATTEMPTS => {
                failures = if moved.objects > before { 0 } else { failures + 1 };
                if failures == ATTEMPTS {
                    return Err(answer(error));
                }
                web::pause(PAUSE * failures, progress)?;
            }
            Err(error) => return Err(error),
        }
    }
}

/// The records of these objects and their bases, bases first.
fn records(line: &Line, objects: &[ObjectId], progress: &Progress<'_>) -> Result<Vec<Record>, PeerError> {
    let (mut records, mut seen) = (Vec::new(), HashSet::new());
    for objects in objects.chunks(MAX_IDS) {
        let body = write_ids(objects.iter().map(ObjectId::as_bytes));
        let mut reader = FrameReader::new(line.post("records", &body, progress)?);
        let most = records.len() + objects.len().saturating_mul(MAX_RECORDS_EACH).min(MAX_RECORDS);
        while let Some(frame) = frame(line, &mut reader)? {
            match frame {
                Frame::Bare(record) if records.len() < most && seen.insert(record.object) => {
                    records.push(record)
                }
                _ => return Err(unasked(line)),
            }
        }
    }
    Ok(records)
}

/// Asks for objects and stores them as they come.
fn receive(
    store: &Store,
    line: &Line,
    wants: &[Want],
    draft: Option<&mut (&Sheet, &mut Front)>,
    unmade: &mut HashSet<ObjectId>,
    moved: &mut Moved,
    progress: &Progress<'_>,
) -> Result<(), PeerError> {
    let (sheet, mut front) = draft.map(|(sheet, front)| (*sheet, front)).unzip();
    let write = |object: &ObjectId, bytes: &[u8]| sheet.map_or(Ok(()), |sheet| sheet.put(object, bytes));
    let mut hash = || match (sheet, &mut front) {
        (Some(sheet), Some(front)) => front.move_on(sheet).map_err(StoreError::Io),
        _ => Ok(()),
    };
    let wrong = |error| match error {
        HostError::Store(error) => error.into(),
        error => lied(line, &error.to_string()),
    };
    for wants in wants.chunks(MAX_IDS) {
        let mut asked: HashSet<_> = wants.iter().map(|want| want.object).collect();
        let mut body = Vec::with_capacity(wants.len() * Want::BYTES);
        wants.iter().for_each(|want| want.write(&mut body));
        let mut reader = FrameReader::new(line.post("give", &body, progress)?);
        let mut take = |arrivals: &mut Arrivals<'_, '_>, hash: &mut dyn FnMut() -> Result<(), StoreError>| loop {
            match frame(line, &mut reader)? {
                Some(Frame::Object(record, payload)) if asked.remove(&record.object) => {
                    moved.bytes += payload.len() as u64 + 1 + Record::BYTES as u64;
                    moved.objects += 1;
                    arrivals.add(record, payload).map_err(wrong)?;
                    hash()?;
                    progress(0)?;
                }
                Some(Frame::Unmade(object)) if asked.remove(&object) => drop(unmade.insert(object)),
                Some(_) => return Err(unasked(line)),
                None => return Ok(()),
            }
        };
        arrivals(store, OutOfReach::Finished, &write, |mut arrivals| {
            let taken = take(&mut arrivals, &mut hash);
            let proven = arrivals.wait().map_err(wrong);
            let hashed = hash();
            // What came before a connection broke is kept.
            arrivals.finish()?;
            taken.and(proven).and(hashed.map_err(PeerError::Here))
        })?;
    }
    Ok(())
}

fn frame<R: Read>(line: &Line, reader: &mut FrameReader<R>) -> Result<Option<Frame>, PeerError> {
    reader.next_frame().map_err(|error| PeerError::Answer { hub: line.name().to_owned(), error })
}

fn unasked(line: &Line) -> PeerError {
    lied(line, "an object that was not asked for")
}

fn lied(line: &Line, what: &str) -> PeerError {
    PeerError::Answer { hub: line.name().to_owned(), error: FrameError::Malformed(what.into()) }
}

/// Makes a file that the store has exist at the hub.
pub fn push(store: &Store, line: &Line, oid: Oid, progress: &Progress<'_>) -> Result<Moved, PeerError> {
    let mut moved = Moved::default();
    for round in 1.. {
        match send(store, line, oid, round > 1, &mut moved, progress) {
            // What it had was taken away meanwhile, by a gc there.
            Err(error) if error.is_of_a_moment() && round < ROUNDS => {}
            sent => return sent.map(|()| moved),
        }
    }
    unreachable!("because the last round returns")
}

fn send(
    store: &Store,
    line: &Line,
    oid: Oid,
    again: bool,
    moved: &mut Moved,
    progress: &Progress<'_>,
) -> Result<(), PeerError> {
    let verified = store.proven(&oid)?;
    let recipe = verified.recipe();
    let near = recipe.base.map(|(base, _)| base);
    let asked: Vec<_> = [Some(oid), near].into_iter().flatten().collect();
    let has = has_all(line, &asked, progress)?;
    if has[0] && !again {
        return Ok(());
    }
    // Of a file that the hub has it has all objects: these need no question.
    let known = match near.filter(|_| has.get(1) == Some(&true) && !again) {
        // What is damaged here of another file is no reason to send nothing.
        Some(base) => {
            let recipe = store.recipe(&base).ok().flatten();
            links(store, recipe.as_ref(), &HashSet::new()).unwrap_or_default()
        }
        None => HashMap::new(),
    };
    let own = links(store, Some(recipe), &known.keys().copied().collect())?;
    let objects: Vec<_> = own.keys().copied().collect();
    let lacks = flags(line, "lacking", objects.iter().map(ObjectId::as_bytes).collect(), progress)?;
    let lacking = objects.iter().zip(lacks).filter(|(_, lacks)| *lacks).map(|(object, _)| own[object]);
    let mut lacking: Vec<_> = lacking.collect();
    lacking.sort_by_key(|found| (found.record.depth, found.pack, found.record.offset));
    for found in requests(&lacking) {
        let mut body = Vec::new();
        for found in found {
            let payload = pack::read_payload(store.backend(), found.pack, &found.record);
            write_frame(&mut body, &found.record, Some(&payload.map_err(StoreError::Pack)?))
                .expect("because memory takes all");
        }
        write_end(&mut body).expect("because memory takes all");
        let answer = line.post("take", &body, progress)?;
        let drained = io::copy(&mut answer.take(MAX_ANSWER_BYTES), &mut io::sink());
        drained.map_err(|error| PeerError::Answer { hub: line.name().to_owned(), error: error.into() })?;
        moved.bytes += body.len() as u64;
        moved.objects += found.len() as u64;
        found.iter().try_for_each(|found| progress(found.record.logical_len.into()))?;
    }
    moved.bytes += publish(line, oid, &recipe.encode(), progress)?;
    Ok(())
}

/// All objects of a file with their bases, but for those that are known.
fn links(
    store: &Store,
    recipe: Option<&Recipe>,
    known: &HashSet<ObjectId>,
) -> Result<HashMap<ObjectId, Found>, StoreError> {
    let mut found = HashMap::new();
    for part in recipe.iter().flat_map(|recipe| &recipe.parts) {
        if known.contains(&part.object) || found.contains_key(&part.object) {
            continue;
        }
        let chain = store.chain(&part.object)?;
        let new = chain.links().iter().filter(|link| !known.contains(&link.record.object));
        found.extend(new.map(|link| (link.record.object, *link)));
    }
    Ok(found)
}

/// A yes or no for each id.
fn flags(
    line: &Line,
    verb: &str,
    ids: Vec<&[u8; 32]>,
    progress: &Progress<'_>,
) -> Result<Vec<bool>, PeerError> {
    let answer = |error: FrameError| PeerError::Answer { hub: line.name().to_owned(), error };
    let mut flags = Vec::with_capacity(ids.len());
    for ids in ids.chunks(MAX_IDS) {
        let body = write_ids(ids.iter().copied());
        let mut bytes = Vec::new();
        let read = line.post(verb, &body, progress)?.take(ids.len() as u64 + 1).read_to_end(&mut bytes);
        read.map_err(|error| answer(error.into()))?;
        if bytes.len() != ids.len() {
            return Err(answer(FrameError::Malformed("an answer is not as long as its question".into())));
        }
        flags.extend(bytes.iter().map(|flag| *flag != 0));
    }
    Ok(flags)
}

/// Has the hub rebuild the file, and waits until it has found the right hash.
fn publish(line: &Line, oid: Oid, recipe: &[u8], progress: &Progress<'_>) -> Result<u64, PeerError> {
    #[derive(Deserialize)]
    struct Verdict {
        #[serde(default)]
        accepted: bool,
        status: Option<u16>,
        message: Option<String>,
    }
    let hub = || line.name().to_owned();
    let answer = line.put(&format!("recipes/{oid}"), recipe, progress)?;
    let mut text = String::new();
    let read = answer.take(MAX_ANSWER_BYTES).read_to_string(&mut text);
    read.map_err(|error| PeerError::Answer { hub: hub(), error: error.into() })?;
    let last = text.lines().rev().find_map(|line| serde_json::from_str::<Verdict>(line).ok());
    match last {
        Some(Verdict { accepted: true, .. }) => Ok(recipe.len() as u64),
        Some(Verdict { status: Some(status), message, .. }) => {
            let message = message.unwrap_or_default();
            Err(PeerError::Refused { hub: hub(), oid, status, message })
        }
        _ => {
            let error = FrameError::Malformed("it does not say whether it took the file".into());
            Err(PeerError::Answer { hub: hub(), error })
        }
    }
}
