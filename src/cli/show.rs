//! `git sparse show REV:PATH`: one file, tensor by tensor; or the file itself, written elsewhere.

use std::path::PathBuf;

use clap::Args;

use super::{repo, report, watch};
use crate::daemon::message::{Failure, Reply, Request};

/// One file at a revision, tensor by tensor: type, shape, and what it costs
#[derive(Debug, Args)]
pub struct Show {
    /// REV:PATH, PATH (at HEAD), or the file's SHA-256
    file: String,
    /// Print one JSON document (schema git-sparse/show/1)
    #[arg(long)]
    json: bool,
    /// Write the file itself to this new path
    #[arg(short, long, value_name = "FILE", conflicts_with = "json")]
    output: Option<PathBuf>,
}

impl Show {
    pub fn run(self) -> Result<(), Failure> {
        let place = repo::file(&self.file)?;
        let oid = place.pointer.oid;
        if let Some(path) = self.output {
            let path = std::path::absolute(&path).map_err(|error| {
                Failure::new(crate::daemon::message::Kind::Usage, format!("{}: {error}", path.display()))
            })?;
            watch::call(&Request::Rebuild { oid, path: path.clone() })?;
            report::say(&format!("{}", path.display()));
            return Ok(());
        }
        let cost = super::find::cost(oid)?;
        let Reply::Tensors { tensors } = watch::call(&Request::Tensors { oid })? else {
            return Err(super::unexpected());
        };
        if self.json {
            report::json("show", serde_json::json!({ "path": place.path, "file": cost, "tensors": tensors }));
            return Ok(());
        }
        super::find::print_cost(&place.path, &cost);
        let rows = tensors.iter().map(|tensor| {
            vec![
                if tensor.name.is_empty() { "(header, chunks)".into() } else { tensor.name.clone() },
                format!("{:?}", tensor.dtype).to_lowercase(),
                report::shape(&tensor.shape),
                report::bytes(tensor.size),
                report::bytes(tensor.stored),
                report::bytes(tensor.shared),
                report::share(tensor.stored, tensor.size),
                tensor.depth.to_string(),
                tensor.codec.clone(),
            ]
        });
        let head = ["tensor", "type", "shape", ">size", ">stored", ">shared", ">ratio", ">depth", "codec"];
        report::table(&head, rows);
        if crate::dataset::Kind::named(&place.path).is_some() {
            report::note(&format!("its rows and columns: git sparse dataset show {}", self.file));
        }
        Ok(())
    }
}
