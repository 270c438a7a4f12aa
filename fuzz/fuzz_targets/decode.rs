//! Any payload under any codec and bases: an error, or bytes of the length that was asked for.
//!
//! Input: codec, decoded length (2 bytes), payload length (2 bytes), payload, base. The base is repeated
//! to as many bytes as a payload for this length would want of it, so that most get beyond that check; it is
//! its own base.

#![no_main]

use std::sync::Once;

use git_sparse::codec::{self, Codec};
use libfuzzer_sys::fuzz_target;

/// `preflate-rs` panics on corrections that it did not make, which `packing` catches: that is no finding.
fn let_caught_panics_pass() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        std::panic::set_hook(Box::new(|panic| {
            if !panic.location().is_some_and(|place| place.file().contains("preflate-rs")) {
                eprintln!("{panic}");
                std::process::abort();
            }
        }));
    });
}

fuzz_target!(|input: &[u8]| {
    let_caught_panics_pass();
    let Some((head, rest)) = input.split_first_chunk::<5>() else { return };
    let len = usize::from(u16::from_le_bytes([head[1], head[2]]));
    let (payload, base) = rest.split_at(usize::from(u16::from_le_bytes([head[3], head[4]])).min(rest.len()));
    let Some(codec) = Codec::from_tag(head[0] % 24) else { return };
    for times in [1, 2, 4, 8] {
        for base_len in [len * times, len / times] {
            let base: Vec<u8> = base.iter().copied().cycle().take(base_len).collect();
            if let Ok(bytes) = codec::decode(codec, payload, &[&base, &base, &base], len) {
                assert_eq!(bytes.len(), len);
            }
        }
    }
});
