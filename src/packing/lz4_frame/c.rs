//! Frames of LZ4's C library, given in pieces: the crate `lz4` gives it a block at a time, and others all at once.

use std::ptr;

use lz4_sys::{
    LZ4F_VERSION, LZ4F_compressBegin, LZ4F_compressBound, LZ4F_compressEnd, LZ4F_compressUpdate,
    LZ4F_createCompressionContext, LZ4F_freeCompressionContext, LZ4F_isError, LZ4FCompressionContext,
    LZ4FPreferences,
};

/// Most bytes of a header (`LZ4F_HEADER_SIZE_MAX`).
const HEADER_BYTES: usize = 19;

/// One frame, of `plain` in pieces of `step` bytes.
pub(super) fn pack(plain: &[u8], preferences: &LZ4FPreferences, step: usize) -> Vec<u8> {
    let mut frame = Frame::new();
    // SAFETY: the library writes no more than the room that it is told of, keeps no pointer to a piece, since it was
    // not told that pieces stay where they are, and reads the preferences while they are borrowed.
    unsafe {
        let bound = |len: usize| LZ4F_compressBound(len, preferences);
        frame.add(HEADER_BYTES, |context, out, room| LZ4F_compressBegin(context, out, room, preferences));
        for piece in plain.chunks(step) {
            frame.add(bound(piece.len()), |context, out, room| {
                LZ4F_compressUpdate(context, out, room, piece.as_ptr(), piece.len(), ptr::null())
            });
        }
        frame.add(bound(0), |context, out, room| LZ4F_compressEnd(context, out, room, ptr::null()));
    }
    std::mem::take(&mut frame.packed)
}

/// A frame that is being written.
struct Frame {
    context: LZ4FCompressionContext,
    packed: Vec<u8>,
}

impl Frame {
    fn new() -> Frame {
        let mut context = LZ4FCompressionContext(ptr::null_mut());
        // SAFETY: the library makes a context of its own, and puts it there.
        let made = unsafe { LZ4F_createCompressionContext(&mut context, LZ4F_VERSION) };
        checked(made);
        Frame { context, packed: Vec::new() }
    }

    /// Adds what `write` puts into so much room.
    ///
    /// # Safety
    /// `write` returns how many bytes it wrote from the pointer on, no more than there is room, or an error of the library.
    unsafe fn add(
        &mut self,
        room: usize,
        write: impl FnOnce(LZ4FCompressionContext, *mut u8, usize) -> usize,
    ) {
        self.packed.reserve(room);
        let len = self.packed.len();
        // SAFETY: there is that much room behind what was written, and all of what `write` counts is written.
        unsafe {
            let written = checked(write(self.context, self.packed.as_mut_ptr().add(len), room));
            self.packed.set_len(len + written);
        }
    }
}

impl Drop for Frame {
    fn drop(&mut self) {
        // SAFETY: the context is this frame's own, and nobody uses it any more.
        unsafe { LZ4F_freeCompressionContext(self.context) };
    }
}

/// A length, which the library returns in place of errors.
fn checked(len: usize) -> usize {
    // SAFETY: it looks at the number alone.
    let failed = unsafe { LZ4F_isError(len) } != 0;
    assert!(!failed, "LZ4 has too little room for a frame, or no memory");
    len
}
