//! A file of the store as its bytes, without rebuilding it: only the objects that a range touches are decoded.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use super::cached::{Cached, Fetched, Piece};
use crate::format::Source;
use crate::recipe::Recipe;
use crate::store::{Store, StoreError};

/// A file of a revision, open for reading anywhere in it.
pub struct Stored {
    cached: Cached<Fetch>,
}

type Fetch = Box<dyn FnMut(Range<u64>) -> io::Result<Piece> + Send>;

impl Stored {
    /// The file that a recipe describes. Each object is proven by its id when it is decoded; whether they
    /// are those of the file was proven before the recipe was published.
    pub fn new(store: Arc<Store>, recipe: &Recipe) -> Stored {
        let parts = Parts::of(recipe);
        let fetch = move |wanted: Range<u64>| parts.piece(&store, wanted.start).map_err(io::Error::other);
        Stored { cached: Cached::new(recipe.size, Box::new(fetch)) }
    }

    /// How many objects were decoded so far, and their bytes.
    pub fn decoded(&self) -> Fetched {
        self.cached.fetched()
    }
}

impl Source for Stored {
    fn len(&self) -> u64 {
        self.cached.len()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.cached.read_at(buf, offset)
    }
}

/// Whole objects from the one at the beginning of `wanted` on, up to its end or to `most` bytes.
pub fn pieces(store: &Store, recipe: &Recipe, wanted: Range<u64>, most: usize) -> Result<Piece, StoreError> {
    let parts = Parts::of(recipe);
    let mut piece = parts.piece(store, wanted.start)?;
    loop {
        let at = piece.start + piece.bytes.len() as u64;
        let Some(next) = parts.at(at).filter(|_| at < wanted.end) else { return Ok(piece) };
        if piece.bytes.len() as u64 + (next.range.end - next.range.start) > most as u64 {
            return Ok(piece);
        }
        piece.bytes.extend(parts.piece(store, at)?.bytes);
    }
}

/// The parts of a recipe that have bytes, and where they lie.
struct Parts(Vec<Placed>);

struct Placed {
    range: Range<u64>,
    object: crate::id::ObjectId,
}

impl Parts {
    fn of(recipe: &Recipe) -> Parts {
        let placed = recipe.ranges().map(|(range, part)| Placed { range, object: part.object });
        Parts(placed.filter(|placed| !placed.range.is_empty()).collect())
    }

    fn at(&self, offset: u64) -> Option<&Placed> {
        let after = self.0.partition_point(|placed| placed.range.end <= offset);
        self.0.get(after)
    }

    /// The object at an offset; an empty piece at the end.
    fn piece(&self, store: &Store, offset: u64) -> Result<Piece, StoreError> {
        match self.at(offset) {
            Some(placed) => Ok(Piece { start: placed.range.start, bytes: store.get(&placed.object)? }),
            None => Ok(Piece { start: offset, bytes: Vec::new() }),
        }
    }
}
