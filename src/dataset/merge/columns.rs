//! The columns of a merged table: those of ours, then what theirs added, without what either dropped.

use std::sync::Arc;

use arrow_schema::{DataType, Field, Schema, SchemaRef};

use super::super::scan::{self, CompareError, Scan};
use super::super::schema::{self, Pairs};
use super::super::table::Table;
use super::conflict::Conflict;
use super::{Scans, Sides, sequence};
use crate::progress::Progress;

/// Columns of the merged table.
pub(super) struct Columns {
    pub schema: SchemaRef,
    pub columns: Vec<Column>,
    /// Columns of the base that one side has no more, with their number on the other: by base and that side.
    pub dropped_by_ours: Pairs,
    pub dropped_by_theirs: Pairs,
    /// What the columns are called on either side.
    pub our_names: Vec<String>,
    pub their_names: Vec<String>,
}

/// A column by its numbers in the three tables.
pub(super) struct Column {
    pub base: Option<usize>,
    pub ours: Option<usize>,
    pub theirs: Option<usize>,
}

impl Columns {
    pub fn merge(
        sides: Sides<'_>,
        scans: &Scans,
        progress: &Progress<'_>,
    ) -> Result<(Columns, Vec<Conflict>), CompareError> {
        let (to_ours, to_theirs) =
            (|| sequence::from_base(scans, true), || sequence::from_base(scans, false));
        let ours = pairs(sides.base, (sides.ours, &scans.ours), scans, to_ours, progress)?;
        let theirs = pairs(sides.base, (sides.theirs, &scans.theirs), scans, to_theirs, progress)?;
        let mut merge = Merge { sides, conflicts: Vec::new(), columns: Vec::new(), fields: Vec::new() };
        let new_of = |pairs: &Pairs, base: usize| {
            pairs.iter().find(|(before, _)| *before == base).map(|(_, after)| *after)
        };
        let old_of = |pairs: &Pairs, after: usize| {
            pairs.iter().find(|(_, found)| *found == after).map(|(before, _)| *before)
        };
        let (mut dropped_by_ours, mut dropped_by_theirs) = (Vec::new(), Vec::new());
        for at in 0..sides.ours.schema().fields().len() {
            match old_of(&ours, at) {
                Some(base) => match new_of(&theirs, base) {
                    Some(their) => merge.kept(base, at, their),
                    None => dropped_by_theirs.push((base, at)),
                },
                None => merge.added_by_ours(at, &theirs, scans, progress)?,
            }
        }
        for at in 0..sides.theirs.schema().fields().len() {
            match old_of(&theirs, at) {
                Some(base) if new_of(&ours, base).is_none() => dropped_by_ours.push((base, at)),
                Some(_) => {}
                None => merge.added_by_theirs(at),
            }
        }
        let Merge { columns, fields, conflicts, .. } = merge;
        let schema = Arc::new(Schema::new(fields.clone()).with_metadata(metadata(sides, &fields)));
        let names =
            |table: &Table| table.schema().fields().iter().map(|field| field.name().clone()).collect();
        let (our_names, their_names) = (names(sides.ours), names(sides.theirs));
        let columns = Columns { schema, columns, dropped_by_ours, dropped_by_theirs, our_names, their_names };
        Ok((columns, conflicts))
    }

    /// Columns that both sides have: numbers in this list.
    pub fn shared(&self) -> Vec<usize> {
        let both = |at: &usize| self.columns[*at].ours.is_some() && self.columns[*at].theirs.is_some();
        (0..self.columns.len()).filter(both).collect()
    }
}

struct Merge<'a> {
    sides: Sides<'a>,
    conflicts: Vec<Conflict>,
    columns: Vec<Column>,
    fields: Vec<Field>,
}

