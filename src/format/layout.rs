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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::Dtype;

    fn tensor(name: &str, slice: u32, dtype: Dtype, shape: &[u64]) -> Segment {
        let nameless = Segment::nameless(0..1);
        Segment { name: name.into(), slice, dtype, shape: shape.to_vec(), ..nameless }
    }

    /// Files find each other by it: what a fine-tune or a conversion changes must not show.
    #[test]
    fn only_names_and_shapes_count() {
        let layout = |tensors: &[Segment]| layout_of(tensors);
        let a = tensor("a", 0, Dtype::F32, &[2, 3]);
        let b = tensor("b", 0, Dtype::F32, &[]);
        let base = layout(&[a.clone(), b.clone()]);
        assert!(base.is_some());

        assert_eq!(base, layout(&[b.clone(), a.clone()]), "order");
        assert_eq!(base, layout(&[tensor("a", 0, Dtype::Bf16, &[2, 3]), b.clone()]), "type");
        assert_eq!(base, layout(&[a.clone(), tensor("a", 1, Dtype::F32, &[2, 3]), b.clone()]), "slices");
        assert_eq!(base, layout(&[Segment::nameless(0..9), a.clone(), b.clone()]), "headers");

        assert_ne!(base, layout(std::slice::from_ref(&a)), "fewer");
        assert_ne!(base, layout(&[tensor("a", 0, Dtype::F32, &[3, 2]), b.clone()]), "shape");
        assert_ne!(base, layout(&[tensor("c", 0, Dtype::F32, &[2, 3]), b.clone()]), "name");
        assert_eq!(None, layout(&[Segment::nameless(0..9)]));
    }
}
