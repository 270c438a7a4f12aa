//! A model in other types of tensors, by llama.cpp's own quantiser.

use std::fs;
use std::io;
use std::path::Path;

use engine_messages::{Planned, Quantize, Reply};
use llama_cpp_4::model_quantize;
use llama_cpp_4::quantize::{GgmlType, ImatrixEntry, LlamaFtype, QuantizeParams, TensorTypeOverride};

use crate::failure::Failure;
use crate::{importance, log};

/// Room that there has to be left when a file was written.
const PROBE_BYTES: usize = 64 << 10;

/// Writes the model anew.
pub fn quantize(order: &Quantize) -> Result<Reply, Failure> {
    let mut params = params(order)?;
    if let Some(path) = &order.importance {
        for (name, values) in importance::load(path)? {
            params = params.with_imatrix_entry(entry(name, values)?);
        }
    }
    let done = run(order, params);
    let shown = order.target.display();
    // llama.cpp goes on where nothing more can be written, and calls that success.
    if is_full(&order.target) {
        let _ = fs::remove_file(&order.target);
        return Err(Failure::full(format!("{shown}: no space left on device")));
    }
    done?;
    match fs::metadata(&order.target) {
        Ok(found) => Ok(Reply::Quantized { bytes: found.len() }),
        Err(error) => Err(Failure::engine(format!("{shown}: {error}"))),
    }
}

/// Whether hardly anything can be written beside a file any more.
fn is_full(target: &Path) -> bool {
    let probe = target.with_extension("probe");
    let written = fs::write(&probe, [0; PROBE_BYTES]);
    let _ = fs::remove_file(&probe);
    written
        .is_err_and(|error| matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded))
}

/// Asks llama.cpp which types it would choose; it tells in its log only.
///
/// Its choice depends on whether there is an importance matrix, and not on what it says: the file need not be there yet.
pub fn plan(order: &Quantize) -> Result<Reply, Failure> {
    let mut params = params(order)?.with_dry_run(true);
    if order.importance.is_some() {
        params = params.with_imatrix_entry(entry("none".to_owned(), vec![1.0])?);
    }
    let log = run(order, params)?;
    Ok(Reply::Planned(planned(&log)))
}

fn run(order: &Quantize, params: QuantizeParams) -> Result<String, Failure> {
    let (source, target) = (path(&order.source)?, path(&order.target)?);
    let (done, log) = log::during(|| model_quantize(source, target, &params));
    match done {
        Ok(()) => Ok(log),
        Err(code) => {
            let said = log::complaints(&log);
            let said = if said.is_empty() { format!("llama.cpp ended with {code}") } else { said };
            Err(Failure::engine(format!("{source} as {}: {said}", order.preset)))
        }
    }
}

fn entry(name: String, values: Vec<f32>) -> Result<ImatrixEntry, Failure> {
    ImatrixEntry::new(name, values)
        .map_err(|error| Failure::request(format!("the importance matrix: {error}")))
}

fn path(path: &Path) -> Result<&str, Failure> {
    let text = path.to_str().filter(|text| !text.contains('\0'));
    text.ok_or_else(|| Failure::request(format!("{}: not a name in UTF-8", path.display())))
}

fn params(order: &Quantize) -> Result<QuantizeParams, Failure> {
    let preset = LlamaFtype::from_name(&order.preset)
        .ok_or_else(|| Failure::request(format!("no preset is called {}", order.preset)))?;
    let threads = i32::try_from(order.threads).map_err(|error| Failure::request(error.to_string()))?;
    let mut params = QuantizeParams::new(preset).with_nthread(threads).with_allow_requantize(true);
    for (pattern, name) in &order.overrides {
        let dtype = dtype(name).ok_or_else(|| Failure::request(format!("no type is called {name}")))?;
        // llama.cpp applies overrides only to what the preset would quantise, and has two settings of their own
        // for the tensors that presets treat apart.
        match pattern.as_str() {
            "token_embd.weight" => params = params.with_token_embedding_type(dtype),
            "output.weight" => params = params.with_output_tensor_type(dtype),
            _ => {
                let wanted = TensorTypeOverride::new(pattern.as_str(), dtype);
                let wanted = wanted.map_err(|error| Failure::request(format!("{pattern}: {error}")))?;
                params = params.with_tensor_type_override(wanted);
            }
        }
    }
    Ok(params)
}

