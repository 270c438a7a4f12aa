//! The fingerprint by which files of one architecture find each other.

use super::Segment;

/// Sets these hashes apart from all others of the store.
const CONTEXT: &str = "git sparse 2026-11 layout of tensors";

/// Hash of the names and shapes of the tensors, whatever their order and type: a fine-tune, a
/// quantisation and their base have the same. None where nothing has a name.
pub fn layout_of(segments: &[Segment]) -> Option<[u8; 16]> {
    let mut tensors: Vec<(&str, &[u64])> = segments
        .iter()
        .filter(|segment| segment.slice == 0 && !segment.name.is_empty())
        .map(|segment| (segment.name.as_str(), segment.shape.as_slice()))
        .collect();
    if tensors.is_empty() {
        return None;
    }
    tensors.sort_unstable();

    let mut hasher = blake3::Hasher::new_derive_key(CONTEXT);
    for (name, shape) in tensors {
        hasher.update(&(name.len() as u64).to_le_bytes()).update(name.as_bytes());
        hasher.update(&(shape.len() as u64).to_le_bytes());
        shape.iter().for_each(|len| {
            hasher.update(&len.to_le_bytes());
        });
    }
    let mut layout = [0; 16];
    hasher.finalize_xof().fill(&mut layout);
    Some(layout)
}
