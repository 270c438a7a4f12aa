//! Recipes, pointers and locators from outside: an error, or what encodes to the same again.

#![no_main]

use git_sparse::git::Pointer;
use git_sparse::id::Oid;
use git_sparse::locator::Locator;
use git_sparse::recipe::Recipe;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Some(pointer) = Pointer::parse(bytes) {
        assert_eq!(Pointer::parse(pointer.to_string().as_bytes()), Some(pointer));
    }
    if let Some(raw) = bytes.get(24..56) {
        let oid = Oid::from_bytes(raw.try_into().expect("32 bytes"));
        let _ = Recipe::decode(bytes, oid);
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = Locator::parse(text);
    }
});
