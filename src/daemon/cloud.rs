//! What this user's environment and profiles say of a bucket. A process in the background is told all of it.

use std::env;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use super::message::{Failure, Kind, RemotePlace};
use crate::backend::bucket::{Address, Bucket, ProfileError, Scheme, Settings, add_profile};
use crate::backend::{Backend, Local, Privacy};

/// Longest file of profiles that is read.
const MAX_PROFILES_BYTES: u64 = 1 << 20;

/// A bucket, as this user gets to it.
pub fn place(address: Address) -> Result<RemotePlace, Failure> {
    let settings = settings(&address)?;
    Ok(RemotePlace::Bucket(address, settings))
}

/// The files of a remote that is only storage; none of one that answers questions. `scratch` is a directory of this
/// user's for what is too large for memory.
pub fn files(place: &RemotePlace, scratch: &Path) -> Option<Box<dyn Backend>> {
    match place {
        RemotePlace::Directory(path) => Some(Box::new(Local::new(path, Privacy::Shared))),
        RemotePlace::Bucket(address, settings) => {
            Some(Box::new(Bucket::new(address.clone(), settings.clone(), scratch.to_owned())))
        }
        RemotePlace::Hub(_) => None,
    }
}

/// What this user's configuration says of a bucket.
pub fn settings(address: &Address) -> Result<Settings, Failure> {
    let variables = env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    let mut settings = Settings::of(address.scheme, variables);
    if address.scheme == Scheme::S3 {
        let config = profiles(&settings, "AWS_CONFIG_FILE", "config");
        let credentials = profiles(&settings, "AWS_SHARED_CREDENTIALS_FILE", "credentials");
        add_profile(&mut settings, &config, &credentials).map_err(|error| in_words(address, &error))?;
        // A process in the background has another directory; one that is not there is told of when it is needed.
        let bundle =
            settings.get("AWS_CA_BUNDLE").map(|path| fs::canonicalize(path).unwrap_or_else(|_| path.into()));
        if let Some(path) = bundle.and_then(|path| path.into_os_string().into_string().ok()) {
            settings.set("AWS_CA_BUNDLE", path);
        }
    }
    Ok(settings)
}

/// The text of a file of Amazon's tools, if there is one.
fn profiles(settings: &Settings, variable: &str, name: &str) -> String {
    let of_home = || Some(PathBuf::from(env::var_os("HOME")?).join(".aws").join(name));
    let path = settings.get(variable).map(PathBuf::from).or_else(of_home);
    let mut text = Vec::new();
    if let Some(file) = path.and_then(|path| File::open(path).ok()) {
        // What can't be read is as if it were not there: the keys may stand elsewhere.
        let _ = file.take(MAX_PROFILES_BYTES).read_to_end(&mut text);
    }
    String::from_utf8_lossy(&text).into_owned()
}

fn in_words(address: &Address, error: &ProfileError) -> Failure {
    let failure = Failure::new(Kind::Usage, format!("{address}: {error}"));
    match error {
        ProfileError::Unknown(_) => failure.fix("set AWS_PROFILE to one that is there: aws configure list-profiles"),
        ProfileError::Elsewhere { profile, .. } => failure.fix(format!(
            "use a profile that has, in ~/.aws/config, credential_process = aws configure export-credentials --profile {profile}"
        )),
    }
}
