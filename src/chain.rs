//! An object with all that it is decoded with, down to those that need nothing.

use crate::id::ObjectId;
use crate::index::Found;
use crate::pack::{MAX_DEPTH, MAX_OBJECT_BYTES};

/// Most objects that one is decoded with, itself counted.
pub const MAX_LINKS: usize = 256;
/// Most decoded bytes of them all: those of the longest chain.
pub const MAX_BYTES: u64 = (MAX_DEPTH as u64 + 1) * MAX_OBJECT_BYTES as u64;

/// The object first, then the others, deepest first: a base comes after all that need it.
#[derive(Debug, Clone)]
pub struct Chain {
    links: Vec<Found>,
}

/// Why there is no chain.
#[derive(Debug)]
pub enum Broken<E> {
    /// Whoever was asked where an object lies has an error of its own.
    Find(E),
    /// A base must lie less deep than what is decoded with it.
    Depth {
        base: ObjectId,
        depth: u8,
        above: u8,
    },
    TooLong,
}

impl<E> Broken<E> {
    /// The reason in words, where it is none of `find`'s.
    pub fn why(&self) -> String {
        match self {
            Broken::Depth { base, depth, above } => {
                format!("base {base} has depth {depth}, its delta has {above}")
            }
            _ => format!("it is longer than {MAX_LINKS} objects or {MAX_BYTES} bytes"),
        }
    }
}

impl Chain {
    /// The chain of an object, where `find` says where each lies.
    pub fn of<E>(
        object: &ObjectId,
        mut find: impl FnMut(&ObjectId) -> Result<Found, E>,
    ) -> Result<Chain, Broken<E>> {
        let mut links = vec![find(object).map_err(Broken::Find)?];
        let mut next = 0;
        while next < links.len() {
            let Found { record, .. } = links[next];
            for base in &*record.bases {
                let known = links.iter().find(|link| link.record.object == *base).copied();
                let found = known.map_or_else(|| find(base).map_err(Broken::Find), Ok)?;
                let depth = found.record.depth;
                if depth >= record.depth {
                    return Err(Broken::Depth { base: *base, depth, above: record.depth });
                }
                if known.is_none() {
                    links.push(found);
                }
            }
            if links.len() > MAX_LINKS {
                return Err(Broken::TooLong);
            }
            next += 1;
        }
        let bytes: u64 = links.iter().map(|link| u64::from(link.record.logical_len)).sum();
        if bytes > MAX_BYTES {
            return Err(Broken::TooLong);
        }
        links.sort_by_key(|link| u8::MAX - link.record.depth);
        Ok(Chain { links })
    }

    /// Whether there is one, where `find` may know nothing.
    pub fn is_whole(object: &ObjectId, find: impl Fn(&ObjectId) -> Option<Found>) -> bool {
        Chain::of(object, |object| find(object).ok_or(())).is_ok()
    }

    /// The object itself.
    pub fn top(&self) -> &Found {
        &self.links[0]
    }

    pub fn links(&self) -> &[Found] {
        &self.links
    }

    /// Where the bases of one of the links lie.
    pub fn bases_of(&self, link: &Found) -> impl Iterator<Item = &Found> {
        link.record.bases.iter().map(|base| {
            let lies = self.links.iter().find(|link| link.record.object == *base);
            lies.expect("because a chain has the bases of its links")
        })
    }

    /// The links that are decoded with more than once, and how often.
    pub fn shared(&self) -> impl Iterator<Item = (ObjectId, usize)> {
        // One may have the same base twice.
        let users = |object: &ObjectId| {
            let bases = self.links.iter().flat_map(|link| link.record.bases.iter());
            bases.filter(|base| *base == object).count()
        };
        let objects = self.links.iter().map(|link| link.record.object);
        objects.map(move |object| (object, users(&object))).filter(|(_, users)| *users > 1)
    }

    /// The links that whoever has these objects, each with its bases, lacks.
    pub fn lacking(&self, has: impl Fn(&ObjectId) -> bool) -> Vec<Found> {
        let mut wanted = vec![self.top().record.object];
        let mut lacking = Vec::new();
        for link in &self.links {
            if wanted.contains(&link.record.object) && !has(&link.record.object) {
                wanted.extend_from_slice(&link.record.bases);
                lacking.push(*link);
            }
        }
        lacking
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Codec;
    use crate::id::PackId;
    use crate::pack::{Bases, Record};

    fn id(name: &str) -> ObjectId {
        ObjectId::of(name.as_bytes())
    }

    fn found(name: &str, depth: u8, bases: &[&str]) -> Found {
        let record = Record {
            object: id(name),
            bases: Bases::of(bases.iter().map(|base| id(base))).unwrap(),
            offset: 8,
            payload_len: 1,
            logical_len: MAX_OBJECT_BYTES,
            checksum: [0; 16],
            codec: Codec::Raw,
            depth,
        };
        Found { pack: PackId::from_bytes([0; 32]), record }
    }

    fn chain(store: &[Found], top: &str) -> Result<Chain, Broken<()>> {
        let find = |object: &ObjectId| store.iter().find(|found| found.record.object == *object).copied();
        Chain::of(&id(top), |object| find(object).ok_or(()))
    }

    /// Whoever decodes from the end on must find each base done, and one that two need only once.
    #[test]
    fn bases_come_after_all_that_need_them() {
        let store = [
            found("merge", 3, &["a", "b"]),
            found("b", 1, &["root"]),
            found("a", 2, &["b"]),
            found("root", 0, &[]),
        ];
        let chain = chain(&store, "merge").unwrap();
        let order: Vec<_> = chain.links().iter().map(|link| link.record.object).collect();
        assert_eq!(order, ["merge", "a", "b", "root"].map(id));
        assert_eq!(chain.shared().collect::<Vec<_>>(), [(id("b"), 2)]);
        let lacking = |has: &[&str]| {
            let has: Vec<_> = has.iter().map(|name| id(name)).collect();
            chain.lacking(|object| has.contains(object)).len()
        };
        assert_eq!([lacking(&[]), lacking(&["a", "b"]), lacking(&["merge"]), lacking(&["b"])], [4, 1, 0, 2]);
    }

    /// Whoever names a base twice must not have it decoded twice, nor what is below it four times.
    #[test]
    fn a_base_that_is_named_twice_is_shared() {
        let store = [found("top", 2, &["a", "a"]), found("a", 1, &["root"]), found("root", 0, &[])];
        let shared: Vec<_> = chain(&store, "top").unwrap().shared().collect();
        assert_eq!(shared, [(id("a"), 2)]);
    }

    /// A pack may claim anything: circles, missing bases and bombs must end.
    #[test]
    fn what_can_not_be_decoded_is_no_chain() {
        let circle = [found("a", 2, &["b"]), found("b", 1, &["a"])];
        assert!(matches!(chain(&circle, "a"), Err(Broken::Depth { above: 1, .. })));
        assert!(matches!(chain(&[found("a", 1, &["b"])], "a"), Err(Broken::Find(()))));
        let names: Vec<String> = (0..40).map(|at| at.to_string()).collect();
        let wide: Vec<Found> = names
            .iter()
            .enumerate()
            .map(|(at, name)| {
                let below: Vec<&str> = names.iter().skip(at + 1).take(4).map(String::as_str).collect();
                found(name, if below.is_empty() { 0 } else { 40 - at as u8 }, &below)
            })
            .collect();
        assert!(matches!(chain(&wide, "0"), Err(Broken::TooLong)));
    }
}
