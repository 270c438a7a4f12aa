//! Where store, cache, socket and lock are: the environment, read once.

use std::env;
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use etcetera::BaseStrategy;

use super::message::{Failure, Kind};

/// A user's places. Two different stores have two different daemons.
#[derive(Debug, Clone)]
pub struct Place {
    pub store: PathBuf,
    pub cache: PathBuf,
    pub socket: PathBuf,
    pub log: PathBuf,
    /// `GIT_SPARSE_NO_DAEMON` is set: do the work in this process.
    pub in_process: bool,
}

impl Place {
    /// The places that the environment names: `GIT_SPARSE_DIR`, `GIT_SPARSE_CACHE_DIR`, or XDG's.
    pub fn from_environment() -> Result<Place, Failure> {
        let base = etcetera::choose_base_strategy().map_err(|error| {
            Failure::new(Kind::Fatal, format!("no home directory: {error}")).fix("set HOME")
        })?;
        let store = path_variable("GIT_SPARSE_DIR")?.unwrap_or_else(|| base.data_dir().join("git-sparse"));
        let cache =
            path_variable("GIT_SPARSE_CACHE_DIR")?.unwrap_or_else(|| base.cache_dir().join("git-sparse"));
        let state = base.state_dir().unwrap_or_else(|| base.data_dir());
        let in_process =
            env::var_os("GIT_SPARSE_NO_DAEMON").is_some_and(|value| !value.is_empty() && value != "0");
        let socket = socket_dir(&base)?.join(socket_name(&store));
        Ok(Place { store, cache, socket, log: state.join("git-sparse").join("daemon.log"), in_process })
    }

    /// Makes the directories of the store and of the cache, for this user only, and refuses what someone else owns.
    pub fn prepare(&self) -> Result<(), Failure> {
        make_private(&self.store, "GIT_SPARSE_DIR")?;
        make_private(&self.cache, "GIT_SPARSE_CACHE_DIR")
    }
}

/// An identifier of this boot of the machine, empty where the system has none.
pub fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").map(|id| id.trim().to_owned()).unwrap_or_default()
}

fn path_variable(name: &str) -> Result<Option<PathBuf>, Failure> {
    let Some(value) = env::var_os(name).filter(|value| !value.is_empty()) else { return Ok(None) };
    let path = PathBuf::from(value);
    match path.is_absolute() {
        true => Ok(Some(path)),
        false => Err(Failure::new(Kind::Usage, format!("{name} is {}, a relative path", path.display()))
            .fix(format!("set {name} to an absolute path"))),
    }
}

/// Sockets have short names (108 bytes), so they stand in the runtime directory, not in the store.
fn socket_dir(base: &impl BaseStrategy) -> Result<PathBuf, Failure> {
    let uid = rustix::process::getuid().as_raw();
    let runtime = base.runtime_dir().filter(|dir| dir.is_dir() && dir.as_os_str().len() < 60);
    let dir = match runtime {
        Some(runtime) => runtime.join("git-sparse"),
        None => env::temp_dir().join(format!("git-sparse-{uid}")),
    };
    // Everybody may write to the directory for temporary files: a link there leads where somebody else wants.
    if dir.is_symlink() {
        return Err(Failure::new(Kind::Refused, format!("{}: is a link", dir.display()))
            .fix("remove it, or set XDG_RUNTIME_DIR to a directory of your own"));
    }
    make_private(&dir, "XDG_RUNTIME_DIR")?;
    Ok(dir)
}

fn socket_name(store: &Path) -> String {
    let hash = blake3::hash(store.as_os_str().as_encoded_bytes());
    format!("{:.16}.sock", hash.to_hex())
}

/// A directory of mode 0700 that belongs to this user; the variable can name another one.
fn make_private(dir: &Path, variable: &str) -> Result<(), Failure> {
    let failed = |error: io::Error| {
        Failure::new(Kind::Fatal, format!("{}: {error}", dir.display()))
            .fix(format!("set {variable} to a directory that you can write"))
    };
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(failed)?;
    if !dir.is_dir() {
        return Err(Failure::new(Kind::Fatal, format!("{}: not a directory", dir.display())));
    }
    if fs::metadata(dir).map_err(failed)?.uid() != rustix::process::getuid().as_raw() {
        return Err(Failure::new(Kind::Refused, format!("{}: belongs to another user", dir.display()))
            .fix(format!("set {variable} to a directory of your own")));
    }
    if fs::metadata(dir).map_err(failed)?.permissions().mode() & 0o077 != 0 {
        fs::set_permissions(dir, fs::Permissions::from_mode(0o700)).map_err(failed)?;
    }
    Ok(())
}
