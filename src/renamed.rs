//! Tensors that another file has under other names, found by what they hold.
//!
//! `model.layers.0.self_attn.q_proj.weight` may be `transformer.h.0.attn.q.weight` elsewhere, and no rule of names
//! tells. Of the tensors that have no counterpart by name, those of one shape are compared by their first weights,
//! and the nearest belong together.

use std::collections::{BTreeMap, HashSet};

use crate::counterpart::Counterparts;
use crate::derive::Float;
use crate::format::{Dtype, Segment};
use crate::id::ObjectId;
use crate::origin::Child;
use crate::recipe::Recipe;
use crate::sketch;
use crate::store::Store;

/// Weights of a tensor that are compared.
const COMPARED: usize = 256;
/// Tensors of one shape on either side; the work grows with its square.
const MOST_OF_A_SHAPE: usize = 1024;

/// A tensor that no name leads to, and where it is.
pub struct Tensor<'a, H> {
    pub name: &'a str,
    pub dtype: Dtype,
    pub shape: &'a [u64],
    pub place: H,
}

/// Reads the first bytes of a tensor, as many as asked for, or all that there are.
pub type Read<'a, H> = &'a dyn Fn(&H, usize) -> Option<Vec<u8>>;

/// Tells the counterparts, which are of `base`, what their tensors are called in the child.
pub fn find(store: &Store, child: &Child<'_>, base: &Recipe, counterparts: &mut Counterparts) {
    let (mut ours, mut used) = (Vec::new(), HashSet::new());
    for segment in child.segments.iter().filter(|segment| segment.slice == 0 && !segment.name.is_empty()) {
        match counterparts.find(segment) {
            Some((object, _)) => drop(used.insert(object)),
            None => ours.push(named(segment, segment)),
        }
    }
    let free = base.parts.iter().filter(|part| part.slice == 0 && !used.contains(&part.object));
    let theirs = free.filter_map(|part| {
        let tensor = base.tensor_of(part)?;
        Some(Tensor { name: &tensor.name, dtype: tensor.dtype, shape: &tensor.shape, place: part.object })
    });
    let read_ours = |segment: &&Segment, len: usize| {
        (child.read)(segment, len.min((segment.range.end - segment.range.start) as usize))
    };
    let read_theirs = |object: &ObjectId, len: usize| {
        let bytes = store.get_base(object).ok()?;
        Some(bytes[..len.min(bytes.len())].to_vec())
    };
    counterparts.rename(pairs(ours, theirs.collect(), &read_ours, &read_theirs));
}

/// The tensor of a slice.
pub fn named<H>(segment: &Segment, place: H) -> Tensor<'_, H> {
    Tensor { name: &segment.name, dtype: segment.dtype, shape: &segment.shape, place }
}

/// Which of `ours` is which of `theirs`: pairs of names, each name once.
pub fn pairs<'a, A, B>(
    ours: Vec<Tensor<'a, A>>,
    theirs: Vec<Tensor<'a, B>>,
    read_ours: Read<'_, A>,
    read_theirs: Read<'_, B>,
) -> Vec<(&'a str, &'a str)> {
    let theirs = by_shape(theirs);
    let mut pairs = Vec::new();
    for (shape, ours) in by_shape(ours) {
        let Some(theirs) = theirs.get(shape) else { continue };
        let (ours, theirs) = (weights(&ours, read_ours), weights(theirs, read_theirs));
        let near = ours.iter().flat_map(|our| theirs.iter().map(move |their| (our, their)));
        let mut near: Vec<(f32, &str, &str)> = near
            .map(|(our, their)| (sketch::distance(&our.1, &their.1), our.0, their.0))
            .filter(|(distance, ..)| *distance <= sketch::STRANGERS)
            .collect();
        // Norms of all layers are near each other: those that are nearest go first.
        near.sort_by(|one, other| one.0.total_cmp(&other.0));
        let (mut taken, mut given) = (HashSet::new(), HashSet::new());
        for (_, our, their) in near {
            if !taken.contains(our) && given.insert(their) {
                taken.insert(our);
                pairs.push((our, their));
            }
        }
    }
    pairs
}

fn by_shape<'a, H>(tensors: Vec<Tensor<'a, H>>) -> BTreeMap<&'a [u64], Vec<Tensor<'a, H>>> {
    let mut shapes: BTreeMap<&[u64], Vec<Tensor<'a, H>>> = BTreeMap::new();
    for tensor in tensors {
        let alike = shapes.entry(tensor.shape).or_default();
        if alike.len() < MOST_OF_A_SHAPE {
            alike.push(tensor);
        }
    }
    shapes
}

/// The first weights of tensors, by their names.
fn weights<'a, H>(tensors: &[Tensor<'a, H>], read: Read<'_, H>) -> Vec<(&'a str, Vec<f32>)> {
    let weights = |tensor: &Tensor<'a, H>| {
        let float = Float::of(tensor.dtype)?;
        Some((tensor.name, float.values(&read(&tensor.place, COMPARED * float.width())?)))
    };
    tensors.iter().filter_map(weights).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Layers in another order, one that is new, and vectors that all look alike.
    #[test]
    fn nearest_belong_together() {
        let weights = |seed: u64, noise: f32| -> Vec<f32> {
            let value = |at: u64| ((at * 2_654_435_761 + seed * 40_503) % 1009) as f32 / 1009.0 - 0.5;
            (0..256).map(|at| value(at) + noise * value(at + 7)).collect()
        };
        let norm = |seed: u64, noise: f32| -> Vec<f32> {
            weights(seed, noise).iter().map(|weight| 1.0 + weight / 50.0).collect()
        };
        let tensor = |name, place: Vec<f32>| {
            let shape: &[u64] = if place[0] > 0.9 { &[256] } else { &[16, 16] };
            Tensor { name, dtype: Dtype::F32, shape, place }
        };
        let theirs = vec![
            tensor("model.layers.0.q", weights(1, 0.0)),
            tensor("model.layers.1.q", weights(2, 0.0)),
            tensor("model.layers.0.norm", norm(3, 0.0)),
            tensor("model.layers.1.norm", norm(4, 0.0)),
        ];
        let ours = vec![
            tensor("h.1.q", weights(2, 0.05)),
            tensor("h.0.q", weights(1, 0.05)),
            tensor("h.2.q", weights(9, 0.0)),
            tensor("h.0.norm", norm(3, 0.05)),
            tensor("h.1.norm", norm(4, 0.05)),
        ];
        let read = |place: &Vec<f32>, _: usize| Some(Float::F32.bytes(place));
        let mut found = pairs(ours, theirs, &read, &read);
        found.sort_unstable();
        let expected = [
            ("h.0.norm", "model.layers.0.norm"),
            ("h.0.q", "model.layers.0.q"),
            ("h.1.norm", "model.layers.1.norm"),
            ("h.1.q", "model.layers.1.q"),
        ];
        assert_eq!(found, expected);
    }
}
