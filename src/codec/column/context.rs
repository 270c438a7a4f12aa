//! Old values that those of the written rows may resemble.

use std::collections::HashMap;
use std::ops::Range;

use super::super::zstd::MAX_DICTIONARY_BYTES;
use super::digits;
use super::sources::{Sources, each, values_of};
use crate::table::{Items, RowMap, Values};

/// Most bytes of old values, but for those of one row more.
const CONTEXT_BYTES: usize = 4 << 20;
/// Of that, the cells that were there before.
const BEFORE_BYTES: usize = 1 << 20;
/// So many bytes at the end are all that is used: two digits may stand in a byte.
const REACH_BYTES: usize = 2 * MAX_DICTIONARY_BYTES;
/// A row of more values is not walked twice.
const FEW_VALUES: usize = 16;
const DIGIT: u8 = b'0';
const NO_DIGIT: u8 = 0;

/// Some from everywhere, then those at the place of the written rows.
pub(super) fn context(sources: &Sources<'_>, map: &RowMap, written: &[usize]) -> Vec<u8> {
    let values = sources.formers.iter().map(|former| values_of(&former.cells.items));
    if written.is_empty() || values.clone().any(|values| matches!(values, Values::Fixed { .. })) {
        return Vec::new();
    }
    let room = (CONTEXT_BYTES - BEFORE_BYTES) / sources.formers.len().max(1);
    let mut context = Vec::new();
    for values in values {
        let bytes = values.bytes();
        context.extend_from_slice(&bytes[bytes.len().saturating_sub(room)..]);
    }
    let most = context.len() + BEFORE_BYTES;
    let mut next = written.iter().peekable();
    // Where rows of many values stand by now: a map may name one as often as it likes.
    let mut known: HashMap<(usize, usize), Range<usize>> = HashMap::new();
    for (row, _, from) in each(map) {
        if next.next_if(|written| **written == row).is_none() {
            continue;
        }
        let Some((at, own)) = from.and_then(|from| sources.find(from)) else { continue };
        let places = sources.places(at, own).1;
        let is_long = places.len() > FEW_VALUES;
        match known.get(&(at, own)).filter(|_| is_long) {
            Some(range) => context.extend_from_within(range.clone()),
            None => {
                let start = context.len();
                push_row(&mut context, &sources.formers[at].cells.items, places, REACH_BYTES);
                if is_long {
                    known.insert((at, own), start..context.len());
                }
            }
        }
        if context.len() > most {
            break;
        }
    }
    context
}

/// Appends the values of a row, so many `bytes` at most: codes may name a long one as often as they like.
///
/// What stands before those is out of zstd's reach, and tells no more than whether all are digits, and an even number. A
/// few bytes tell that as well.
fn push_row(context: &mut Vec<u8>, items: &Items, places: Range<usize>, bytes: usize) {
    let all: u64 = places.clone().map(|place| items.get(place).len() as u64).sum();
    let mut beyond = all.saturating_sub(bytes as u64);
    let mut is_known = Vec::new();
    if beyond > 0 {
        is_known = vec![false; values_of(items).len()];
        context.extend((beyond % 2 == 1).then_some(DIGIT));
    }
    for place in places {
        let value = items.get(place);
        let skipped = beyond.min(value.len() as u64) as usize;
        let number = match items {
            Items::Coded { codes, .. } => codes[place] as usize,
            Items::Plain(_) => place,
        };
        if skipped > 0 && !std::mem::replace(&mut is_known[number], true) && !digits::are_all(value) {
            context.push(NO_DIGIT);
        }
        beyond -= skipped as u64;
        context.extend_from_slice(&value[skipped..]);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::rows::Former;
    use super::*;
    use crate::format::Physical;
    use crate::table::{Cells, RowRun};

    const REACH: usize = 16;

    fn coded(values: &[&[u8]], codes: Vec<u32>) -> Items {
        let mut dictionary = Values::none(Physical::Bytes);
        values.iter().for_each(|value| dictionary.push(value));
        Items::Coded { codes, dictionary }
    }

    proptest! {
        /// Payloads that were made with all of a row's values must decode with those that zstd reaches.
        #[test]
        fn what_is_out_of_reach_changes_nothing(
            values in prop::collection::vec("[0-9a-f]{0,7}|[0-9a-g]{0,3}", 1..5),
            codes in prop::collection::vec(any::<u32>(), 0..20),
            before in "[0-9a-f]{0,3}",
            is_coded: bool,
        ) {
            let values: Vec<&[u8]> = values.iter().map(String::as_bytes).collect();
            let codes: Vec<u32> = codes.iter().map(|code| code % values.len() as u32).collect();
            let whole = [before.as_bytes(), &codes.iter().flat_map(|code| values[*code as usize]).copied().collect::<Vec<_>>()].concat();
            let len = codes.len();
            let mut items = coded(&values, codes);
            if !is_coded {
                let mut plain = Values::none(Physical::Bytes);
                (0..len).for_each(|at| plain.push(items.get(at)));
                items = Items::Plain(plain);
            }
            let mut found = before.clone().into_bytes();
            push_row(&mut found, &items, 0..len, REACH);
            let end = |bytes: &[u8], len| bytes[bytes.len().saturating_sub(len)..].to_vec();
            prop_assert_eq!(end(&found, REACH), end(&whole, REACH));
            let packed = [&found, &whole].map(|bytes| digits::pack(bytes).map(|packed| end(&packed, REACH / 2)));
            prop_assert_eq!(&packed[0], &packed[1]);
            prop_assert!(found.len() <= before.len() + REACH + values.len() + 1 || !is_coded);
        }
    }

    /// A few bytes of a list may name a long value as often as they like, and a map a long list.
    #[test]
    fn a_context_has_a_bound() {
        let lists = |values: &[&[u8]], many: usize| Cells {
            physical: Physical::Bytes,
            max_definition: 0,
            max_repetition: 1,
            entries: many,
            repetitions: (0..many).map(|at| u8::from(at > 0)).collect(),
            definitions: Vec::new(),
            items: coded(values, vec![0; many]),
        };
        let long = lists(&[&vec![b'x'; 64 << 10]], 1000);
        let former = [Former { cells: &long, start: 0, is_cast: false }];
        let one = RowMap { runs: vec![RowRun { rows: 1, from: Some(0), is_changed: true }] };
        let found = context(&Sources::of(&former).unwrap(), &one, &[0]);
        assert!((REACH_BYTES..REACH_BYTES + CONTEXT_BYTES).contains(&found.len()), "{}", found.len());
        // Nothing at all, two hundred thousand times over.
        let empty = lists(&[b""], 200_000);
        let former = [Former { cells: &empty, start: 0, is_cast: false }];
        let often = RowMap { runs: vec![RowRun { rows: 1, from: Some(0), is_changed: true }; 200_000] };
        let written: Vec<usize> = (0..often.rows()).collect();
        assert!(context(&Sources::of(&former).unwrap(), &often, &written).is_empty());
    }
}
