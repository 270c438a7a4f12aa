//! The words themselves: what no real client says must be refused, cost no memory, and change nothing.

use std::fs;
use std::io::{Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Output, Stdio};

use git_sparse::id::Oid;

use super::host::Host;
use crate::support::repo::text;

/// A conversation, word by word.
struct Talk {
    child: Child,
    to: ChildStdin,
    from: ChildStdout,
}

impl Talk {
    fn begin(host: &Host, name: &str, operation: &str) -> Talk {
        let mut child = host
            .command("git-lfs-transfer", &host.path(""))
            .args([text(&host.git_dir(name)), operation])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (to, from) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let mut talk = Talk { child, to, from };
        assert_eq!(talk.answer(), ["version=1", "locking"]);
        talk
    }

    fn say(&mut self, lines: &[&str]) {
        lines.iter().for_each(|line| self.to.write_all(packet(line).as_bytes()).unwrap());
    }

    /// Says lines and the end of a message; the lines of the answer.
    fn ask(&mut self, lines: &[&str]) -> Vec<String> {
        self.say(lines);
        self.to.write_all(b"0000").unwrap();
        self.answer()
    }

    fn answer(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        loop {
            let mut digits = [0; 4];
            self.from.read_exact(&mut digits).unwrap();
            match usize::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap() {
                0 => return lines,
                1 => lines.push("--".into()),
                length => {
                    let mut line = vec![0; length - 4];
                    self.from.read_exact(&mut line).unwrap();
                    lines.push(String::from_utf8_lossy(&line).trim_end_matches('\n').to_owned());
                }
            }
        }
    }

