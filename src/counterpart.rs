//! Which object of a base a tensor of another file is compared with: by name, or by what is left of it.
//!
//! Frameworks wrap models: what one file calls `model.layers.0.mlp.weight` is
//! `language_model.model.layers.0.mlp.weight` in another, or `layers.0.mlp.weight`. So where a base has no tensor of
//! a name, leading parts of both names are left out, as long as what remains means one tensor.

use std::collections::HashMap;

use crate::format::{Dtype, Segment};
use crate::id::ObjectId;
use crate::recipe::Recipe;

/// Leading parts of a name that may differ.
const MOST_LEADING: usize = 4;
/// Parts that must be left: `weight` alone means nothing.
const LEAST_PARTS: usize = 2;

/// The parts of a base, found by what they hold: tensor and slice, or the place among the headers.
pub struct Counterparts<T = (ObjectId, Dtype)> {
    tensors: HashMap<(String, u32), T>,
    /// By what is left of a name; none where that means several tensors.
    shortened: HashMap<(String, u32), Option<T>>,
    /// What tensors of the other file are called here, where no name leads to them.
    renamed: HashMap<String, String>,
    header: Option<T>,
}

impl<T> Default for Counterparts<T> {
    fn default() -> Self {
        Self { tensors: HashMap::new(), shortened: HashMap::new(), renamed: HashMap::new(), header: None }
    }
}

impl Counterparts {
    /// The objects of a file, and their types.
    pub fn of(recipe: &Recipe) -> Counterparts {
        let mut found = Counterparts::default();
        found.add(recipe);
        found
    }

    /// Adds what no file before this one has.
    pub fn add(&mut self, recipe: &Recipe) {
        for part in &recipe.parts {
            match recipe.tensor_of(part) {
                Some(tensor) => self.add_tensor(&tensor.name, part.slice, (part.object, tensor.dtype)),
                None if recipe.layout.is_some() && self.header.is_none() => {
                    self.header = Some((part.object, Dtype::Bytes));
                }
                None => {}
            }
        }
    }
}

impl<T: Copy> Counterparts<T> {
    /// Adds a slice of a tensor, unless one of this name is known.
    pub fn add_tensor(&mut self, name: &str, slice: u32, found: T) {
        let known = self.tensors.contains_key(&(name.to_owned(), slice));
        if known {
            return;
        }
        self.tensors.insert((name.to_owned(), slice), found);
        for shorter in shorter(name) {
            let several = self.shortened.entry((shorter.to_owned(), slice));
            several.and_modify(|several| *several = None).or_insert(Some(found));
        }
    }

    /// Tells what tensors of the other file are called here: pairs of its names and ours.
    pub fn rename(&mut self, pairs: Vec<(&str, &str)>) {
        self.renamed.extend(pairs.into_iter().map(|(theirs, ours)| (theirs.to_owned(), ours.to_owned())));
    }

    /// What a segment is compared with.
    pub fn find(&self, segment: &Segment) -> Option<T> {
        if segment.name.is_empty() {
            return self.header.filter(|_| segment.range.start == 0);
        }
        self.named(&segment.name, segment.slice)
    }

    /// What holds this slice of this tensor.
    pub fn named(&self, tensor: &str, slice: u32) -> Option<T> {
        let exact = |name: &str| self.tensors.get(&(name.to_owned(), slice)).copied();
        let left = |name: &str| self.shortened.get(&(name.to_owned(), slice)).copied().flatten();
        exact(tensor)
            .or_else(|| left(tensor))
            .or_else(|| shorter(tensor).find_map(|name| exact(name).or_else(|| left(name))))
            .or_else(|| exact(self.renamed.get(tensor)?))
    }
}

/// A name without its first part, its first two, and so on.
fn shorter(name: &str) -> impl Iterator<Item = &str> {
    let starts = name.match_indices('.').map(|(at, _)| &name[at + 1..]).take(MOST_LEADING);
    starts.filter(|rest| rest.split('.').count() >= LEAST_PARTS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(names: &[&str]) -> Counterparts {
        let mut found = Counterparts::default();
        names.iter().for_each(|name| found.add_tensor(name, 0, (ObjectId::of(name.as_bytes()), Dtype::F32)));
        found
    }

    #[track_caller]
    fn finds(base: &Counterparts, name: &str, expected: Option<&str>) {
        let found = base.named(name, 0).map(|(object, _)| object);
        assert_eq!(found, expected.map(|expected| ObjectId::of(expected.as_bytes())), "{name}");
    }

    /// A model that was wrapped or unwrapped is the same model; a wrong pair costs a delta that is none.
    #[test]
    fn wrapped_names_find_each_other() {
        let base = with(&["model.layers.0.mlp.weight", "model.layers.1.mlp.weight", "lm_head.weight"]);
        finds(&base, "model.layers.0.mlp.weight", Some("model.layers.0.mlp.weight"));
        finds(&base, "layers.1.mlp.weight", Some("model.layers.1.mlp.weight"));
        finds(&base, "language_model.model.layers.1.mlp.weight", Some("model.layers.1.mlp.weight"));
        finds(&base, "transformer.layers.0.mlp.weight", Some("model.layers.0.mlp.weight"));
        finds(&base, "model.lm_head.weight", Some("lm_head.weight"));
        finds(&base, "model.layers.2.mlp.weight", None);
        finds(&base, "weight", None);
        assert_eq!(base.named("lm_head.weight", 1), None);
    }

    /// Where what is left means two tensors, it means none.
    #[test]
    fn what_means_several_means_none() {
        let base = with(&["encoder.layers.0.weight", "decoder.layers.0.weight"]);
        finds(&base, "encoder.layers.0.weight", Some("encoder.layers.0.weight"));
        finds(&base, "layers.0.weight", None);
        finds(&base, "model.layers.0.weight", None);
        finds(&base, "model.decoder.layers.0.weight", Some("decoder.layers.0.weight"));
    }
}
