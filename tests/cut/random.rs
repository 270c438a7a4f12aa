//! Whatever the bytes, they tile and come back.

use git_sparse::format::{Format, layout_of};
use proptest::prelude::*;

use crate::cut_and_rejoin;
use crate::write::{Gguf, Parquet, Zip, npy, safetensors, tar, tensor};

/// A good small file of each format.
pub fn good() -> Vec<(Format, Vec<u8>)> {
    let header = [tensor("a", "F32", "[2,2]", 0, 16), tensor("b", "U8", "[3]", 16, 19)].join(",");
    let gguf = Gguf::new(3, 1, 1).alignment(8).tensor("t", 0, &[2, 2], 0).pad(8).raw(&[1; 16]).bytes;
    let mut zip = Zip { is_zip64: true, ..Zip::default() };
    zip.member("a/data.pkl", b"x");
    zip.member("a/data/0", &[2; 70]);
    vec![
        (Format::Safetensors, safetensors(&format!("{{{header}}}"), &[5; 19])),
        (Format::Gguf, gguf),
        (Format::Zip, zip.finish(b"")),
        (Format::Npy, npy("{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }\n", &[1; 8])),
        (Format::Parquet, Parquet::default().chunk(&[&[1; 9], &[2; 30]]).chunk(&[&[3; 9]]).finish()),
        (Format::Arrow, include_bytes!("../data/arrow/plain-1.arrow").to_vec()),
        (Format::Arrow, include_bytes!("../data/arrow/stream-1.arrow").to_vec()),
        (
            Format::Tar,
            tar(&[("a/one.png", &[7; 5000]), ("a/two.png", &[8; 4096]), ("a/three.txt", b"small")]),
        ),
        (Format::Text, b"{\"text\": \"no model\"}\n".repeat(9)),
        (Format::Chunked, b"\0\x01no text\xff".repeat(9)),
    ]
}

/// Without this the two properties below could pass by never reaching a parser.
#[test]
fn good_files_are_recognised() {
    for (format, bytes) in good() {
        let cut = cut_and_rejoin(&bytes);
        assert_eq!(cut.format(), format);
        assert_eq!(layout_of(cut.segments()).is_some(), !matches!(format, Format::Chunked | Format::Text));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    /// Noise behind the first bytes of a format.
    #[test]
    fn noise_tiles(
        magic in prop::sample::select(vec![
            b"".as_slice(), b"GGUF\x03\0\0\0", b"GGUF\x01\0\0\0\x02\0\0\0\x02\0\0\0", b"PK\x03\x04",
            b"\x93NUMPY\x01\0\x20\0{'descr'", b"\x09\0\0\0\0\0\0\0{", b"\x02\0\0\0\0\0\0\0{}", b"PAR1",
            b"ARROW1\0\0", b"\xff\xff\xff\xff\x10\0\0\0",
        ]),
        noise in prop::collection::vec(any::<u8>(), 0..600),
    ) {
        cut_and_rejoin(&[magic, &noise].concat());
    }

    /// A good file, damaged.
    #[test]
    fn damaged_files_tile(
        which in 0usize..10,
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        cut_at: Option<prop::sample::Index>,
        behind in prop::collection::vec(any::<u8>(), 0..30),
    ) {
        let mut bytes = good().swap_remove(which).1;
        for (at, byte) in flips {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Some(at) = cut_at {
            bytes.truncate(at.index(bytes.len()));
        }
        bytes.extend(behind);
        cut_and_rejoin(&bytes);
    }
}
