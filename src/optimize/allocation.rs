//! Which tensors get how many bits: the best files there are for each size, by what was measured of each group of tensors.
//!
//! Tensors of one role (all `ffn_down`, say), or of one role in a third of the layers, are one group and get one
//! type. How much worse the model gets when a single group gets a type is measured, as the mean Kullback-Leibler
//! divergence from the source; groups are taken to add up, as llama.cpp's `--target-bpw`, EXL2 and ModelOpt do. On
//! SmolLM2-135M the sum was within 13 % of what was measured of the whole. What is built so is measured again like any other candidate.

use std::collections::BTreeMap;

use super::size::{Tensor, fallback, tensor_bytes};

/// Tensors that get one type together.
#[derive(Debug, Clone, PartialEq)]
pub struct Group {
    /// Such as `ffn_down`, or `ffn_down.first` for a third of the layers.
    pub name: String,
    /// The role, without the layers.
    pub role: String,
    /// A regular expression that matches their names and no others.
    pub pattern: String,
    pub tensors: Vec<Tensor>,
}

/// A type that a group may get, what it would take, and how much worse the model gets by it.
#[derive(Debug, Clone, PartialEq)]
pub struct Kind {
    pub dtype: String,
    pub bytes: u64,
    /// Mean divergence from the source in nats, that of the reference type taken off.
    pub divergence: f64,
}

/// A type for each group.
#[derive(Debug, Clone, PartialEq)]
pub struct Allocation {
    /// For each group, the index of its kind.
    pub kinds: Vec<usize>,
    pub bytes: u64,
    /// As predicted: the sum over the groups.
    pub divergence: f64,
}

/// Matrices, by role. What has one row, or rows of no use to blocks, is left as it is.
pub fn roles(tensors: &[Tensor]) -> Vec<Group> {
    let mut groups: BTreeMap<String, Vec<Tensor>> = BTreeMap::new();
    for tensor in tensors.iter().filter(|tensor| is_matrix(tensor)) {
        groups.entry(role(&tensor.name)).or_default().push(tensor.clone());
    }
    groups.into_iter().map(|(role, tensors)| group(role.clone(), role, tensors)).collect()
}

/// The types that a group can really get of those that are wanted: with llama.cpp's fallbacks, each once.
pub fn kinds_of(group: &Group, wanted: &[&str]) -> Vec<(String, u64)> {
    let mut kinds: Vec<(String, u64)> = Vec::new();
    for dtype in wanted {
        let columns = group.tensors.first().map_or(0, |tensor| tensor.columns);
        let dtype = fallback(dtype, columns).unwrap_or(dtype);
        let bytes = group.tensors.iter().map(|tensor| tensor_bytes(tensor, dtype)).sum::<Option<u64>>();
        if let Some(bytes) = bytes.filter(|_| !kinds.iter().any(|(other, _)| other == dtype)) {
            kinds.push((dtype.to_owned(), bytes));
        }
    }
    kinds
}

/// Allocations of which none is both smaller and nearer to the source than another, smallest first.
///
/// Groups are added one by one, and of what is so far only the best of each size is kept: that loses nothing, since
/// sums only grow. Where there would be more than some ten thousand, sizes are told apart no finer than that.
pub fn frontier(groups: &[Vec<Kind>]) -> Vec<Allocation> {
    let mut states = vec![Allocation { kinds: Vec::new(), bytes: 0, divergence: 0.0 }];
    for kinds in groups {
        let mut next: Vec<Allocation> = Vec::with_capacity(states.len() * kinds.len());
        for state in &states {
            for (at, kind) in kinds.iter().enumerate() {
                let divergence = state.divergence + kind.divergence;
                let bytes = state.bytes.saturating_add(kind.bytes);
                let mut kinds = state.kinds.clone();
                kinds.push(at);
                next.push(Allocation { kinds, bytes, divergence });
            }
        }
        states = best(next);
    }
    states
}

/// The one with the least divergence among those of at most so many bytes.
pub fn within_bytes(frontier: &[Allocation], bytes: u64) -> Option<&Allocation> {
    frontier.iter().rev().find(|allocation| allocation.bytes <= bytes)
}

/// The smallest one of at most this divergence.
pub fn within_divergence(frontier: &[Allocation], divergence: f64) -> Option<&Allocation> {
    frontier.iter().find(|allocation| allocation.divergence <= divergence)
}

/// States that are told apart.
const MOST_STATES: usize = 20_000;

fn best(mut states: Vec<Allocation>) -> Vec<Allocation> {
    states
        .sort_by(|one, other| one.bytes.cmp(&other.bytes).then(one.divergence.total_cmp(&other.divergence)));
    let mut kept: Vec<Allocation> = Vec::new();
    for state in states {
        if kept.last().is_none_or(|last| state.divergence < last.divergence) {
            kept.push(state);
        }
    }
    if kept.len() <= MOST_STATES {
        return kept;
    }
    let (least, most) = (kept[0].bytes, kept[kept.len() - 1].bytes);
    let step = (most - least) / MOST_STATES as u64 + 1;
    let mut coarse: Vec<Allocation> = Vec::with_capacity(MOST_STATES + 1);
    for state in kept {
        // The last of a step is the nearest to the source.
        match coarse.last_mut() {
            Some(last) if (last.bytes - least) / step == (state.bytes - least) / step => *last = state,
            _ => coarse.push(state),
        }
    }
    coarse
}

