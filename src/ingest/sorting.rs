//! Whether the rows of a table are those of the version before, sorted by some columns.

use super::former::FormerRun;
use super::rows::{Both, Formers, MapObject};
use crate::codec::sorted as codec;
use crate::format::Segment;
use crate::id::ObjectId;
use crate::pack::MAX_BASES;
use crate::table::{Cells, Direction, Ranks, RowMap, sorted};

/// Most columns that a table is taken to be sorted by.
const MAX_KEYS: usize = 4;
/// Rows that stand together, in a table that was sorted: more are not worth a look.
const MOST_TOGETHER: usize = 8;

impl Both<'_> {
    /// The map of rows that were sorted, as an object that says by which columns; none where they were not.
    pub fn sorting(
        &self,
        columns: &[(&str, Vec<&Segment>)],
        map: &RowMap,
        [old, new]: [&[u64]; 2],
        formers: &Formers,
    ) -> Option<(RowMap, MapObject)> {
        let rows = map.rows();
        let all_copied = map.runs.iter().all(|run| run.from.is_some() && !run.is_changed);
        (all_copied && old.len() == rows && map.runs.len() * MOST_TOGETHER > rows).then_some(())?;
        let keys = self.keys(columns, rows, formers)?;
        let ranks =
            |(name, direction): &(&str, Direction)| Some((self.former_ranks(&formers[*name])?, *direction));
        let map = sorted(&keys.iter().map(ranks).collect::<Option<Vec<_>>>()?)?;
        let mut at = 0;
        let is_right = map.runs.iter().all(|run| {
            let from = run.from.unwrap_or(0) as usize;
            let range = at..at + run.rows as usize;
            at = range.end;
            new[range] == old[from..from + run.rows as usize]
        });
        is_right.then_some(())?;
        let bases: Vec<ObjectId> =
            keys.iter().flat_map(|(name, _)| formers[*name].iter().map(|former| former.object)).collect();
        let counts: Vec<_> =
            keys.iter().map(|(name, direction)| (*direction, formers[*name].len())).collect();
        (bases.len() <= MAX_BASES).then_some(())?;
        let bytes = map.encode();
        let (object, len) = (ObjectId::of(&bytes), bytes.len() as u32);
        Some((map, MapObject { object, len, encoded: codec::encode(&counts), bases }))
    }

    /// The columns that the new rows are sorted by, if they are: each is the one that tells most rows apart which those
    /// before it don't.
    fn keys<'c>(
        &self,
        columns: &[(&'c str, Vec<&Segment>)],
        rows: usize,
        formers: &Formers,
    ) -> Option<Vec<(&'c str, Direction)>> {
        let mut ranks = Vec::new();
        for (name, segments) in columns.iter().filter(|(name, _)| formers.contains_key(*name)) {
            let mut runs = Vec::new();
            let kind = *self.kinds.get(*name)?;
            if kind.max_repetition == 0 {
                self.each_run(kind, segments, |_, _, cells| {
                    runs.push(cells);
                    Some(())
                })?;
                ranks
                    .extend(Ranks::of(&runs).filter(|ranks| ranks.len() == rows).map(|ranks| (*name, ranks)));
            }
        }
        let mut tied = vec![true; rows.saturating_sub(1)];
        let mut keys = Vec::new();
        while keys.len() < MAX_KEYS {
            let orders = |(name, ranks): &(&'c str, Ranks)| {
                let found = Direction::ALL.into_iter().filter_map(|direction| {
                    let ordered = ranks.orders(direction, &tied).filter(|ordered| *ordered > 0)?;
                    Some((ordered, direction))
                });
                let (ordered, direction) = found.max_by_key(|(ordered, _)| *ordered)?;
                Some((ordered, *name, direction))
            };
            let found = ranks.iter().filter_map(orders).max_by_key(|(ordered, ..)| *ordered);
            let Some((_, name, direction)) = found else { break };
            keys.push((name, direction));
            ranks.iter().filter(|(of, _)| *of == name).for_each(|(_, ranks)| ranks.untie(&mut tied));
        }
        (!keys.is_empty()).then_some(keys)
    }

    pub fn former_ranks(&self, formers: &[FormerRun]) -> Option<Ranks> {
        let cells = |former: &FormerRun| Cells::decode(&self.store.get(&former.object).ok()?);
        Ranks::of(&formers.iter().map(cells).collect::<Option<Vec<_>>>()?)
    }
}
