//! Names of content: 32-byte hashes that can't be mistaken for one another.
//!
//! An `Oid` is what git-lfs calls a file (SHA-256 of its bytes); an `ObjectId` is what the store
//! calls a unit of content (BLAKE3 of its decoded bytes); a `PackId` names a pack file.

use std::fmt;
use std::io;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Why a text is not an id.
#[derive(Debug, thiserror::Error)]
#[error("{text:?} is not an id: expected 64 lower-case hexadecimal digits")]
pub struct ParseIdError {
    text: String,
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name([u8; 32]);

        impl $name {
            /// The id with these raw bytes.
            pub const fn from_bytes(bytes: [u8; 32]) -> Self {
                Self(bytes)
            }

            /// The 32 raw bytes of the hash.
            pub const fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                write_hex(&self.0, out)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                write_hex(&self.0, out)
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                parse_hex(text).map(Self)
            }
        }

        impl TryFrom<String> for $name {
            type Error = ParseIdError;

            fn try_from(text: String) -> Result<Self, ParseIdError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.to_string()
            }
        }
    };
}

id! {
    /// SHA-256 of a whole file: its name in a Git LFS pointer.
    Oid
}
id! {
    /// BLAKE3 of an object's decoded bytes: its name in the store, however it is encoded.
    ObjectId
}
id! {
    /// BLAKE3 of a pack's trailer, which binds every byte of the pack.
    PackId
}

id! {
    /// Names a lock: a hash of what is locked, chosen by whoever locks.
    LockId
}

impl ObjectId {
    /// The id of the object whose decoded content is `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }
}

impl Oid {
    /// The oid of a file whose content is `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        use sha2::{Digest, Sha256};
        Self(Sha256::digest(bytes).into())
    }

    /// The oid of what is left to read.
    pub fn of_reader(mut reader: impl io::Read) -> io::Result<Self> {
        use sha2::{Digest, Sha256};
        let (mut hasher, mut buffer) = (Sha256::new(), vec![0; 1 << 18]);
        loop {
            match reader.read(&mut buffer) {
                Ok(0) => return Ok(Self(hasher.finalize().into())),
                Ok(count) => hasher.update(&buffer[..count]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

fn write_hex(bytes: &[u8; 32], out: &mut fmt::Formatter<'_>) -> fmt::Result {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = [0u8; 64];
    for (pair, byte) in text.chunks_exact_mut(2).zip(bytes) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 15)];
    }
    out.pad(std::str::from_utf8(&text).expect("because the digits are ASCII"))
}

fn parse_hex(text: &str) -> Result<[u8; 32], ParseIdError> {
    let bad = || ParseIdError { text: text.chars().take(80).collect() };
    let digits: &[u8; 64] = text.as_bytes().try_into().map_err(|_| bad())?;
    let nibble = |digit: u8| match digit {
        b'0'..=b'9' => Ok(digit - b'0'),
        b'a'..=b'f' => Ok(digit - b'a' + 10),
        _ => Err(bad()),
    };
    let mut bytes = [0u8; 32];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = nibble(pair[0])? << 4 | nibble(pair[1])?;
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ids come from hostile texts: only the one spelling of a hash may pass.
    #[test]
    fn only_64_lower_case_digits_are_an_id() {
        let id = ObjectId::of(b"abc");
        assert_eq!(id.to_string().parse::<ObjectId>().unwrap(), id);
        for bad in ["", "ab", &id.to_string().to_uppercase(), &format!("{id}0"), &"../".repeat(21)] {
            assert!(bad.parse::<ObjectId>().is_err(), "{bad} passed");
        }
    }
}
