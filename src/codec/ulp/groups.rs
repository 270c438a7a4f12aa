//! Differences cut into streams, group by group, and put together again.

use super::super::DecodeError;
use super::super::bits::{BitReader, BitWriter};
use super::super::cells::CellMap;
use super::super::context::Contexts;
use super::super::deltas::Deltas;
use super::super::fit::Plan;
use super::super::hint::{Expected, Hint, KindMap};
use super::super::lanes::{BATCH, Each, GROUP, Lanes, MAX_TABLES, Task};
use super::super::order::{Order, Word};
use super::super::rans::{self, Slots};
use super::super::rare;
use super::super::shifts::Shifts;
use super::super::symbol::{ESCAPE, any_escape, high, symbol};
use super::Side;

/// Bits a symbol that must be saved for another pass over all of them.
const WORTH_A_PASS: f64 = 0.002;

/// What the differences of one object are cut into.
pub(super) struct Streams {
    /// Tagged with their tables, as `rans::encode` takes them.
    pub symbols: Vec<u16>,
    /// How often each symbol of each table comes.
    pub counts: Vec<[u32; 256]>,
    pub low_bits: BitWriter,
    /// High parts without a symbol.
    pub escapes: Vec<u8>,
}

impl Streams {
    #[inline(always)]
    pub fn cut<W: Word, L: Lanes>(deltas: &Deltas<'_, W, L>, plan: &Plan<W>) -> Self {
        let mut symbols = Vec::with_capacity(deltas.coded_groups() * GROUP);
        let mut counts = Counts::new();
        let (mut low_bits, mut escapes) = (BitWriter::default(), Vec::new());
        let (lanes, shifts) = (deltas.lanes(), Shifts::new(&plan.shifts));
        deltas.each_coded(1, |group| {
            let len = group.len;
            let mut tables = plan.contexts.map(lanes, &plan.map, group.number, &group.base);
            let mut highs = group.differences;
            if let Some(kinds) = &plan.kinds
                && let Some((turned, classes)) = deltas.turned(group)
            {
                (highs, tables) = (turned, kinds.map(lanes, &classes, &tables));
            }
            shifts.split(lanes, &tables, len, &mut low_bits, &mut highs);
            let own = highs.map(
                #[inline(always)]
                |high| symbol(high),
            );
            if any_escape(&own) {
                for (high, _) in highs[..len].iter().zip(own).filter(|(_, symbol)| *symbol == ESCAPE) {
                    escapes.extend_from_slice(&high.to_u64().to_le_bytes()[..W::BITS as usize / 8]);
                }
            }
            let mut tagged = Each::of(0);
            for ((tagged, &table), &symbol) in tagged.iter_mut().zip(&tables).zip(&own) {
                *tagged = rans::tagged(table, symbol);
            }
            counts.add(&tagged[..len]);
            symbols.extend_from_slice(&tagged[..len]);
        });
        Self { symbols, counts: counts.by_table(plan.shifts.len()), low_bits, escapes }
    }

    /// Makes escapes of the symbols that cost more in their tables, where that saves enough.
    pub fn escape_rare<W: Word>(&mut self) {
        let (mut counts, mut saved) = (self.counts.clone(), 0.0);
        for counts in &mut counts {
            saved += rare::escape(counts, W::BITS);
        }
        if saved < WORTH_A_PASS * self.symbols.len() as f64 {
            return;
        }
        // Present before and no longer: an escape now. Those that were escapes pass on what they stand for.
        let is_escaped = |table: usize, symbol: usize| {
            self.counts[table][symbol] > 0 && (counts[table][symbol] == 0 || symbol == usize::from(ESCAPE))
        };
        let escaped: Vec<bool> =
            (0..counts.len() << 8).map(|tagged| is_escaped(tagged >> 8, tagged & 0xff)).collect();
        let width = W::BITS as usize / 8;
        let (mut before, mut escapes) = (self.escapes.chunks_exact(width), Vec::new());
        for tagged in self.symbols.iter_mut().filter(|tagged| escaped[usize::from(**tagged)]) {
            match *tagged as u8 {
                ESCAPE => escapes.extend_from_slice(before.next().unwrap_or_default()),
                symbol => escapes.extend_from_slice(&high::<W>(symbol).to_u64().to_le_bytes()[..width]),
            }
            *tagged = rans::tagged((*tagged >> 8) as u8, ESCAPE);
        }
        (self.counts, self.escapes) = (counts, escapes);
    }
}

