//! Any file is cut into segments that tile it; a good one at its arrays; a lying one fast and in
//! little memory.

mod arrow;
mod failing;
mod gguf;
mod lies;
mod npy;
mod parquet;
mod random;
mod safetensors;
mod slices;
mod tar;
mod watched;
mod write;
mod zip;

use git_sparse::format::{Cut, PageParts, Segment, Source, cut, pages};

/// Cuts, and checks apart from the library that the segments give the file back, and parts of pages the page.
fn cut_and_rejoin(bytes: &[u8]) -> Cut {
    let cut = cut(&bytes).unwrap();
    let mut rejoined = Vec::new();
    for segment in cut.segments() {
        let mut part = vec![0; (segment.range.end - segment.range.start) as usize];
        bytes.read_at(&mut part, segment.range.start).unwrap();
        if let Some(pages) = pages(&part) {
            let whole =
                |PageParts { header, plain, packed, .. }: &PageParts| [*header, plain, packed].concat();
            assert!(pages.iter().flat_map(whole).eq(part.iter().copied()), "pages of {segment:?}");
        }
        rejoined.extend(part);
    }
    assert!(rejoined == bytes, "{} bytes come back as {}", bytes.len(), rejoined.len());
    cut
}

/// The segments of tensors or members, without headers and filler.
fn named(cut: &Cut) -> Vec<&Segment> {
    cut.segments().iter().filter(|segment| !segment.name.is_empty()).collect()
}

/// The content of the only slice of a tensor or member.
fn content<'a>(cut: &Cut, bytes: &'a [u8], name: &str) -> &'a [u8] {
    let slices: Vec<_> = named(cut).into_iter().filter(|segment| segment.name == name).collect();
    let [only] = slices[..] else { panic!("{name} has {} slices", slices.len()) };
    &bytes[only.range.start as usize..only.range.end as usize]
}
