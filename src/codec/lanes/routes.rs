//! Which word goes to which lane: how the bytes of a register are to be shuffled, for each set of lanes.

/// Lanes that a set has a bit for.
pub(super) const ABREAST: usize = 8;

/// For each set of lanes that take a word: the next words' bytes, each pair in its lane's place. What
/// lies in the places of the other lanes says nothing.
pub(super) static TAKEN: [[u8; 2 * ABREAST]; 256] = {
    let mut taken = [[0; 2 * ABREAST]; 256];
    let mut due = 0;
    while due < 256 {
        let (mut lane, mut word) = (0, 0);
        while lane < ABREAST {
            taken[due][2 * lane] = 2 * word;
            taken[due][2 * lane + 1] = 2 * word + 1;
            word += (due >> lane & 1) as u8;
            lane += 1;
        }
        due += 1;
    }
    taken
};

/// For each set of lanes that give a word: the bytes of these words, moved to the end.
#[cfg(target_arch = "x86_64")]
pub(super) static GIVEN: [[u8; 2 * ABREAST]; 256] = {
    let mut given = [[0; 2 * ABREAST]; 256];
    let mut due = 0;
    while due < 256 {
        let (mut lane, mut word) = (ABREAST, ABREAST);
        while lane > 0 {
            lane -= 1;
            if due >> lane & 1 == 1 {
                word -= 1;
                given[due][2 * word] = 2 * lane as u8;
                given[due][2 * word + 1] = 2 * lane as u8 + 1;
            }
        }
        due += 1;
    }
    given
};
