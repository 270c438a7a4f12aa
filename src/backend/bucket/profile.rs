//! Profiles of Amazon's tools: the keys and places that `~/.aws/config` and `~/.aws/credentials` hold.
//!
//! `object_store` reads the environment and no files. Here are static keys, region and endpoint, a token file with its role, and
//! the program that gives keys (`process`); keys that only a sign-on gives are named, so that the user can export them.

use super::settings::Settings;

/// Settings of a profile, and the variables that say the same.
const KEYS: [(&str, &str); 4] = [
    ("region", "AWS_REGION"),
    ("aws_access_key_id", "AWS_ACCESS_KEY_ID"),
    ("aws_secret_access_key", "AWS_SECRET_ACCESS_KEY"),
    ("aws_session_token", "AWS_SESSION_TOKEN"),
];
/// The same of a role that is taken on with a token in a file.
const ROLE: [(&str, &str); 3] = [
    ("web_identity_token_file", "AWS_WEB_IDENTITY_TOKEN_FILE"),
    ("role_arn", "AWS_ROLE_ARN"),
    ("role_session_name", "AWS_ROLE_SESSION_NAME"),
];
/// What a profile has whose keys only Amazon's tools can ask for.
const ELSEWHERE: [&str; 5] =
    ["sso_session", "sso_start_url", "source_profile", "credential_source", "role_arn"];
/// The setting, and the key in a profile, of the program that gives keys. No variable has this name.
pub(super) const PROCESS: &str = "credential_process";

/// Why a profile can't be used.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    #[error("there is no profile {0:?} in your AWS configuration")]
    Unknown(String),
    #[error("profile {profile:?} has its keys from {from}, which only Amazon's tools can ask")]
    Elsewhere { profile: String, from: &'static str },
}

/// Adds what the profile says and the environment does not. `config` and `credentials` are the files' texts.
pub fn add_profile(settings: &mut Settings, config: &str, credentials: &str) -> Result<(), ProfileError> {
    let named = settings.get("AWS_PROFILE").or(settings.get("AWS_DEFAULT_PROFILE")).map(str::to_owned);
    let name = named.as_deref().unwrap_or("default");
    let in_config = if name == "default" { "default".to_owned() } else { format!("profile {name}") };
    // `[profile default]` is read, too, where there is no `[default]`.
    let long = format!("profile {name}");
    let of_config = section(config, &in_config).or_else(|| section(config, &long));
    let of_credentials = section(credentials, name);
    if named.is_some() && of_config.is_none() && of_credentials.is_none() {
        return Err(ProfileError::Unknown(name.into()));
    }
    let entries: Vec<_> = of_credentials.into_iter().chain(of_config).flatten().collect();
    let found = |key: &str| entries.iter().find(|(name, _)| *name == key).map(|(_, value)| *value);
    // Keys come from one place, all of them: half of one pair and half of another fit nobody.
    let has_keys =
        ["AWS_ACCESS_KEY_ID", "AWS_WEB_IDENTITY_TOKEN_FILE"].iter().any(|it| settings.get(it).is_some());
    for (key, variable) in KEYS.iter().skip(if has_keys { KEYS.len() } else { 1 }) {
        found(key).inspect(|value| settings.or_set(variable, value));
    }
    if settings.get("AWS_DEFAULT_REGION").is_none() {
        found(KEYS[0].0).inspect(|region| settings.or_set(KEYS[0].1, region));
    }
    if settings.get("AWS_ENDPOINT_URL").is_none() {
        found("endpoint_url").inspect(|url| settings.or_set("AWS_ENDPOINT_URL", url));
    }
    let is_anonymous = settings.get("AWS_SKIP_SIGNATURE").is_some();
    if settings.get("AWS_ACCESS_KEY_ID").is_some() || has_keys || is_anonymous {
        return Ok(());
    }
    if found(ROLE[0].0).is_some() && found(ROLE[1].0).is_some() {
        ROLE.iter().for_each(|(key, variable)| {
            found(key).inspect(|value| settings.or_set(variable, value));
        });
        return Ok(());
    }
    if let Some(from) = ELSEWHERE.iter().find(|key| found(key).is_some()) {
        return Err(ProfileError::Elsewhere { profile: name.into(), from });
    }
    found(PROCESS).inspect(|command| settings.or_set(PROCESS, command));
    Ok(())
}

