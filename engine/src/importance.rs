//! How much each input of a matrix matters: the mean square of what it is multiplied with while a text is read.
//!
//! The method is that of llama.cpp's `llama-imatrix`, and so is the file (the older of its two formats, which
//! `llama-quantize --imatrix` takes as well): tensors of layers only, each token of each window counted once.

use std::collections::BTreeMap;
use std::ffi::{CStr, c_void};
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;

use engine_messages::{Importance, Reply, Window};
use llama_cpp_sys_4 as sys;

use crate::failure::Failure;
use crate::models::{BATCH, Models};
use crate::score::Reader;

/// A file of the largest models is far below it.
const MAX_FILE_BYTES: u64 = 4 << 30;
/// Tensors of a model; more is no model.
const MAX_TENSORS: i32 = 1 << 20;

/// Reads windows and writes what was seen into a file; `told` hears how many windows were read.
pub fn importance(
    models: &Models,
    order: &Importance,
    told: &mut dyn FnMut(usize) -> io::Result<()>,
) -> io::Result<Result<Reply, Failure>> {
    // What is called while llama.cpp computes, and so has to stay where it is: it is let go after the context.
    let mut seen = Box::new(Seen::default());
    let done = read(models, order, &raw mut *seen, told)?;
    Ok(done.and_then(|()| match &seen.failure {
        Some(why) => Err(Failure::engine(why.clone())),
        None => write(&order.target, &seen.means()).map(|tensors| Reply::Importance { tensors }),
    }))
}

fn read(
    models: &Models,
    order: &Importance,
    seen: *mut Seen,
    told: &mut dyn FnMut(usize) -> io::Result<()>,
) -> io::Result<Result<(), Failure>> {
    let windows: Vec<Window> =
        order.windows.iter().map(|tokens| Window { tokens: tokens.clone(), scored_from: 1 }).collect();
    let begun = models.get(order.model).and_then(|model| {
        if windows.iter().any(|window| window.tokens.is_empty()) || windows.is_empty() {
            return Err(Failure::request("no window to read"));
        }
        for window in &windows {
            model.checked(&window.tokens)?;
        }
        let longest = windows.iter().map(|window| window.tokens.len()).max().unwrap_or(1);
        let context = models.context_with(model, longest.max(BATCH as usize + 1), |params| {
            params.with_cb_eval(Some(see)).with_cb_eval_user_data(seen.cast::<c_void>())
        })?;
        Ok(Reader::of(context))
    });
    let mut reader = match begun {
        Ok(reader) => reader,
        Err(failure) => return Ok(Err(failure)),
    };
    for (number, window) in windows.iter().enumerate() {
        if let Err(failure) = reader.read_all(window) {
            return Ok(Err(failure));
        }
        told(number + 1)?;
    }
    Ok(Ok(()))
}

/// Sums over all tokens so far, by tensor.
#[derive(Default)]
struct Seen {
    tensors: BTreeMap<String, Sums>,
    failure: Option<String>,
    /// What lies in the memory of another device is copied here first.
    copied: Vec<u8>,
}

/// Of one tensor; a tensor of experts has as many parts.
struct Sums {
    columns: usize,
    /// Squares of each input, part after part.
    squares: Vec<f64>,
    /// Tokens that each part has read.
    tokens: Vec<u64>,
}

impl Seen {
    /// The mean squares, and how many tokens the busiest part read. An expert that read nothing counts every input alike.
    fn means(&self) -> Vec<(&str, i32, Vec<f32>)> {
        let means = |sums: &Sums| {
            let part = |(at, tokens): (usize, &u64)| {
                let squares = sums.squares[at * sums.columns..(at + 1) * sums.columns].iter().copied();
                match *tokens {
                    0 => squares.map(|_| 1.0).collect::<Vec<f32>>(),
                    tokens => squares.map(|square| (square / tokens as f64) as f32).collect(),
                }
            };
            sums.tokens.iter().enumerate().flat_map(part).collect::<Vec<f32>>()
        };
        let tokens =
            |sums: &Sums| sums.tokens.iter().max().map_or(1, |most| (*most).clamp(1, 1 << 24) as i32);
        self.tensors.iter().map(|entry| (entry.0.as_str(), tokens(entry.1), means(entry.1))).collect()
    }
}

/// Is asked by llama.cpp of each operation whether its result is wanted, and shown those that are.
///
/// # Safety
/// `tensor` is one of a graph that is being computed, and `data` a [`Seen`] that nobody else uses meanwhile.
unsafe extern "C" fn see(tensor: *mut sys::ggml_tensor, ask: bool, data: *mut c_void) -> bool {
    // SAFETY: the caller's.
    let (tensor, seen) = unsafe { (&*tensor, &mut *data.cast::<Seen>()) };
    // SAFETY: the tensors that one is computed of live as long as it does.
    let sources = unsafe { (tensor.src[0].as_ref(), tensor.src[1].as_ref(), tensor.src[2].as_ref()) };
    let (Some(weights), Some(inputs), ids) = sources else { return !ask };
    let has_experts = tensor.op == sys::GGML_OP_MUL_MAT_ID;
    if ask {
        let is_product = has_experts || tensor.op == sys::GGML_OP_MUL_MAT;
        return is_product && inputs.type_ == sys::GGML_TYPE_F32 && name(weights).starts_with("blk.");
    }
    let added = match ids {
        Some(ids) if has_experts => seen.add_experts(weights, inputs, ids),
        _ => seen.add(weights, inputs),
    };
    if let Err(why) = added {
        seen.failure.get_or_insert(format!("{}: {why}", name(weights)));
    }
    seen.failure.is_none()
}

