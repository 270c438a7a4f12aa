//! A small disk of its own, that can be full or read-only.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use super::repo::text;

/// A tmpfs that is unmounted when the test ends.
pub struct Tmpfs(pub PathBuf);

impl Tmpfs {
    /// `None`, said aloud, where the test may not mount.
    pub fn mount(at: PathBuf, options: &str) -> Option<Tmpfs> {
        fs::create_dir_all(&at).expect("a directory");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", options, "tmpfs", text(&at)]).output();
        if mounted.is_ok_and(|output| output.status.success()) {
            return Some(Tmpfs(at));
        }
        eprintln!("SKIPPED: a full or read-only disk: mounting a tmpfs needs root");
        None
    }

    pub fn remount(&self, options: &str) {
        let done = Command::new("mount").args(["-o", &format!("remount,{options}"), text(&self.0)]).status();
        assert!(done.is_ok_and(|status| status.success()), "remount {options}");
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = Command::new("umount").args(["-l", text(&self.0)]).status();
    }
}
