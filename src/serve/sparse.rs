//! Transfer `sparse`, the hub's side: requests in, `peer`'s functions over the repository's store, answers out.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use hyper::body::Bytes;
use hyper::{Method, StatusCode};

use super::access::May;
use super::basic::full;
use super::bodies::{Held, Sender, pipe};
use super::replies::{Refusal, Reply, bytes, json, stream};
use super::repos::Repo;
use super::route::Verb;
use super::router::{Asked, HEARTBEAT, run};
use super::signature::Purpose;
use crate::backend::Name;
use crate::id::{ObjectId, Oid};
use crate::peer::{self, FrameError, HostError, Want};
use crate::recipe::MAX_RECIPE_BYTES;
use crate::store::StoreError;

const MAX_LIST_BYTES: usize = peer::MAX_IDS * Want::BYTES;
/// Payloads and records of one upload; clients end a request long before.
const MAX_TAKEN_BYTES: u64 = 1 << 30;

impl Asked {
    pub(super) async fn sparse(self, verb: Verb) -> Result<Reply, Refusal> {
        let is_write = matches!(verb, Verb::Take) || self.head.method == Method::PUT;
        // Who may push may also ask what is there.
        let is_proven = self.proves(Purpose::Push, "", 0) || !is_write && self.proves(Purpose::Fetch, "", 0);
        if !is_proven {
            self.need_without_link(if is_write { May::Write } else { May::Read })?;
        }
        let repo = self.open().await?;
        // Recipes lie under their names; all else asks the index.
        if !matches!(verb, Verb::Recipe(_)) || is_write {
            repo.learning.wait(self.hub.limits.patience).await?;
        }
        match verb {
            Verb::Has => {
                let pushes = self.proves(Purpose::Push, "", 0) || self.may >= Some(May::Write);
                self.has(repo, pushes).await
            }
            Verb::Lacking => self.lacking(repo).await,
            Verb::Records => self.records(repo).await,
            Verb::Give => self.give(repo).await,
            Verb::Take => self.take(repo).await,
            Verb::Recipe(oid) if is_write => self.accept(repo, oid).await,
            Verb::Recipe(oid) => self.recipe(repo, oid).await,
        }
    }

    /// The body, which counts as held until what was made of it is done with.
    async fn list(&mut self) -> Result<Held, Refusal> {
        self.whole_body(MAX_LIST_BYTES, "the list is too long", StatusCode::SERVICE_UNAVAILABLE).await
    }

    async fn has(mut self, repo: Arc<Repo>, pushes: bool) -> Result<Reply, Refusal> {
        let list = self.list().await?;
        let oids = peer::ids(&list, Oid::from_bytes).map_err(|error| malformed(&error))?;
        let has = run(move || {
            let _held = list;
            let has = peer::has(&repo.store, &oids)?;
            let held = oids.iter().zip(&has).filter(|(_, has)| pushes && **has);
            for (oid, _) in held {
                let _ = repo.freshen(oid);
            }
            Ok::<_, StoreError>(has)
        });
        let has = has.await?;
        Ok(bytes(has.map_err(Refusal::internal)?.into_iter().map(u8::from).collect()))
    }

    async fn lacking(mut self, repo: Arc<Repo>) -> Result<Reply, Refusal> {
        let list = self.list().await?;
        let objects = peer::ids(&list, ObjectId::from_bytes).map_err(|error| malformed(&error))?;
        let hub = self.hub.clone();
        let _turn = hub.worker().await;
        let lacking = run(move || {
            let _held = list;
            peer::lacking(&repo.store, &objects)
        });
        let lacking = lacking.await?;
        Ok(bytes(lacking.map_err(Refusal::internal)?.into_iter().map(u8::from).collect()))
    }

    async fn records(mut self, repo: Arc<Repo>) -> Result<Reply, Refusal> {
        let list = self.list().await?;
        let objects = peer::ids(&list, ObjectId::from_bytes).map_err(|error| malformed(&error))?;
        Ok(self.streams(move |out| {
            let _held = list;
            peer::records(&repo.store, &objects, out)
        }))
    }

    async fn give(mut self, repo: Arc<Repo>) -> Result<Reply, Refusal> {
        let list = self.list().await?;
        let wants = Want::read_all(&list).map_err(|error| malformed(&error))?;
        let (memory, runtime) = (self.hub.memory.clone(), tokio::runtime::Handle::current());
        let client = self.client.clone();
        Ok(self.streams(move |out| {
            let _held = list;
            let within = |bytes, work: &mut dyn FnMut()| {
                let _share = runtime.block_on(memory.share(&client, bytes));
                work();
            };
            peer::give(&repo.store, &wants, &within, out)
        }))
    }