/// Without what the scheduler puts around it, as in `CPU#blk.0.attn_k.weight#0`.
fn name(tensor: &sys::ggml_tensor) -> String {
    // SAFETY: names end with a zero, within their 64 bytes.
    let name = unsafe { CStr::from_ptr(tensor.name.as_ptr()) }.to_string_lossy();
    name.split('#').find(|part| part.starts_with("blk.")).unwrap_or(&name).to_owned()
}

impl Seen {
    /// Inputs `[columns, tokens, …]` of one matrix, or of several that share none.
    fn add(&mut self, weights: &sys::ggml_tensor, inputs: &sys::ggml_tensor) -> Result<(), &'static str> {
        let [columns, rows, planes, blocks] = sizes(inputs)?;
        let [_, _, matrices, more] = sizes(weights)?;
        self.take(inputs);
        let Seen { tensors, copied, .. } = self;
        let sums = sums_of(tensors, weights, columns, matrices * more)?;
        for block in 0..blocks {
            for plane in 0..planes {
                let part = (block % more) * matrices + plane % matrices;
                for row in 0..rows {
                    let at = row * inputs.nb[1] + plane * inputs.nb[2] + block * inputs.nb[3];
                    sums.add(part, values(copied, at, columns)?);
                }
            }
        }
        Ok(())
    }

    /// Inputs `[columns, experts used or 1, tokens]`, and which experts read each token.
    fn add_experts(
        &mut self,
        weights: &sys::ggml_tensor,
        inputs: &sys::ggml_tensor,
        ids: &sys::ggml_tensor,
    ) -> Result<(), &'static str> {
        let [columns, shared, tokens, _] = sizes(inputs)?;
        let [used, _, _, _] = sizes(ids)?;
        let [_, _, experts, _] = sizes(weights)?;
        let mut chosen = vec![0; bytes_of(ids)];
        // SAFETY: there are as many bytes in the tensor as were asked for.
        unsafe { sys::ggml_backend_tensor_get(ids, chosen.as_mut_ptr().cast(), 0, chosen.len()) };
        self.take(inputs);
        let Seen { tensors, copied, .. } = self;
        let sums = sums_of(tensors, weights, columns, experts)?;
        for token in 0..tokens {
            for slot in 0..used {
                let at = token * ids.nb[1] + slot * ids.nb[0];
                let expert =
                    chosen.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map(i32::from_ne_bytes);
                let expert =
                    expert.and_then(|expert| usize::try_from(expert).ok()).filter(|one| *one < experts);
                let at = (slot % shared) * inputs.nb[1] + token * inputs.nb[2];
                sums.add(expert.ok_or("an expert that is not there")?, values(copied, at, columns)?);
            }
        }
        Ok(())
    }

    /// Copies a tensor's bytes to where they can be read.
    fn take(&mut self, tensor: &sys::ggml_tensor) {
        self.copied.resize(bytes_of(tensor), 0);
        // SAFETY: there are as many bytes in the tensor as were asked for.
        unsafe {
            sys::ggml_backend_tensor_get(tensor, self.copied.as_mut_ptr().cast(), 0, self.copied.len());
        }
    }
}

fn bytes_of(tensor: &sys::ggml_tensor) -> usize {
    // SAFETY: it only reads the shape.
    unsafe { sys::ggml_nbytes(tensor) }
}

/// A tensor's shape; none of its sides is 0.
fn sizes(tensor: &sys::ggml_tensor) -> Result<[usize; 4], &'static str> {
    let mut sizes = [0; 4];
    for (size, found) in sizes.iter_mut().zip(tensor.ne) {
        *size = usize::try_from(found).ok().filter(|size| *size > 0).ok_or("a shape with nothing in it")?;
    }
    Ok(sizes)
}

fn sums_of<'a>(
    tensors: &'a mut BTreeMap<String, Sums>,
    weights: &sys::ggml_tensor,
    columns: usize,
    parts: usize,
) -> Result<&'a mut Sums, &'static str> {
    let sums = tensors.entry(name(weights)).or_insert_with(|| Sums {
        columns,
        squares: vec![0.0; columns * parts],
        tokens: vec![0; parts],
    });
    if sums.columns == columns && sums.tokens.len() == parts { Ok(sums) } else { Err("its shape changed") }
}

