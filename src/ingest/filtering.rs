//! Whether the rows of a table are those of the version before with some values in one column.

use super::rows::{Both, Formers, MapObject};
use crate::codec::filtered as codec;
use crate::format::Segment;
use crate::id::ObjectId;
use crate::pack::MAX_BASES;
use crate::table::{Cells, Kept, RowMap};

/// A map of fewer runs is short.
const SHORT_RUNS: usize = 32;
/// A rule that has more turns than a map has runs, over this, is no rule.
const RUNS_A_TURN: usize = 16;

impl Both<'_> {
    /// The map of the rows that are left, as an object that says which values they have; none where no column decides.
    pub fn filtering(
        &self,
        columns: &[(&str, Vec<&Segment>)],
        map: &RowMap,
        [old, new]: [&[u64]; 2],
        formers: &Formers,
    ) -> Option<(RowMap, MapObject)> {
        let mut is_kept = vec![false; old.len()];
        let mut next = 0;
        for run in &map.runs {
            let from = run.from.filter(|from| *from >= next && !run.is_changed)?;
            next = from + run.rows;
            is_kept.get_mut(from as usize..next as usize)?.fill(true);
        }
        (map.runs.len() > SHORT_RUNS).then_some(())?;
        let rule = |name: &&str| {
            let cells = formers.get(*name).filter(|cells| cells.len() <= MAX_BASES)?;
            let first = Cells::decode(&self.store.get(&cells.first()?.object).ok()?)?;
            Kept::may_be(&first, &is_kept).then_some(())?;
            let ranks = self.former_ranks(cells)?;
            let kept = Kept::of(&ranks, &is_kept)?;
            (kept.ranks.len() * RUNS_A_TURN <= map.runs.len()).then_some(())?;
            Some((kept.map(&ranks)?, kept, cells))
        };
        let rules = columns.iter().map(|(name, _)| name).filter_map(rule);
        let (map, kept, cells) = rules.min_by_key(|(_, kept, _)| kept.ranks.len())?;
        let rows =
            map.runs.iter().flat_map(|run| (0..run.rows).map(|row| (run.from.unwrap_or(0) + row) as usize));
        rows.map(|row| old[row]).eq(new.iter().copied()).then_some(())?;
        let bases: Vec<ObjectId> = cells.iter().map(|former| former.object).collect();
        let bytes = map.encode();
        let (object, len) = (ObjectId::of(&bytes), bytes.len() as u32);
        Some((map, MapObject { object, len, encoded: codec::encode(&kept), bases }))
    }
}
