//! Keys that a program of the user gives: `credential_process` of a profile, as Amazon's tools know it
//! (AWS SDKs and Tools Reference, "Process credential provider").
//!
//! It is run when keys are needed, and again before those at hand end. Its arguments and what it prints may be secret: messages
//! have its name and its last words on standard error.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use object_store::CredentialProvider;
use object_store::aws::AwsCredential;
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;
use tokio::sync::Mutex;

use crate::calendar;

/// Longest that the program may take: it may ask a server, and nobody answers its questions.
const PATIENCE: Duration = Duration::from_secs(60);
/// Longest output that is read.
const MAX_OUTPUT_BYTES: u64 = 64 << 10;
/// Keys are renewed so long before they end, or at half of their life.
const BEFORE_END: Duration = Duration::from_secs(300);
/// The one form of its answer.
const VERSION: u64 = 1;

/// Why a program gave no keys.
#[derive(Debug, thiserror::Error)]
#[error("credential_process {program}: {why}")]
pub(super) struct KeysError {
    program: String,
    why: String,
}

/// A program that gives keys, and those that it gave last.
pub(super) struct Process {
    words: Vec<String>,
    /// Set beside what this process has in its environment.
    variables: Vec<(String, String)>,
    last: Mutex<Option<Known>>,
}

struct Known {
    keys: Arc<AwsCredential>,
    /// None where they do not end.
    renew: Option<Instant>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    version: u64,
    access_key_id: String,
    secret_access_key: String,
    session_token: Option<String>,
    expiration: Option<String>,
}

impl Process {
    /// The program that `command` names with its arguments; nothing is run yet.
    pub fn new(command: &str, variables: Vec<(String, String)>) -> Process {
        Process { words: words(command), variables, last: Mutex::const_new(None) }
    }

    async fn keys(&self) -> Result<Arc<AwsCredential>, KeysError> {
        // Whoever comes while it runs waits for its answer.
        let mut last = self.last.lock().await;
        if let Some(known) = last.as_ref().filter(|known| known.renew.is_none_or(|at| Instant::now() < at)) {
            return Ok(known.keys.clone());
        }
        let failed = |why: String| KeysError { program: self.name().into(), why };
        let output = tokio::time::timeout(PATIENCE, self.run()).await;
        let output = output.map_err(|_| format!("no answer in {} seconds", PATIENCE.as_secs()));
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs() as i64;
        let known = output.flatten().and_then(|output| known(&output, now)).map_err(failed)?;
        Ok(last.insert(known).keys.clone())
    }

    fn name(&self) -> &str {
        self.words.first().map_or("", String::as_str)
    }

    /// What it prints.
    async fn run(&self) -> Result<Vec<u8>, String> {
        let (program, arguments) = self.words.split_first().ok_or("it names no program")?;
        let mut command = Command::new(program);
        command.args(arguments).envs(self.variables.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().map_err(|error| error.to_string())?;
        let (output, words) = (child.stdout.take(), child.stderr.take());
        let (output, words) = tokio::join!(read(output), read(words));
        let status = child.wait().await.map_err(|error| error.to_string())?;
        match status.success() {
            true => output.map_err(|error| error.to_string()),
            false => Err(format!("{status}{}", last_words(&words.unwrap_or_default()))),
        }
    }
}

impl CredentialProvider for Process {
    type Credential = AwsCredential;

    fn get_credential<'own, 'work>(
        &'own self,
    ) -> Pin<Box<dyn Future<Output = object_store::Result<Arc<AwsCredential>>> + Send + 'work>>
    where
        'own: 'work,
        Self: 'work,
    {
        Box::pin(async {
            let keys = self.keys().await;
            keys.map_err(|error| object_store::Error::Generic { store: "S3", source: Box::new(error) })
        })
    }
}

/// Neither arguments nor keys.
impl fmt::Debug for Process {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_tuple("Process").field(&self.name()).finish()
    }
}

/// The keys in an answer; `now` is in seconds since 1970.
fn known(output: &[u8], now: i64) -> Result<Known, String> {
    // An error of the parser could repeat what stands there.
    let answer: Answer = serde_json::from_slice(output)
        .map_err(|_| "it does not print keys as JSON: Version, AccessKeyId, SecretAccessKey".to_owned())?;
    if answer.version != VERSION {
        return Err(format!("its answer is of version {}, known is {VERSION}", answer.version));
    }
    let ends = |text: &str| calendar::seconds(text).ok_or("its Expiration is no point in time (ISO 8601)");
    let life = match answer.expiration.as_deref().map(ends).transpose()? {
        Some(end) if end <= now => return Err("the keys that it gives have ended already".into()),
        end => end.map(|end| Duration::from_secs((end - now) as u64)),
    };
    let renew = life.and_then(|life| Instant::now().checked_add(life - BEFORE_END.min(life / 2)));
    let token = answer.session_token.filter(|token| !token.is_empty());
    let keys = AwsCredential { key_id: answer.access_key_id, secret_key: answer.secret_access_key, token };
    Ok(Known { keys: Arc::new(keys), renew })
}

