//! What each packer must give: a new version of a library that gives other bytes fails here.
//!
//! The list was checked with the programs that the packers reproduce. A line that is gone is a file that
//! doesn't come back; a new packer adds lines.

use super::*;

const OUTPUTS: &str = include_str!("../../tests/data/packing/outputs.txt");

/// One packer of each kind, as many as are told apart by what they give.
fn packers() -> Vec<Packer> {
    let deflate = |encoder| Packer::Deflate(Deflate::new(encoder, Wrapper::raw()).unwrap());
    let mut packers: Vec<Packer> = Snappy::ALL.map(Packer::Snappy).to_vec();
    packers
        .extend([-5, 1, 3, 6, 9, 12, 19].map(|level| Packer::Zstd(Zstd::new(level, true, false).unwrap())));
    packers.push(Packer::Zstd(Zstd::new(3, true, true).unwrap()));
    packers.push(Packer::Zstd(Zstd::new(3, false, false).unwrap()));
    for level in [1, 3] {
        packers.extend(
            [false, true].map(|has_len| Packer::Zstd(Zstd::streamed(level, has_len, false).unwrap())),
        );
    }
    packers.extend([0, 3, 9, 12].map(|level| Packer::Lz4(Lz4::c(level, false).unwrap())));
    packers.push(Packer::Lz4(Lz4::c(0, true).unwrap()));
    packers.push(Packer::Lz4(Lz4::flex(false)));
    packers.extend(lz4_frame::of::each_writer().into_iter().map(Packer::Lz4Frame));
    for level in [1, 3, 4, 6, 9] {
        packers.extend([8, 9, 6].map(|memory| deflate(Encoder::Zlib { level, memory })));
        packers.extend([Encoder::ZlibRs { level }, Encoder::Miniz { level }].map(deflate));
    }
    packers.extend([1, 3, 4, 6, 9].map(|level| deflate(Encoder::ZlibFlushed { level })));
    packers
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Stored objects have only their packer to come back by: what it gives never changes.
#[test]
fn packers_give_what_they_always_gave() {
    let mut found = String::new();
    for packer in packers() {
        let mut hasher = blake3::Hasher::new();
        for (_, plain) in samples::fixed() {
            let packed = packer.pack(&plain);
            hasher.update(&(packed.len() as u64).to_le_bytes());
            hasher.update(&packed);
        }
        found += &format!("{} {}\n", hex(&packer.encode()), hasher.finalize().to_hex());
    }
    let expected: Vec<&str> = OUTPUTS.lines().filter(|line| !line.starts_with('#')).collect();
    assert_eq!(found.lines().collect::<Vec<_>>(), expected, "\n{found}");
}
