//! A prompt's class of complexity: a rough word for people, by cut-offs that stand here and in
//! `docs/route.md`. No decision rests on it.

use serde::{Deserialize, Serialize};

use super::features::{self, Features};

/// Tokens (a fourth of the bytes) from which a prompt is moderate, and from which it is complex.
pub const MODERATE_TOKENS: f64 = 32.0;
pub const COMPLEX_TOKENS: f64 = 256.0;
/// The share of digits and of signs of mathematics and code that lifts a prompt by a class.
pub const DENSE: f64 = 0.15;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Complexity {
    Simple,
    Moderate,
    Complex,
}

impl Complexity {
    pub fn of(prompt: &Features) -> Complexity {
        let tokens = f64::from(prompt.shape[features::LENGTH]).exp() / features::BYTES_PER_TOKEN;
        let share = |at: usize| f64::from(prompt.shape[at]).powi(2);
        let is_dense = share(features::DIGITS) + share(features::SYMBOLS) > DENSE;
        match (tokens, is_dense) {
            (..MODERATE_TOKENS, false) => Complexity::Simple,
            (..COMPLEX_TOKENS, false) | (..MODERATE_TOKENS, true) => Complexity::Moderate,
            _ => Complexity::Complex,
        }
    }

    pub fn word(self) -> &'static str {
        match self {
            Complexity::Simple => "simple",
            Complexity::Moderate => "moderate",
            Complexity::Complex => "complex",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The documented cut-offs are what the classes follow.
    #[test]
    fn classes_follow_length_and_signs() {
        let of = |text: &str| Complexity::of(&Features::of(text));
        assert_eq!(of("What is the capital of France?"), Complexity::Simple);
        assert_eq!(of(&"word ".repeat(100)), Complexity::Moderate);
        assert_eq!(of(&"word ".repeat(300)), Complexity::Complex);
        assert_eq!(of("(x^2 + 3*x) / (y - 12) = ?"), Complexity::Moderate);
        assert_eq!(of(&"a[i] = b[j] * 2; ".repeat(30)), Complexity::Complex);
        assert_eq!(of(""), Complexity::Simple);
    }
}