/// How often each tagged symbol comes. Twice, because increments of one counter wait for each other.
struct Counts([Vec<u32>; 2]);

impl Counts {
    fn new() -> Self {
        Self(std::array::from_fn(|_| vec![0; MAX_TABLES * 256]))
    }

    #[inline(always)]
    fn add(&mut self, tagged: &[u16]) {
        let [even, odd] = &mut self.0;
        let (pairs, rest) = tagged.as_chunks();
        for [first, second] in pairs {
            even[usize::from(*first)] += 1;
            odd[usize::from(*second)] += 1;
        }
        rest.iter().for_each(|&symbol| even[usize::from(symbol)] += 1);
    }

    fn by_table(&self, tables: usize) -> Vec<[u32; 256]> {
        let [even, odd] = &self.0;
        let sum = |table: usize, symbol: usize| even[table << 8 | symbol] + odd[table << 8 | symbol];
        (0..tables).map(|table| std::array::from_fn(|symbol| sum(table, symbol))).collect()
    }
}

/// Streams to put together again.
pub(super) struct Undo<'a, W> {
    pub order: Order<W>,
    pub side: Side,
    /// Set for the groups that changed; the others are copied.
    pub bitmap: Option<&'a [u8]>,
    pub symbols: rans::Decoder<'a>,
    pub escapes: &'a [u8],
    pub low_bits: &'a [u8],
    pub base: &'a [u8],
    pub hint: Option<Hint<'a, W>>,
    /// Grows by the length of `base`.
    pub out: &'a mut Vec<u8>,
}

impl<W: Word> Task for Undo<'_, W> {
    type Output = Result<(), DecodeError>;

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) -> Result<(), DecodeError> {
        let group_bytes = GROUP * W::BITS as usize / 8;
        let mut groups = Groups {
            lanes,
            bitmap: self.bitmap,
            all: self.base,
            order: self.order,
            contexts: Contexts::new(&self.order, self.side.top, self.side.rows),
            map: self.side.map,
            hint: self.hint.zip(self.side.kinds),
            slots: Slots::new(&self.side.frequencies),
            shifts: Shifts::new(&self.side.shifts),
            symbols: self.symbols,
            escapes: self.escapes.chunks_exact(W::BITS as usize / 8),
            low_bits: BitReader::new(self.low_bits),
        };
        let mut buffers = Buffers {
            tables: [Each::of(0); BATCH],
            symbols: [Each::of(0); BATCH],
            expected: [Expected::none(); BATCH],
        };
        for (batch, base) in self.base.chunks(BATCH * group_bytes).enumerate() {
            groups.undo(batch * BATCH, base, &mut buffers, self.out)?;
        }
        groups.end()
    }
}

/// Where the streams are while groups are read.
struct Groups<'a, W, L> {
    lanes: L,
    bitmap: Option<&'a [u8]>,
    /// The whole base.
    all: &'a [u8],
    order: Order<W>,
    contexts: Contexts<W>,
    map: CellMap,
    hint: Option<(Hint<'a, W>, KindMap)>,
    slots: Slots,
    shifts: Shifts,
    symbols: rans::Decoder<'a>,
    escapes: std::slice::ChunksExact<'a, u8>,
    low_bits: BitReader<'a>,
}

/// The tables and symbols of the coded groups of a batch, and what is expected of them where there is a hint.
struct Buffers<W> {
    tables: [Each<u8>; BATCH],
    symbols: [Each<u8>; BATCH],
    expected: [Expected<W>; BATCH],
}

