//! The batch API of Git LFS, for clients that want whole files and for those that speak `sparse`.
//!
//! Specification: git-lfs `docs/api/batch.md`. What can be refused is refused here, for each object, because clients
//! try again for half a minute where a later request fails. A download has always either an action or an error.

use std::collections::BTreeMap;

use hyper::{StatusCode, header};
use serde::{Deserialize, Serialize};

use super::access::May;
use super::replies::{LFS_JSON, Refusal, Reply, json};
use super::repos::Repo;
use super::router::{Asked, run};
use super::signature::{Claim, Purpose, end};
use crate::id::Oid;
use crate::peer;

const MAX_BODY_BYTES: usize = 1 << 20;
const MAX_OBJECTS: usize = 1000;
const BASIC: &str = "basic";
const SPARSE: &str = "sparse";

#[derive(Deserialize)]
struct Question {
    operation: String,
    objects: Vec<Object>,
    #[serde(default)]
    transfers: Vec<String>,
    hash_algo: Option<String>,
}

#[derive(Clone, Deserialize)]
struct Object {
    oid: String,
    size: u64,
}

#[derive(Serialize)]
struct Answer {
    transfer: &'static str,
    objects: Vec<Entry>,
    hash_algo: &'static str,
}

#[derive(Serialize)]
struct Entry {
    oid: String,
    size: u64,
    /// The links are enough: no credentials are looked up for them.
    authenticated: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    actions: Option<BTreeMap<&'static str, Action>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<ObjectError>,
}

#[derive(Serialize)]
struct Action {
    href: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    header: BTreeMap<&'static str, String>,
    expires_in: u64,
}

#[derive(Serialize)]
struct ObjectError {
    code: u16,
    message: String,
}

/// What is known of a file here.
enum Known {
    Stored(u64),
    Missing,
    Unreadable(String),
}

