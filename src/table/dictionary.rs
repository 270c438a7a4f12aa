//! Different values, each with a number, in the order in which they come first.

use std::hash::{BuildHasher, Hasher};

use foldhash::fast::RandomState;
use hashbrown::HashTable;

use super::values::Values;

/// Gives numbers to values.
pub struct Dictionary {
    values: Values,
    numbers: HashTable<u32>,
    /// A secret of this process: values that all hash to one number can't be made.
    state: RandomState,
}

impl Dictionary {
    /// One that starts with these; of those that are the same the first has the number.
    pub fn of(values: Values) -> Dictionary {
        let state = RandomState::default();
        let mut numbers = HashTable::with_capacity(values.len());
        for number in 0..values.len() {
            let hash = hash(&state, values.get(number));
            let is_known = |known: &u32| values.get(*known as usize) == values.get(number);
            if numbers.find(hash, is_known).is_some() {
                continue;
            }
            numbers.insert_unique(hash, number as u32, |number| hash_of(&state, &values, *number));
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
        let hash = hash(&self.state, value);
        self.numbers.find(hash, |number| self.values.get(*number as usize) == value).copied()
    }

    /// The number of a value, a new one if need be.
    pub fn number(&mut self, value: &[u8]) -> u32 {
        if let Some(number) = self.find(value) {
            return number;
        }
        let Dictionary { values, numbers, state } = self;
        let number = values.len() as u32;
        values.push(value);
        numbers.insert_unique(hash(state, value), number, |number| hash_of(state, values, *number));
        number
    }
}

fn hash_of(state: &RandomState, values: &Values, number: u32) -> u64 {
    hash(state, values.get(number as usize))
}

fn hash(state: &RandomState, value: &[u8]) -> u64 {
    let mut hasher = state.build_hasher();
    hasher.write(value);
    hasher.finish()
}
