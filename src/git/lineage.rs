//! Parents that a model names itself: in its card's front matter, or in its configuration.
//!
//! A name is resolved inside the repository only: to a folder of that name, or of its last part
//! (`org/name` → `name/`), with a file of the same name in it.

use std::path::Path;

use super::history::{History, HistoryError, Version};
use crate::id::Oid;

const MAX_CARD_BYTES: u64 = 1 << 20;
/// Files of one family that are told of.
const MOST_SIBLINGS: usize = 64;
/// How many times as large one of a family may be: f32 beside bf16, and some.
const MOST_SIZES_APART: u64 = 3;

/// Files that the model at a path of `oid` declares to be made from, in the order of the paths.
pub fn declared(git_dir: &Path, history: &History, oid: Oid) -> Result<Vec<Oid>, HistoryError> {
    let failed = |why: String| HistoryError { repo: git_dir.display().to_string(), why };
    let repo = gix::open(git_dir).map_err(|error| failed(error.to_string()))?;
    let mut found = Vec::new();
    for (path, version) in history.places(oid) {
        let (folder, file) = path.rsplit_once('/').unwrap_or(("", path));
        for name in declared_names(&repo, &version.commit, folder) {
            found.extend(resolve(history, &name, folder, file).filter(|parent| *parent != oid));
        }
    }
    Ok(found)
}

/// Files, as they are now, that came before the file of this oid and may be of one family with it: same ending, similar
/// size. Oldest first.
pub fn siblings(history: &History, oid: Oid) -> Vec<Oid> {
    let Some((time, path, own)) =
        history.places(oid).map(|(path, v)| (v.time, path, v)).min_by_key(|v| (v.0, v.1))
    else {
        return Vec::new();
    };
    let size = own.pointer.size;
    let is_like = |version: &Version| {
        let other = version.pointer.size;
        other.max(size) <= other.min(size).saturating_mul(MOST_SIZES_APART)
    };
    let ending = |path: &str| path.rsplit_once('.').map(|(_, ending)| ending.to_owned());
    let others = history.paths().filter(|(other, _)| ending(other) == ending(path));
    let versions = others.filter_map(|(other, versions)| Some((other, versions.first()?)));
    let before = versions.filter(|(other, version)| {
        (version.time, *other) < (time, path) && version.pointer.oid != oid && is_like(version)
    });
    let mut before: Vec<_> = before.map(|(other, v)| (v.time, other, v.pointer.oid)).collect();
    before.sort();
    before.drain(..before.len().saturating_sub(MOST_SIBLINGS));
    before.into_iter().map(|(_, _, oid)| oid).collect()
}

/// Files in the repository from which the file of this oid may have been computed, in the order of the paths: adapters
/// that may be merged in it, and models beside a GGUF file.
pub fn ingredients(history: &History, oid: Oid) -> Vec<Oid> {
    let mut found = Vec::new();
    for (path, _) in history.places(oid) {
        let newest = |(other, versions): (&str, &[Version])| {
            versions.first().filter(|_| is_ingredient(path, other)).map(|version| version.pointer.oid)
        };
        found.extend(history.paths().filter_map(newest).filter(|other| *other != oid));
    }
    found
}

fn is_ingredient(path: &str, other: &str) -> bool {
    let (folder, file) = path.rsplit_once('/').unwrap_or(("", path));
    let (other_folder, other) = other.rsplit_once('/').unwrap_or(("", other));
    let is_adapter = |file: &str| file.starts_with("adapter") && file.ends_with(".safetensors");
    if file.ends_with(".gguf") {
        let above = folder.rsplit_once('/').map_or("", |(above, _)| above);
        let is_float = ["f16", "bf16", "f32"].iter().any(|float| other.to_lowercase().contains(float));
        return other.ends_with(".safetensors") && [folder, above].contains(&other_folder)
            || other.ends_with(".gguf") && folder == other_folder && is_float;
    }
    is_adapter(other) && !is_adapter(file)
}

