//! What an index has yet to learn of its store, on a thread of its own: a million objects take minutes, and a request
//! that came first would wait as long. Requests wait a little, and are told then when to come again.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::time::timeout;

use super::replies::Refusal;
use super::repos::Repo;
use crate::pack;
use crate::store::Store;

/// Between two lines to whoever runs the server.
const TELL: Duration = Duration::from_secs(5);
const MAX_WAIT_S: u64 = 60;

/// Where lines for whoever runs the server go.
pub type Tell = Arc<dyn Fn(&str) + Send + Sync>;

/// How far an index is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// It may take so many seconds more.
    Learning(u64),
    Done,
}

/// What requests ask before they use an index.
#[derive(Clone)]
pub struct Learning(watch::Receiver<Stage>);

/// What tells it.
pub struct Teacher(watch::Sender<Stage>);

impl Learning {
    /// One that waits for its teacher.
    pub fn begin() -> (Teacher, Learning) {
        let (tell, stage) = watch::channel(Stage::Learning(1));
        (Teacher(tell), Learning(stage))
    }

    /// One that has nothing to learn.
    pub fn done() -> Learning {
        Learning(watch::channel(Stage::Done).1)
    }

    /// Waits until all is known; no longer than `patience`.
    pub async fn wait(&self, patience: Duration) -> Result<(), Refusal> {
        let mut stage = self.0.clone();
        match timeout(patience, stage.wait_for(|stage| *stage == Stage::Done)).await {
            // Also where its thread is gone, which says so in the log: requests find what they need themselves.
            Ok(_) => Ok(()),
            Err(_) => {
                let Stage::Learning(seconds) = *self.0.borrow() else { return Ok(()) };
                Err(Refusal::later(seconds.clamp(1, MAX_WAIT_S)))
            }
        }
    }

    /// Waits however long it takes.
    pub async fn end(&self) {
        let _ = self.0.clone().wait_for(|stage| *stage == Stage::Done).await;
    }
}

impl Teacher {
    /// Has the repository's index learn all packs, on a thread of its own.
    pub fn teach(self, repo: Arc<Repo>, name: String, tell: Tell) {
        thread::spawn(move || {
            if let Err(error) = self.learn(&repo.store, &name, &tell) {
                tell(&format!("{name}: its index can't be made: {error}"));
            }
            self.0.send_replace(Stage::Done);
        });
    }

    fn learn(&self, store: &Store, name: &str, tell: &Tell) -> Result<(), crate::store::StoreError> {
        let mut packs = store.packs()?;
        packs.retain(|pack| !store.index().knows_pack(pack));
        let (start, mut told) = (Instant::now(), Instant::now());
        let mut long = false;
        for (at, pack) in packs.iter().enumerate() {
            // Damaged packs are left to fsck.
            if let Ok(records) = pack::read_trailer(store.backend(), *pack) {
                store.note(*pack, &records);
            }
            let left = start.elapsed().mul_f64((packs.len() - at - 1) as f64 / (at + 1) as f64);
            self.0.send_replace(Stage::Learning(left.as_secs()));
            if told.elapsed() >= TELL {
                (told, long) = (Instant::now(), true);
                tell(&format!("{name}: index: {} of {} packs are read", at + 1, packs.len()));
            }
        }
        if long {
            tell(&format!("{name}: index: made in {:.0} seconds", start.elapsed().as_secs_f64()));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A request must not wait for minutes, and must not be refused where it need not wait at all.
    #[tokio::test]
    async fn requests_wait_a_little() {
        assert!(Learning::done().wait(Duration::ZERO).await.is_ok());
        let (teacher, learning) = Learning::begin();
        teacher.0.send_replace(Stage::Learning(1000));
        let told = learning.wait(Duration::from_millis(20)).await.unwrap_err();
        assert_eq!((told.status.as_u16(), told.retry_after), (503, Some(MAX_WAIT_S)));
        let soon = tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(20)).await;
            teacher.0.send_replace(Stage::Done);
        });
        assert!(learning.wait(Duration::from_secs(60)).await.is_ok());
        soon.await.unwrap();
        let (teacher, learning) = Learning::begin();
        drop(teacher);
        assert!(learning.wait(Duration::from_secs(60)).await.is_ok(), "a thread that is gone is waited for");
    }
}
