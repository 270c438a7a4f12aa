//! What a model said of some windows, kept so that many others can be compared with it.

use std::collections::HashMap;

use engine_messages::{HeldId, Window};

use crate::failure::Failure;
use crate::softmax::Shift;

/// What all that is held may take.
const MAX_BYTES: usize = 4 << 30;

/// Rows of logits, one for each scored token.
pub struct Held {
    windows: Vec<Window>,
    rows: Vec<f32>,
    shifts: Vec<Shift>,
    vocabulary: usize,
}

impl Held {
    /// Room for the rows of `windows`; refused before anything is computed when it is too much.
    pub fn new(windows: &[Window], vocabulary: usize, kept: usize) -> Result<Held, Failure> {
        let tokens: usize = windows.iter().map(|window| window.tokens.len() - window.scored_from).sum();
        let bytes = tokens.saturating_mul(vocabulary).saturating_mul(size_of::<f32>());
        if kept.saturating_add(bytes) > MAX_BYTES {
            let message = format!(
                "{tokens} tokens of a vocabulary of {vocabulary} take {bytes} bytes to keep, {MAX_BYTES} at most"
            );
            return Err(Failure::request(message));
        }
        let rows = Vec::with_capacity(bytes / size_of::<f32>());
        Ok(Held { windows: windows.to_vec(), rows, shifts: Vec::with_capacity(tokens), vocabulary })
    }

    pub fn push(&mut self, row: &[f32], shift: Shift) {
        self.rows.extend_from_slice(row);
        self.shifts.push(shift);
    }

    /// The row of the `number`th scored token of all windows.
    pub fn row(&self, number: usize) -> Option<(&[f32], Shift)> {
        let start = number.checked_mul(self.vocabulary)?;
        Some((self.rows.get(start..start + self.vocabulary)?, *self.shifts.get(number)?))
    }

    pub fn is_of(&self, windows: &[Window]) -> bool {
        self.windows == windows
    }

    pub fn vocabulary(&self) -> usize {
        self.vocabulary
    }

    fn bytes(&self) -> usize {
        self.rows.capacity() * size_of::<f32>()
    }
}

/// All that is held, by number.
#[derive(Default)]
pub struct Shelf {
    held: HashMap<HeldId, Held>,
    next: HeldId,
}

impl Shelf {
    pub fn put(&mut self, held: Held) -> HeldId {
        self.next += 1;
        self.held.insert(self.next, held);
        self.next
    }

    pub fn get(&self, id: HeldId) -> Result<&Held, Failure> {
        self.held.get(&id).ok_or_else(|| Failure::request(format!("nothing is held as {id}")))
    }

    pub fn remove(&mut self, id: HeldId) -> Result<(), Failure> {
        self.held.remove(&id).map(drop).ok_or_else(|| Failure::request(format!("nothing is held as {id}")))
    }

    pub fn bytes(&self) -> usize {
        self.held.values().map(Held::bytes).sum()
    }
}
