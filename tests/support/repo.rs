//! A work tree in a home, its remote, and what each of its revisions should give back.

use std::fs;
use std::path::{Path, PathBuf};

use xtask::tree::{self, Expected};

use super::home::Home;

/// Files that a repository has for itself; they are compared by git and not here.
const REPOSITORY_FILES: [&str; 3] = [".gitattributes", ".lfsconfig", ".gitmodules"];

/// A work tree.
pub struct Repo<'home> {
    /// The home that its commands run in.
    pub home: &'home Home,
    /// Its top.
    pub path: PathBuf,
}

/// A commit, and the tree that a checkout of it has to be.
#[derive(Clone, Debug)]
pub struct Revision {
    pub commit: String,
    pub expected: Expected,
}

impl<'home> Repo<'home> {
    /// A repository prepared with `git sparse init`, and the bare remote `NAME.git` beside it.
    #[track_caller]
    pub fn init(home: &'home Home, name: &str) -> Repo<'home> {
        let repo = Repo { home, path: home.path(name) };
        home.git(&home.path(""), &["init", "--quiet", "--bare", &format!("{name}.git")]);
        home.git(&home.path(""), &["init", "--quiet", name]);
        repo.git(&["remote", "add", "origin", text(&repo.remote())]);
        repo.git(&["sparse", "init"]);
        repo.git(&["add", "--all"]);
        repo.git(&["commit", "--quiet", "--message", "git sparse init"]);
        repo
    }

    /// A clone of `remote` (a path or a URL) with `options`, in `home`.
    #[track_caller]
    pub fn clone(home: &'home Home, remote: &str, name: &str, options: &[&str]) -> Repo<'home> {
        let arguments = [&["clone", "--quiet"], options, &[remote, name]].concat();
        home.git(&home.path(""), &arguments);
        Repo { home, path: home.path(name) }
    }

    /// Where `init` put the bare remote.
    pub fn remote(&self) -> PathBuf {
        self.path.with_extension("git")
    }

    /// Runs `git ARGUMENTS` in the work tree, which must succeed; its standard output.
    #[track_caller]
    pub fn git(&self, arguments: &[&str]) -> String {
        self.home.git(&self.path, arguments)
    }

    /// Commits the tree `expected` in place of all that was there; `expected` names the bytes' source.
    #[track_caller]
    pub fn commit(&self, message: &str, expected: Expected) -> Revision {
        for file in tree::files(&self.path).expect("a readable work tree") {
            if !is_own(&file) {
                fs::remove_file(self.path.join(file)).expect("a file that goes");
            }
        }
        for (path, source) in &expected {
            tree::copy(source, &self.path.join(path)).expect("a copy");
        }
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "--message", message]);
        Revision { commit: self.git(&["rev-parse", "HEAD"]).trim().into(), expected }
    }

    /// Pushes `main`; the bytes that the remote's store grew by.
    #[track_caller]
    pub fn push(&self) -> u64 {
        self.push_with(&[])
    }

    /// Pushes `main` with `git -c` settings; the bytes that the remote's store grew by.
    #[track_caller]
    pub fn push_with(&self, settings: &[&str]) -> u64 {
        let before = tree::stored_bytes(&self.remote()).expect("a readable remote");
        let push = &["push", "--quiet", "--set-upstream", "origin", "main"];
        self.git(&[settings, push].concat());
        tree::stored_bytes(&self.remote()).expect("a readable remote") - before
    }

    /// Checks that the work tree is `expected`, byte for byte and file for file, and clean to git.
    #[track_caller]
    pub fn assert_is(&self, expected: &Expected) {
        cmp_trees(&self.path, expected);
        let status = self.git(&["status", "--porcelain"]);
        assert!(status.is_empty(), "{} is not clean:\n{status}", self.path.display());
    }

    /// The object ids of the large files of `revisions` (`HEAD`, `--all`, …).
    #[track_caller]
    pub fn oids(&self, revisions: &[&str]) -> Vec<String> {
        let listed = self.git(&[&["lfs", "ls-files", "--long"], revisions].concat());
        listed.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
    }
}

/// Checks that the tree at `directory` is `expected`, byte for byte and file for file.
#[track_caller]
pub fn cmp_trees(directory: &Path, expected: &Expected) {
    assert!(!expected.is_empty(), "nothing is expected, so nothing would be compared");
    let compared = tree::compare(directory, expected, &REPOSITORY_FILES).expect("a readable tree");
    assert!(compared.differences.is_empty(), "{}", compared.differences.join("\n"));
}

/// One of the really trained models in `tests/data/models`.
pub fn model(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/models").join(name)
}

/// The tree that has each of `models` (name) in its directory.
pub fn tree_of(models: &[(&str, &str)]) -> Expected {
    let mut expected = Expected::new();
    for (directory, name) in models {
        let source = model(name);
        for file in tree::files(&source).expect("a model in tests/data/models") {
            expected.insert(Path::new(directory).join(&file), source.join(file));
        }
    }
    expected
}

/// A path as an argument.
pub fn text(path: &Path) -> &str {
    path.to_str().expect("because a test's paths are UTF-8")
}

fn is_own(file: &Path) -> bool {
    REPOSITORY_FILES.iter().any(|own| file == Path::new(own))
}
