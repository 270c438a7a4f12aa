//! Merges as scores: llama.cpp has no list of merges for SentencePiece's vocabularies, but a score for each token.
//!
//! It merges any two neighbours whose text is a token, the one with the highest score first. A list of merges says
//! the same only if it has *every* pair whose text is a token, and all pairs of one token next to each other, as
//! those have that were made of a SentencePiece model. That is checked, pair by pair. Scores are then the places in
//! the list; SentencePiece's own differ, but not in their order.

use std::collections::{HashMap, HashSet};

use super::json::Merge;
use super::refuse;
use super::vocabulary::{Token, TokenKind};
use crate::convert::ConvertError;

/// A score for each token. Below all of them: what no merge makes.
pub(super) fn scores(tokens: &[Token], merges: &[Merge]) -> Result<Vec<f32>, ConvertError> {
    let ids: HashMap<&str, usize> =
        tokens.iter().enumerate().map(|(id, token)| (token.text.as_str(), id)).collect();
    let is_made = |id: usize| tokens[id].kind == TokenKind::Normal;
    let mut places: Vec<Option<u32>> = vec![None; tokens.len()];
    let mut pairs: HashSet<(usize, usize)> = HashSet::with_capacity(merges.len());
    let mut next = 0;
    let mut last = None;
    for merge in merges {
        let (left, right) = merge.pair()?;
        let id = |text: &str| {
            ids.get(text).copied().ok_or_else(|| {
                refuse(format!("the merge of {left:?} and {right:?} needs {text:?}, which is no token"))
            })
        };
        let made = id(&format!("{left}{right}"))?;
        pairs.insert((id(left)?, id(right)?));
        if last == Some(made) {
            continue;
        }
        last = Some(made);
        if places[made].replace(next).is_some() && is_made(made) {
            let text = &tokens[made].text;
            return Err(refuse(format!(
                "the merges to {text:?} do not stand together, so no score of it says the same in llama.cpp"
            )));
        }
        next += 1;
    }
    every_pair_is_listed(tokens, &ids, &pairs)?;
    let score = |place: &Option<u32>| -(place.unwrap_or(next) as f32);
    Ok(places.iter().map(score).collect())
}

/// llama.cpp would merge a pair that the list does not have.
fn every_pair_is_listed(
    tokens: &[Token],
    ids: &HashMap<&str, usize>,
    pairs: &HashSet<(usize, usize)>,
) -> Result<(), ConvertError> {
    for token in tokens.iter().filter(|token| token.kind == TokenKind::Normal) {
        for (at, _) in token.text.char_indices().skip(1) {
            let (left, right) = token.text.split_at(at);
            let found = ids.get(left).zip(ids.get(right));
            if let Some((&first, &second)) = found
                && !pairs.contains(&(first, second))
            {
                return Err(refuse(format!(
                    "llama.cpp would merge {left:?} and {right:?}, which the merges do not: \
                     they were not made of a SentencePiece model"
                )));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(texts: &[&str]) -> Vec<Token> {
        texts.iter().map(|text| Token { text: (*text).into(), kind: TokenKind::Normal }).collect()
    }

    fn merges(pairs: &[(&str, &str)]) -> Vec<Merge> {
        pairs.iter().map(|(left, right)| Merge::Pair((*left).into(), (*right).into())).collect()
    }

    /// The first merge must win in llama.cpp as well, and what nothing makes must lose to all.
    #[test]
    fn scores_follow_the_merges() {
        let tokens = tokens(&["a", "b", "ab", "bb", "abb"]);
        let list = merges(&[("b", "b"), ("a", "b"), ("a", "bb"), ("ab", "b")]);
        assert_eq!(scores(&tokens, &list).unwrap(), [-3.0, -3.0, -1.0, 0.0, -2.0]);
    }

    /// Lists that scores can't follow give other tokens, so they are refused.
    #[test]
    fn lists_that_scores_can_not_follow_are_refused() {
        let tokens = tokens(&["a", "b", "ab", "bb", "abb"]);
        let said = |pairs: &[(&str, &str)]| scores(&tokens, &merges(pairs)).unwrap_err().to_string();
        assert!(said(&[("b", "b"), ("a", "b"), ("a", "bb")]).contains("would merge \"ab\" and \"b\""));
        assert!(said(&[("a", "bb"), ("b", "b"), ("a", "b"), ("ab", "b")]).contains("do not stand together"));
        assert!(said(&[("b", "a")]).contains("is no token"));
        assert!(scores(&tokens, &[Merge::Text("ab".into())]).is_err());
    }

    /// Tokens that are cut out of a text before merges need none.
    #[test]
    fn added_tokens_need_no_merges() {
        let mut tokens = tokens(&["a", "b", "ab"]);
        tokens[2].kind = TokenKind::Control;
        assert_eq!(scores(&tokens, &[]).unwrap(), [0.0; 3]);
    }
}
