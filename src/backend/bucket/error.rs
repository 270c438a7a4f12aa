//! What a bucket's server answered, in words that name the place and no secret.
//!
//! Of what the server said only its status and its error code are repeated: bodies are hostile text, and a
//! signed request that comes back in one is nobody's business.

use std::error::Error as _;
use std::io::{self, ErrorKind};

use object_store::Error;
use object_store::client::{HttpError, HttpErrorKind};

use super::process::KeysError;

/// An error of a bucket, and what to do about it. It lies in an `io::Error`.
#[derive(Debug, thiserror::Error)]
#[error("{doing}: {why}")]
pub struct BucketError {
    doing: String,
    why: String,
    pub fix: Option<&'static str>,
}

const CHECK_KEYS: &str = "are the keys right, and not too old? they come from your environment or profile \
    (AWS_ACCESS_KEY_ID, AWS_PROFILE, GOOGLE_SERVICE_ACCOUNT, AZURE_STORAGE_ACCOUNT_KEY, …)";
const CHECK_RIGHTS: &str =
    "ask its owner for the rights to list the bucket and to get, put and delete below that prefix";
const CHECK_NAME: &str = "is the bucket's name right, and the endpoint? make it with your provider's tool";
const CHECK_REGION: &str = "set AWS_REGION to the bucket's region";
const CHECK_ENDPOINT: &str = "is the endpoint right (AWS_ENDPOINT_URL, AWS_REGION), and the network there? \
    then try again; nothing was lost";
const TRY_AGAIN: &str = "try again; nothing was lost";
const SET_KEYS: &str = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE \
    (GOOGLE_SERVICE_ACCOUNT for gs, AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY for az)";
const RUN_PROCESS: &str =
    "run the credential_process of your profile by hand (~/.aws/config), and see what it says";
const SET_CLOCK: &str = "set this machine's clock";

/// What is known of a failed request.
pub(super) struct Cause {
    /// The server's answer.
    pub status: Option<u16>,
    /// The name that the server gave the error.
    code: Option<String>,
    /// How the request failed that had no answer.
    transport: Option<HttpErrorKind>,
    /// No keys were found, and the machine's own metadata server has none.
    no_keys: bool,
    /// The program that has the keys did not give them.
    withheld: bool,
    last: String,
}

impl Cause {
    pub fn of(error: &Error) -> Cause {
        let text = error.to_string();
        let after = |mark: &str| text.split_once(mark).map(|(_, rest)| rest);
        let status = after("status code: ").and_then(|rest| rest.get(..3)?.parse().ok());
        let code = after("<Code>").and_then(|rest| rest.split_once("</Code>")).map(|(code, _)| code);
        let plain = |code: &&str| code.len() <= 64 && code.chars().all(|sign| sign.is_ascii_alphanumeric());
        let mut transport = None;
        let (mut last, mut withheld) = (String::new(), false);
        let mut next = error.source();
        while let Some(source) = next {
            transport = transport.or(source.downcast_ref::<HttpError>().map(HttpError::kind));
            withheld |= source.is::<KeysError>();
            last = source.to_string();
            next = source.source();
        }
        let no_keys = ["//169.254.", "metadata.google.internal", "metadata/identity"];
        Cause {
            status,
            code: code.filter(plain).map(str::to_owned),
            transport,
            no_keys: no_keys.iter().any(|place| text.contains(place)),
            withheld,
            last,
        }
    }

    /// True when the same request may work a little later.
    pub fn may_pass(&self) -> bool {
        match self.status {
            Some(status) => status >= 500 || status == 429 || status == 408,
            None => self.transport.is_some(),
        }
    }

    /// True when the server was not reached, or did not say what it meant.
    pub fn is_transport(&self) -> bool {
        self.transport.is_some()
    }

    /// True when it is not the file that is missing but all around it.
    pub fn no_bucket(&self) -> bool {
        matches!(self.code.as_deref(), Some("NoSuchBucket" | "ContainerNotFound" | "NoSuchUpload"))
    }

