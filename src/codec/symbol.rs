//! What rANS codes of a difference: its high part as one of 255 symbols, or an escape.

use super::lanes::Each;
use super::order::Word;

/// Symbols are high parts plus this.
const CENTRE: u64 = 128;
/// The symbol of a high part that has none; its own value, −128, is never used.
pub(super) const ESCAPE: u8 = 0;

/// The symbol of a high part.
#[inline(always)]
pub(super) fn symbol<W: Word>(high: W) -> u8 {
    let symbol = high.plus(W::from_u64(CENTRE));
    let known = symbol.minus(W::from_u64(1)) < W::from_u64(255);
    if known { symbol.low_byte() } else { ESCAPE }
}

/// The high part of a symbol that is no escape.
#[inline(always)]
pub(super) fn high<W: Word>(symbol: u8) -> W {
    W::from_u64(u64::from(symbol)).minus(W::from_u64(CENTRE))
}

/// Whether any symbol is an escape; looks at all, which is faster than to stop at the first.
#[inline(always)]
pub(super) fn any_escape(symbols: &Each<u8>) -> bool {
    symbols.iter().fold(u8::MAX, |least, &symbol| least.min(symbol)) == ESCAPE
}