impl Merge<'_> {
    fn kept(&mut self, base: usize, ours: usize, theirs: usize) {
        let Sides { base: b, ours: o, theirs: t } = self.sides;
        let [before, our, their] =
            [(b, base), (o, ours), (t, theirs)].map(|(table, at)| table.schema().field(at));
        let name = self.one("column-name", before.name(), our.name(), their.name(), before.name());
        let types = [before, our, their].map(|field| field.data_type());
        let dtype = self.one("column-type", types[0], types[1], types[2], before.name());
        let nullable = our.is_nullable() || their.is_nullable();
        self.fields.push(our.clone().with_name(name).with_data_type(dtype).with_nullable(nullable));
        self.columns.push(Column { base: Some(base), ours: Some(ours), theirs: Some(theirs) });
    }

    /// What one side changed; ours and a conflict, where both did.
    fn one<T: Clone + PartialEq + Shown>(
        &mut self,
        kind: &'static str,
        base: &T,
        ours: &T,
        theirs: &T,
        column: &str,
    ) -> T {
        match () {
            () if ours == theirs || theirs == base => ours.clone(),
            () if ours == base => theirs.clone(),
            () => {
                let values = [base, ours, theirs].map(|value| Some(value.shown()));
                self.conflicts.push(Conflict::of_column(kind, column, values));
                ours.clone()
            }
        }
    }

    fn added_by_ours(
        &mut self,
        at: usize,
        theirs: &Pairs,
        scans: &Scans,
        progress: &Progress<'_>,
    ) -> Result<(), CompareError> {
        let field = self.sides.ours.schema().field(at);
        let other = self.sides.theirs.schema();
        let added = |other: &usize| theirs.iter().all(|(_, after)| after != other);
        let twin = other.index_of(field.name()).ok().filter(added);
        let is_same = |twin: usize| -> Result<bool, CompareError> {
            let (ours, theirs) = ((self.sides.ours, at), (self.sides.theirs, twin));
            let is_same = scans.ours.columns[at] == scans.theirs.columns[twin];
            let by_rows = || scan::is_same_by_rows(ours, theirs, &sequence::from_ours(scans), progress);
            Ok(is_same && (scans.are_keyed() || by_rows()?))
        };
        if let Some(twin) = twin.filter(|twin| other.field(*twin).data_type() != field.data_type()) {
            let types = [field.data_type(), other.field(twin).data_type()].map(|dtype| Some(dtype.shown()));
            let [ours, theirs] = types;
            self.conflicts.push(Conflict::of_column("column-type", field.name(), [None, ours, theirs]));
        } else if let Some(twin) = twin
            && !is_same(twin)?
        {
            // One name for two things, or one thing over other rows: there is no base that tells.
            let fields = [field, other.field(twin)].map(|field| Some(field.data_type().shown()));
            let [ours, theirs] = fields;
            self.conflicts.push(Conflict::of_column("column-added", field.name(), [None, ours, theirs]));
        }
        self.fields.push(field.clone().with_nullable(true));
        self.columns.push(Column { base: None, ours: Some(at), theirs: twin });
        Ok(())
    }

    fn added_by_theirs(&mut self, at: usize) {
        let field = self.sides.theirs.schema().field(at);
        if self.columns.iter().any(|column| column.theirs == Some(at)) {
            return;
        }
        if self.fields.iter().any(|other| other.name() == field.name()) {
            let conflict = Conflict::of_column("column-name", field.name(), [None, None, None]);
            return self.conflicts.push(conflict);
        }
        self.fields.push(field.clone().with_nullable(true));
        self.columns.push(Column { base: None, ours: None, theirs: Some(at) });
    }
}

trait Shown {
    fn shown(&self) -> String;
}

impl Shown for String {
    fn shown(&self) -> String {
        self.clone()
    }
}

impl Shown for DataType {
    fn shown(&self) -> String {
        schema::shown(self)
    }
}

/// Which columns of a side are which of the base, by their names or, where they were renamed, by their cells.
fn pairs(
    base: &Table,
    (side, scan): (&Table, &Scan),
    scans: &Scans,
    from_base: impl Fn() -> Vec<u32>,
    progress: &Progress<'_>,
) -> Result<Pairs, CompareError> {
    let old = &scans.base_for_ours;
    let mut pairs = schema::by_name(base.schema(), side.schema());
    let same_length = old.rows.len() == scan.rows.len() && !old.rows.is_empty();
    schema::add_renamed(&mut pairs, base.schema(), side.schema(), |before, after| {
        let is_same = same_length && old.columns[before] == scan.columns[after];
        let by_rows = || scan::is_same_by_rows((base, before), (side, after), &from_base(), progress);
        Ok::<_, CompareError>(is_same && (scans.are_keyed() || by_rows()?))
    })?;
    Ok(pairs)
}

/// What other programs wrote about the columns (pandas, `datasets`) holds only for those columns.
fn metadata(sides: Sides<'_>, fields: &[Field]) -> arrow_schema::Metadata {
    let same = |table: &&Table| {
        let theirs = table.schema().fields();
        let alike = |(a, b): (&Field, &Arc<Field>)| a.name() == b.name() && a.data_type() == b.data_type();
        theirs.len() == fields.len() && fields.iter().zip(theirs).all(alike)
    };
    let known = [sides.ours, sides.theirs].into_iter().find(same);
    known.map(|table| table.schema().metadata().clone()).unwrap_or_default()
}
