//! The pages of a table as they are when they are unpacked: what the pages of its next version are compared with.

use std::sync::atomic::{AtomicUsize, Ordering};

use crossbeam_skiplist::SkipMap;

use crate::codec::{self, Encoded};
use crate::format;
use crate::pack::MAX_OBJECT_BYTES;
use crate::packing::{self, Packer};

/// After so many pages that no packer gives, none is looked for any more: each look takes a while.
const MOST_FAILURES: usize = 8;

/// What packed the pages of a file so far: one program packs them all.
#[derive(Default)]
pub(super) struct Last {
    packer: SkipMap<(), Packer>,
    failures: AtomicUsize,
}

/// A page, unpacked.
pub(super) struct Unpacked {
    /// Its header, what was not packed, and what was.
    pub bytes: Vec<u8>,
    /// How it becomes the page again.
    pub encoded: Encoded,
}

/// Unpacks a page, where a packer is known that gives it back.
pub(super) fn unpack(page: &[u8], last: &Last) -> Option<Unpacked> {
    let parts = format::page(page)?;
    let fits =
        parts.unpacked_bytes <= MAX_OBJECT_BYTES as usize - (page.len() - parts.packed.len()).min(1 << 20);
    if parts.packed.is_empty() || !fits || last.failures.load(Ordering::Relaxed) >= MOST_FAILURES {
        return None;
    }
    let hint = last.packer.get(&()).map(|entry| entry.value().clone());
    let Some((packer, plain)) = packing::find_like(parts.packed, Some(parts.unpacked_bytes), hint.as_ref())
    else {
        last.failures.fetch_add(1, Ordering::Relaxed);
        return None;
    };
    let mut bytes = [parts.header, parts.plain].concat();
    let encoded = codec::packed::encode(bytes.len(), &packer);
    bytes.extend(plain);
    if hint.is_none_or(|hint| hint != packer) {
        last.packer.insert((), packer);
    }
    (bytes.len() <= MAX_OBJECT_BYTES as usize).then_some(Unpacked { bytes, encoded })
}
