//! Different values, each with a number, in the order in which they come first.

use std::hash::{BuildHasher, Hasher};

use foldhash::fast::FixedState;
use hashbrown::HashTable;

use super::values::Values;

/// Gives numbers to values.
pub struct Dictionary {
    values: Values,
    numbers: HashTable<u32>,
    state: FixedState,
}

impl Dictionary {
    /// One that starts with these, which are all different.
    pub fn of(values: Values) -> Dictionary {
        let state = FixedState::default();
        let mut numbers = HashTable::with_capacity(values.len());
        for number in 0..values.len() {
            let hash = hash(&state, values.get(number));
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

fn hash_of(state: &FixedState, values: &Values, number: u32) -> u64 {
    hash(state, values.get(number as usize))
}

fn hash(state: &FixedState, value: &[u8]) -> u64 {
    let mut hasher = state.build_hasher();
    hasher.write(value);
    hasher.finish()
}