/// The number of a type in `ggml`, by its name.
pub fn type_of(name: &str) -> Result<llama_cpp_sys_4::ggml_type, Failure> {
    let found = dtype(name).ok_or_else(|| Failure::request(format!("no type is called {name}")))?;
    Ok(found as llama_cpp_sys_4::ggml_type)
}

/// The types that a tensor may be given by name.
fn dtype(name: &str) -> Option<GgmlType> {
    Some(match name.to_ascii_uppercase().as_str() {
        "F32" => GgmlType::F32,
        "F16" => GgmlType::F16,
        "BF16" => GgmlType::BF16,
        "Q8_0" => GgmlType::Q8_0,
        "Q6_K" => GgmlType::Q6K,
        "Q5_K" => GgmlType::Q5K,
        "Q5_1" => GgmlType::Q5_1,
        "Q5_0" => GgmlType::Q5_0,
        "Q4_K" => GgmlType::Q4K,
        "Q4_1" => GgmlType::Q4_1,
        "Q4_0" => GgmlType::Q4_0,
        "Q3_K" => GgmlType::Q3K,
        "Q2_K" => GgmlType::Q2K,
        "IQ4_NL" => GgmlType::IQ4NL,
        "IQ4_XS" => GgmlType::IQ4XS,
        "IQ3_S" => GgmlType::IQ3S,
        "IQ3_XXS" => GgmlType::IQ3XXS,
        "IQ2_S" => GgmlType::IQ2S,
        "IQ2_XS" => GgmlType::IQ2XS,
        "IQ2_XXS" => GgmlType::IQ2XXS,
        "IQ1_M" => GgmlType::IQ1M,
        "IQ1_S" => GgmlType::IQ1S,
        _ => return None,
    })
}

/// Reads a dry run's log: `[  1/ 272] token_embd.weight - [576, 49152, 1, 1], type = f16, size = … MiB -> … MiB (q8_0)`.
///
/// The line of a tensor that stays as it is has no arrow.
fn planned(log: &str) -> Planned {
    let tensor = |line: &str| {
        let rest = line.trim_start().strip_prefix('[')?;
        let (_, rest) = rest.split_once("] ")?;
        let (name, rest) = rest.split_once(" - [")?;
        let (_, rest) = rest.split_once("type =")?;
        let old = rest.split(',').next()?.trim();
        let new = rest.split_once("->").and_then(|(_, new)| new.rsplit_once('(')?.1.split_once(')'));
        Some((name.trim().to_owned(), new.map_or(old, |new| new.0).to_owned()))
    };
    let tensors = log.lines().filter_map(tensor).collect();
    Planned { tensors, needs_importance: log.contains("will require an imatrix") }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// llama.cpp tells the types it would choose in its log only.
    #[test]
    fn a_dry_run_is_read_from_its_log() {
        let log = "\
llama_model_quantize_impl: whatever
[   1/   3] output_norm.weight                   - [   576,      1,      1,      1], type =    f32, size =    0.002 MiB
[   2/   3] token_embd.weight                    - [   576,  49152,      1,      1], type =    f16, size =    54.00 MiB ->    28.69 MiB (q8_0)
[   3/   3] blk.0.attn_k.weight - [   576,   192,  1,   1], type =    f16, size =     0.21 MiB ->     0.07 MiB (q5_0)
";
        let found = planned(log);
        let expected =
            [("output_norm.weight", "f32"), ("token_embd.weight", "q8_0"), ("blk.0.attn_k.weight", "q5_0")];
        assert_eq!(found.tensors, expected.map(|(name, dtype)| (name.to_owned(), dtype.to_owned())));
        assert!(!found.needs_importance);
    }
}
