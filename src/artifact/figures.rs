//! What each tensor of an artifact costs, by its recipes and packs: what a manifest says, and is held against.

use std::collections::HashSet;
use std::io;

use super::manifest::TensorEntry;
use crate::backend::{Area, Backend};
use crate::census;
use crate::format::Dtype;
use crate::id::ObjectId;
use crate::pack::Record;
use crate::recipe::{Part, Recipe};

/// Found in the base as it is.
const SAME: &str = "same";
/// Found elsewhere in the fine-tune.
const AGAIN: &str = "again";

/// The figures of a fine-tune's files, one file after the other.
pub(super) struct Figures<'a, E> {
    in_base: HashSet<ObjectId>,
    /// Objects of the files before, which cost nothing again.
    seen: HashSet<ObjectId>,
    same: u64,
    record: &'a dyn Fn(&ObjectId) -> Result<Record, E>,
}

impl<'a, E> Figures<'a, E> {
    /// Figures over a base of these recipes; `record` finds the objects of the artifact.
    pub fn over(base: &[Recipe], record: &'a dyn Fn(&ObjectId) -> Result<Record, E>) -> Figures<'a, E> {
        let in_base = base.iter().flat_map(|recipe| recipe.parts.iter().map(|part| part.object)).collect();
        Figures { in_base, seen: HashSet::new(), same: 0, record }
    }

    /// Gives `take` what each tensor of a file costs, in the order in which they lie there.
    pub fn of_file(
        &mut self,
        path: &str,
        recipe: &Recipe,
        take: &mut dyn FnMut(TensorEntry) -> Result<(), E>,
    ) -> Result<(), E> {
        for parts in recipe.parts.chunk_by(|a, b| a.tensor.is_some() && a.tensor == b.tensor) {
            let entry = self.entry(path, recipe, parts)?;
            if entry.method == SAME {
                self.same += entry.size;
            }
            if !entry.name.is_empty() {
                take(entry)?;
            }
        }
        Ok(())
    }

    /// Bytes that lie in the base as they are, of the files so far.
    pub fn same(&self) -> u64 {
        self.same
    }

    /// What the parts of one tensor cost, or a part that belongs to none.
    fn entry(&mut self, path: &str, recipe: &Recipe, parts: &[Part]) -> Result<TensorEntry, E> {
        let tensor = recipe.tensor_of(&parts[0]);
        let (mut methods, mut size, mut stored) = (Vec::new(), 0, 0);
        for part in parts {
            let method = match (self.in_base.contains(&part.object), self.seen.insert(part.object)) {
                (true, _) => SAME.to_owned(),
                (false, false) => AGAIN.to_owned(),
                (false, true) => {
                    let record = (self.record)(&part.object)?;
                    stored += u64::from(record.payload_len);
                    for below in census::of_no_file(&record, |object| (self.record)(object))? {
                        let is_new = !self.in_base.contains(&below.object) && self.seen.insert(below.object);
                        stored += u64::from(below.payload_len) * u64::from(is_new);
                    }
                    census::codec_name(record.codec)
                }
            };
            if !methods.contains(&method) {
                methods.push(method);
            }
            size += u64::from(part.len);
        }
        Ok(TensorEntry {
            file: path.to_owned(),
            name: tensor.map(|tensor| tensor.name.clone()).unwrap_or_default(),
            dtype: tensor.map_or(Dtype::Bytes, |tensor| tensor.dtype),
            shape: tensor.map(|tensor| tensor.shape.clone()).unwrap_or_default(),
            method: methods.join("+"),
            size,
            stored,
            checksum: checksum(parts),
            error: None,
        })
    }
}

/// The object's id, or the BLAKE3 of all of them.
fn checksum(parts: &[Part]) -> ObjectId {
    match parts {
        [one] => one.object,
        parts => {
            let ids: Vec<u8> = parts.iter().flat_map(|part| *part.object.as_bytes()).collect();
            ObjectId::of(&ids)
        }
    }
}

/// Bytes of packs and recipes.
pub(super) fn stored(artifact: &dyn Backend) -> io::Result<u64> {
    let mut stored = 0;
    for area in [Area::Packs, Area::Recipes] {
        for name in artifact.list(area)? {
            stored += artifact.len(name)?.unwrap_or(0);
        }
    }
    Ok(stored)
}

/// Where the manifest's line of a tensor is not what the artifact has: which figure, and both values.
pub(super) fn difference(said: &TensorEntry, found: &TensorEntry) -> Option<(&'static str, String, String)> {
    let differs = |what, said: String, found: String| (said != found).then_some((what, said, found));
    let shape = |shape: &[u64]| format!("{shape:?}");
    let dtype = |dtype: Dtype| format!("{dtype:?}").to_lowercase();
    differs("file", said.file.clone(), found.file.clone())
        .or_else(|| differs("name", said.name.clone(), found.name.clone()))
        .or_else(|| differs("dtype", dtype(said.dtype), dtype(found.dtype)))
        .or_else(|| differs("shape", shape(&said.shape), shape(&found.shape)))
        .or_else(|| differs("method", said.method.clone(), found.method.clone()))
        .or_else(|| differs("size", said.size.to_string(), found.size.to_string()))
        .or_else(|| differs("stored", said.stored.to_string(), found.stored.to_string()))
        .or_else(|| differs("checksum", said.checksum.to_string(), found.checksum.to_string()))
}