async fn read(from: Option<impl AsyncRead + Unpin>) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if let Some(from) = from {
        from.take(MAX_OUTPUT_BYTES).read_to_end(&mut bytes).await?;
    }
    Ok(bytes)
}

/// The last line of what a program said, fit to be shown.
fn last_words(said: &[u8]) -> String {
    let said = String::from_utf8_lossy(said);
    let line = said.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
    let line: String = line.trim().chars().filter(|sign| !sign.is_control()).take(160).collect();
    if line.is_empty() { line } else { format!(": {line}") }
}

/// The words of a command, which no shell sees: spaces part them, quotes and backslashes hold them together.
fn words(command: &str) -> Vec<String> {
    let (mut words, mut word, mut quote): (_, Option<String>, _) = (Vec::new(), None, None);
    let mut signs = command.chars();
    while let Some(sign) = signs.next() {
        match (quote, sign) {
            (Some(open), sign) if sign == open => quote = None,
            (None, '"' | '\'') => {
                quote = Some(sign);
                word.get_or_insert_default();
            }
            (None, sign) if sign.is_whitespace() => words.extend(word.take()),
            (None | Some('"'), '\\') => word.get_or_insert_default().extend(signs.next()),
            _ => word.get_or_insert_default().push(sign),
        }
    }
    words.extend(word);
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script(text: &str) -> Process {
        Process::new(&format!("sh -c '{text}'"), vec![("AWS_PROFILE".into(), "work".into())])
    }

    fn ask(process: &Process) -> Result<Arc<AwsCredential>, String> {
        super::super::runtime::wait(process.keys()).unwrap().map_err(|error| error.to_string())
    }

    /// Programs lie in folders with spaces, and get options with quotes.
    #[test]
    fn a_command_is_parted_as_a_shell_would() {
        let parted = |text: &str| words(text).join("|");
        assert_eq!(parted("/opt/x  --a b\t"), "/opt/x|--a|b");
        assert_eq!(
            parted(r#""/opt/my tools/x" --user 'a "b"' c\ d "e\"f" """#),
            r#"/opt/my tools/x|--user|a "b"|c d|e"f|"#
        );
        assert_eq!(parted(" "), "");
    }

    /// Keys are asked for once while they last, and anew before they end.
    #[test]
    fn keys_are_used_until_they_end() {
        let dir = tempfile::tempdir().unwrap();
        let runs = dir.path().join("runs");
        let count = || std::fs::read_to_string(&runs).unwrap_or_default().len();
        let giving = |rest: &str| {
            let json =
                format!("{{\"Version\": 1, \"AccessKeyId\": \"A\", \"SecretAccessKey\": \"B\"{rest}}}");
            script(&format!("printf x >> {}; echo {}", runs.display(), json.replace('"', "\\\"")))
        };
        let for_ever = giving("");
        let keys = ask(&for_ever).unwrap();
        assert_eq!((keys.key_id.as_str(), keys.secret_key.as_str(), &keys.token), ("A", "B", &None));
        ask(&for_ever).unwrap();
        assert_eq!(count(), 1);
        let (date, time) =
            calendar::utc(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64 + 4);
        let short = giving(&format!(", \"SessionToken\": \"T\", \"Expiration\": \"{date}T{time}Z\""));
        assert_eq!(ask(&short).unwrap().token.as_deref(), Some("T"));
        ask(&short).unwrap();
        assert_eq!(count(), 2);
        std::thread::sleep(Duration::from_millis(2100));
        ask(&short).unwrap();
        assert_eq!(count(), 3, "they end soon");
        let ended = ask(&giving(", \"Expiration\": \"2020-01-01T00:00:00Z\"")).unwrap_err();
        assert!(ended.contains("have ended already"), "{ended}");
    }

    /// What is wrong is told, and nothing that may be secret.
    #[test]
    fn a_program_that_fails_is_told_of() {
        for (text, expected) in [
            (
                "echo first >&2; echo sign in first >&2; exit 3",
                "credential_process sh: exit status: 3: sign in first",
            ),
            ("echo canary", "does not print keys as JSON"),
            (
                "echo \"{\\\"Version\\\": 2, \\\"AccessKeyId\\\": \\\"\\\", \\\"SecretAccessKey\\\": \\\"canary\\\"}\"",
                "of version 2",
            ),
            ("yes canary | head -c 60000", "does not print keys as JSON"),
            ("test $AWS_PROFILE = work && exit 7", "exit status: 7"),
        ] {
            let told = ask(&script(text)).unwrap_err();
            assert!(told.contains(expected) && !told.contains("canary"), "{text}: {told}");
        }
        let told = ask(&Process::new("/nowhere/at/all --secret canary", Vec::new())).unwrap_err();
        assert!(
            told.starts_with("credential_process /nowhere/at/all: ") && !told.contains("canary"),
            "{told}"
        );
        assert!(!format!("{:?}", script("canary")).contains("canary"));
    }
}
