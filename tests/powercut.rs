//! Power cuts on a real file system: what was acknowledged before the cut comes back after it.
//!
//! A disk image lies on XFS and is copied by reflink at a random moment: the copy is the disk as it
//! was then, with nothing of the page cache. A worker with its fsync taken away must lose data in the
//! same rig, or the rig proves nothing. Needs root, loop devices, mkfs.xfs and mkfs.ext4.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use git_sparse::gc;
use git_sparse::progress::unwatched;
use git_sparse::repack::repack;

use crate::support::random::Random;
use crate::support::repo::text;
use crate::support::samples::{assert_gives_back, check, give_back, keep_all, open, samples_of};

/// Where the worker finds its store; set only in the worker's process.
const STORE: &str = "GIT_SPARSE_TEST_POWERCUT_STORE";
/// Rounds of ingest between repacks and collections.
const PACE: u64 = 6;
/// A library whose fsync does nothing.
const NO_FSYNC: &str = "
    #[unsafe(no_mangle)] pub extern \"C\" fn fsync(_: i32) -> i32 { 0 }
    #[unsafe(no_mangle)] pub extern \"C\" fn fdatasync(_: i32) -> i32 { 0 }
    #[unsafe(no_mangle)] pub extern \"C\" fn sync_file_range(_: i32, _: i64, _: i64, _: u32) -> i32 { 0 }
";

/// Mounts and what they stand on, undone in reverse.
struct Rig {
    dir: tempfile::TempDir,
    mounts: Vec<PathBuf>,
}

impl Rig {
    /// `None`, said aloud, where the machine can't.
    fn new() -> Option<Rig> {
        let mut rig = Rig { dir: tempfile::tempdir().expect("a directory"), mounts: Vec::new() };
        match rig.build() {
            Ok(()) => Some(rig),
            Err(why) => {
                eprintln!("SKIPPED: power cuts: {why}; they need root, loop devices, mkfs.xfs and mkfs.ext4");
                None
            }
        }
    }

    fn build(&mut self) -> Result<(), String> {
        let (host, disk) = (self.dir.path().join("host.img"), self.dir.path().join("host/disk.img"));
        run("truncate", &["-s", "400M", text(&host)])?;
        run("mkfs.xfs", &["-q", "-m", "reflink=1", text(&host)])?;
        self.mount(&host, "host")?;
        run("truncate", &["-s", "64M", text(&disk)])?;
        run("mkfs.ext4", &["-q", "-F", text(&disk)])?;
        self.mount(&disk, "live")
    }

    fn path(&self, below: &str) -> PathBuf {
        self.dir.path().join(below)
    }

    fn mount(&mut self, image: &Path, at: &str) -> Result<(), String> {
        let at = self.path(at);
        fs::create_dir_all(&at).map_err(|error| error.to_string())?;
        run("mount", &["-o", "loop", text(image), text(&at)])?;
        self.mounts.push(at);
        Ok(())
    }

    fn unmount(&mut self) {
        if let Some(at) = self.mounts.pop() {
            run("umount", &[text(&at)])
                .or_else(|_| run("umount", &["-l", text(&at)]))
                .expect("a mount that goes");
        }
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        while !self.mounts.is_empty() {
            self.unmount();
        }
    }
}