    /// An answer that a thread writes. What goes wrong cuts it off, and stands in the log.
    fn streams(&self, write: impl FnOnce(&mut dyn Write) -> Result<(), HostError> + Send + 'static) -> Reply {
        let (pieces, sent) = pipe(self.hub.limits.silence);
        let (hub, repo) = (self.hub.clone(), self.repo.clone());
        tokio::task::spawn_blocking(move || {
            let mut sender = Sender::by_turns(pieces, &hub.workers);
            match write(&mut sender) {
                Ok(()) => drop(sender.finish()),
                Err(HostError::Send(_)) => {}
                Err(error) => hub.tell(&format!("{repo}: an answer broke off: {error}")),
            }
        });
        stream(sent)
    }

    async fn take(mut self, repo: Arc<Repo>) -> Result<Reply, Refusal> {
        let body = self.body_reader(MAX_TAKEN_BYTES)?;
        let hub = self.hub.clone();
        // All of it before a turn is taken: a few slow clients must not hold up all the others.
        let received = run(move || hub.receive_all(body)).await??;
        let hub = self.hub.clone();
        let share = hub.job(&self.client).await;
        let stored = run(move || {
            // Also where its client is gone meanwhile.
            let _share = share;
            peer::take(&repo.store, received.read()?, &|_| Ok(()))
        });
        let stored = stored.await?;
        let stored = stored.map_err(|error| refused(&error))?;
        self.hub.metrics.received_bytes.fetch_add(stored, Ordering::Relaxed);
        Ok(json(StatusCode::OK, &serde_json::json!({ "stored": stored })))
    }

    /// Rebuilds and hashes the file before it is published, which may take long: the answer is lines of JSON, one now
    /// and then that says nothing, and at the end `{"accepted":true}` or why not.
    async fn accept(mut self, repo: Arc<Repo>, oid: Oid) -> Result<Reply, Refusal> {
        let (most, busy) = (MAX_RECIPE_BYTES as usize, StatusCode::SERVICE_UNAVAILABLE);
        let recipe = self.whole_body(most, "the recipe is too long", busy).await?;
        let (hub, client) = (self.hub.clone(), self.client);
        let mut job = tokio::task::spawn_blocking(move || {
            let _share = tokio::runtime::Handle::current().block_on(hub.job(&client));
            peer::accept(&repo.store, oid, &recipe, hub.limits.file_bytes, &|_| Ok(()))
        });
        let (pieces, sent) = pipe(self.hub.limits.silence);
        let hub = self.hub.clone();
        tokio::spawn(async move {
            let mut patience = Duration::from_millis(1);
            let outcome = loop {
                match tokio::time::timeout(patience, &mut job).await {
                    Ok(outcome) => break outcome,
                    Err(_) => drop(pieces.send(Bytes::from_static(b"{}\n")).await),
                }
                patience = HEARTBEAT;
            };
            let line = match outcome {
                Ok(Ok(())) => serde_json::json!({ "accepted": true }),
                Ok(Err(error)) => {
                    hub.tell(&format!("file {oid}: not accepted: {error}"));
                    let refusal = hub.told(refused(&error));
                    serde_json::json!({ "status": refusal.status.as_u16(), "message": refusal.message })
                }
                Err(panic) => serde_json::json!({ "status": 500, "message": panic.to_string() }),
            };
            let _ = pieces.send(Bytes::from(format!("{line}\n"))).await;
            let _ = pieces.finish().await;
        });
        Ok(stream(sent))
    }

    async fn recipe(self, repo: Arc<Repo>, oid: Oid) -> Result<Reply, Refusal> {
        let read = run(move || {
            let name = Name::Recipe(oid);
            let Some(len) = repo.store.backend().len(name)? else { return Ok(None) };
            repo.store.backend().read(name, 0..len.min(MAX_RECIPE_BYTES)).map(Some)
        });
        let recipe: std::io::Result<Option<Vec<u8>>> = read.await?;
        recipe.map_err(Refusal::internal)?.map(bytes).ok_or_else(Refusal::not_found)
    }
}

fn malformed(error: &FrameError) -> Refusal {
    Refusal::bad(error.to_string())
}

/// The client's faults are told to it; ours are told in general.
fn refused(error: &HostError) -> Refusal {
    match error {
        HostError::Store(StoreError::Io(error)) => full(error),
        HostError::Hole { .. } => Refusal::new(StatusCode::CONFLICT, error.to_string()),
        HostError::Frame(FrameError::Io(error)) => Refusal::bad(format!("the upload broke off: {error}")),
        error if error.is_the_clients() => Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, error.to_string()),
        error => Refusal::internal(error),
    }
}
