//! What the demo pushes: steps, each of which replaces one directory of the repository.

use std::path::{Path, PathBuf};

use crate::tree::{self, Expected};
use crate::{Failure, binary};

/// One commit: the directory of the repository that becomes what `source` holds.
pub struct Step {
    /// The commit's message and the name in the table.
    pub name: String,
    /// The directory of the repository, relative to its top.
    pub directory: String,
    /// Have git-lfs track every file, however small.
    pub track_all: bool,
    source: PathBuf,
    // The name in the repository of a source that is one file.
    file_name: Option<PathBuf>,
}

impl Step {
    /// The paths that this step puts into the repository, and the files that hold their bytes.
    pub fn expected(&self) -> Result<Expected, Failure> {
        let directory = Path::new(&self.directory);
        if let Some(name) = &self.file_name {
            return Ok([(directory.join(name), self.source.clone())].into());
        }
        let files = tree::files(&self.source)?;
        Ok(files.into_iter().map(|file| (directory.join(&file), self.source.join(file))).collect())
    }
}

/// A base model, its fine-tune and its continued fine-tune as revisions of `model/`; then what else
/// was made of them, beside it.
pub fn real_models() -> Result<Vec<Step>, Failure> {
    let models = binary::workspace().join("tests/data/models");
    let told = [
        ("model", "tiny-base"),
        ("model", "tiny-sft"),
        ("model", "tiny-sft-2"),
        ("model-f32", "tiny-sft-f32"),
        ("model-fp16", "tiny-sft-fp16"),
        ("adapter", "tiny-lora"),
        ("model-merged", "tiny-lora-merged"),
    ];
    told.map(|(directory, name)| step(directory, name.into(), &models.join(name), None)).into_iter().collect()
}

/// A user's own base and fine-tune, as two revisions of `model/`.
pub fn own(base: &Path, fine_tune: &Path) -> Result<Vec<Step>, Failure> {
    let kinds = (base.is_dir(), fine_tune.is_dir());
    if kinds.0 != kinds.1 {
        return Err(format!(
            "{} and {} should be two files or two directories",
            base.display(),
            fine_tune.display()
        ));
    }
    // Both files get the base's name: they are revisions of one path.
    let file_name = if kinds.0 { None } else { base.file_name().map(PathBuf::from) };
    [("base", base), ("fine-tune", fine_tune)]
        .into_iter()
        .map(|(role, path)| {
            let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
            step("model", format!("{role}: {name}"), path, file_name.clone())
        })
        .collect()
}

fn step(directory: &str, name: String, source: &Path, file_name: Option<PathBuf>) -> Result<Step, Failure> {
    let source = source.canonicalize().map_err(|error| format!("{}: {error}", source.display()))?;
    Ok(Step { name, directory: directory.into(), track_all: file_name.is_some(), source, file_name })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The demo's data is in the repository, as a fresh machine has nothing else.
    #[test]
    fn every_real_model_is_there() {
        let steps = real_models().expect("the models in tests/data");
        assert_eq!(steps.len(), 7);
        for step in &steps {
            let expected = step.expected().expect("files");
            assert!(expected.keys().any(|path| path.extension().is_some_and(|end| end == "safetensors")));
        }
    }

    /// Two files of different names are two revisions of one path; a file and a directory are neither.
    #[test]
    fn own_files_become_revisions_of_one_path() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let (base, tuned) = (directory.path().join("base.bin"), directory.path().join("tuned.bin"));
        for path in [&base, &tuned] {
            std::fs::write(path, "x").expect("a file");
        }
        let steps = own(&base, &tuned).expect("steps");
        let paths: Vec<PathBuf> =
            steps.iter().flat_map(|step| step.expected().expect("files").into_keys()).collect();
        assert_eq!(paths, [Path::new("model/base.bin"), Path::new("model/base.bin")]);
        assert!(own(&base, directory.path()).is_err());
    }
}