fn run(program: &str, arguments: &[&str]) -> Result<(), String> {
    let output =
        Command::new(program).args(arguments).output().map_err(|error| format!("{program}: {error}"))?;
    let told = || format!("{program} {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr));
    output.status.success().then_some(()).ok_or_else(told)
}

/// Not a test: what the others run as a process of its own. Says each round that it finished.
#[test]
#[ignore = "the worker of the tests beside it; without their variable it does nothing"]
fn worker() {
    let Some(root) = std::env::var_os(STORE) else { return };
    let store = open(Path::new(&root), "before the cut");
    for round in 1.. {
        keep_all(&store, &samples_of(round));
        eprintln!("acknowledged {round}");
        if round % PACE == 0 {
            repack(&store, round, &unwatched).expect("a repack");
            let plan = gc::plan(&store, round, 0).expect("a plan");
            gc::carry_out(&store, &plan, round).expect("a gc");
        }
    }
}

/// One cut: how many rounds were acknowledged before it, and which of those were lost.
fn cut(rig: &mut Rig, preload: Option<&Path>, after: Duration) -> (u64, Vec<u64>) {
    let store = rig.path("live/store");
    let _ = fs::remove_dir_all(&store);
    run("sync", &[]).expect("a sync");
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.args(["--exact", "powercut::worker", "--ignored", "--nocapture"]).env(STORE, &store);
    command.envs(preload.map(|library| ("LD_PRELOAD", library))).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut worker = command.spawn().expect("a worker");
    let lines = BufReader::new(worker.stderr.take().expect("a pipe")).lines();
    let acknowledged = AtomicU64::new(0);
    let before = thread::scope(|scope| {
        scope.spawn(|| {
            for line in lines.map_while(Result::ok) {
                if let Some(round) = line.strip_prefix("acknowledged ").and_then(|round| round.parse().ok()) {
                    acknowledged.store(round, Ordering::SeqCst);
                }
            }
        });
        thread::sleep(after);
        // Read first: what is acknowledged during the copy may or may not be in it.
        let before = acknowledged.load(Ordering::SeqCst);
        let (disk, copy) = (rig.path("host/disk.img"), rig.path("host/cut.img"));
        let _ = fs::remove_file(&copy);
        let copied = File::create(&copy).and_then(|to| Ok(rustix::fs::ioctl_ficlone(to, File::open(disk)?)?));
        worker.kill().expect("a worker that dies");
        worker.wait().expect("a worker");
        copied.expect("a reflink");
        before
    });
    let image = rig.path("host/cut.img");
    rig.mount(&image, "cut").expect("a disk that mounts after the cut");
    let lost = look(&rig.path("cut/store"), before, preload.is_none());
    rig.unmount();
    (before, lost)
}

/// The acknowledged rounds that don't come back; `strict` also has fsck look.
fn look(store: &Path, acknowledged: u64, strict: bool) -> Vec<u64> {
    if strict {
        let store = open(store, "after the cut");
        (1..=acknowledged).for_each(|round| assert_gives_back(&store, &samples_of(round), "after the cut"));
        assert_eq!(check(&store).problems, [], "after the cut");
        return Vec::new();
    }
    let Ok(store) =
        git_sparse::store::Store::open(store, "after the cut", Box::new(git_sparse::store::NoShelf))
    else {
        return (1..=acknowledged).collect();
    };
    let is_lost = |round: &u64| samples_of(*round).iter().any(|file| give_back(&store, file.oid).is_err());
    (1..=acknowledged).filter(is_lost).collect()
}

fn cuts(count: usize) {
    let Some(mut rig) = Rig::new() else { return };
    let mut random = Random::printed("power cuts");
    let mut total = 0;
    for _ in 0..count {
        total += cut(&mut rig, None, Duration::from_millis(300 + random.below(1500) as u64)).0;
    }
    assert!(total > 0, "nothing was acknowledged before any of {count} cuts: nothing was tested");
    eprintln!("{count} cuts, {total} acknowledged rounds, none lost");
}

/// Whatever was acknowledged is on the disk, through ingest, repack and gc.
#[test]
fn a_power_cut_takes_nothing_that_was_acknowledged() {
    cuts(4);
}

/// The long form.
#[test]
#[ignore = "two minutes"]
fn forty_power_cuts_take_nothing_that_was_acknowledged() {
    cuts(40);
}

/// The rig itself: a store that does not fsync loses what it acknowledged.
#[test]
fn without_fsync_a_power_cut_takes_something() {
    let Some(mut rig) = Rig::new() else { return };
    let source = rig.path("no_fsync.rs");
    File::create(&source).and_then(|mut file| file.write_all(NO_FSYNC.as_bytes())).expect("a source");
    let library = rig.path("no_fsync.so");
    run("rustc", &["--edition=2024", "--crate-type=cdylib", "-O", "-o", text(&library), text(&source)])
        .expect("a library");
    let lost_any = (0..6).any(|number| {
        let (_, lost) = cut(&mut rig, Some(&library), Duration::from_millis(600 + 200 * number));
        !lost.is_empty()
    });
    assert!(lost_any, "six cuts without fsync lost nothing: the rig is broken");
}