/// What the card and the configuration in `folder` call their base.
fn declared_names(repo: &gix::Repository, commit: &str, folder: &str) -> Vec<String> {
    let read = |file: &str| {
        let path = if folder.is_empty() { file.to_owned() } else { format!("{folder}/{file}") };
        let id = repo.rev_parse_single(format!("{commit}:{path}").as_str()).ok()?;
        if repo.find_header(id).ok()?.size() > MAX_CARD_BYTES {
            return None;
        }
        String::from_utf8(id.object().ok()?.data.clone()).ok()
    };
    let mut names = Vec::new();
    names.extend(read("README.md").map(|card| front_matter_bases(&card)).unwrap_or_default());
    names.extend(read("adapter_config.json").and_then(|text| json_text(&text, "base_model_name_or_path")));
    names.extend(read("config.json").and_then(|text| json_text(&text, "_name_or_path")));
    names
}

/// `base_model: NAME` between the two `---` lines, or a list of names: a merge has several.
fn front_matter_bases(card: &str) -> Vec<String> {
    let Some(card) = card.strip_prefix("---") else { return Vec::new() };
    let mut lines = card.lines().skip(1).take_while(|line| line.trim_end() != "---");
    let Some(value) = lines.find_map(|line| line.strip_prefix("base_model:")) else { return Vec::new() };
    let mut values: Vec<&str> =
        value.trim().trim_start_matches('[').trim_end_matches(']').split(',').collect();
    if value.trim().is_empty() {
        values = lines.map_while(|line| line.trim().strip_prefix('-')).collect();
    }
    let bare = values.into_iter().map(|value| value.trim().trim_matches(['"', '\'']));
    bare.filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

fn json_text(text: &str, key: &str) -> Option<String> {
    let value: serde_json::Value = serde_json::from_str(text).ok()?;
    Some(value.get(key)?.as_str()?.to_owned())
}

/// The newest version of the file that plays the same part in the folder called `name`.
fn resolve<'a>(
    history: &'a History,
    name: &str,
    from: &str,
    file: &str,
) -> impl Iterator<Item = Oid> + use<'a> {
    let last = name.trim_end_matches('/').rsplit('/').next().unwrap_or(name).to_owned();
    let (from, file) = (from.to_owned(), file.to_owned());
    let plays = move |path: &str| {
        let (folder, other) = path.rsplit_once('/').unwrap_or(("", path));
        let same_folder = folder.rsplit('/').next() == Some(last.as_str()) && folder != from;
        let is_model = other.ends_with(".safetensors");
        same_folder && (other == file || is_model && (file.starts_with("adapter") || file.ends_with(".gguf")))
    };
    history.paths().filter(move |(path, _)| plays(path)).filter_map(|(_, v)| v.first()).map(|v| v.pointer.oid)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The front matter decides which base a model is stored against: each way people write it counts.
    #[test]
    fn reads_the_base_from_a_model_card() {
        let bases = |text: &str| front_matter_bases(text);
        assert_eq!(bases("---\nlicense: mit\nbase_model: org/a\n---\n# x"), ["org/a"]);
        assert_eq!(bases("---\nbase_model:\n- \"org/b\"\n  - 'org/c'\ntags: []\n---\n"), ["org/b", "org/c"]);
        assert_eq!(bases("---\nbase_model: [org/c, org/d]\n---\n"), ["org/c", "org/d"]);
        assert!(bases("---\nlicense: mit\n---\nbase_model: no\n").is_empty());
        assert!(bases("base_model: no\n").is_empty());
    }

    /// What a file may have been computed from is stored before it, or it is stored whole.
    #[test]
    fn ingredients_lie_beside() {
        assert!(is_ingredient("merged/model.safetensors", "lora/adapter_model.safetensors"));
        assert!(!is_ingredient("lora/adapter_model.safetensors", "other/adapter_model.safetensors"));
        assert!(is_ingredient("m/gguf/m-Q8_0.gguf", "m/model-00001-of-00002.safetensors"));
        assert!(is_ingredient("m-Q8_0.gguf", "m-F16.gguf"));
        assert!(!is_ingredient("m-Q8_0.gguf", "m-Q4_0.gguf"));
        assert!(!is_ingredient("m/gguf/m-Q8_0.gguf", "n/model.safetensors"));
        assert!(!is_ingredient("a/model.safetensors", "b/model.safetensors"));
    }
}
