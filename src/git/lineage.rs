//! Parents that a model names itself: in its card's front matter, or in its configuration.
//!
//! A name is resolved inside the repository only: to a folder of that name, or of its last part
//! (`org/name` → `name/`), with a file of the same name in it.

use std::path::Path;

use super::history::{History, HistoryError};
use crate::id::Oid;

const MAX_CARD_BYTES: u64 = 1 << 20;

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
    names.extend(read("README.md").and_then(|card| front_matter_base(&card)));
    names.extend(read("adapter_config.json").and_then(|text| json_text(&text, "base_model_name_or_path")));
    names.extend(read("config.json").and_then(|text| json_text(&text, "_name_or_path")));
    names
}

/// `base_model: NAME` between the two `---` lines; a list gives its first item.
fn front_matter_base(card: &str) -> Option<String> {
    let mut lines = card.strip_prefix("---")?.lines().skip(1).take_while(|line| line.trim_end() != "---");
    let value = lines.find_map(|line| line.strip_prefix("base_model:"))?.trim();
    let value = if value.is_empty() { lines.next()?.trim().strip_prefix('-')?.trim() } else { value };
    let value = value.trim_start_matches('[').trim_end_matches(']').split(',').next()?;
    let value = value.trim().trim_matches(['"', '\'']);
    (!value.is_empty()).then(|| value.to_owned())
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
        same_folder && (other == file || other.ends_with(".safetensors") && file.starts_with("adapter"))
    };
    history.paths().filter(move |(path, _)| plays(path)).filter_map(|(_, v)| v.first()).map(|v| v.pointer.oid)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The front matter decides which base a model is stored against: each way people write it counts.
    #[test]
    fn reads_the_base_from_a_model_card() {
        let base = |text: &str| front_matter_base(text);
        assert_eq!(base("---\nlicense: mit\nbase_model: org/a\n---\n# x").as_deref(), Some("org/a"));
        assert_eq!(base("---\nbase_model:\n- \"org/b\"\n---\n").as_deref(), Some("org/b"));
        assert_eq!(base("---\nbase_model: [org/c, org/d]\n---\n").as_deref(), Some("org/c"));
        assert_eq!(base("---\nlicense: mit\n---\nbase_model: no\n"), None);
        assert_eq!(base("base_model: no\n"), None);
    }
}
