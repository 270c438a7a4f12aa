//! The prompts of the log that lie nearest to one: cosines of TF-IDF over an inverted index.
//!
//! Terms that stand in one prompt only can't connect two and are left out. The more prompts a term stands
//! in, the less it says; its weight falls to nothing where it stands in all of them.

use hashbrown::HashMap;

use super::features::Features;

/// A term counts if it stands in at least so many prompts.
const LEAST_PROMPTS: u32 = 2;
/// Terms of a prompt that are looked up: those with the greatest weight.
const MOST_TERMS: usize = 1024;

/// The prompts of a log, to be asked which are near.
#[derive(Debug, Clone)]
pub struct Neighbours {
    terms: HashMap<u32, Term, foldhash::fast::FixedState>,
    /// A prompt and the weight of the term in it, term by term.
    postings: Vec<(u32, f32)>,
    prompts: usize,
}

#[derive(Debug, Clone, Copy)]
struct Term {
    begin: u32,
    end: u32,
    rarity: f32,
}

impl Neighbours {
    /// An index of prompts, which are numbered in their order.
    pub fn of(prompts: &[&Features]) -> Neighbours {
        let mut counts: HashMap<u32, u32, foldhash::fast::FixedState> = HashMap::default();
        for (term, _) in prompts.iter().flat_map(|prompt| &prompt.terms) {
            *counts.entry(*term).or_default() += 1;
        }
        counts.retain(|_, count| *count >= LEAST_PROMPTS && (*count as usize) < prompts.len().max(3));
        let mut kept: Vec<(u32, u32)> = counts.into_iter().collect();
        kept.sort_unstable();
        let mut terms = HashMap::with_capacity_and_hasher(kept.len(), foldhash::fast::FixedState::default());
        let mut begin = 0;
        for (term, count) in kept {
            let rarity = ((1.0 + prompts.len() as f32) / (1.0 + count as f32)).ln();
            // `end` grows as the list fills.
            terms.insert(term, Term { begin, end: begin, rarity });
            begin += count;
        }
        let mut postings = vec![(0, 0.0); begin as usize];
        for (number, prompt) in prompts.iter().enumerate() {
            let known = |term: &u32| terms.get(term).map(|it: &Term| it.rarity);
            let length = length(prompt, known);
            for (term, count) in &prompt.terms {
                if let Some(term) = terms.get_mut(term) {
                    postings[term.end as usize] = (number as u32, count * term.rarity / length);
                    term.end += 1;
                }
            }
        }
        Neighbours { terms, postings, prompts: prompts.len() }
    }

    /// How many prompts there are.
    pub fn len(&self) -> usize {
        self.prompts
    }

    pub fn is_empty(&self) -> bool {
        self.prompts == 0
    }

    /// How near each prompt lies, from 0 (no term in both) to 1.
    pub fn similarities(&self, prompt: &Features) -> Vec<f32> {
        let mut found: Vec<(Term, f32)> = Vec::new();
        for (term, count) in &prompt.terms {
            found.extend(self.terms.get(term).map(|term| (*term, count * term.rarity)));
        }
        if found.len() > MOST_TERMS {
            found.select_nth_unstable_by(MOST_TERMS, |a, b| {
                b.1.total_cmp(&a.1).then(a.0.begin.cmp(&b.0.begin))
            });
            found.truncate(MOST_TERMS);
            // Sums of floating point depend on their order.
            found.sort_unstable_by_key(|(term, _)| term.begin);
        }
        let length = found.iter().map(|(_, weight)| weight * weight).sum::<f32>().sqrt();
        let mut similarities = vec![0.0f32; self.prompts];
        for (term, weight) in found {
            let weight = weight / length;
            for (number, there) in &self.postings[term.begin as usize..term.end as usize] {
                similarities[*number as usize] += weight * there;
            }
        }
        similarities
    }
}

fn length(prompt: &Features, rarity: impl Fn(&u32) -> Option<f32>) -> f32 {
    let weights = prompt.terms.iter().filter_map(|(term, count)| Some(count * rarity(term)?));
    weights.map(|weight| weight * weight).sum::<f32>().sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Decisions rest on who is near: what shares words is, what shares none is not, itself is nearest.
    #[test]
    fn prompts_are_near_by_the_words_they_share() {
        let texts = [
            "sort a list in rust",
            "sort a vector in rust",
            "capital city of france",
            "the capital city of peru",
        ];
        let features: Vec<Features> = texts.iter().map(|text| Features::of(text)).collect();
        let index = Neighbours::of(&features.iter().collect::<Vec<_>>());
        let near = index.similarities(&Features::of("sort a list in rust"));
        assert!(
            (near[0] - 1.0).abs() < 1e-6 && near[1] > 0.3 && near[2] == 0.0 && near[3] == 0.0,
            "{near:?}"
        );
        assert_eq!(index.similarities(&Features::of("zebra")), [0.0; 4]);
        assert!(Neighbours::of(&[]).similarities(&features[0]).is_empty());
    }
}
