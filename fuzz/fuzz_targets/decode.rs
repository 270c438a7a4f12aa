//! Any payload under any codec and bases: an error, or bytes of the length that was asked for.
//!
//! Input: codec, decoded length (2 bytes), payload length (2 bytes), payload, base. The base is repeated
//! to as many bytes as a payload for this length would want of it, so that most get beyond that check; it is
//! its own base.

#![no_main]

use git_sparse::codec::{self, Codec};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((head, rest)) = input.split_first_chunk::<5>() else { return };
    let len = usize::from(u16::from_le_bytes([head[1], head[2]]));
    let (payload, base) = rest.split_at(usize::from(u16::from_le_bytes([head[3], head[4]])).min(rest.len()));
    let Some(codec) = Codec::from_tag(head[0] % 21) else { return };
    for times in [1, 2, 4, 8] {
        for base_len in [len * times, len / times] {
            let base: Vec<u8> = base.iter().copied().cycle().take(base_len).collect();
            if let Ok(bytes) = codec::decode(codec, payload, &[&base, &base, &base], len) {
                assert_eq!(bytes.len(), len);
            }
        }
    }
});