fn group(name: String, role: String, tensors: Vec<Tensor>) -> Group {
    let layers: Vec<String> =
        tensors.iter().filter_map(|tensor| layer(&tensor.name)).map(|layer| layer.to_string()).collect();
    let pattern = match tensors.as_slice() {
        [one] => one.name.clone(),
        _ => format!(r"^blk\.({})\.{role}\.weight$", layers.join("|")),
    };
    Group { name, role, pattern, tensors }
}

fn is_matrix(tensor: &Tensor) -> bool {
    tensor.rows > 1 && tensor.columns.is_multiple_of(32) && tensor.name.ends_with(".weight")
}

/// `blk.3.attn_q.weight` is in layer 3.
fn layer(name: &str) -> Option<u32> {
    name.strip_prefix("blk.")?.split('.').next()?.parse().ok()
}

fn role(name: &str) -> String {
    let stem = name.strip_suffix(".weight").unwrap_or(name);
    match (layer(name), stem.splitn(3, '.').nth(2)) {
        (Some(_), Some(role)) => role.to_owned(),
        _ => stem.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tensors() -> Vec<Tensor> {
        let tensor = |name: String, columns, rows| Tensor { name, columns, rows };
        let mut all =
            vec![tensor("token_embd.weight".into(), 576, 1000), tensor("output_norm.weight".into(), 576, 1)];
        for layer in 0..7 {
            all.push(tensor(format!("blk.{layer}.attn_q.weight"), 576, 576));
            all.push(tensor(format!("blk.{layer}.ffn_down.weight"), 1536, 576));
            all.push(tensor(format!("blk.{layer}.attn_norm.weight"), 576, 1));
        }
        all
    }

    /// Every matrix is in one group, and a group's expression matches its own tensors only.
    #[test]
    fn groups_part_the_matrices() {
        let groups = roles(&tensors());
        let names: Vec<&str> = groups.iter().map(|group| group.name.as_str()).collect();
        assert_eq!(names, ["attn_q", "ffn_down", "token_embd"]);
        assert_eq!(groups[2].pattern, "token_embd.weight");
        assert_eq!(groups[1].tensors.len(), 7);
        let matches = regex_lite::Regex::new(&groups[1].pattern).unwrap();
        assert_eq!(tensors().iter().filter(|tensor| matches.is_match(&tensor.name)).count(), 7);
    }

    /// A type that llama.cpp would replace must not be measured under a name that is not its own.
    #[test]
    fn types_that_do_not_fit_are_those_that_llama_cpp_takes() {
        let groups = roles(&tensors());
        let kinds = |group: &Group| {
            let kinds = kinds_of(group, &["Q8_0", "Q6_K", "Q5_0", "Q4_K"]);
            kinds.into_iter().map(|(dtype, _)| dtype).collect::<Vec<_>>()
        };
        assert_eq!(kinds(&groups[0]), ["Q8_0", "Q5_0"]);
        assert_eq!(kinds(&groups[1]), ["Q8_0", "Q6_K", "Q5_0", "Q4_K"]);
    }

    fn kind(bytes: u64, divergence: f64) -> Kind {
        Kind { dtype: String::new(), bytes, divergence }
    }

    proptest! {
        /// The allocation is the best there is: as good as trying all.
        #[test]
        fn no_allocation_beats_the_frontier(
            groups in prop::collection::vec(prop::collection::vec((1u64..50, -1i32..100), 1..4), 1..5),
            budget in 4u64..200,
        ) {
            let groups: Vec<Vec<Kind>> = groups
                .iter()
                .map(|kinds| kinds.iter().map(|(bytes, cost)| kind(*bytes, f64::from(*cost))).collect())
                .collect();
            let mut all = vec![(0u64, 0.0f64)];
            for kinds in &groups {
                let plus = |(bytes, cost): &(u64, f64)| {
                    kinds.iter().map(|kind| (bytes + kind.bytes, cost + kind.divergence)).collect::<Vec<_>>()
                };
                all = all.iter().flat_map(plus).collect();
            }
            let exhaustive = all.iter().filter(|(bytes, _)| *bytes <= budget).map(|(_, cost)| *cost).min_by(f64::total_cmp);
            let frontier = frontier(&groups);
            let found = within_bytes(&frontier, budget);
            prop_assert_eq!(found.map(|found| found.divergence), exhaustive);
            for allocation in &frontier {
                let kinds = allocation.kinds.iter().zip(&groups).map(|(at, kinds)| &kinds[*at]);
                let bytes: u64 = kinds.clone().map(|kind| kind.bytes).sum();
                prop_assert_eq!(bytes, allocation.bytes);
            }
            let least = all.iter().filter(|(_, cost)| *cost <= 50.0).map(|(bytes, _)| *bytes).min();
            prop_assert_eq!(within_divergence(&frontier, 50.0).map(|found| found.bytes), least);
        }
    }

    /// Thirty groups have more allocations than atoms: sizes are told apart less finely, and nothing explodes.
    #[test]
    fn many_groups_stay_within_bounds() {
        let groups: Vec<Vec<Kind>> = (1..=30u64)
            .map(|at| {
                (1..=6u64).map(|kind_at| kind(at * 7919 * kind_at, 1.0 / (at * kind_at) as f64)).collect()
            })
            .collect();
        let found = frontier(&groups);
        assert!(found.len() <= MOST_STATES + 1 && found.len() > 1000, "{}", found.len());
        assert!(
            found
                .windows(2)
                .all(|pair| pair[0].bytes < pair[1].bytes && pair[0].divergence > pair[1].divergence)
        );
    }
}
