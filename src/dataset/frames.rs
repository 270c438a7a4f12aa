//! What is asked of an Arrow IPC file before it is decoded: lengths of messages and buffers that fit the file.
//!
//! The decoder allocates what a message says before it reads its body, and what a packed buffer says before it
//! unpacks it.

use arrow_ipc::{CompressionType, Message, RecordBatch, root_as_footer, root_as_message};

use crate::format::Source;

const CONTINUATION: [u8; 4] = [0xff; 4];
/// The end of a file: the length of its footer, and the magic number.
const TAIL_BYTES: u64 = 10;
/// Largest buffer of a batch that is unpacked.
const MOST_UNPACKED_BYTES: i64 = 4 << 30;
/// All buffers of a batch that has more than this unpacked,
const FREE_UNPACKED_BYTES: u64 = 256 << 20;
/// have no more than so many times what they are packed: LZ4 gives no more, and numbers that people keep no more by zstd.
const MOST_RATIO: u64 = 256;

/// What messages say of all batches.
#[derive(Debug, Clone, Copy, Default)]
pub struct Frames {
    /// Of all buffers, unpacked.
    pub bytes: u64,
    /// What the first packed batch is packed with.
    pub codec: Option<CompressionType>,
}

/// Checks a file with a footer.
pub fn check_file(file: &dyn Source) -> Result<Frames, String> {
    let len = file.len();
    if len < TAIL_BYTES {
        return Err(format!("{len} bytes are too few, it is truncated"));
    }
    let tail = read(file, len - TAIL_BYTES, TAIL_BYTES)?;
    if &tail[4..] != b"ARROW1" {
        return Err("it does not end with a footer, it is truncated".into());
    }
    let footer = u64::from(u32::from_le_bytes(tail[..4].try_into().expect("because 4 bytes are 4 bytes")));
    if footer > len - TAIL_BYTES {
        return Err(format!("its footer claims {footer} bytes of a file with {len}"));
    }
    let footer = read(file, len - TAIL_BYTES - footer, footer)?;
    let footer = root_as_footer(&footer).map_err(|error| format!("its footer is malformed: {error}"))?;
    let blocks =
        footer.dictionaries().into_iter().flatten().chain(footer.recordBatches().into_iter().flatten());
    let mut frames = Frames::default();
    for block in blocks {
        let start = u64::try_from(block.offset()).map_err(|_| beyond())?;
        let head = u64::try_from(block.metaDataLength()).map_err(|_| beyond())?;
        let body = u64::try_from(block.bodyLength()).map_err(|_| beyond())?;
        let body_start = start.checked_add(head).ok_or_else(beyond)?;
        if body_start.checked_add(body).is_none_or(|end| end > len) {
            return Err(beyond());
        }
        let head = read(file, start, head)?;
        let skipped = if head.starts_with(&CONTINUATION) { 8 } else { 4 };
        let message = head.get(skipped..).and_then(|bytes| root_as_message(bytes).ok());
        let message = message.ok_or("a message is malformed")?;
        frames.add(file, &message, body_start)?;
    }
    Ok(frames)
}

/// Checks a stream of messages.
pub fn check_stream(file: &dyn Source) -> Result<Frames, String> {
    let (mut at, mut frames) = (0, Frames::default());
    while at + 4 <= file.len() {
        let mut head = read(file, at, 4)?;
        at += 4;
        if head == CONTINUATION {
            head = read(file, at, 4)?;
            at += 4;
        }
        let len = u64::from(u32::from_le_bytes(head.try_into().expect("because 4 bytes were read")));
        if len == 0 {
            return Ok(frames);
        }
        let bytes = read(file, at, len)?;
        at += len;
        let message = root_as_message(&bytes).map_err(|error| format!("a message is malformed: {error}"))?;
        frames.add(file, &message, at)?;
        at = at.checked_add_signed(message.bodyLength()).ok_or_else(beyond)?;
    }
    Ok(frames)
}

impl Frames {
    /// Checks a message whose body begins at `body`, and adds what it says.
    fn add(&mut self, file: &dyn Source, message: &Message<'_>, body: u64) -> Result<(), String> {
        let len = u64::try_from(message.bodyLength()).map_err(|_| beyond())?;
        if body.checked_add(len).is_none_or(|end| end > file.len()) {
            return Err(beyond());
        }
        let dictionary = message.header_as_dictionary_batch().and_then(|dictionary| dictionary.data());
        let batch = message.header_as_record_batch().or(dictionary);
        let packed = batch.and_then(|batch| Some((batch, batch.compression()?)));
        let bytes = match packed {
            Some((batch, compression)) => {
                self.codec.get_or_insert(compression.codec());
                check_packed(file, &batch, body, len)?
            }
            None => len,
        };
        self.bytes = self.bytes.saturating_add(bytes);
        Ok(())
    }
}

/// A packed buffer begins with how many bytes it has unpacked.
fn check_packed(file: &dyn Source, batch: &RecordBatch<'_>, body: u64, len: u64) -> Result<u64, String> {
    let mut all = 0u64;
    for buffer in batch.buffers().into_iter().flatten().filter(|buffer| buffer.length() > 0) {
        let start = u64::try_from(buffer.offset()).map_err(|_| beyond())?;
        if buffer.length() < 8 || start.checked_add(8).is_none_or(|end| end > len) {
            return Err(beyond());
        }
        let unpacked = read(file, body + start, 8)?;
        let unpacked = i64::from_le_bytes(unpacked.try_into().expect("because 8 bytes were read"));
        if unpacked > MOST_UNPACKED_BYTES {
            return Err(format!("a buffer claims {unpacked} bytes unpacked"));
        }
        // -1 stands for bytes that are not packed.
        all += u64::try_from(unpacked).unwrap_or(buffer.length() as u64);
    }
    if all > FREE_UNPACKED_BYTES && all / MOST_RATIO > len {
        return Err(format!("a batch of {len} bytes claims {all} bytes unpacked"));
    }
    Ok(all)
}

fn read(file: &dyn Source, start: u64, len: u64) -> Result<Vec<u8>, String> {
    if start.checked_add(len).is_none_or(|end| end > file.len()) {
        return Err(beyond());
    }
    let mut bytes = vec![0; len as usize];
    file.read_at(&mut bytes, start).map_err(|error| error.to_string())?;
    Ok(bytes)
}

fn beyond() -> String {
    "a message claims bytes beyond the end of the file, it is truncated or lies".into()
}
