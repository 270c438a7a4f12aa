//! Which files of the base have what is in a table or a text: its own version there, others that were split, renamed or
//! put together.

use crate::base::Content;
use crate::minhash::{Asked, Candidate};

/// The numbers of those files, the one that gives most first; `own` is the one of the same path, which is always among
/// them if it is of the same kind.
pub(super) fn nearest(content: &Content, base: &[Option<Content>], own: Option<usize>) -> Vec<usize> {
    let order = own.into_iter().chain((0..base.len()).filter(|at| Some(*at) != own));
    let alike = |at: usize| base[at].as_ref().filter(|other| other.kind == content.kind);
    let candidate =
        |at| alike(at).map(|other| Candidate { file: at, size: other.size, kept: other.of.kept() });
    let chosen = Asked::about(&content.of, content.size).choose(order.filter_map(candidate).collect());
    let mut chosen: Vec<usize> = chosen.into_iter().map(|(at, _)| at).collect();
    chosen.extend(own.filter(|own| !chosen.contains(own) && alike(*own).is_some()));
    chosen
}
