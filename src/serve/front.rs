//! What whoever looks with a browser sees: which repositories there are for them, and how to get them. In plain text for
//! others.

use std::collections::HashMap;
use std::fmt::Write;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hyper::header::{self, HeaderValue};
use hyper::{Method, Request, StatusCode};

use super::access::{Caller, May};
use super::replies::{Refusal, Reply, empty, html, text};
use super::repos::{Figures, RepoName};
use super::router::{Hub, run};

/// Repositories that are shown, and directories that are looked through for them.
const MOST_SHOWN: usize = 200;
const MOST_NAMES: usize = 10_000;
/// How old figures may be.
const FRESH: Duration = Duration::from_secs(60);
/// The query by which a browser asks for the dialogue that sends a token.
const SIGN_IN: &str = "sign-in";
/// What hubs are and can do, from this version's own documents.
pub const DOCUMENT: &str = include_str!("../../docs/hub.md");
pub const DOCUMENT_PATH: &str = "/docs/hub.md";

/// What a visitor wants to see.
pub struct Visit {
    is_get: bool,
    signs_in: bool,
    wants_html: bool,
}

impl Visit {
    pub fn of<B>(request: &Request<B>) -> Visit {
        let accepts = request.headers().get(header::ACCEPT).and_then(|value| value.to_str().ok());
        Visit {
            is_get: [Method::GET, Method::HEAD].contains(request.method()),
            signs_in: request.uri().query() == Some(SIGN_IN),
            wants_html: accepts.is_some_and(|accepts| accepts.contains("text/html")),
        }
    }
}

/// A repository that the visitor may read.
struct Shown {
    name: RepoName,
    figures: Option<Figures>,
}

/// Figures that were counted not long ago.
#[derive(Default)]
pub struct Counted(Mutex<HashMap<RepoName, (Instant, Option<Figures>)>>);

impl Hub {
    /// The page. It tells of no repository that the visitor may not read, nor whether there is one.
    pub async fn front(self: Arc<Hub>, visit: Visit, secret: Option<String>, caller: Caller) -> Reply {
        if !visit.is_get {
            return empty(StatusCode::METHOD_NOT_ALLOWED);
        }
        if visit.signs_in && !matches!(caller, Caller::Token(_)) {
            return Refusal::unauthorized().reply();
        }
        let hub = self.clone();
        let (shown, are_more) = match run(move || hub.shown(secret.as_deref())).await {
            Ok(shown) => shown,
            Err(refusal) => return self.told(refusal).reply(),
        };
        let who = if let Caller::Token(name) = &caller { Some(name.as_str()) } else { None };
        let mut reply = match visit.wants_html {
            true => html(page(&self.url, &shown, are_more, who)),
            false => text(StatusCode::OK, plain(&self.url, &shown, are_more)),
        };
        reply.headers_mut().insert(header::VARY, HeaderValue::from_static("accept, authorization"));
        reply
    }

    /// What may be read with this token, and whether there is more than is shown.
    fn shown(&self, secret: Option<&str>) -> (Vec<Shown>, bool) {
        let may_read = |name: &RepoName| self.gate.ask(secret, Some(name)).1 >= Some(May::Read);
        let mut names = self.repos.names(MOST_NAMES);
        names.retain(may_read);
        let are_more = names.len() > MOST_SHOWN;
        names.truncate(MOST_SHOWN);
        let shown = |name: RepoName| Shown { figures: self.figures(&name), name };
        (names.into_iter().map(shown).collect(), are_more)
    }

    fn figures(&self, name: &RepoName) -> Option<Figures> {
        let known = || self.counted.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, figures)) = known().get(name)
            && at.elapsed() < FRESH
        {
            return *figures;
        }
        let figures = self.repos.figures(name);
        let mut known = known();
        known.retain(|_, (at, _)| at.elapsed() < FRESH);
        known.insert(name.clone(), (Instant::now(), figures));
        figures
    }
}

const HOW: &str = "git and git-lfs are enough; with git sparse installed, only what changed is moved.";
const TOKEN: &str = "git asks for a user name (any) and a password (a token of this hub).";

