//! A machine behind ssh, on this one: another home, whose programs a script runs as ssh would.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::ops::Deref;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use xtask::prerequisites;
use xtask::tree;

use super::Plain;
use crate::support::home::{Home, Mode};
use crate::support::repo::text;

/// A home that others reach by ssh.
pub struct Host {
    home: Home,
    name: String,
}

impl Deref for Host {
    type Target = Home;

    fn deref(&self) -> &Home {
        &self.home
    }
}

/// A hub that ends with the test.
pub struct Served {
    child: Child,
    log: PathBuf,
}

/// An sshd that ends with the test.
pub struct Sshd {
    child: Child,
    pub port: u16,
    /// What git runs to reach it.
    pub command: String,
}

/// A user with nothing but git and git-lfs, who knows a host of this name.
pub fn client(host: &str) -> Home {
    let mut home = Home::bare(Mode::InProcess);
    fs::remove_file(home.path("bin/git-sparse")).expect("a link that goes");
    home.set("SSH_AS", "someone");
    home.git(&home.path(""), &["lfs", "install", "--skip-repo"]);
    assert!(!host.is_empty());
    home
}

/// A repository of this client with the pattern of models, and its remote.
pub fn plain_repo<'home>(home: &'home Home, name: &str, url: &str) -> Plain<'home> {
    let path = home.path(name);
    home.git(&home.path(""), &["init", "--quiet", name]);
    home.git(&path, &["remote", "add", "origin", url]);
    fs::write(path.join(".gitattributes"), "*.safetensors filter=lfs diff=lfs merge=lfs -text\n").unwrap();
    Plain { home, path }
}

impl Host {
    /// A host with git-sparse, and the links that `git sparse install --ssh-host` makes.
    pub fn new(name: &str) -> Host {
        let home = Home::bare(Mode::InProcess);
        let told = home.run("git-sparse", &home.path(""), &["install", "--ssh-host"]);
        assert!(told.contains("git-lfs-transfer ->"), "{told}");
        let host = Host { home, name: name.into() };
        let path = std::env::var("PATH").unwrap_or_default();
        let script = format!(
            "#!/bin/sh\n\
             for last; do :; done\n\
             echo \"$last\" >> {log}\n\
             cd {home}\n\
             run() {{ env -i HOME={home} PATH={bin}:{path} TMPDIR={tmp} GIT_CONFIG_NOSYSTEM=1 \
             GIT_SPARSE_NO_DAEMON=1 USER=\"$SSH_AS\" sh -c \"$1\"; }}\n\
             run \"$last\"\n",
            log = host.path("told").display(),
            home = host.path("home").display(),
            bin = host.path("bin").display(),
            tmp = host.path("tmp").display(),
        );
        let file = host.path("ssh");
        fs::write(&file, script).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
        host
    }

    /// Makes `client`'s ssh lead here.
    pub fn lead(&self, client: &Home) {
        let command = text(&self.path("ssh")).to_owned();
        client.git(&client.path(""), &["config", "--global", "core.sshCommand", &command]);
        client.git(&client.path(""), &["config", "--global", "ssh.variant", "ssh"]);
    }

    /// An empty repository, and its address.
    pub fn with_repository(&self, name: &str) -> String {
        self.git(&self.path(""), &["init", "--quiet", "--bare", text(&self.git_dir(name))]);
        format!("ssh://{}{}", self.name, self.git_dir(name).display())
    }

    pub fn git_dir(&self, name: &str) -> PathBuf {
        self.path(format!("srv/{name}.git"))
    }

    /// Bytes of the repository's store.
    pub fn stored(&self, name: &str) -> u64 {
        tree::stored_bytes(&self.git_dir(name)).unwrap()
    }

    /// What ssh was told to run.
    pub fn told(&self) -> String {
        fs::read_to_string(self.path("told")).unwrap_or_default()
    }

    /// A hub over the host's repositories, which its configuration names.
    pub fn serve(&self) -> Served {
        let port = free_port();
        let (url, root) = (format!("http://127.0.0.1:{port}"), self.path("srv"));
        for (key, value) in [("gitsparse.huburl", url.as_str()), ("gitsparse.hubroot", text(&root))] {
            self.git(&self.path(""), &["config", "--global", key, value]);
        }
        let log = self.path("hub.log");
        let child = self
            .command("git-sparse", &self.path(""))
            .args(["serve", "--root", text(&root), "--listen", &format!("127.0.0.1:{port}")])
            .stdout(Stdio::null())
            .stderr(fs::File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let served = Served { child, log };
        await_port(port);
        served
    }

    /// An sshd that lets its own user in by a key, and runs commands with this host's programs.
    pub fn start_sshd(&self) -> Option<Sshd> {
        let sshd = prerequisites::sshd()?;
        if !rustix::process::geteuid().is_root() {
            return None;
        }
        let _ = fs::create_dir_all("/run/sshd");
        for key in ["host_key", "user_key"] {
            let path = self.path(key);
            self.run("ssh-keygen", &self.path(""), &["-q", "-t", "ed25519", "-N", "", "-f", text(&path)]);
        }
        let port = free_port();
        let path = std::env::var("PATH").unwrap_or_default();
        let config = format!(
            "ListenAddress 127.0.0.1:{port}\nHostKey {root}/host_key\nPidFile none\nStrictModes no\nUsePAM no\n\
             PermitRootLogin yes\nPasswordAuthentication no\nAuthorizedKeysFile {root}/user_key.pub\n\
             SetEnv PATH={root}/bin:{path} GIT_CONFIG_NOSYSTEM=1 GIT_SPARSE_NO_DAEMON=1\n",
            root = self.path("").display().to_string().trim_end_matches('/'),
        );
        fs::write(self.path("sshd_config"), config).unwrap();
        let child = self
            .command(&sshd, &self.path(""))
            .args(["-D", "-e", "-f", text(&self.path("sshd_config"))])
            .stderr(fs::File::create(self.path("sshd.log")).unwrap())
            .spawn()
            .unwrap();
        let options = "-F none -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR";
        let command = format!("ssh {options} -i {}", self.path("user_key").display());
        let server = Sshd { child, port, command };
        await_port(port);
        Some(server)
    }
}

impl Served {
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[track_caller]
fn await_port(port: u16) {
    let end = Instant::now() + Duration::from_secs(60);
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(Instant::now() < end, "nobody listens at port {port}");
        thread::sleep(Duration::from_millis(50));
    }
}
