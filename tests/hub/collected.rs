//! A gc by another process over the same store, in the middle of a plain upload.

use std::io::{self, Write};
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::SystemTime;

use git_sparse::backend::{Area, Backend, Local, Name, Privacy, Run, Staged, Taken};
use git_sparse::id::Oid;
use git_sparse::serve::{self, Config, Limits, May};

use super::basic::{model_bytes, named};
use crate::support::samples::{assert_clean, fresh, give_back};
use crate::support::web::Asking;

/// A store whose packs go to the trash when the next recipe is about to be published: a gc that read the recipes before
/// it, and takes what nobody needed then.
struct Collected {
    inner: Local,
    armed: Arc<AtomicBool>,
}

struct CollectedStaged<'a> {
    inner: Box<dyn Staged + 'a>,
    from: &'a Collected,
}

impl Collected {
    fn collect(&self) -> io::Result<()> {
        let run = Run { epoch: 1, id: 1 };
        for name in self.inner.list(Area::Packs)? {
            let Name::Pack(pack) = name else { continue };
            self.inner.rename(name, Name::Removed(run, pack))?;
        }
        Ok(())
    }
}

impl Backend for Collected {
    fn create(&self) -> io::Result<Box<dyn Staged + '_>> {
        Ok(Box::new(CollectedStaged { inner: self.inner.create()?, from: self }))
    }

    fn read(&self, name: Name, range: Range<u64>) -> io::Result<Vec<u8>> {
        self.inner.read(name, range)
    }

    fn len(&self, name: Name) -> io::Result<Option<u64>> {
        self.inner.len(name)
    }

    fn modified(&self, name: Name) -> io::Result<Option<SystemTime>> {
        self.inner.modified(name)
    }

    fn list(&self, area: Area) -> io::Result<Vec<Name>> {
        self.inner.list(area)
    }

    fn rename(&self, from: Name, to: Name) -> io::Result<()> {
        self.inner.rename(from, to)
    }

    fn delete(&self, name: Name) -> io::Result<()> {
        self.inner.delete(name)
    }

    fn place(&self) -> String {
        self.inner.place()
    }
}

impl Write for CollectedStaged<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.inner.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl Staged for CollectedStaged<'_> {
    fn publish(self: Box<Self>, name: Name, taken: Taken) -> io::Result<()> {
        if matches!(name, Name::Recipe(_)) && self.from.armed.swap(false, Ordering::SeqCst) {
            self.from.collect()?;
        }
        self.inner.publish(name, taken)
    }
}

/// A hub in this process, over a store that is collected when `armed`; where it listens.
fn serve_collected(dir: &Path, armed: &Arc<AtomicBool>) -> String {
    let (store, armed) = (dir.join("store"), armed.clone());
    let config = Config {
        listen: "127.0.0.1:0".parse().expect("an address"),
        url: None,
        root: dir.join("root"),
        stores: Some(Box::new(move |_| {
            let inner = Local::new(&store, Privacy::Shared);
            Box::new(Collected { inner, armed: armed.clone() })
        })),
        access: dir.join("access.json"),
        anonymous: Some(May::Write),
        tls: None,
        insecure: false,
        cache: dir.join("cache"),
        cache_bytes: 1 << 30,
        key: dir.join("key"),
        limits: Limits::default(),
    };
    let (tell, ready) = mpsc::channel();
    // It ends with the process.
    thread::spawn(move || {
        let ready = |url: &str, _| tell.send(url.to_owned()).expect("somebody listens");
        serve::run(config, Box::new(|line| eprintln!("{line}")), ready).expect("a hub");
    });
    ready.recv().expect("it listens")
}

/// A plain upload is acknowledged when its file is whole, whatever another process took away while it was stored: the
/// deltas' bases, or the new packs themselves.
#[test]
fn an_upload_looks_again_after_its_recipe_is_there() {
    let dir = tempfile::tempdir().expect("a directory");
    let armed = Arc::new(AtomicBool::new(false));
    let url = serve_collected(dir.path(), &armed);
    let address = url.trim_start_matches("http://").parse().expect("an address");
    let store = || fresh(Local::new(dir.path().join("store"), Privacy::Shared));
    let upload = |bytes: &[u8]| {
        let links = Asking::batch("a", "upload", "basic", &[named(bytes)]).of(address);
        let put = Asking::put(&links.link("upload"), bytes).of(address);
        assert_eq!(put.status, 200, "{}", put.text());
    };
    upload(&model_bytes("tiny-base"));
    assert_clean(&store(), "before a gc");
    armed.store(true, Ordering::SeqCst);
    let tuned = model_bytes("tiny-sft");
    upload(&tuned);
    assert!(!armed.load(Ordering::SeqCst), "no gc ran");
    let found = give_back(&store(), Oid::of(&tuned)).expect("a file that was acknowledged");
    assert!(found == tuned, "other bytes came back");
}
