//! The Pareto front: candidates to which no other is equal or better in everything and better in something.

use super::report::Candidate;

/// Marks the candidates on the front. Those without a measured quality are on no front.
pub fn mark(candidates: &mut [Candidate]) {
    let points: Vec<Option<Vec<Option<f64>>>> = candidates.iter().map(point).collect();
    for (at, candidate) in candidates.iter_mut().enumerate() {
        let own = points[at].as_ref();
        let beats = |other: &Option<Vec<Option<f64>>>| match (other, own) {
            (Some(other), Some(own)) => dominates(other, own),
            _ => false,
        };
        candidate.is_on_front = own.is_some() && !points.iter().any(beats);
    }
}

/// What less of is better.
fn point(candidate: &Candidate) -> Option<Vec<Option<f64>>> {
    let quality = candidate.quality.as_ref()?;
    let speed = candidate.speed.as_ref().filter(|speed| speed.unreliable.is_none());
    Some(vec![
        Some(quality.increase_percent.value),
        Some(candidate.bytes as f64),
        candidate.cost.map(|cost| cost.output_usd_per_mtok),
        speed.map(|speed| speed.token_ms.p50.value),
        candidate.peak_memory_bytes.map(|bytes| bytes as f64),
    ])
}

/// Whether one is no worse in all that both have, and better in something.
fn dominates(one: &[Option<f64>], other: &[Option<f64>]) -> bool {
    let both = || one.iter().zip(other).filter_map(|(one, other)| Some(((*one)?, (*other)?)));
    both().all(|(one, other)| one <= other) && both().any(|(one, other)| one < other)
}
