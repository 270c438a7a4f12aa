//! Different values, each with a number, in the order in which they come first.

use std::hash::{BuildHasher, Hasher};

use foldhash::fast::RandomState;
use hashbrown::HashTable;

use super::values::Values;

/// Gives numbers to values.
pub struct Dictionary {
    values: Values,
    numbers: HashTable<Known>,
    /// A secret of this process: values that all hash to one number can't be made.
    state: RandomState,
}

/// A value that has a number. Its hash is kept, or a table that grows would hash all values anew.
struct Known {
    hash: u32,
    number: u32,
}

impl Known {
    /// The hash as the table wants it: with all bits in use.
    fn spread(&self) -> u64 {
        spread(self.hash)
    }
}

impl Dictionary {
    /// One that starts with these; of those that are the same the first has the number.
    pub fn of(values: Values) -> Dictionary {
        let state = RandomState::default();
        let mut numbers = HashTable::with_capacity(values.len());
        for number in 0..values.len() {
            let hash = hash(&state, values.get(number));
            let is_known =
                |known: &Known| known.hash == hash && values.get(known.number as usize) == values.get(number);
            if numbers.find(spread(hash), is_known).is_none() {
                numbers.insert_unique(spread(hash), Known { hash, number: number as u32 }, Known::spread);
            }
        }
        Dictionary { values, numbers, state }
    }

    pub fn values(&self) -> &Values {
        &self.values
    }

    pub fn into_values(self) -> Values {
        self.values
    }

    /// The number of a value that is known.
    pub fn find(&self, value: &[u8]) -> Option<u32> {
        self.find_hashed(hash(&self.state, value), value)
    }

    fn find_hashed(&self, hash: u32, value: &[u8]) -> Option<u32> {
        let is_known = |known: &Known| known.hash == hash && self.values.get(known.number as usize) == value;
        self.numbers.find(spread(hash), is_known).map(|known| known.number)
    }

    /// The number of a value, a new one if need be.
    pub fn number(&mut self, value: &[u8]) -> u32 {
        let hash = hash(&self.state, value);
        if let Some(number) = self.find_hashed(hash, value) {
            return number;
        }
        let number = self.values.len() as u32;
        self.values.push(value);
        self.numbers.insert_unique(spread(hash), Known { hash, number }, Known::spread);
        number
    }
}

fn hash(state: &RandomState, value: &[u8]) -> u32 {
    let mut hasher = state.build_hasher();
    hasher.write(value);
    let hash = hasher.finish();
    (hash ^ hash >> 32) as u32
}

fn spread(hash: u32) -> u64 {
    u64::from(hash).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}