/// A row of 32-bit floats, from a byte on.
fn values(bytes: &[u8], at: usize, count: usize) -> Result<impl Iterator<Item = f32>, &'static str> {
    let row = bytes.get(at..at + 4 * count).ok_or("a row that is not all there")?;
    Ok(row.chunks_exact(4).map(|four| f32::from_ne_bytes([four[0], four[1], four[2], four[3]])))
}

impl Sums {
    fn add(&mut self, part: usize, row: impl Iterator<Item = f32>) {
        self.tokens[part] += 1;
        let squares = self.squares[part * self.columns..].iter_mut();
        for (square, value) in squares.zip(row) {
            *square += f64::from(value) * f64::from(value);
        }
    }
}

/// Writes the file: for each tensor the length of its name, the name, how many tokens it read, how many values there are,
/// and each value's mean times the tokens. Gives the number of tensors.
fn write(target: &Path, means: &[(&str, i32, Vec<f32>)]) -> Result<usize, Failure> {
    if means.is_empty() {
        return Err(Failure::model("nothing in it is a matrix of a layer that text is multiplied with"));
    }
    if let Some((name, ..)) =
        means.iter().find(|(_, _, values)| values.iter().any(|value| !value.is_finite()))
    {
        return Err(Failure::not_finite(format!("an input of {name} is no finite number")));
    }
    let written = || -> io::Result<()> {
        let mut file = BufWriter::new(File::create(target)?);
        file.write_all(&(means.len() as i32).to_le_bytes())?;
        for (name, tokens, values) in means {
            file.write_all(&(name.len() as i32).to_le_bytes())?;
            file.write_all(name.as_bytes())?;
            file.write_all(&tokens.to_le_bytes())?;
            file.write_all(&(values.len() as i32).to_le_bytes())?;
            for value in values {
                file.write_all(&(value * *tokens as f32).to_le_bytes())?;
            }
        }
        file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()
    };
    written().map_err(|error| Failure::engine(format!("{}: {error}", target.display())))?;
    Ok(means.len())
}

/// Reads such a file: tensors and their mean squares.
pub fn load(path: &Path) -> Result<Vec<(String, Vec<f32>)>, Failure> {
    let failed = |error: io::Error| Failure::request(format!("{}: {error}", path.display()));
    let len = fs::metadata(path).map_err(failed)?.len();
    let bytes = if len > MAX_FILE_BYTES { None } else { Some(fs::read(path).map_err(failed)?) };
    let found = bytes.and_then(|bytes| parse(&bytes));
    found.ok_or_else(|| Failure::request(format!("{}: no importance matrix", path.display())))
}

fn parse(bytes: &[u8]) -> Option<Vec<(String, Vec<f32>)>> {
    let mut rest = bytes;
    let count = number(&mut rest).filter(|count| (1..=MAX_TENSORS).contains(count))?;
    let mut found = Vec::new();
    for _ in 0..count {
        let len = number(&mut rest)?;
        let name = String::from_utf8(taken(&mut rest, usize::try_from(len).ok()?)?.to_vec()).ok()?;
        let tokens = number(&mut rest).filter(|tokens| *tokens > 0)? as f32;
        let len = usize::try_from(number(&mut rest)?).ok()?;
        let values = taken(&mut rest, len.checked_mul(4)?)?.chunks_exact(4);
        let values = values.map(|four| f32::from_le_bytes([four[0], four[1], four[2], four[3]]) / tokens);
        found.push((name, values.collect()));
    }
    Some(found)
}

fn taken<'a>(rest: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (head, tail) = rest.split_at_checked(count)?;
    *rest = tail;
    Some(head)
}

fn number(rest: &mut &[u8]) -> Option<i32> {
    taken(rest, 4).and_then(|bytes| bytes.try_into().ok()).map(i32::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What was written is read; what was cut short, or is no such file, is refused and takes no memory.
    #[test]
    fn a_file_comes_back_or_is_refused() {
        let path = std::env::temp_dir().join(format!("git-sparse-importance-{}", std::process::id()));
        let means = [("blk.0.attn_q.weight", 512, vec![0.25, 2.0]), ("blk.1.ffn_up.weight", 3, vec![0.0])];
        assert_eq!(write(&path, &means).unwrap(), 2);
        let bytes = fs::read(&path).unwrap();
        let expected = vec![
            ("blk.0.attn_q.weight".to_owned(), vec![0.25, 2.0]),
            ("blk.1.ffn_up.weight".to_owned(), vec![0.0]),
        ];
        assert_eq!(load(&path).unwrap(), expected);
        fs::remove_file(&path).unwrap();
        for len in 0..bytes.len() {
            assert_eq!(parse(&bytes[..len]), None, "{len}");
        }
        for count in [0, -1, i32::MAX] {
            let mut lie = bytes.clone();
            lie[..4].copy_from_slice(&i32::to_le_bytes(count));
            assert_eq!(parse(&lie), None);
        }
        assert!(write(&path, &[("x", 1, vec![f32::NAN])]).is_err() && write(&path, &[]).is_err());
    }
}
