//! `sparse::origin` with a remote over ssh: the program on the other side gives and takes what is lacking.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use xtask::tree::stored_bytes;

use super::transfer::assert_gives_all;
use crate::support::home::{Home, Mode};
use crate::support::repo::{Repo, text, tree_of};
use crate::support::samples::{assert_clean, fresh};
use git_sparse::backend::{Local, Privacy};

/// An ssh that runs what it is told on this machine, as sshd would: by the user's shell.
const SSH: &str = "#!/bin/sh
while [ $# -gt 0 ]; do
    case \"$1\" in
        -p|-o) shift 2 ;;
        -*) shift ;;
        *) break ;;
    esac
done
[ \"$1\" = localhost ] || { echo \"ssh: no host $1\" >&2; exit 255; }
shift
echo \"$*\" >> \"$SSH_LOG\"
exec sh -c \"$*\"
";

fn with_ssh(home: &mut Home) {
    let program = home.path("ssh");
    fs::write(&program, SSH).expect("a file");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("a file");
    let log = home.path("ssh.log");
    home.set("GIT_SSH_COMMAND", text(&program));
    home.set("SSH_LOG", text(&log));
}

fn round(home: &Home, bare: &Path, url: &str) {
    home.git(&home.path(""), &["init", "--quiet", "--bare", text(bare)]);
    home.git(&home.path(""), &["init", "--quiet", "work"]);
    let repo = Repo { home, path: home.path("work") };
    repo.git(&["remote", "add", "origin", url]);
    repo.git(&["sparse", "init"]);
    repo.git(&["add", "--all"]);
    repo.git(&["commit", "--quiet", "--message", "git sparse init"]);
    let first = repo.commit("base", tree_of(&[("model", "tiny-base")]));
    repo.git(&["push", "--quiet", "--set-upstream", "origin", "main"]);
    let before = stored_bytes(bare).expect("a store");
    assert!(before > 0, "the store is not beside the remote");

    // Another user: with the same home the store on this side would have all objects.
    let second = repo.commit("tuned", tree_of(&[("model", "tiny-sft")]));
    repo.git(&["push", "--quiet"]);
    let grown = stored_bytes(bare).expect("a store") - before;
    assert!(grown < before * 9 / 10, "{grown} bytes for a fine-tune, {before} for its base");
    assert_clean(&fresh(Local::new(bare.join("sparse"), Privacy::Shared)), "over ssh");
    let mut reader = Home::new(Mode::Daemon);
    for name in ["GIT_SSH_COMMAND", "SSH_LOG"] {
        let command = home.command("git", &home.path(""));
        let value = command.get_envs().find(|(key, _)| *key == name).and_then(|(_, value)| value);
        reader.set(name, value.expect("a variable").to_str().expect("text"));
    }
    let clone = Repo::clone(&reader, url, "clone", &[]);
    assert_gives_all(&clone, &[first, second.clone()]);
    reader.git(&reader.path(""), &["sparse", "clone", url, "ours"]);
    Repo { home: &reader, path: reader.path("ours") }.assert_is(&second.expected);
    let told = reader.git(&reader.path("ours"), &["sparse", "doctor"]);
    assert!(told.contains("ssh://"), "{told}");
}

/// Push, clone and the fetch of a difference, in a directory whose name a shell would take apart.
#[test]
fn a_remote_over_ssh_has_a_store() {
    let mut home = Home::new(Mode::Daemon);
    with_ssh(&mut home);
    let bare = home.path("it's a \"model\" $HOME.git");
    fs::create_dir_all(&bare).expect("a directory");
    round(&home, &bare, &format!("ssh://localhost{}", text(&bare).replace(' ', "%20")));
    let log = fs::read_to_string(home.path("ssh.log")).expect("a log");
    assert!(log.contains("git-sparse serve --stdio"), "the program was not started over ssh:\n{log}");
}

/// Where the other side has no git sparse, or no such repository, the user is told that and not something of HTTP.
#[test]
fn what_fails_over_ssh_is_told() {
    let mut home = Home::new(Mode::Daemon);
    with_ssh(&mut home);
    let bare = home.path("model.git");
    let url = format!("ssh://localhost{}", text(&bare));
    home.git(&home.path(""), &["init", "--quiet", "--bare", "model.git"]);
    home.git(&home.path(""), &["init", "--quiet", "work"]);
    let repo = Repo { home: &home, path: home.path("work") };
    repo.git(&["remote", "add", "origin", &url]);
    repo.git(&["sparse", "init"]);
    repo.commit("base", tree_of(&[("model", "tiny-base")]));
    repo.git(&["config", "gitsparse.sshprogram", "no-such-program"]);
    let start = Instant::now();
    let told = home.git_fails(&repo.path, &["push", "--quiet", "origin", "main"]);
    assert!(told.contains("not found"), "{told}");
    assert!(start.elapsed() < Duration::from_secs(30), "it took {:?} to say so", start.elapsed());
    repo.git(&["config", "--unset", "gitsparse.sshprogram"]);
    repo.git(&["push", "--quiet", "origin", "main"]);
    fs::remove_dir_all(&bare).expect("a repository");
    let told = home.git_fails(&repo.path, &["sparse", "where", "--fetch", "model/model.safetensors"]);
    assert!(!told.is_empty());
}

/// A real sshd, killed when the test ends.
struct Sshd(Child);

impl Drop for Sshd {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The same through a real ssh and a real sshd, where the machine has them.
#[test]
fn a_real_sshd_serves_a_store() {
    let sshd = ["/usr/sbin/sshd", "/usr/bin/sshd"].map(PathBuf::from).into_iter().find(|path| path.exists());
    let Some(sshd) = sshd.filter(|_| Command::new("ssh").arg("-V").output().is_ok()) else {
        return eprintln!("SKIPPED: a store over a real sshd: there is no sshd, or no ssh");
    };
    let mut home = Home::new(Mode::Daemon);
    let directory = home.path("ssh");
    fs::create_dir(&directory).expect("a directory");
    for key in ["host", "user"] {
        let path = directory.join(key);
        home.run("ssh-keygen", &directory, &["-q", "-t", "ed25519", "-N", "", "-f", text(&path)]);
    }
    fs::copy(directory.join("user.pub"), directory.join("authorized")).expect("a file");
    let port =
        std::net::TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr()).expect("a port").port();
    let at = |name: &str| text(&directory.join(name)).to_owned();
    let config = format!(
        "ListenAddress 127.0.0.1\nPort {port}\nHostKey {}\nAuthorizedKeysFile {}\nPidFile none\n\
         StrictModes no\nUsePAM no\nPasswordAuthentication no\nPermitRootLogin yes\n\
         SetEnv \"PATH={}:/usr/local/bin:/usr/bin:/bin\"\n",
        at("host"),
        at("authorized"),
        text(&home.path("bin"))
    );
    fs::write(directory.join("config"), config).expect("a file");
    let _ = fs::create_dir_all("/run/sshd");
    let started = Command::new(&sshd).args(["-D", "-e", "-f", &at("config")]).stderr(Stdio::null()).spawn();
    let _sshd = Sshd(started.expect("sshd runs"));
    let start = Instant::now();
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        if start.elapsed() > Duration::from_secs(10) {
            return eprintln!("SKIPPED: a store over a real sshd: it does not start here");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let options = "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR";
    home.set("GIT_SSH_COMMAND", &format!("ssh -F none -i {} {options}", at("user")));
    home.set("SSH_LOG", &at("log"));
    let bare = home.path("model.git");
    round(&home, &bare, &format!("ssh://127.0.0.1:{port}{}", text(&bare)));
}
