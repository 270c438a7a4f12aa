//! Any body of a recipe, under a checksum that is right: an error, or what encodes to the same again.
//!
//! Input: format, reason, size, then the body as it is before compression.

#![no_main]

use git_sparse::codec::zstd;
use git_sparse::id::Oid;
use git_sparse::recipe::Recipe;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((head, body)) = input.split_first_chunk::<3>() else { return };
    let (oid, packed) = (Oid::from_bytes([7; 32]), zstd::compress(body, 1));
    let mut file = b"GSRECIPE\x01\x00".to_vec();
    file.extend_from_slice(&[head[0] % 5, head[1] % 4, 0, 0, 0, 0]);
    file.extend_from_slice(&u64::from(head[2]).to_le_bytes());
    file.extend_from_slice(oid.as_bytes());
    file.extend_from_slice(&(body.len() as u32).to_le_bytes());
    file.extend_from_slice(&(packed.len() as u32).to_le_bytes());
    let checksum = *blake3::Hasher::new().update(&file).update(&packed).finalize().as_bytes();
    file.extend_from_slice(&checksum);
    file.extend_from_slice(&packed);
    if let Ok(recipe) = Recipe::decode(&file, oid) {
        let again = Recipe::decode(&recipe.encode(), oid).expect("because it was decoded");
        assert_eq!(format!("{again:?}"), format!("{recipe:?}"));
    }
});
