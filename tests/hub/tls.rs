//! The hub over https, with a certificate that only who is told of it trusts.

use std::fs;

use super::transfer::{push_all, repo_for};
use crate::support::home::{Home, Mode};
use crate::support::repo::{Repo, text, tree_of};
use crate::support::server::Server;

/// Who trusts the certificate pushes and clones; who does not is told that it is the certificate.
#[test]
fn a_certificate_is_trusted_or_refused() {
    let keeper = Home::bare(Mode::Daemon);
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()]);
    let made = made.expect("a certificate");
    let (certificate, key) = (keeper.path("cert.pem"), keeper.path("key.pem"));
    fs::write(&certificate, made.cert.pem()).expect("a file");
    fs::write(&key, made.signing_key.serialize_pem()).expect("a file");
    let root = keeper.path("hub");
    let (certificate, key) = (text(&certificate).to_owned(), text(&key).to_owned());
    let options = ["--anonymous", "write", "--tls-cert", &certificate, "--tls-key", &key];
    let server = Server::over(keeper, &root, &options);
    assert!(server.url.starts_with("https://"), "{}", server.url);

    let home = Home::new(Mode::Daemon);
    home.git(&home.path(""), &["config", "--global", "http.sslCAInfo", &certificate]);
    let repo = repo_for(&home, &server.repo("model"), "work");
    let revision = repo.commit("base", tree_of(&[("model", "tiny-base")]));
    push_all(&repo);
    let clone = Repo::clone(&home, &server.repo("model"), "clone", &[]);
    clone.assert_is(&revision.expected);
    let other = Home::new(Mode::Daemon);
    other.git(&other.path(""), &["config", "--global", "http.sslCAInfo", &certificate]);
    other.git(&other.path(""), &["sparse", "clone", &server.repo("model"), "ours"]);
    Repo { home: &other, path: other.path("ours") }.assert_is(&revision.expected);

    // Someone who turned git's own check off is told by ours.
    let stranger = Home::new(Mode::Daemon);
    stranger.git(&stranger.path(""), &["config", "--global", "http.sslVerify", "false"]);
    let told = stranger.git_fails(&stranger.path(""), &["clone", "--quiet", &server.repo("model"), "clone"]);
    assert!(told.contains("certificate"), "the certificate is not named:\n{told}");
    assert!(told.contains("http.sslCAInfo"), "nothing says what to do:\n{told}");
}
