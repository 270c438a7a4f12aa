//! What the step before says about the next one: in a chain of revisions, the base has a base of its own.
//!
//! Training moves weights in finer steps than their type has, and each revision is rounded. A weight that was
//! just rounded to another number lies near the border between both, and tends to come back: differences are
//! turned towards where it came from. How far it came is its class (see `hint`).

use super::hint::{CLASSES, Expected};
use super::lanes::{Each, FETCH_AHEAD, GROUP, Lanes};
use super::order::{Order, Word};

/// Classes: 0, 1, 2–3, 4–7 and so on units of the last place. All steps from this on are of the last one.
const FAR: u64 = 1 << (CLASSES - 2);

/// The numbers that the bases were made of, as many.
#[derive(Clone, Copy)]
pub(super) struct Previous<'a, W> {
    order: Order<W>,
    bytes: &'a [u8],
}

impl<'a, W: Word> Previous<'a, W> {
    pub fn new(order: &Order<W>, bytes: &'a [u8]) -> Self {
        Self { order: *order, bytes }
    }

    /// What is expected of the group with this number, by how its weights came to their bases.
    #[inline(always)]
    pub fn expected<L: Lanes>(&self, lanes: L, number: usize, base: &Each<W>) -> Expected<W> {
        let group_bytes = GROUP * W::BITS as usize / 8;
        let start = number * group_bytes;
        let ahead = start + FETCH_AHEAD * group_bytes;
        lanes.fetch(self.bytes.get(ahead..ahead + group_bytes).unwrap_or_default());
        let previous = W::load_group(&self.bytes[start..self.bytes.len().min(start + group_bytes)]);
        let back = self.order.differences(&previous, base);
        let mut expected = Expected::none();
        let Expected { turned, classes, .. } = &mut expected;
        for ((turned, class), back) in turned.iter_mut().zip(classes.iter_mut()).zip(back) {
            *turned = back.sign();
            let far = back.xor(*turned).minus(*turned);
            // Bytes from here on: more of them are compared at once.
            *class = far.min(W::from_u64(FAR)).low_byte();
        }
        for class in classes.iter_mut() {
            let far = std::mem::take(class);
            for octave in 0..CLASSES - 1 {
                *class += u8::from(far >= 1 << octave);
            }
        }
        expected
    }
}
