//! Any payload under any codec and base: an error, or bytes of the length that was asked for.

#![no_main]

use git_sparse::codec::{self, Codec};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u8, u16, Vec<u8>, Vec<u8>)| {
    let (tag, len, payload, base) = input;
    let Some(codec) = Codec::from_tag(tag % 5) else { return };
    if let Ok(bytes) = codec::decode(codec, &payload, Some(&base), usize::from(len)) {
        assert_eq!(bytes.len(), usize::from(len));
    }
});
