//! `git sparse dataset compress`, `reconstruct` and `estimate`: a derived data set as a portable delta, as `git sparse delta`
//! makes them of models.

use std::path::PathBuf;

use clap::Args;

use crate::artifact::Way;
use crate::cli::delta::{self, Subject};
use crate::daemon::message::Failure;

/// Make an artifact that gives DERIVED, every byte of every file, to whoever has BASE
///
/// Tables differ by rows and cells, text (CSV, JSON Lines, also as .gz and .zst) by lines, wherever they stand in BASE:
/// under another name, in another split, or in several. `git sparse delta info` and `verify` read the artifact, too.
#[derive(Debug, Args)]
pub struct Compress {
    /// The data set that the other was made of: a file, a directory, REV:PATH, or datasets/org/name[@revision]
    base: String,
    /// The derived data set, named in the same ways
    derived: String,
    /// A new directory for the artifact
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
    /// Print one JSON document (schema git-sparse/dataset-compress/1)
    #[arg(long)]
    json: bool,
}

impl Compress {
    pub fn run(self) -> Result<(), Failure> {
        let both = (self.base.as_str(), self.derived.as_str());
        delta::compress(Subject::DataSet, both, &self.output, Way::Lossless, self.json)
    }
}

/// Write the derived data set of an artifact: every file of it, proven by its SHA-256
#[derive(Debug, Args)]
pub struct Reconstruct {
    /// The data set that the artifact was made with: a file, a directory, REV:PATH, or datasets/org/name[@revision]
    base: String,
    /// The artifact's directory
    artifact: PathBuf,
    /// A new directory for the derived data set
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
    /// Print one JSON document (schema git-sparse/dataset-reconstruct/1)
    #[arg(long)]
    json: bool,
}

impl Reconstruct {
    pub fn run(self) -> Result<(), Failure> {
        let paths = (self.artifact.as_path(), self.output.as_path());
        delta::reconstruct(Subject::DataSet, &self.base, paths, false, self.json)
    }
}

/// What an artifact would weigh, against the files as they are
#[derive(Debug, Args)]
pub struct Estimate {
    /// The data set that the other was made of: a file, a directory, REV:PATH, or datasets/org/name[@revision]
    base: String,
    /// The derived data set, named in the same ways
    derived: String,
    /// Encode about so many rows of each table, evenly spread, in place of all
    ///
    /// Where each row comes from is still looked for in all of both data sets. At least sixteen pieces of each column are
    /// encoded, so small tables are tried whole whatever N is; so is what is packed as a whole (.csv.gz).
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    sample_size: Option<u64>,
    /// Print one JSON document (schema git-sparse/dataset-estimate/1)
    #[arg(long)]
    json: bool,
}

impl Estimate {
    pub fn run(self) -> Result<(), Failure> {
        let both = (self.base.as_str(), self.derived.as_str());
        delta::estimate(Subject::DataSet, both, self.sample_size, self.json)
    }
}
