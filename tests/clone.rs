//! End to end: `git push`, `git clone` and their kin with real git and git-lfs give back every byte.

use std::fs;
use std::path::{Path, PathBuf};

use xtask::tree::{self, Expected};

use crate::support::home::{Home, Mode};
use crate::support::repo::{Repo, Revision, cmp_trees, model, text, tree_of};

/// Bytes of the weights file that base, fine-tune and continuation share in shape.
const MODEL_BYTES: u64 = 1_980_640;

/// A publisher's repository with base, fine-tune and continuation, each pushed by itself.
struct Published<'home> {
    repo: Repo<'home>,
    revisions: Vec<Revision>,
    /// What the remote's store grew by with each push.
    grown: Vec<u64>,
}

impl<'home> Published<'home> {
    fn new(home: &'home Home) -> Published<'home> {
        let repo = Repo::init(home, "work");
        let (mut revisions, mut grown) = (Vec::new(), Vec::new());
        for name in ["tiny-base", "tiny-sft", "tiny-sft-2"] {
            revisions.push(repo.commit(name, tree_of(&[("model", name)])));
            grown.push(repo.push());
        }
        Published { repo, revisions, grown }
    }

    fn remote(&self) -> PathBuf {
        self.repo.remote()
    }

    fn last(&self) -> &Expected {
        &self.revisions.last().expect("three revisions").expected
    }
}

/// Two homes, so that what the reader gets can't come from the publisher's store.
fn homes(mode: Mode) -> (Home, Home) {
    (Home::new(mode), Home::new(mode))
}

/// The main promise: a stranger's clone has every byte of the newest revision and of every older one.
#[test]
fn a_clone_gives_back_every_revision_with_the_daemon() {
    a_clone_gives_back_every_revision(Mode::Daemon);
}

/// The same promise where no daemon may run.
#[test]
fn a_clone_gives_back_every_revision_in_process() {
    a_clone_gives_back_every_revision(Mode::InProcess);
}

fn a_clone_gives_back_every_revision(mode: Mode) {
    let (publisher, reader) = homes(mode);
    let published = Published::new(&publisher);
    let clone = Repo::clone(&reader, text(&published.remote()), "clone", &[]);
    clone.assert_is(published.last());
    for revision in &published.revisions {
        clone.git(&["checkout", "--quiet", "--detach", &revision.commit]);
        clone.assert_is(&revision.expected);
    }
    clone.git(&["checkout", "--quiet", "main"]);
    clone.assert_is(published.last());
    for home in [&publisher, &reader] {
        assert_eq!(home.daemon_runs(), mode == Mode::Daemon, "{mode:?} is not how it ran");
    }
}

/// What a user pays for: a fine-tune and its continuation travel as what changed, in no other place.
#[test]
fn only_what_changed_travels_with_the_daemon() {
    only_what_changed_travels(Mode::Daemon);
}

/// The base of a delta is found without the daemon's memory of earlier pushes, too.
#[test]
fn only_what_changed_travels_in_process() {
    only_what_changed_travels(Mode::InProcess);
}

fn only_what_changed_travels(mode: Mode) {
    let home = Home::new(mode);
    let published = Published::new(&home);
    let [base, fine_tune, continued] = published.grown[..] else { panic!("three pushes") };
    assert!(base <= MODEL_BYTES, "the base took {base} bytes, more than the file has");
    assert!(base > MODEL_BYTES / 2, "{base} bytes can't hold a trained model: is it stored elsewhere?");
    assert_ratio("the fine-tune", fine_tune, 0.30);
    assert_ratio("its continuation", continued, 0.17);
    let whole = tree::size_bytes(&published.remote().join("lfs")).expect("a readable remote");
    assert_eq!(whole, 0, "git-lfs' own transfer put whole files beside our store");
}

/// A merged adapter lies in a directory of its own: its base is no earlier revision of the same path.
#[test]
fn a_merged_adapter_travels_as_what_it_changed() {
    let (publisher, reader) = homes(Mode::Daemon);
    let repo = Repo::init(&publisher, "work");
    repo.commit("base", tree_of(&[("model", "tiny-base")]));
    repo.push();
    let expected = tree_of(&[("model", "tiny-base"), ("merged", "tiny-lora-merged")]);
    repo.commit("merged", expected.clone());
    // The tensors that are equal leave 0.079 to store whole: more than that has to be saved.
    assert_ratio("the merged adapter", repo.push(), 0.065);
    Repo::clone(&reader, text(&repo.remote()), "clone", &[]).assert_is(&expected);
}

#[track_caller]
fn assert_ratio(what: &str, stored_bytes: u64, most: f64) {
    let ratio = stored_bytes as f64 / MODEL_BYTES as f64;
    assert!(ratio <= most, "{what} took {stored_bytes} bytes: {ratio:.3} of the file, at most {most}");
    assert!(stored_bytes > 0, "{what} took nothing: was it pushed at all?");
}

/// A commit pushed after the clone is had by `git fetch` and a checkout.
#[test]
fn a_fetched_revision_is_checked_out() {
    let (publisher, reader) = homes(Mode::Daemon);
    let repo = Repo::init(&publisher, "work");
    repo.commit("base", tree_of(&[("model", "tiny-base")]));
    repo.push();
    let clone = Repo::clone(&reader, text(&repo.remote()), "clone", &[]);
    let tuned = repo.commit("fine-tune", tree_of(&[("model", "tiny-sft")]));
    repo.push();
    clone.git(&["fetch", "--quiet"]);
    clone.assert_is(&tree_of(&[("model", "tiny-base")]));
    clone.git(&["checkout", "--quiet", "--detach", "origin/main"]);
    clone.assert_is(&tuned.expected);
}

/// `git pull` merges a fine-tune into a clone of its base, and what the reader pushes comes back.
#[test]
fn both_sides_pull_what_the_other_pushed() {
    let (publisher, reader) = homes(Mode::Daemon);
    let repo = Repo::init(&publisher, "work");
    repo.commit("base", tree_of(&[("model", "tiny-base")]));
    repo.push();
    let clone = Repo::clone(&reader, text(&repo.remote()), "clone", &[]);
    let tuned = repo.commit("fine-tune", tree_of(&[("model", "tiny-sft")]));
    repo.push();
    clone.git(&["pull", "--quiet", "--ff-only"]);
    clone.assert_is(&tuned.expected);
    let continued = clone.commit("continuation", tree_of(&[("model", "tiny-sft-2")]));
    clone.git(&["push", "--quiet"]);
    repo.git(&["pull", "--quiet", "--ff-only"]);
    repo.assert_is(&continued.expected);
}

/// A worktree shares `.git/lfs` with its repository, and its `.git` is a file.
#[test]
fn a_worktree_has_its_own_revision() {
    let (publisher, reader) = homes(Mode::Daemon);
    let published = Published::new(&publisher);
    let clone = Repo::clone(&reader, text(&published.remote()), "clone", &[]);
    clone.git(&["worktree", "add", "--quiet", "--detach", "../older", &published.revisions[0].commit]);
    let worktree = Repo { home: &reader, path: reader.path("older") };
    worktree.assert_is(&published.revisions[0].expected);
    clone.assert_is(published.last());
    let changed = worktree.commit("from a worktree", tree_of(&[("model", "tiny-lora-merged")]));
    worktree.git(&["push", "--quiet", "origin", "HEAD:refs/heads/side"]);
    published.repo.git(&["fetch", "--quiet"]);
    published.repo.git(&["checkout", "--quiet", "--detach", "origin/side"]);
    published.repo.assert_is(&changed.expected);
}

/// In a submodule, `sparse::origin` means the submodule's remote and not that of the repository around.
#[test]
fn a_submodule_comes_with_its_models() {
    let (publisher, reader) = homes(Mode::Daemon);
    let published = Published::new(&publisher);
    let outer = publisher.path("outer");
    publisher.git(&publisher.path(""), &["init", "--quiet", "outer"]);
    publisher.git(&outer, &["submodule", "--quiet", "add", text(&published.remote()), "inner"]);
    publisher.git(&outer, &["commit", "--quiet", "--message", "a submodule"]);
    publisher.git(&publisher.path(""), &["clone", "--quiet", "--bare", "outer", "outer.git"]);
    let outer_remote = publisher.path("outer.git");
    let clone = Repo::clone(&reader, text(&outer_remote), "clone", &["--recurse-submodules"]);
    let inner = Repo { home: &reader, path: clone.path.join("inner") };
    inner.assert_is(published.last());
    inner.git(&["checkout", "--quiet", "--detach", &published.revisions[0].commit]);
    inner.assert_is(&published.revisions[0].expected);
    assert!(!outer_remote.join("sparse").exists(), "the outer remote has a store that nobody asked for");
}

/// A mirror has no work tree: `git lfs fetch --all` fills its `lfs/objects` with every revision.
#[test]
fn a_bare_clone_fetches_every_object() {
    let (publisher, reader) = homes(Mode::Daemon);
    let published = Published::new(&publisher);
    let mirror = Repo::clone(&reader, text(&published.remote()), "mirror.git", &["--bare"]);
    mirror.git(&["lfs", "fetch", "--all"]);
    for (revision, name) in published.revisions.iter().zip(["tiny-base", "tiny-sft", "tiny-sft-2"]) {
        let pointer = mirror.git(&["show", &format!("{}:model/model.safetensors", revision.commit)]);
        let oid = pointer.split("oid sha256:").nth(1).and_then(|rest| rest.lines().next()).expect("an oid");
        let object = mirror.path.join(format!("lfs/objects/{}/{}", &oid[..2], &oid[2..4])).join(oid);
        let expected = [(PathBuf::from(oid), model(name).join("model.safetensors"))].into();
        cmp_trees(object.parent().expect("a directory"), &expected);
    }
}

/// A partial clone with a sparse checkout gets the models of the directories it asked for, and no other.
#[test]
fn a_sparse_checkout_gets_only_its_models() {
    let (publisher, reader) = homes(Mode::Daemon);
    let repo = Repo::init(&publisher, "work");
    let both = [("wanted", "tiny-sft"), ("other", "tiny-lora")];
    repo.commit("two models", tree_of(&both));
    repo.push();
    publisher.git(&repo.remote(), &["config", "uploadpack.allowFilter", "true"]);
    // git ignores a filter for a plain path.
    let url = format!("file://{}", repo.remote().display());
    let clone = Repo::clone(&reader, &url, "clone", &["--filter=blob:none", "--sparse"]);
    assert!(!clone.path.join("wanted").exists(), "a sparse clone has only the files at the top");
    clone.git(&["sparse-checkout", "set", "wanted"]);
    clone.assert_is(&tree_of(&both[..1]));
    assert_eq!(local_objects(&clone).len(), 1, "only the wanted model was asked for");
    clone.git(&["sparse-checkout", "disable"]);
    clone.assert_is(&tree_of(&both));
}

/// `git lfs pull -I` and `-X` bring some files; the others stay pointers.
#[test]
fn a_pull_brings_what_is_included_and_leaves_what_is_excluded() {
    let (publisher, reader) = homes(Mode::Daemon);
    let repo = Repo::init(&publisher, "work");
    let expected = tree_of(&[("a", "tiny-base"), ("b", "tiny-sft"), ("c", "tiny-lora")]);
    repo.commit("three models", expected.clone());
    repo.push();
    reader.git_with(
        &[("GIT_LFS_SKIP_SMUDGE", "1")],
        &reader.path(""),
        &["clone", "--quiet", text(&repo.remote()), "clone"],
    );
    let clone = Repo { home: &reader, path: reader.path("clone") };
    let is_pointer = |name: &str| {
        let text = fs::read(clone.path.join(name)).expect("a file");
        text.starts_with(b"version https://git-lfs")
    };
    let [a, b, c] = ["a/model.safetensors", "b/model.safetensors", "c/adapter_model.safetensors"];
    assert_eq!([is_pointer(a), is_pointer(b), is_pointer(c)], [true; 3]);
    clone.git(&["lfs", "pull", "-I", "b"]);
    assert_eq!([is_pointer(a), is_pointer(b), is_pointer(c)], [true, false, true]);
    clone.git(&["lfs", "pull", "-X", "a"]);
    assert_eq!([is_pointer(a), is_pointer(b), is_pointer(c)], [true, false, false]);
    clone.git(&["lfs", "pull"]);
    clone.assert_is(&expected);
}

/// Two agents at once, as git-lfs starts them, share one daemon and leave nothing out.
#[test]
fn two_agents_push_and_clone_with_the_daemon() {
    agents_push_and_clone(Mode::Daemon, 2);
}

/// Two agents without a daemon open the same store, one at a time.
#[test]
fn two_agents_push_and_clone_in_process() {
    agents_push_and_clone(Mode::InProcess, 2);
}

/// Eight agents are what git-lfs starts by default.
#[test]
fn eight_agents_push_and_clone_with_the_daemon() {
    agents_push_and_clone(Mode::Daemon, 8);
}

fn agents_push_and_clone(mode: Mode, agents: usize) {
    let (publisher, reader) = homes(mode);
    let setting = format!("lfs.concurrenttransfers={agents}");
    let repo = Repo::init(&publisher, "work");
    let names = ["tiny-base", "tiny-sft", "tiny-sft-2", "tiny-sft-f32", "tiny-sft-fp16", "tiny-lora"];
    let expected = tree_of(&names.map(|name| (name, name)));
    repo.commit("many models", expected.clone());
    repo.push_with(&["-c", &setting]);
    let clone = Repo::clone(&reader, text(&repo.remote()), "clone", &["--no-checkout"]);
    // The checkout would ask for one file after another; `lfs pull` asks for all at once.
    reader.git_with(&[("GIT_LFS_SKIP_SMUDGE", "1")], &clone.path, &["checkout", "--quiet", "main"]);
    clone.git(&["-c", &setting, "lfs", "pull"]);
    clone.assert_is(&expected);
}

/// The filter asks for all files of a checkout in one go with its delayed answers: many at once here, too.
#[test]
fn a_checkout_of_many_models_gives_back_each() {
    let (publisher, reader) = homes(Mode::Daemon);
    let repo = Repo::init(&publisher, "work");
    let expected =
        tree_of(&[("a", "tiny-base"), ("b", "tiny-sft"), ("c", "tiny-sft-f32"), ("d", "tiny-lora")]);
    repo.commit("many models", expected.clone());
    repo.push();
    Repo::clone(&reader, text(&repo.remote()), "clone", &[]).assert_is(&expected);
}

/// A user's bytes are never refused because a parser disliked them: they are stored and come back.
#[test]
fn files_that_are_no_models_come_back() {
    let (publisher, reader) = homes(Mode::Daemon);
    let repo = Repo::init(&publisher, "work");
    let weights = fs::read(model("tiny-base").join("model.safetensors")).expect("a model");
    let mut lying = weights.clone();
    lying[..8].copy_from_slice(&u64::MAX.to_le_bytes());
    let mut followed = weights.clone();
    followed.extend_from_slice(b"and something after the last tensor");
    let files: [(&str, &[u8]); 8] = [
        ("one-byte.safetensors", b"x"),
        ("truncated.safetensors", &weights[..weights.len() / 2]),
        ("only-a-header-length.safetensors", &weights[..8]),
        ("lying.safetensors", &lying),
        ("followed.safetensors", &followed),
        ("empty.bin", b""),
        ("no-zip.pt", b"PK\x03\x04 and nothing more"),
        ("with spaces \u{e4}.gguf", &weights[1..]),
    ];
    let mut expected = Expected::new();
    for (name, bytes) in files {
        let source = publisher.path("sources").join(name);
        fs::create_dir_all(publisher.path("sources")).expect("a directory");
        fs::write(&source, bytes).expect("a file");
        expected.insert(Path::new("odd").join(name), source);
    }
    repo.commit("odd files", expected.clone());
    repo.push();
    Repo::clone(&reader, text(&repo.remote()), "clone", &[]).assert_is(&expected);
}

/// A second clone by the same user needs the remote for git alone: the store has the bytes already.
#[test]
fn two_clones_of_one_user_share_a_store() {
    let (publisher, reader) = homes(Mode::Daemon);
    let published = Published::new(&publisher);
    let remote = published.remote();
    Repo::clone(&reader, text(&remote), "first", &[]).assert_is(published.last());
    fs::rename(remote.join("sparse"), publisher.path("away")).expect("a store that is away");
    Repo::clone(&reader, text(&remote), "second", &[]).assert_is(published.last());
}

/// A remote that lost its store ends a stranger's clone with an error, never with wrong or empty files.
#[test]
fn a_clone_without_the_remotes_store_fails_and_says_so() {
    let (publisher, reader) = homes(Mode::Daemon);
    let published = Published::new(&publisher);
    fs::remove_dir_all(published.remote().join("sparse")).expect("a store that is gone");
    let remote = published.remote();
    let told = reader.git_fails(&reader.path(""), &["clone", "--quiet", text(&remote), "clone"]);
    let oids = published.repo.oids(&["HEAD"]);
    assert!(oids.iter().any(|oid| told.contains(&oid[..7])), "no object is named in:\n{told}");
    let left = reader.path("clone/model/model.safetensors");
    assert!(
        !left.exists() || fs::metadata(&left).is_ok_and(|file| file.len() < 1024),
        "a wrong file is left"
    );
}

/// A repository that did not opt in is plain Git LFS for a user of ours: its objects go where they went.
#[test]
fn other_lfs_repositories_are_left_alone() {
    let (publisher, reader) = homes(Mode::Daemon);
    publisher.git(&publisher.path(""), &["init", "--quiet", "--bare", "plain.git"]);
    publisher.git(&publisher.path(""), &["init", "--quiet", "plain"]);
    let repo = Repo { home: &publisher, path: publisher.path("plain") };
    // git-lfs moves whole files to a remote on a path if it is named by a URL.
    let url = format!("file://{}", repo.remote().display());
    repo.git(&["remote", "add", "origin", &url]);
    repo.git(&["lfs", "track", "*.safetensors"]);
    let committed = repo.commit("plain", tree_of(&[("model", "tiny-lora")]));
    assert_eq!(repo.push(), 0, "our store got objects of a repository that did not ask for it");
    assert!(!repo.remote().join("sparse").exists(), "a store was made beside a plain remote");
    Repo::clone(&reader, &url, "clone", &[]).assert_is(&committed.expected);
}

/// The large files that a clone holds in `.git/lfs/objects`.
fn local_objects(repo: &Repo) -> Vec<PathBuf> {
    let objects = repo.path.join(".git/lfs/objects");
    if objects.exists() { tree::files(&objects).expect("a readable directory") } else { Vec::new() }
}
