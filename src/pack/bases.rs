//! The objects that one object is decoded with.

use std::fmt;
use std::ops::Deref;

use crate::id::ObjectId;

/// Most bases of one object.
pub const MAX_BASES: usize = 16;

/// Up to 16 objects, in the order in which the codec takes them; none for an object that stands alone.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Bases {
    ids: [ObjectId; MAX_BASES],
    len: u8,
}

impl Bases {
    pub const NONE: Bases = Bases { ids: [ObjectId::from_bytes([0; 32]); MAX_BASES], len: 0 };

    /// These objects, unless they are too many.
    pub fn of(ids: impl IntoIterator<Item = ObjectId>) -> Option<Bases> {
        let mut bases = Bases::NONE;
        for id in ids {
            *bases.ids.get_mut(usize::from(bases.len))? = id;
            bases.len += 1;
        }
        Some(bases)
    }
}

impl From<ObjectId> for Bases {
    fn from(base: ObjectId) -> Bases {
        Bases::of([base]).expect("because one is not too many")
    }
}

impl Deref for Bases {
    type Target = [ObjectId];

    fn deref(&self) -> &[ObjectId] {
        &self.ids[..usize::from(self.len)]
    }
}

impl fmt::Debug for Bases {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}
