//! A value for each weight of a group.

use std::ops::{Deref, DerefMut};

use super::GROUP;

/// A value for each weight of a group, from the start of a cache line on.
///
/// Vectors as wide as a line that are written and read again at once pass from one to the other within the
/// processor only if they don't lie across two lines; where they do, each such read waits for the write to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(align(64))]
pub(in super::super) struct Each<T>(pub [T; GROUP]);

impl<T: Copy> Each<T> {
    /// The same for all.
    #[inline(always)]
    pub fn of(value: T) -> Self {
        Self([value; GROUP])
    }

    #[inline(always)]
    pub fn map<U>(self, of: impl FnMut(T) -> U) -> Each<U> {
        Each(self.0.map(of))
    }
}

impl Each<f32> {
    /// The sum, by halves: in an order that is the same for registers of any width.
    #[inline(always)]
    pub fn sum(mut self) -> f32 {
        let mut half = GROUP / 2;
        while half > 0 {
            for at in 0..half {
                self.0[at] += self.0[at + half];
            }
            half /= 2;
        }
        self.0[0]
    }
}

impl<T> Deref for Each<T> {
    type Target = [T; GROUP];

    #[inline(always)]
    fn deref(&self) -> &[T; GROUP] {
        &self.0
    }
}

impl<T> DerefMut for Each<T> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut [T; GROUP] {
        &mut self.0
    }
}

impl<T> IntoIterator for Each<T> {
    type Item = T;
    type IntoIter = std::array::IntoIter<T, GROUP>;

    #[inline(always)]
    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'a, T> IntoIterator for &'a Each<T> {
    type Item = &'a T;
    type IntoIter = std::slice::Iter<'a, T>;

    #[inline(always)]
    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}