/// The entries of `[name]`, if there is such a section. Indented lines belong to the entry above them.
fn section<'text>(text: &'text str, name: &str) -> Option<Vec<(&'text str, &'text str)>> {
    let mut entries = None;
    let mut within = false;
    for line in text.lines() {
        let bare = line.trim();
        if bare.is_empty() || bare.starts_with(['#', ';']) {
            continue;
        }
        if let Some(title) = bare.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            within = title.0.split_whitespace().eq(name.split_whitespace());
            entries = if within { entries.or(Some(Vec::new())) } else { entries };
        } else if within
            && !line.starts_with([' ', '\t'])
            && let Some((key, value)) = bare.split_once('=')
        {
            let value = value.split(" #").next().unwrap_or(value).trim();
            entries.get_or_insert_default().push((key.trim(), value));
        }
    }
    entries
}

#[cfg(test)]
mod tests {
    use super::super::address::Scheme;
    use super::*;

    const CONFIG: &str = "# mine\n[default]\nregion = eu-west-1\n\n[profile work]\nregion=us-east-2\n\
        endpoint_url = https://s3.example # ours\ns3 =\n  region = nested\n[profile sso]\nsso_session = x\n\
        [profile vault]\ncredential_process = \"/opt/my vault\" get # mine\nregion = r\n\
        [profile token]\nweb_identity_token_file = /t\nrole_arn = arn:1\n\
        [profile chained]\nrole_arn = arn:1\nsource_profile = vault\n";
    const CREDENTIALS: &str = "[default]\naws_access_key_id = A\naws_secret_access_key = B=\n\
        [ work ]\naws_access_key_id = C\naws_secret_access_key = D\naws_session_token = E\n";

    fn with(variables: &[(&str, &str)]) -> Result<Settings, ProfileError> {
        let owned = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let mut settings = Settings::of(Scheme::S3, owned);
        add_profile(&mut settings, CONFIG, CREDENTIALS).map(|()| settings)
    }

    /// The user's keys are found as Amazon's own tools find them; a profile's never mix with others.
    #[test]
    fn a_profile_is_read_and_the_environment_comes_first() {
        let settings = with(&[]).unwrap();
        assert_eq!(settings.get("AWS_ACCESS_KEY_ID"), Some("A"));
        assert_eq!(settings.get("AWS_SECRET_ACCESS_KEY"), Some("B="));
        assert_eq!(settings.get("AWS_REGION"), Some("eu-west-1"));
        let settings = with(&[("AWS_PROFILE", "work")]).unwrap();
        assert_eq!(settings.get("AWS_SESSION_TOKEN"), Some("E"));
        assert_eq!(settings.get("AWS_REGION"), Some("us-east-2"));
        assert_eq!(settings.get("AWS_ENDPOINT_URL"), Some("https://s3.example"));
        let own = [("AWS_PROFILE", "work"), ("AWS_ACCESS_KEY_ID", "X"), ("AWS_DEFAULT_REGION", "r")];
        let settings = with(&own).unwrap();
        assert_eq!(settings.get("AWS_SECRET_ACCESS_KEY"), None, "half of a pair was taken");
        assert_eq!(settings.get("AWS_REGION"), None);
    }

    /// A profile that can't be used is named; else another's keys would be tried, or none.
    #[test]
    fn a_profile_that_is_no_use_is_named() {
        assert!(
            matches!(with(&[("AWS_PROFILE", "gone")]), Err(ProfileError::Unknown(name)) if name == "gone")
        );
        let found = with(&[("AWS_PROFILE", "sso")]);
        assert!(matches!(found, Err(ProfileError::Elsewhere { from: "sso_session", .. })));
        assert!(with(&[("AWS_PROFILE", "sso"), ("AWS_ACCESS_KEY_ID", "X")]).is_ok());
        let found = with(&[("AWS_PROFILE", "chained")]);
        assert!(matches!(found, Err(ProfileError::Elsewhere { from: "source_profile", .. })));
    }

    /// Keys that a program gives are asked for only where there are no others, and only as the user's files say.
    #[test]
    fn programs_and_tokens_stand_in_for_keys() {
        let vault = with(&[("AWS_PROFILE", "vault"), ("credential_process", "another")]).unwrap();
        assert_eq!(vault.get(PROCESS), Some("\"/opt/my vault\" get"));
        assert_eq!((vault.get("AWS_REGION"), vault.get("AWS_ACCESS_KEY_ID")), (Some("r"), None));
        let own = with(&[("AWS_PROFILE", "vault"), ("AWS_ACCESS_KEY_ID", "X")]).unwrap();
        assert_eq!(own.get(PROCESS), None);
        let token = with(&[("AWS_PROFILE", "token")]).unwrap();
        assert_eq!(token.get("AWS_WEB_IDENTITY_TOKEN_FILE"), Some("/t"));
        assert_eq!(token.get("AWS_ROLE_ARN"), Some("arn:1"));
    }
}
