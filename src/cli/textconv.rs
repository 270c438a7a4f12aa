//! `git sparse textconv FILE`: what git runs to show a tracked model as text in `git diff`.

use std::path::PathBuf;

use clap::Args;

use super::{report, watch};
use crate::daemon::message::{Failure, Kind, Reply, Request};
use crate::git::Pointer;

/// Print a pointer's model as text, a line a tensor (run by git diff)
#[derive(Debug, Args)]
pub struct Textconv {
    file: PathBuf,
}

impl Textconv {
    pub fn run(self) -> Result<(), Failure> {
        let failed = |error| Failure::new(Kind::Fatal, format!("{}: {error}", self.file.display()));
        let len = std::fs::metadata(&self.file).map_err(failed)?.len();
        if len >= crate::git::pointer::MAX_POINTER_BYTES as u64 {
            report::say(&format!("{len} bytes that are no pointer"));
            return Ok(());
        }
        let text = std::fs::read(&self.file).map_err(failed)?;
        let Some(pointer) = Pointer::parse(&text) else {
            report::say(&String::from_utf8_lossy(&text));
            return Ok(());
        };
        match watch::call(&Request::Summary { oid: pointer.oid }) {
            Ok(Reply::Summary { format, size, tensors }) => {
                report::say(&format!("oid {}", pointer.oid));
                report::say(&format!("{format:?}, {size} bytes, {} tensors", tensors.len()).to_lowercase());
                for tensor in tensors {
                    let norm = tensor.norm.map_or("-".into(), |norm| format!("{norm:.6e}"));
                    let shape = tensor.shape.iter().map(u64::to_string).collect::<Vec<_>>().join("×");
                    let dtype = format!("{:?}", tensor.dtype).to_lowercase();
                    report::say(&format!(
                        "{} {dtype} {shape} norm {norm} digest {}",
                        tensor.name, tensor.digest
                    ));
                }
            }
            // A file that this store doesn't have shows as the pointer that it is.
            _ => report::say(String::from_utf8_lossy(&text).trim_end()),
        }
        Ok(())
    }
}
