//! One value per key, made by whoever comes first and shared by all who come meanwhile.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex};

/// From here on, values that nobody holds are let go before another is made.
const CROWDED: usize = 1024;

/// Values stay at least as long as somebody holds them.
pub struct Flights<K, V> {
    values: Mutex<HashMap<K, Arc<V>>>,
}

impl<K, V> Default for Flights<K, V> {
    fn default() -> Self {
        Flights { values: Mutex::new(HashMap::new()) }
    }
}

impl<K: Hash + Eq + Clone, V> Flights<K, V> {
    /// The value of `key`, made now if there is none.
    pub fn get(&self, key: &K, make: impl FnOnce() -> V) -> Arc<V> {
        let mut values = self.values.lock().unwrap_or_else(|broken| broken.into_inner());
        if values.len() >= CROWDED {
            values.retain(|_, value| Arc::strong_count(value) > 1);
        }
        values.entry(key.clone()).or_insert_with(|| Arc::new(make())).clone()
    }
}