    /// The most memory that the process had so far, in KiB.
    fn peak(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    fn end(mut self) {
        assert_eq!(self.ask(&["quit"]), ["status 200"]);
        assert!(self.child.wait().unwrap().success());
    }
}

/// A line as a packet; `--` is the delimiter.
fn packet(line: &str) -> String {
    if line == "--" { "0001".into() } else { format!("{:04x}{line}\n", line.len() + 5) }
}

fn speak(host: &Host, arguments: &[&str], words: &[u8]) -> Output {
    let mut child = host
        .command("git-lfs-transfer", &host.path(""))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It may be gone before all is said.
    let _ = child.stdin.take().unwrap().write_all(words);
    child.wait_with_output().unwrap()
}

/// The program is started with a stranger's words: what is no path and no operation must say nothing on the stream
/// that clients read, and fail, so that nothing is taken for a right.
#[test]
fn odd_paths_and_operations_are_refused() {
    let host = Host::new("host");
    host.with_repository("model");
    let path = host.git_dir("model");
    let path = text(&path);
    let odd = format!("{path}/../model.git");
    for arguments in [
        &[path][..],
        &[path, "admin"],
        &[path, "Upload"],
        &[path, ""],
        &[path, "upload", "more"],
        &["", "upload"],
        &["--help", "upload"],
        &["-x", "upload"],
        &[&odd, "upload"],
        &["/nowhere.git", "upload"],
        &["~root/model.git", "download"],
        &[],
    ] {
        let output = speak(&host, arguments, b"");
        assert!(!output.status.success(), "{arguments:?} passed");
        assert!(output.stdout.is_empty(), "{arguments:?}: {:?}", String::from_utf8_lossy(&output.stdout));
        for (program, more) in
            [("git-lfs-authenticate", arguments), ("git-lfs-authenticate", &[path, "upload"])]
        {
            let output = host.output(host.command(program, &host.path("")).args(more));
            assert!(!output.status.success() && output.stdout.is_empty(), "{program} {more:?} passed");
        }
    }
}

/// Bytes that are no packets must end the conversation with an error: no panic, no endless wait, no memory.
#[test]
fn words_that_are_none_end_the_conversation() {
    let host = Host::new("host");
    host.with_repository("model");
    let path = host.git_dir("model");
    let oid = Oid::of(b"x");
    let begun = format!("{}{}0001", packet(&format!("put-object {oid}")), packet("size=5"));
    for words in [
        "0",
        "000",
        "0002",
        "0003",
        "zzzz",
        "fff1",
        "ffff",
        "+005a",
        "0009",
        "0009ab",
        "GET / HTTP/1.1\r\n\r\n",
    ] {
        for before in ["", "000eversion 1\n0000", &begun] {
            let said = format!("{before}{words}");
            let output = speak(&host, &[text(&path), "upload"], said.as_bytes());
            let told = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(!output.status.success(), "{said:?} passed");
            assert!(!told.contains("panicked") && told.contains("error:"), "{said:?}: {told}");
        }
    }
    assert!(fs::read_dir(path.join("sparse/tmp")).unwrap().next().is_none(), "a half upload was left");
    assert!(!path.join("sparse/recipes").exists());
}

/// Each wrong request must be answered, and the conversation go on: one bad file must not stop the others.
#[test]
fn wrong_requests_are_answered() {
    let host = Host::new("host");
    host.with_repository("model");
    let (bytes, other) = ("a file", Oid::of(b"another"));
    let oid = Oid::of(bytes.as_bytes());
    let mut talk = Talk::begin(&host, "model", "upload");
    assert_eq!(talk.ask(&["version 1"]), ["status 200"]);
    let many: Vec<String> = (0..200).map(|at| format!("key{at}=x")).collect();
    let many: Vec<&str> = ["batch"].into_iter().chain(many.iter().map(String::as_str)).collect();
    for (asked, status) in [
        (&["version 2"][..], "400"),
        (&["shell"], "400"),
        (&["--"], "400"),
        (&[], "400"),
        (&["batch", "hash-algo=sha1", "--"], "409"),
        (&["batch", "--", "x 1"], "422"),
        (&["batch", "--", &format!("{oid}")], "422"),
        (&["batch", "--", &format!("{oid} -1")], "422"),
        (&["batch", "--", &format!("{} 1", oid.to_string().to_uppercase())], "422"),
        (&many, "413"),
        (&[&format!("get-object {oid}")], "403"),
        (&["put-object ../../x", "size=1", "--", "x"], "400"),
        (&[&format!("put-object {oid}"), "--", bytes], "400"),
        (&[&format!("put-object {oid}"), "size=99999999999999999999", "--", bytes], "400"),
        (&[&format!("put-object {oid}"), "size=3", "--", bytes], "400"),
        (&[&format!("put-object {oid}"), "size=70", "--", bytes], "400"),
        // The packet's line end belongs to the file, so this is another one.
        (&[&format!("put-object {oid}"), "size=7", "--", bytes], "400"),
        (&[&format!("put-object {oid}"), "size=6"], "400"),
        (&[&format!("verify-object {oid}"), "size=6"], "404"),
        (&["lock"], "400"),
        (&["unlock x"], "404"),
        (&["unlock ../../config"], "404"),
    ] {
        assert_eq!(talk.ask(asked)[0], format!("status {status}"), "{asked:?}");
    }
    // After all that, the right words still do what they should.
    let listed = talk.ask(&["batch", "hash-algo=sha256", "--", &format!("{oid} 6"), &format!("{other} 7")]);
    assert_eq!(listed[3..], [format!("{oid} 6 upload"), format!("{other} 7 upload")]);
    talk.say(&[&format!("put-object {oid}"), "size=6", "--"]);
    talk.to.write_all(b"000aa file0000").unwrap();
    assert_eq!(talk.answer(), ["status 200"]);
    assert_eq!(talk.ask(&[&format!("verify-object {oid}"), "size=6"]), ["status 200"]);
    assert_eq!(talk.ask(&[&format!("verify-object {oid}"), "size=7"])[0], "status 409");
    assert_eq!(talk.ask(&["batch", "--", &format!("{oid} 6")])[3], format!("{oid} 6 noop"));
    talk.end();

    let mut talk = Talk::begin(&host, "model", "download");
    assert_eq!(talk.ask(&[&format!("get-object {oid}")]), ["status 200", "size=6", "--", bytes]);
    assert_eq!(talk.ask(&[&format!("get-object {other}")])[0], "status 404");
    assert_eq!(talk.ask(&["batch", "--", &format!("{other} 7")])[0], "status 404");
    assert_eq!(talk.ask(&["batch", "--", &format!("{oid} 6"), &format!("{other} 7")])[0], "status 200");
    assert_eq!(talk.ask(&["batch", "--", &format!("{oid} 5")])[0], "status 422");
    assert_eq!(talk.ask(&[&format!("put-object {other}"), "size=7", "--", "x"])[0], "status 403");
    assert_eq!(talk.ask(&["lock", "path=a"])[0], "status 403");
    assert_eq!(talk.ask(&["list-lock"])[0], "status 200");
    assert_eq!(talk.ask(&["list-locks"])[0], "status 200");
    talk.end();
}

/// A connection that breaks must leave nothing half, no process that waits for ever, and the right to try again.
#[test]
fn a_broken_connection_leaves_nothing() {
    let host = Host::new("host");
    host.with_repository("model");
    let mut random = crate::support::random::Random::seeded(5);
    let bytes: Vec<u8> = (0..3 << 20).map(|_| random.number() as u8).collect();
    let oid = Oid::of(&bytes);
    for cut in [0, 3, 30_000, 1 << 20] {
        let mut talk = Talk::begin(&host, "model", "upload");
        talk.say(&[&format!("put-object {oid}"), &format!("size={}", bytes.len()), "--"]);
        for part in bytes[..cut].chunks(32 << 10) {
            write!(talk.to, "{:04x}", part.len() + 4).unwrap();
            talk.to.write_all(part).unwrap();
        }
        let Talk { mut child, to, from } = talk;
        drop((to, from));
        assert!(!child.wait().unwrap().success(), "an upload of {cut} bytes passed");
        assert_eq!(fs::read_dir(host.git_dir("model").join("sparse/tmp")).unwrap().count(), 0);
        assert!(!host.git_dir("model").join("sparse/recipes").exists(), "{cut} bytes were stored");
    }
    let mut talk = Talk::begin(&host, "model", "upload");
    put(&mut talk, oid, bytes.len() as u64, &bytes, 1);
    talk.end();
    let mut talk = Talk::begin(&host, "model", "download");
    talk.say(&[&format!("get-object {oid}")]);
    talk.to.write_all(b"0000").unwrap();
    let mut begin = vec![0; 100_000];
    talk.from.read_exact(&mut begin).unwrap();
    let Talk { mut child, to, from } = talk;
    drop(from);
    assert!(!child.wait().unwrap().success(), "a download that nobody reads went on");
    drop(to);
}

/// A file that is damaged on the host must never end as if it were whole.
#[test]
fn a_damaged_file_breaks_the_stream() {
    let host = Host::new("host");
    host.with_repository("model");
    let mut random = crate::support::random::Random::seeded(3);
    let bytes: Vec<u8> = (0..6 << 20).map(|_| random.number() as u8).collect();
    let oid = Oid::of(&bytes);
    let mut talk = Talk::begin(&host, "model", "upload");
    put(&mut talk, oid, bytes.len() as u64, &bytes, 1);
    talk.end();
    // The last payload of the only pack: by then much of the file was sent.
    let packs = xtask::tree::files(&host.git_dir("model").join("sparse/packs")).unwrap();
    let pack = host.git_dir("model").join("sparse/packs").join(&packs[0]);
    let mut packed = fs::read(&pack).unwrap();
    let at = packed.len() - (100 << 10);
    packed[at] ^= 1;
    fs::set_permissions(&pack, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    fs::write(&pack, packed).unwrap();
    let words = format!("{}0000", packet(&format!("get-object {oid}")));
    let output = speak(&host, &[text(&host.git_dir("model")), "download"], words.as_bytes());
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(!output.stdout.ends_with(b"0000") || told.contains("status 500"), "it ended as if it were whole");
    assert!(output.stdout.len() < bytes.len(), "all of it was sent");
}

/// Files are larger than memory: neither way may hold one.
#[test]
fn memory_does_not_grow_with_a_file() {
    const PIECES: u64 = 1024;
    let host = Host::new("host");
    host.with_repository("model");
    let piece = vec![0; 1 << 20];
    let oid = {
        use sha2::{Digest, Sha256};
        let mut hasher = Sha256::new();
        (0..PIECES).for_each(|_| hasher.update(&piece));
        Oid::from_bytes(hasher.finalize().into())
    };
    let size = PIECES << 20;
    let mut talk = Talk::begin(&host, "model", "upload");
    put(&mut talk, oid, size, &piece, PIECES);
    assert!(talk.peak() <= 256 << 10, "an upload took {} KiB", talk.peak());
    talk.end();
    let mut talk = Talk::begin(&host, "model", "download");
    let found: usize = talk.ask(&[&format!("get-object {oid}")])[3..].iter().map(String::len).sum();
    assert_eq!(found as u64, size);
    assert!(talk.peak() <= 256 << 10, "a download took {} KiB", talk.peak());
    talk.end();
}

/// Puts a file of so many equal pieces.
fn put(talk: &mut Talk, oid: Oid, size: u64, piece: &[u8], pieces: u64) {
    talk.say(&[&format!("put-object {oid}"), &format!("size={size}"), "--"]);
    for _ in 0..pieces {
        for part in piece.chunks(32 << 10) {
            write!(talk.to, "{:04x}", part.len() + 4).unwrap();
            talk.to.write_all(part).unwrap();
        }
    }
    talk.to.write_all(b"0000").unwrap();
    assert_eq!(talk.answer(), ["status 200"]);
}
