//! A store in a bucket: S3 and all that speaks it, Google Cloud Storage, Azure Blob Storage.
//!
//! Each call is a request, and a server may be another than it says: what it lists is parsed, what it
//! returns is bounded by what was asked for, and what was written is proven before it counts (`upload`).
//! The callers are plain threads; requests run on a runtime of their own (`runtime`).

mod address;
mod connect;
mod error;
mod process;
mod profile;
mod runtime;
mod settings;
mod upload;

use std::io::{self, ErrorKind};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::SystemTime;

use futures_util::stream::{BoxStream, StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{CopyOptions, Error, GetOptions, GetRange, ObjectMeta, ObjectStore, ObjectStoreExt};

use super::{Area, Backend, Name, Staged, Tail};
pub use address::{Address, ParseAddressError, Scheme};
use connect::{Connection, connect};
pub use error::{BucketError, fix_of};
use error::{Cause, found, in_words};
pub use profile::{ProfileError, add_profile};
use runtime::wait;
pub use settings::Settings;

/// Most names that a listing may have: what a hostile one takes of memory.
const MAX_NAMES: usize = 8 << 20;
/// Files of which so much is wanted are wanted whole.
const WHOLE_BYTES: u64 = 1 << 20;

/// A bucket, below a prefix.
pub struct Bucket {
    address: Address,
    settings: Settings,
    /// Where files lie that are too large for memory and have no name yet.
    scratch: PathBuf,
    connection: OnceLock<Connection>,
}

impl Bucket {
    /// The bucket at `address`; nothing is asked of it before the first call.
    pub fn new(address: Address, settings: Settings, scratch: PathBuf) -> Bucket {
        Bucket { address, settings, scratch, connection: OnceLock::new() }
    }

    pub fn address(&self) -> &Address {
        &self.address
    }

    fn connection(&self) -> io::Result<&Connection> {
        if let Some(connection) = self.connection.get() {
            return Ok(connection);
        }
        let made = connect(&self.address, &self.settings)?;
        Ok(self.connection.get_or_init(|| made))
    }

    fn store(&self) -> io::Result<&dyn ObjectStore> {
        Ok(&*self.connection()?.store)
    }

    fn path(&self, name: Name) -> Path {
        self.below(&name.to_string())
    }

    fn below(&self, rest: &str) -> Path {
        match self.address.prefix.is_empty() {
            true => Path::from(rest),
            false => Path::from(format!("{}/{rest}", self.address.prefix)),
        }
    }

    /// What was being done, to which file and where.
    fn doing(&self, verb: &str, name: Name) -> String {
        format!("{verb} {}/{name}", self.address)
    }

    fn head(&self, name: Name) -> io::Result<Option<ObjectMeta>> {
        let found = wait(self.store()?.head(&self.path(name)))?;
        self.unless_missing("look at", name, found)
    }

    fn unless_missing<T>(
        &self,
        verb: &str,
        name: Name,
        found: object_store::Result<T>,
    ) -> io::Result<Option<T>> {
        match found {
            Ok(found) => Ok(Some(found)),
            Err(error @ Error::NotFound { .. }) if !Cause::of(&error).no_bucket() => drop_missing(error),
            Err(error) => Err(in_words(&error, self.doing(verb, name))),
        }
    }

    /// A range that lies in the file as far as the caller knows.
    fn get(
        &self,
        store: &dyn ObjectStore,
        name: Name,
        range: GetRange,
        most: u64,
    ) -> object_store::Result<io::Result<Tail>> {
        let path = self.path(name);
        let work = async {
            let options = GetOptions { range: Some(range), ..GetOptions::default() };
            let found = store.get_opts(&path, options).await?;
            let len = found.meta.size;
            Ok((len, collect(found.into_stream(), most).await?))
        };
        match wait(work) {
            Err(error) => Ok(Err(error)),
            Ok(Err(error)) => Err(error),
            Ok(Ok((len, Some(bytes)))) => Ok(Ok(Tail { bytes, len })),
            Ok(Ok((_, None))) => {
                let more = format!("the server sent more than the {most} bytes that were asked for");
                Ok(Err(found(ErrorKind::InvalidData, self.doing("read", name), more)))
            }
        }
    }
}

fn drop_missing<T>(_: Error) -> io::Result<Option<T>> {
    Ok(None)
}

/// Whether a request may have failed for the range that it asked for.
fn may_be_range(error: &Error) -> bool {
    let cause = Cause::of(error);
    cause.status == Some(416) || cause.status.is_none() || cause.may_pass()
}

/// All bytes of an answer, or none when there are more than `most`.
async fn collect(
    mut stream: BoxStream<'static, object_store::Result<bytes::Bytes>>,
    most: u64,
) -> object_store::Result<Option<Vec<u8>>> {
    let mut all = Vec::new();
    while let Some(bytes) = stream.try_next().await? {
        if (all.len() + bytes.len()) as u64 > most {
            return Ok(None);
        }
        all.extend_from_slice(&bytes);
    }
    Ok(Some(all))
}

impl Backend for Bucket {
    fn create(&self) -> io::Result<Box<dyn Staged + '_>> {
        Ok(Box::new(upload::Upload::new(self, None)))
    }

    fn create_as(&self, name: Name) -> io::Result<Box<dyn Staged + '_>> {
        Ok(Box::new(upload::Upload::new(self, Some(name))))
    }

    fn read(&self, name: Name, range: Range<u64>) -> io::Result<Vec<u8>> {
        let doing = || self.doing("read", name);
        let too_short = |len: u64| {
            let why = format!("expected at least {} bytes, file has {len}", range.end);
            found(ErrorKind::UnexpectedEof, doing(), why)
        };
        let missing = || found(ErrorKind::NotFound, doing(), "no such file");
        let wanted = range.end.saturating_sub(range.start);
        if wanted == 0 {
            let len = self.len(name)?.ok_or_else(missing)?;
            return if range.end > len { Err(too_short(len)) } else { Ok(Vec::new()) };
        }
        match self.get(self.store()?, name, GetRange::Bounded(range.clone()), wanted) {
            Ok(Ok(read)) if read.bytes.len() as u64 == wanted => Ok(read.bytes),
            Ok(Ok(read)) => Err(too_short(read.len)),
            Ok(Err(error)) => Err(error),
            Err(error) => {
                // Servers say in many ways that a range lies behind the end.
                let cause = Cause::of(&error);
                if matches!(cause.status, Some(400 | 416) | None) && !cause.is_transport() {
                    let len = self.len(name)?.ok_or_else(missing)?;
                    if range.end > len {
                        return Err(too_short(len));
                    }
                }
                Err(in_words(&error, doing()))
            }
        }
    }

    fn len(&self, name: Name) -> io::Result<Option<u64>> {
        Ok(self.head(name)?.map(|found| found.size))
    }

    fn modified(&self, name: Name) -> io::Result<Option<SystemTime>> {
        Ok(self.head(name)?.map(|found| found.last_modified.into()))
    }

    fn list(&self, area: Area) -> io::Result<Vec<Name>> {
        let doing = || format!("list {}/{}", self.address, area.folder());
        let folder = self.below(area.folder());
        let mut listed = self.store()?.list(Some(&folder));
        let prefix = if self.address.prefix.is_empty() { 0 } else { self.address.prefix.len() + 1 };
        let mut names = Vec::new();
        wait(async {
            while let Some(meta) = listed.next().await {
                let meta = meta.map_err(|error| in_words(&error, doing()))?;
                let rest = meta.location.as_ref().get(prefix..).unwrap_or_default();
                names.extend(rest.parse::<Name>().ok());
                if names.len() > MAX_NAMES {
                    let why = format!("the server lists more than {MAX_NAMES} files");
                    return Err(found(ErrorKind::InvalidData, doing(), why));
                }
            }
            Ok(())
        })??;
        Ok(names)
    }

    fn tail(&self, name: Name, most: u64) -> io::Result<Option<Tail>> {
        // What may be long is most often short: the first bytes are then all of them. Where only the end is
        // wanted, it is asked for; Azure has no such ranges.
        let range = match (most, self.address.scheme) {
            (0, _) => None,
            (WHOLE_BYTES.., _) => Some(GetRange::Bounded(0..most)),
            (_, Scheme::Az) => None,
            (_, _) => Some(GetRange::Suffix(most)),
        };
        let once = &*self.connection()?.once;
        match range.map(|range| self.get(once, name, range, most)) {
            Some(Ok(Ok(tail))) if tail.bytes.len() as u64 == tail.len.min(most) && tail.len <= most => {
                return Ok(Some(tail));
            }
            Some(Ok(Ok(tail))) if tail.bytes.len() as u64 == most && most < WHOLE_BYTES => {
                return Ok(Some(tail));
            }
            Some(Ok(Err(error))) => return Err(error),
            Some(Err(error)) if !may_be_range(&error) => {
                return self.unless_missing("read", name, Err(error));
            }
            // An empty file, a server that can't count from the end where a file is shorter, a busy one: in two
            // steps.
            _ => {}
        }
        let Some(len) = self.len(name)? else { return Ok(None) };
        Ok(Some(Tail { bytes: self.read(name, len.saturating_sub(most)..len)?, len }))
    }

    fn rename(&self, from: Name, to: Name) -> io::Result<()> {
        let store = self.store()?;
        let (source, target) = (self.path(from), self.path(to));
        wait(store.copy_opts(&source, &target, CopyOptions::default()))?
            .map_err(|error| in_words(&error, self.doing("rename", from)))?;
        self.delete(from)
    }

    fn delete(&self, name: Name) -> io::Result<()> {
        let deleted = wait(self.store()?.delete(&self.path(name)))?;
        self.unless_missing("delete", name, deleted).map(drop)
    }

    fn place(&self) -> String {
        self.address.to_string()
    }

    fn is_far(&self) -> bool {
        true
    }

    /// It is a copy, which is as old as itself.
    fn renames_keep_age(&self) -> bool {
        false
    }
}