    fn words(&self) -> (ErrorKind, String, Option<&'static str>) {
        let code = self.code.as_deref().unwrap_or_default();
        let said = match (self.status, code) {
            (Some(status), "") => format!(" ({status})"),
            (Some(status), code) => format!(" ({status} {code})"),
            (None, _) => String::new(),
        };
        let denied = ErrorKind::PermissionDenied;
        match (self.status, code) {
            _ if self.withheld => (denied, self.told(), Some(RUN_PROCESS)),
            _ if self.no_keys => (denied, "no keys for it were found".into(), Some(SET_KEYS)),
            (_, "NoSuchBucket" | "ContainerNotFound") => {
                (ErrorKind::Other, format!("there is no such bucket{said}"), Some(CHECK_NAME))
            }
            (_, "RequestTimeTooSkewed") => {
                (ErrorKind::Other, format!("the server's clock is another{said}"), Some(SET_CLOCK))
            }
            (
                _,
                "AuthorizationHeaderMalformed" | "PermanentRedirect" | "IllegalLocationConstraintException",
            ) => (ErrorKind::Other, format!("the bucket is in another region{said}"), Some(CHECK_REGION)),
            (_, "InvalidAccessKeyId" | "SignatureDoesNotMatch" | "ExpiredToken" | "InvalidToken")
            | (_, "AuthenticationFailed" | "NotSignedUp")
            | (Some(401), _) => {
                (denied, format!("the server does not accept your keys{said}"), Some(CHECK_KEYS))
            }
            (Some(403), "") => (denied, format!("access is denied{said}"), Some(CHECK_KEYS)),
            (Some(403), _) => (denied, format!("access is denied{said}"), Some(CHECK_RIGHTS)),
            (Some(301 | 307), _) => {
                (ErrorKind::Other, format!("the bucket is elsewhere{said}"), Some(CHECK_REGION))
            }
            (Some(507), _) => (ErrorKind::StorageFull, format!("the server is full{said}"), None),
            (Some(_), _) if self.may_pass() => {
                (ErrorKind::Other, format!("the server failed, several times{said}"), Some(TRY_AGAIN))
            }
            (Some(_), _) => (ErrorKind::Other, format!("the server refused{said}"), None),
            (None, _) => self.transport_words(),
        }
    }

    fn told(&self) -> String {
        self.last.chars().filter(|sign| !sign.is_control()).take(200).collect()
    }

    fn transport_words(&self) -> (ErrorKind, String, Option<&'static str>) {
        let told = self.told();
        match self.transport {
            Some(HttpErrorKind::Timeout) => {
                (ErrorKind::TimedOut, format!("no answer in time: {told}"), Some(CHECK_ENDPOINT))
            }
            Some(HttpErrorKind::Connect) => (
                ErrorKind::NotConnected,
                format!("the server can't be reached: {told}"),
                Some(CHECK_ENDPOINT),
            ),
            Some(_) => {
                (ErrorKind::ConnectionAborted, format!("the connection ended: {told}"), Some(TRY_AGAIN))
            }
            None if self.last.contains("Missing redirect") || self.last.contains("without LOCATION") => {
                (ErrorKind::Other, "the bucket is elsewhere".into(), Some(CHECK_REGION))
            }
            None => (ErrorKind::Other, told, None),
        }
    }
}

/// The error of a request, in words. `doing` has the file and the place.
pub(super) fn in_words(error: &Error, doing: String) -> io::Error {
    let cause = Cause::of(error);
    let (kind, why, fix) = match error {
        Error::NotFound { .. } if !cause.no_bucket() => (ErrorKind::NotFound, "no such file".into(), None),
        Error::AlreadyExists { .. } => (ErrorKind::AlreadyExists, "it is taken".into(), None),
        _ => cause.words(),
    };
    io::Error::new(kind, BucketError { doing, why, fix })
}

/// An error that is ours to find.
pub(super) fn found(kind: ErrorKind, doing: String, why: impl Into<String>) -> io::Error {
    io::Error::new(kind, BucketError { doing, why: why.into(), fix: None })
}

/// The error that can't be helped by trying again: what the user's configuration lacks.
pub(super) fn unusable(doing: String, why: impl Into<String>, fix: &'static str) -> io::Error {
    io::Error::new(ErrorKind::InvalidInput, BucketError { doing, why: why.into(), fix: Some(fix) })
}

/// What to do about an error, if it is one of a bucket.
pub fn fix_of(error: &io::Error) -> Option<&'static str> {
    error.get_ref()?.downcast_ref::<BucketError>()?.fix
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> Error {
        Error::Generic { store: "S3", source: text.to_owned().into() }
    }

    /// A server's answer is hostile text: of it, only a status and a plain code reach the user.
    #[test]
    fn only_status_and_code_are_repeated() {
        let told = |text: &str| in_words(&error(text), "put s3://b/config".into()).to_string();
        let body = "non-2xx status code: 403 Forbidden: <Error><Code>SignatureDoesNotMatch</Code>\
            <StringToSign>canary</StringToSign><Code>x</Code></Error>";
        let expected = "put s3://b/config: the server does not accept your keys (403 SignatureDoesNotMatch)";
        assert_eq!(told(body), expected);
        let hostile = told("status code: 500 x: <Code>\u{1b}[31mcanary</Code>");
        assert!(!hostile.contains("canary"), "{hostile}");
        assert!(
            told("GET http://169.254.169.254/latest/api/token failed").ends_with("no keys for it were found")
        );
    }
}