impl<W: Word, L: Lanes> Groups<'_, W, L> {
    /// A batch of groups, which begins with the one of this number.
    #[inline(always)]
    fn undo(
        &mut self,
        first: usize,
        bases: &[u8],
        buffers: &mut Buffers<W>,
        out: &mut Vec<u8>,
    ) -> Result<(), DecodeError> {
        let group_bytes = GROUP * W::BITS as usize / 8;
        let Buffers { tables, symbols, expected } = buffers;
        let (mut coded, mut whole) = (0, 0);
        for (number, base) in (first..).zip(bases.chunks(group_bytes)) {
            if self.is_coded(number) {
                tables[coded] = self.tables(number, &W::load_group(base), &mut expected[coded]);
                coded += 1;
                whole += usize::from(base.len() == group_bytes);
            }
        }
        self.symbols.groups(self.lanes, &self.slots, &tables[..whole], &mut symbols[..whole])?;
        if whole < coded {
            let len = bases.len() % group_bytes / (W::BITS as usize / 8);
            symbols[whole] = Each::of(ESCAPE + 1);
            self.symbols.part(&self.slots, &tables[whole], &mut symbols[whole], len)?;
        }
        let mut coded = tables.iter().zip(&*symbols).zip(&*expected);
        for (number, base) in (first..).zip(bases.chunks(group_bytes)) {
            let ahead = (number + BATCH) * group_bytes;
            self.lanes.fetch(self.all.get(ahead..ahead + group_bytes).unwrap_or_default());
            match self.is_coded(number).then(|| coded.next()).flatten() {
                Some(((tables, symbols), expected)) => self.apply(tables, symbols, expected, base, out)?,
                None if self.order.has_grid() => self.copy(base, out),
                None => out.extend_from_slice(base),
            }
        }
        Ok(())
    }

    #[inline(always)]
    fn is_coded(&self, number: usize) -> bool {
        self.bitmap.is_none_or(|bitmap| bitmap[number / 8] >> (number % 8) & 1 == 1)
    }

    /// The table of each weight of the group with this number; tells what is expected of them, too, if anything is.
    #[inline(always)]
    fn tables(&self, number: usize, base: &Each<W>, expected: &mut Expected<W>) -> Each<u8> {
        let tables = self.contexts.map(self.lanes, &self.map, number, base);
        match &self.hint {
            Some((hint, kinds)) => {
                *expected = hint.of(self.lanes, number, base);
                kinds.map(self.lanes, &expected.classes, &tables)
            }
            None => tables,
        }
    }

    /// A group that is coded.
    #[inline(always)]
    fn apply(
        &mut self,
        tables: &Each<u8>,
        symbols: &Each<u8>,
        expected: &Expected<W>,
        base: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), DecodeError> {
        let len = base.len() / (W::BITS as usize / 8);
        let mut differences = symbols.map(
            #[inline(always)]
            |symbol| high::<W>(symbol),
        );
        if any_escape(symbols) {
            self.escapes(symbols, &mut differences)?;
        }
        self.shifts.join(self.lanes, tables, len, &mut self.low_bits, &mut differences);
        let base = W::load_group(base);
        if self.hint.is_some() {
            expected.add_to(&mut differences);
        }
        W::append_group(&self.order.apply(&differences, &base), len, out);
        Ok(())
    }

    #[cold]
    fn escapes(&mut self, symbols: &Each<u8>, differences: &mut Each<W>) -> Result<(), DecodeError> {
        for (difference, _) in differences.iter_mut().zip(symbols).filter(|(_, symbol)| **symbol == ESCAPE) {
            let missing = DecodeError::Truncated { what: "escapes", expected: 1, found: 0 };
            *difference = W::load(self.escapes.next().ok_or(missing)?);
        }
        Ok(())
    }

    /// Weights that did not change, where the base had to be rounded.
    fn copy(&self, base: &[u8], out: &mut Vec<u8>) {
        let len = base.len() / (W::BITS as usize / 8);
        W::append_group(&self.order.apply(&Each::of(W::default()), &W::load_group(base)), len, out);
    }

    fn end(mut self) -> Result<(), DecodeError> {
        self.symbols.end()?;
        self.low_bits.end()?;
        match self.escapes.next() {
            None => Ok(()),
            Some(_) => Err(DecodeError::Invalid { what: "escapes that nothing refers to" }),
        }
    }
}
