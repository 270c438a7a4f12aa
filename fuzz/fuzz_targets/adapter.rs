//! Any configuration and weights as a LoRA adapter: refused, or one that merges or says why not.
//!
//! Input: length of the configuration (2 bytes), configuration, weights. The base has a tensor of each name.

#![no_main]

use git_sparse::adapter::Adapter;
use git_sparse::format::Dtype;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((len, rest)) = input.split_first_chunk::<2>() else { return };
    let (config, weights) = rest.split_at(usize::from(u16::from_le_bytes(*len)).min(rest.len()));
    let Ok(adapter) = Adapter::read(config, &weights) else { return };
    let names: Vec<String> = adapter.tensors().map(str::to_owned).collect();
    for name in names {
        for shape in [[4u64, 4], [2, 8], [8, 2]] {
            if let Ok(Some(merged)) = adapter.merged(&name, &[0; 64], Dtype::F32, &shape) {
                assert_eq!(merged.len(), 64);
            }
        }
    }
});