fn plain(url: &str, shown: &[Shown], are_more: bool) -> String {
    let mut out = format!("git-sparse hub {}\n\n", crate::VERSION);
    for Shown { name, figures } in shown {
        let _ = writeln!(
            out,
            "  git clone {url}/{name}.git{}",
            figures.map_or(String::new(), |figures| { format!("  ({})", in_words(&figures)) })
        );
    }
    if shown.is_empty() {
        let _ = writeln!(out, "  git clone {url}/org/model.git");
    }
    if are_more {
        let _ = writeln!(out, "  and more");
    }
    let _ =
        write!(out, "  git push {url}/org/model.git main\n\n{HOW}\n{TOKEN}\nMore: {url}{DOCUMENT_PATH}\n");
    out
}

fn page(url: &str, shown: &[Shown], are_more: bool, who: Option<&str>) -> String {
    let url = escaped(url);
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>git-sparse hub</title>\n\
         <style>body{{font:1rem/1.5 sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}}\
         td,th{{text-align:left;padding:.2rem 1rem .2rem 0;vertical-align:top}}</style>\n\
         <h1>git-sparse hub</h1>\n<p>{HOW} {TOKEN}</p>\n"
    );
    if shown.is_empty() {
        out.push_str("<p>There is no repository here that you may see. The first push makes one:</p>\n");
        let _ = writeln!(out, "<pre>git push {url}/org/model.git main</pre>");
    } else {
        out.push_str("<table>\n<tr><th>Repository<th>Clone<th>Large files\n");
        for Shown { name, figures } in shown {
            let name = escaped(name.as_str());
            let figures = figures.map_or("in a bucket".into(), |figures| in_words(&figures));
            let _ = writeln!(
                out,
                "<tr><td>{name}<td><code>git clone {url}/{name}.git</code><td>{}",
                escaped(&figures)
            );
        }
        out.push_str("</table>\n");
    }
    if are_more {
        let _ = writeln!(out, "<p>There are more than these {MOST_SHOWN}.</p>");
    }
    let _ = match who {
        Some(name) => writeln!(out, "<p>You are signed in with the token {}.</p>", escaped(name)),
        None => writeln!(out, "<p><a href=\"/?{SIGN_IN}\">Sign in with a token</a> to see more.</p>"),
    };
    let _ = writeln!(
        out,
        "<p><a href=\"{DOCUMENT_PATH}\">What this hub can do</a>. git-sparse {}.</p>",
        crate::VERSION
    );
    out
}

fn in_words(figures: &Figures) -> String {
    let files = if figures.files == 1 { "1 file".into() } else { format!("{} files", figures.files) };
    match figures.logical {
        Some(logical) => format!("{files}, {} stored as {}", bytes(logical), bytes(figures.stored)),
        None => format!("{files}, stored as {}", bytes(figures.stored)),
    }
}

fn bytes(bytes: u64) -> String {
    let (mut value, mut unit) = (bytes as f64, 0);
    const UNITS: [&str; 5] = ["bytes", "kB", "MB", "GB", "TB"];
    while value >= 1000.0 && unit + 1 < UNITS.len() {
        (value, unit) = (value / 1000.0, unit + 1);
    }
    if unit == 0 { format!("{bytes} bytes") } else { format!("{value:.1} {}", UNITS[unit]) }
}

/// Text as HTML shows it.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for sign in text.chars() {
        match sign {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            sign => out.push(sign),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What an operator or a token is called must not become markup.
    #[test]
    fn nothing_that_is_shown_is_markup() {
        let figures = Some(Figures { stored: 1_500, files: 2, logical: Some(2_000_000) });
        let shown = [Shown { name: "org/model".parse().unwrap(), figures }];
        let page = page("https://h/\"><script>x</script>", &shown, false, Some("<b>'&"));
        assert!(!page.contains("<script") && !page.contains("<b>"), "{page}");
        assert!(
            page.contains("&lt;b&gt;&#39;&amp;") && page.contains("2 files, 2.0 MB stored as 1.5 kB"),
            "{page}"
        );
        assert_eq!(bytes(999), "999 bytes");
    }
}
