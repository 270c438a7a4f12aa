//! `git sparse delta compress BASE FINE_TUNE -o DIR`.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use clap::Args;

use super::{Subject, changed, interrupted, model, not_stored, of_changed_base, system};
use crate::artifact::{
    self, CompressError, Kind, MANIFEST, Made, Manifest, OutlineError, Staging, ValidateError, Way,
};
use crate::cli::{report, watch};
use crate::codec::lossy::{MAX_RANK, Tier};
use crate::daemon::message::{self, Failure};

/// Make an artifact that gives FINE_TUNE, every byte of every file, to whoever has BASE
#[derive(Debug, Args)]
pub struct Compress {
    /// The model that the fine-tune was made of: a file, a directory, REV:PATH, or org/name[@revision]
    base: String,
    /// The fine-tune, named in the same ways
    fine_tune: String,
    /// A new directory for the artifact
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
    /// Give up precision for size; what comes back is NOT the fine-tune, and is marked as an approximation
    #[arg(long, value_name = "TIER")]
    lossy: Option<Lossy>,
    /// With --lossy svd: how many terms of each matrix are kept [default: 16]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=MAX_RANK as i64))]
    rank: Option<u16>,
    /// Print one JSON document (schema git-sparse/delta-compress/1)
    #[arg(long)]
    json: bool,
}

const DEFAULT_RANK: u16 = 16;

/// What may be given up.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Lossy {
    /// Every difference in 8 bits, with a scale for each 64 weights
    Int8,
    /// The largest tenth of the differences in 8 bits, no others
    SparseInt8,
    /// The largest terms (--rank) of the difference of each matrix; other tensors stay as they are
    Svd,
}

impl Lossy {
    fn tier(self, rank: usize) -> Tier {
        match self {
            Lossy::Int8 => Tier::Int8,
            Lossy::SparseInt8 => Tier::SparseInt8,
            Lossy::Svd => Tier::Svd { rank },
        }
    }
}

impl Compress {
    pub fn run(self) -> Result<(), Failure> {
        let way = way(self.lossy, self.rank)?;
        compress(Subject::Model, (&self.base, &self.fine_tune), &self.output, way, self.json)
    }
}

/// What comes back, by what was asked for.
fn way(lossy: Option<Lossy>, rank: Option<u16>) -> Result<Way, Failure> {
    let lossy = match (lossy, rank) {
        (None | Some(Lossy::Int8 | Lossy::SparseInt8), Some(_)) => {
            return Err(Failure::new(message::Kind::Usage, "--rank is how many terms --lossy svd keeps")
                .fix("add --lossy svd, or leave out --rank"));
        }
        (None, None) => return Ok(Way::Lossless),
        (Some(lossy), _) => lossy,
    };
    Ok(Way::Lossy(lossy.tier(rank.unwrap_or(DEFAULT_RANK).into())))
}

/// Makes an artifact of the second of two that are named, and says what it weighs.
pub fn compress(
    subject: Subject,
    (base, derived): (&str, &str),
    output: &Path,
    way: Way,
    is_json: bool,
) -> Result<(), Failure> {
    let staging = Staging::begin(output).map_err(|error| model::taken(&error))?;
    let base = model::find(base, output)?;
    let derived = model::find(derived, output)?;
    let made = watch::here("compress", |progress| {
        let by = format!("git-sparse {}", crate::VERSION);
        let made = Made { at: &now(), by: &by, way };
        artifact::compress(&base.tree, &derived.tree, staging.path(), &made, progress)
    });
    let manifest = made.map_err(|error| failed(&error))?;
    let path = staging.publish().map_err(|error| model::taken(&error))?;
    if is_json {
        let totals = &manifest.totals;
        let document = serde_json::json!({ "path": path, "kind": manifest.kind, "totals": totals });
        report::json(&format!("{}-compress", subject.verb()), document);
        return Ok(());
    }
    report::say(&format!("{}", path.display()));
    say_totals(subject, &manifest, &path);
    Ok(())
}

/// What the artifact weighs, and against what.
pub(super) fn say_totals(subject: Subject, manifest: &Manifest, artifact: &Path) {
    let totals = &manifest.totals;
    let label = subject.label();
    report::say(&format!("{label}  {} in {}", report::bytes(totals.size), files(manifest)));
    let same = report::share(totals.same, totals.size);
    report::say(&format!("in base    {} of it, as they are ({same})", report::bytes(totals.same)));
    let share = report::share(totals.stored, totals.size);
    let listing = fs::metadata(artifact.join(MANIFEST)).map_or(0, |found| found.len());
    let (stored, listing) = (report::bytes(totals.stored), report::bytes(listing));
    let (derived, plural) = (subject.derived(), subject.plural());
    report::say(&format!(
        "artifact   {stored} ({share} of the {derived}'s files), and {listing} of manifest"
    ));
    if let Some(lossy) = lossy(manifest) {
        report::say(&format!("LOSSY      {lossy}"));
    }
    if totals.ratio < 1.0 {
        report::say(&format!(
            "           larger than the {derived}: these two {plural} have little in common"
        ));
    }
}

/// What is said wherever an artifact that gives an approximation is listed.
pub(super) fn lossy(manifest: &Manifest) -> Option<String> {
    let worst = manifest.tensors.iter().filter_map(|tensor| tensor.error?.of_change).fold(0.0, f64::max);
    let tier = match manifest.kind {
        Kind::Lossless | Kind::Adapter => return None,
        Kind::LossyInt8 => "int8",
        Kind::LossySparseInt8 => "sparse-int8",
        Kind::LossySvd => "svd",
    };
    let approximate = manifest.fine_tune.files.iter().filter(|file| file.approximation.is_some()).count();
    Some(match approximate {
        0 => format!("{tier} was allowed and saved nothing: every file comes back as it is"),
        _ => format!(
            "{tier}: {} not the fine-tune's; up to {:.1} % of a tensor's change is lost",
            if approximate == 1 { "1 file is".into() } else { format!("{approximate} files are") },
            100.0 * worst
        ),
    })
}

fn files(manifest: &Manifest) -> String {
    report::count(manifest.fine_tune.files.len(), "file")
}

pub(super) fn now() -> String {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    report::date(seconds as i64)
}

pub(super) fn failed(error: &CompressError) -> Failure {
    let message = error.to_string();
    if error.is_cancelled() {
        return interrupted();
    }
    match error {
        CompressError::Ingest { error, .. } => not_stored(message, error),
        CompressError::Read { error, .. } => system(message, error),
        CompressError::Changed { .. } => changed(message),
        CompressError::Outline { error: OutlineError::Read(error), .. } => system(message, error),
        CompressError::Measure(ValidateError::Store(error)) | CompressError::Store(error) => {
            of_changed_base(&message, error).unwrap_or_else(|| not_written(message))
        }
        CompressError::Measure(_) | CompressError::Outline { .. } | CompressError::Manifest(_) => {
            not_written(message)
        }
    }
}

fn not_written(message: String) -> Failure {
    Failure::new(message::Kind::Fatal, message).fix("nothing was written; check the disk, then try again")
}