impl Asked {
    pub(super) async fn batch(mut self) -> Result<Reply, Refusal> {
        self.accepts_lfs()?;
        // Without any right nothing is read.
        self.need(May::Read)?;
        let question = self.question().await?;
        let is_upload = match question.operation.as_str() {
            "download" => false,
            "upload" => {
                self.need(May::Write)?;
                true
            }
            _ => return Err(Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, "unknown operation")),
        };
        let repo = self.open().await?;
        let transfer = if question.transfers.iter().any(|known| known == SPARSE) { SPARSE } else { BASIC };
        let entries = run(move || {
            let entry = |object: Object| {
                let oid = object.oid.parse::<Oid>().ok();
                let known = oid.map(|oid| known(&repo, &oid));
                if let (Some(oid), Some(Known::Stored(_)), true) = (oid, &known, is_upload) {
                    let _ = repo.freshen(&oid);
                }
                self.entry(object, oid, known, is_upload, transfer)
            };
            question.objects.into_iter().map(entry).collect::<Vec<_>>()
        });
        Ok(json(StatusCode::OK, &Answer { transfer, objects: entries.await?, hash_algo: "sha256" }))
    }

    pub(super) fn accepts_lfs(&self) -> Result<(), Refusal> {
        let accepts = self.header(header::ACCEPT).unwrap_or("*/*");
        match accepts.contains(LFS_JSON) || accepts.contains("*/*") || accepts.contains("application/json") {
            true => Ok(()),
            false => {
                Err(Refusal::new(StatusCode::NOT_ACCEPTABLE, format!("this API answers with {LFS_JSON}")))
            }
        }
    }

    /// A small body in JSON.
    pub(super) async fn body<T: serde::de::DeserializeOwned>(&mut self) -> Result<T, Refusal> {
        let too_long = "the body is longer than 1 MiB; ask for less at once";
        let bytes = self.whole_body(MAX_BODY_BYTES, too_long, StatusCode::TOO_MANY_REQUESTS).await?;
        serde_json::from_slice(&bytes).map_err(|error| Refusal::bad(format!("malformed JSON: {error}")))
    }

    async fn question(&mut self) -> Result<Question, Refusal> {
        let question: Question = self.body().await?;
        if question.objects.len() > MAX_OBJECTS {
            let words = format!("more than {MAX_OBJECTS} objects; ask for less at once");
            return Err(Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, words));
        }
        // One client has its own spelling.
        match question.hash_algo.as_deref() {
            None | Some("sha256" | "sha_256") => Ok(question),
            Some(_) => Err(Refusal::new(StatusCode::CONFLICT, "only sha256 is known here")),
        }
    }

    fn entry(
        &self,
        object: Object,
        oid: Option<Oid>,
        known: Option<Known>,
        is_upload: bool,
        transfer: &str,
    ) -> Entry {
        let refuse = |code: StatusCode, message: &str| {
            (None, Some(ObjectError { code: code.as_u16(), message: message.into() }))
        };
        let (actions, error) = match (oid, known) {
            (Some(oid), Some(known)) => match known {
                Known::Stored(size) if size != object.size => {
                    let message = format!("this file has {size} bytes, not {}", object.size);
                    refuse(StatusCode::UNPROCESSABLE_ENTITY, &message)
                }
                Known::Stored(_) if is_upload => (None, None),
                Known::Stored(size) => (Some(self.download_actions(oid, size, transfer)), None),
                Known::Missing if !is_upload => refuse(
                    StatusCode::NOT_FOUND,
                    "the hub does not have this file; push it from a clone that has it: git lfs push --all",
                ),
                Known::Missing if object.size > self.hub.limits.file_bytes => {
                    let message =
                        format!("files over {} bytes are not taken here", self.hub.limits.file_bytes);
                    refuse(StatusCode::INSUFFICIENT_STORAGE, &message)
                }
                Known::Missing => (Some(self.upload_actions(oid, object.size, transfer)), None),
                Known::Unreadable(why) => {
                    let refusal = self.hub.told(Refusal::internal(format!("file {oid}: {why}")));
                    refuse(refusal.status, &refusal.message)
                }
            },
            _ => refuse(StatusCode::UNPROCESSABLE_ENTITY, "an oid has 64 lower-case hexadecimal digits"),
        };
        let authenticated = actions.is_some();
        Entry { oid: object.oid, size: object.size, authenticated, actions, error }
    }

    fn download_actions(&self, oid: Oid, size: u64, transfer: &str) -> BTreeMap<&'static str, Action> {
        let action = match transfer {
            SPARSE => self.sparse_action(Purpose::Fetch),
            _ => self.link(Purpose::Get, &format!("objects/{oid}"), oid, size),
        };
        BTreeMap::from([("download", action)])
    }

    fn upload_actions(&self, oid: Oid, size: u64, transfer: &str) -> BTreeMap<&'static str, Action> {
        let action = match transfer {
            SPARSE => self.sparse_action(Purpose::Push),
            _ => self.link(Purpose::Put, &format!("objects/{oid}"), oid, size),
        };
        let verify = self.link(Purpose::Verify, "verify", oid, size);
        BTreeMap::from([("upload", action), ("verify", verify)])
    }

    /// A link that needs nothing beside itself: uploads carry no credentials.
    fn link(&self, purpose: Purpose, place: &str, oid: Oid, size: u64) -> Action {
        let life = self.hub.limits.link_life;
        let until = end(life);
        let of = oid.to_string();
        let signature = self.hub.keys.sign(&Claim { purpose, repo: &self.repo, of: &of, size, until });
        let href = format!("{}/{place}?oid={oid}&size={size}&until={until}&sig={signature}", self.lfs_url());
        Action { href, header: BTreeMap::new(), expires_in: life.as_secs() }
    }

    fn sparse_action(&self, purpose: Purpose) -> Action {
        let life = self.hub.limits.link_life;
        let until = end(life);
        let signature = self.hub.keys.sign(&Claim { purpose, repo: &self.repo, of: "", size: 0, until });
        let query = format!("until={until}&sig={signature}");
        let href = format!("{}/sparse/{}?{query}", self.lfs_url(), peer::VERSION);
        Action { href, header: BTreeMap::new(), expires_in: life.as_secs() }
    }

    fn lfs_url(&self) -> String {
        format!("{}/{}.git/info/lfs", self.hub.url, self.repo)
    }
}

fn known(repo: &Repo, oid: &Oid) -> Known {
    match repo.store.size(oid) {
        Ok(Some(size)) => Known::Stored(size),
        Ok(None) => Known::Missing,
        Err(error) => Known::Unreadable(error.to_string()),
    }
}
