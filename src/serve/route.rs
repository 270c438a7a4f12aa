//! What a path means.

use hyper::Method;

use super::front::DOCUMENT_PATH;
use super::repos::RepoName;
use crate::id::Oid;
use crate::peer;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    /// What this is, for whoever looks with a browser.
    Front,
    /// A page of the documents.
    Document,
    /// Whether the server is well.
    Health,
    Metrics,
    Of(RepoName, Endpoint),
}

/// What is asked of one repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// One of git's own, `/info/refs` and the two services, as `git http-backend` knows it.
    Git(&'static str),
    Batch,
    Object(Oid),
    Verify,
    Locks,
    VerifyLocks,
    Unlock(String),
    Sparse(Verb),
}

/// What is asked by transfer `sparse`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    Has,
    Lacking,
    Records,
    Give,
    Take,
    Recipe(Oid),
}

/// The part of a path between the repository and what is asked of it.
const LFS: &str = "/info/lfs/";
const GIT: [&str; 3] = ["/info/refs", "/git-upload-pack", "/git-receive-pack"];

/// Reads a path; none where it means nothing here.
pub fn route(path: &str) -> Option<Route> {
    match path {
        "/" => return Some(Route::Front),
        DOCUMENT_PATH => return Some(Route::Document),
        "/healthz" => return Some(Route::Health),
        "/metrics" => return Some(Route::Metrics),
        _ => {}
    }
    let path = path.strip_prefix('/')?;
    if let Some((repo, rest)) = path.split_once(LFS) {
        return Some(Route::Of(repo.parse().ok()?, lfs(rest)?));
    }
    let (repo, service) = GIT.iter().find_map(|service| Some((path.strip_suffix(service)?, *service)))?;
    Some(Route::Of(repo.parse().ok()?, Endpoint::Git(service)))
}

fn lfs(rest: &str) -> Option<Endpoint> {
    Some(match rest.split('/').collect::<Vec<_>>()[..] {
        ["objects", "batch"] => Endpoint::Batch,
        ["objects", oid] => Endpoint::Object(oid.parse().ok()?),
        ["verify"] => Endpoint::Verify,
        ["locks"] => Endpoint::Locks,
        ["locks", "verify"] => Endpoint::VerifyLocks,
        ["locks", id, "unlock"] => Endpoint::Unlock(id.into()),
        ["sparse", peer::VERSION, ref verb @ ..] => Endpoint::Sparse(match verb {
            ["has"] => Verb::Has,
            ["lacking"] => Verb::Lacking,
            ["records"] => Verb::Records,
            ["give"] => Verb::Give,
            ["take"] => Verb::Take,
            ["recipes", oid] => Verb::Recipe(oid.parse().ok()?),
            _ => return None,
        }),
        _ => return None,
    })
}

impl Endpoint {
    /// The methods that are known here.
    pub fn allows(&self, method: &Method) -> bool {
        match self {
            Endpoint::Git("/info/refs") => method == Method::GET,
            Endpoint::Git(_) | Endpoint::Batch | Endpoint::Verify => method == Method::POST,
            Endpoint::Object(_) => [Method::GET, Method::HEAD, Method::PUT].contains(method),
            Endpoint::Locks => [Method::GET, Method::POST].contains(method),
            Endpoint::VerifyLocks | Endpoint::Unlock(_) => method == Method::POST,
            Endpoint::Sparse(Verb::Recipe(_)) => [Method::GET, Method::PUT].contains(method),
            Endpoint::Sparse(_) => method == Method::POST,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Paths come from strangers: only the known ones may lead anywhere.
    #[test]
    fn only_known_paths_mean_something() {
        let oid = Oid::of(b"x");
        let of = |path: &str| match route(path) {
            Some(Route::Of(repo, endpoint)) => Some((repo.to_string(), endpoint)),
            _ => None,
        };
        let repo = "org/model".to_owned();
        for (path, endpoint) in [
            ("/org/model.git/info/lfs/objects/batch".to_owned(), Endpoint::Batch),
            (format!("/org/model/info/lfs/objects/{oid}"), Endpoint::Object(oid)),
            ("/org/model.git/info/refs".to_owned(), Endpoint::Git("/info/refs")),
            ("/org/model/git-receive-pack".to_owned(), Endpoint::Git("/git-receive-pack")),
            ("/org/model.git/info/lfs/locks/7/unlock".to_owned(), Endpoint::Unlock("7".into())),
            (format!("/org/model.git/info/lfs/sparse/1/recipes/{oid}"), Endpoint::Sparse(Verb::Recipe(oid))),
        ] {
            assert_eq!(of(&path), Some((repo.clone(), endpoint)), "{path}");
        }
        for bad in [
            "/org/../etc/info/refs",
            "/info/refs",
            "//info/refs",
            "/org/model.git/objects/info/packs",
            "/org/model.git/config",
            "/org/model.git/info/lfs/objects/../../x",
            "/org/model.git/info/lfs/objects/abc",
            "/org/model.git/info/lfs/sparse/2/has",
            "/org%2fmodel/info/refs",
            "*",
            "",
        ] {
            assert_eq!(route(bad), None, "{bad} passed");
        }
    }
}
