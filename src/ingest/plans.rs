//! Plans of many runs of pages, kept together: those of one column are nearly the same in each group of rows.

use super::encoder::New;
use crate::codec::{Codec, Encoded, pages, zstd};
use crate::id::ObjectId;
use crate::pack::Bases;

/// Longer plans stay where they are,
const MAX_PLAN_BYTES: usize = 1 << 10;
/// and as many stand together as have so many bytes.
pub(super) const MAX_PLANS_BYTES: usize = 32 << 10;
/// Runs that wait at most: a plan and a payload of up to a KiB each, however many groups of rows a table has.
const MAX_HELD: usize = 1 << 13;
/// Plans are worth it where time is no matter, and short.
const LEVEL: i32 = 19;

/// Runs of pages whose plans wait for others.
#[derive(Default)]
pub(super) struct Plans {
    held: Vec<(Vec<u8>, New)>,
}

impl Plans {
    /// Keeps a run of pages back, or gives it back where its plan stays where it is.
    pub fn hold(&mut self, new: New) -> Option<New> {
        let is_pages = new.encoded.codec == Codec::Pages && new.encoded.payload.len() <= MAX_PLAN_BYTES;
        let plan = if is_pages { pages::plan_alone(&new.encoded.payload) } else { None };
        match plan.filter(|plan| plan.len() <= MAX_PLAN_BYTES) {
            Some(plan) => {
                self.held.push((plan, new));
                None
            }
            None => Some(new),
        }
    }

    /// Whether no more are to wait.
    pub fn is_full(&self) -> bool {
        self.held.len() >= MAX_HELD
    }

    /// All that was kept back, with objects of plans before it where these take less.
    pub fn take(&mut self) -> Vec<New> {
        let mut held = std::mem::take(&mut self.held);
        // Those that are alike stand beside each other.
        held.sort_by(|a, b| a.0.cmp(&b.0));
        let (mut out, mut group, mut bytes) = (Vec::with_capacity(held.len()), Vec::new(), 0);
        for (plan, new) in held {
            if bytes + plan.len() > MAX_PLANS_BYTES {
                out.extend(together(std::mem::take(&mut group)));
                bytes = 0;
            }
            bytes += plan.len();
            group.push((plan, new));
        }
        out.extend(together(group));
        out
    }
}

/// These runs, and the object of their plans if it pays.
fn together(held: Vec<(Vec<u8>, New)>) -> Vec<New> {
    let (mut plans, mut places) = (Vec::new(), Vec::new());
    for (plan, _) in &held {
        places.push(plans.len()..plans.len() + plan.len());
        plans.extend_from_slice(plan);
    }
    let payload = zstd::compress(&plans, LEVEL);
    let shared: Vec<Encoded> = places.into_iter().map(pages::with_plan_at).collect();
    let with_plans = payload.len() + shared.iter().map(|encoded| encoded.payload.len()).sum::<usize>();
    let alone = held.iter().map(|(_, new)| new.encoded.payload.len()).sum::<usize>();
    if with_plans >= alone {
        return held.into_iter().map(|(_, new)| new).collect();
    }
    let (object, len) = (ObjectId::of(&plans), plans.len() as u32);
    let encoded = Encoded { codec: Codec::Zstd, payload };
    let mut out = vec![New { object, len, encoded, base: None }];
    for ((_, mut new), encoded) in held.into_iter().zip(shared) {
        let with_object = new
            .base
            .and_then(|(bases, depth)| Some((Bases::of(bases.iter().copied().chain([object]))?, depth)));
        if let Some(base) = with_object {
            new.base = Some(base);
            new.encoded = encoded;
        }
        out.push(new);
    }
    out
}
