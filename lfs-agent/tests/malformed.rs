//! What must not happen whatever arrives on standard input: a panic, a silent end, work on a bad job.

use std::io::{self, BufReader, Read};
use std::path::PathBuf;

use lfs_agent::{Download, Failure, Init, MAX_LINE_BYTES, Progress, ServeError, Transfer, Upload, serve};
use proptest::prelude::*;
use serde_json::{Value, json};

const OID: &str = "a2fc020470b6ea42960f5600415ad1d938652779ba9a9bbd662155e30b63f10a";
const INIT: &str =
    r#"{"event":"init","operation":"upload","remote":"origin","concurrent":true,"concurrenttransfers":8}"#;
const TERMINATE: &str = r#"{"event":"terminate"}"#;

/// A transfer that accepts all and remembers how often it was called.
#[derive(Default)]
struct Witness {
    begun: usize,
    jobs: usize,
}

impl Transfer for Witness {
    fn begin(&mut self, _: &Init) -> Result<(), Failure> {
        self.begun += 1;
        Ok(())
    }

    fn upload(&mut self, job: &Upload, _: &mut Progress<'_>) -> Result<(), Failure> {
        self.jobs += 1;
        assert!(job.size <= i64::MAX as u64);
        assert!(job.oid.as_str().len() == 64 && !job.oid.as_str().contains(['/', '.']));
        Ok(())
    }

    fn download(&mut self, job: &Download, _: &mut Progress<'_>) -> Result<PathBuf, Failure> {
        self.jobs += 1;
        assert!(job.size <= i64::MAX as u64);
        Ok("x".into())
    }
}

/// What came of an input.
struct Outcome {
    end: Result<(), ServeError>,
    said: Vec<Value>,
    witness: Witness,
}

/// Serves the input; each line of the answer must be JSON.
fn feed(input: impl Read) -> Outcome {
    let (mut witness, mut output) = (Witness::default(), Vec::new());
    let end = serve(BufReader::new(input), &mut output, &mut witness);
    let said = output
        .split_inclusive(|&byte| byte == b'\n')
        .map(|line| serde_json::from_slice(line).expect("answers are JSON"))
        .collect();
    Outcome { end, said, witness }
}

fn upload(fields: &str) -> Vec<u8> {
    format!(r#"{{"event":"upload",{fields}}}"#).into_bytes()
}

/// An upload that is right except for one field, given as JSON.
fn upload_but(field: &str, value: &str) -> Vec<u8> {
    let mut fields = [
        ("oid", format!("{OID:?}")),
        ("size", "5".to_owned()),
        ("path", r#""/f""#.to_owned()),
        ("action", "null".to_owned()),
    ];
    fields.iter_mut().filter(|(name, _)| *name == field).for_each(|(_, old)| *old = value.to_owned());
    let fields: Vec<String> = fields.iter().map(|(name, value)| format!("{name:?}:{value}")).collect();
    upload(&fields.join(","))
}

/// Lines that are no event at all, with words of the error they must cause.
fn broken_lines() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let deep = "[".repeat(MAX_LINE_BYTES - 100);
    vec![
        ("not JSON", b"hello".to_vec(), "expected a JSON object"),
        ("an empty line", b"".to_vec(), "expected a JSON object"),
        ("spaces", b"   ".to_vec(), "expected a JSON object"),
        ("an array that serde would take", br#"["terminate"]"#.to_vec(), "expected a JSON object"),
        ("a number", b"5".to_vec(), "expected a JSON object"),
        ("NUL bytes", vec![0; 64], "expected a JSON object"),
        ("a byte order mark", b"\xef\xbb\xbf{}".to_vec(), "expected a JSON object"),
        ("a cut object", br#"{"event":"upl"#.to_vec(), "EOF"),
        ("two objects", br#"{"event":"terminate"}{}"#.to_vec(), "trailing characters"),
        ("no event", b"{}".to_vec(), "missing field `event`"),
        ("an event that is no text", br#"{"event":{"a":1}}"#.to_vec(), "expected a string"),
        ("two events", br#"{"event":"init","event":"terminate"}"#.to_vec(), "duplicate field"),
        ("an unknown event", br#"{"event":"verify"}"#.to_vec(), "unknown event \"verify\""),
        (
            "a long event",
            format!(r#"{{"event":"{}"}}"#, "é".repeat(9_000)).into_bytes(),
            "unknown event \"éé",
        ),
        ("an event in capitals", br#"{"event":"Terminate"}"#.to_vec(), "unknown event"),
        ("invalid UTF-8", b"{\"event\":\"\xff\xfe\"}".to_vec(), "invalid unicode"),
        ("a NUL in a text", b"{\"event\":\"init\0\"}".to_vec(), "control character"),
        ("an escaped NUL", br#"{"event":"init\u0000"}"#.to_vec(), "unknown event \"init\\0\""),
        ("deep nesting", deep.clone().into_bytes(), "expected a JSON object"),
        ("deep nesting in the event", format!(r#"{{"event":{deep}"#).into_bytes(), "expected a string"),
        ("deep nesting nobody reads", format!(r#"{{"x":{deep}"#).into_bytes(), "EOF"),
        ("a job for no object", upload(r#""size":5,"path":"/f""#), "missing field `oid`"),
        ("a job for a number", upload_but("oid", "7"), "upload: invalid type: integer `7`"),
        ("a line just too long", vec![b' '; MAX_LINE_BYTES], "longer than 1048576 bytes"),
    ]
}

/// Jobs that name an object but are otherwise wrong.
fn bad_jobs() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let capitals = format!("{:?}", OID.to_uppercase());
    let long = format!("{:?}", "a".repeat(100_000));
    let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
    vec![
        ("an oid that climbs", upload_but("oid", r#""../../../../etc/passwd""#), "oid \"../.."),
        ("an oid in capitals", upload_but("oid", &capitals), "lower-case"),
        ("an empty oid", upload_but("oid", r#""""#), "oid \"\": expected 64"),
        ("a long oid", upload_but("oid", &long), "expected 64"),
        (
            "an oid of 64 bytes that are not digits",
            upload_but("oid", &format!("{:?}", "é".repeat(32))),
            "oid",
        ),
        ("an oid with a NUL", upload_but("oid", &format!("\"{}\\u0000\"", &OID[..63])), "expected 64"),
        ("a negative size", upload_but("size", "-1"), "invalid value: integer `-1`"),
        ("a size of 2^63", upload_but("size", "9223372036854775808"), "expected at most 9223372036854775807"),
        ("a size of 2^64", upload_but("size", "18446744073709551616"), "floating point"),
        ("a huge size", upload_but("size", "1e400"), "out of range"),
        ("half a byte", upload_but("size", "0.5"), "floating point"),
        ("a size in words", upload_but("size", r#""5""#), "expected u64"),
        ("a long size", upload_but("size", &long), "invalid type: string \"aaa"),
        ("no size", upload(&format!(r#""oid":"{OID}","path":"/f""#)), "missing field `size`"),
        ("no path", upload(&format!(r#""oid":"{OID}","size":5"#)), "missing field `path`"),
        ("an empty path", upload_but("path", r#""""#), "expected the path of a file"),
        ("a path with a NUL", upload_but("path", r#""/f\u0000""#), "expected the path of a file"),
        ("a path that is a list", upload_but("path", "[]"), "invalid type"),
        ("an action that is a text", upload_but("action", r#""secret""#), "action is malformed"),
        ("an action without a URL", upload_but("action", "{}"), "action.href is malformed"),
        (
            "a header that is no map",
            upload_but("action", r#"{"href":"h","header":"Bearer secret"}"#),
            "action.header is malformed",
        ),
        (
            "a header of numbers",
            upload_but("action", r#"{"href":"h","header":{"secret":5}}"#),
            "action.header is malformed",
        ),
        (
            "an expiry in words",
            upload_but("action", r#"{"href":"h","expires_in":"secret"}"#),
            "action.expires_in is malformed",
        ),
        ("deep nesting in an action", upload_but("action", &deep), "recursion limit"),
    ]
}

fn session(lines: &[&[u8]]) -> Vec<u8> {
    lines.iter().flat_map(|line| [line, &b"\n"[..]].concat()).collect()
}

/// Protects users from a silent end: each broken line, first or later, ends the session with a message for
/// git-lfs and one for us, both naming what is wrong, and nothing after it is done.
#[test]
fn a_broken_line_ends_the_session_with_a_message() {
    for (name, line, words) in broken_lines() {
        let good = upload_but("", "");
        for (number, input) in [
            (1, session(&[&line, INIT.as_bytes(), &good])),
            (3, session(&[INIT.as_bytes(), &good, &line, &good])),
        ] {
            let Outcome { end, said, witness } = feed(&input[..]);
            let Err(ServeError::Protocol { line, reason }) = end else { panic!("{name}: {end:?}") };
            assert!(reason.contains(words), "{name}: {reason}");
            assert!(reason.len() < 500, "{name}: {} bytes of reason", reason.len());
            assert_eq!(line, number, "{name}");
            assert_eq!(witness.jobs, usize::from(number > 1), "{name}");
            let last = said.last().expect("git-lfs is told");
            let message = format!("line {number} from git-lfs: {reason}");
            assert_eq!(last, &json!({"error": {"code": 400, "message": message}}), "{name}");
        }
    }
}

/// Protects the other objects of a push: a bad job fails by itself, under the oid it came with (git-lfs
/// accepts no other), without reaching the transfer, and the next one is done. No credential is quoted.
#[test]
fn a_bad_job_fails_alone() {
    for (name, line, words) in bad_jobs() {
        let good = upload_but("", "");
        let input = session(&[INIT.as_bytes(), &line, &good, TERMINATE.as_bytes()]);
        let Outcome { end, said, witness } = feed(&input[..]);
        assert!(end.is_ok(), "{name}: {end:?}");
        assert_eq!(witness.jobs, 1, "{name}");
        let failed = &said[1];
        let message = failed["error"]["message"].as_str().unwrap_or_default();
        assert!(message.starts_with("upload: ") && message.contains(words), "{name}: {failed}");
        assert!(!message.contains("secret") && message.len() < 500, "{name}: {message}");
        assert_eq!(failed["event"], "complete", "{name}");
        let sent: Value = serde_json::from_slice(&line).unwrap_or(json!({"oid": OID}));
        assert_eq!(failed["oid"], sent["oid"], "{name}");
        assert_eq!(said.last(), Some(&json!({"event": "complete", "oid": OID})), "{name}");
    }
}

/// Protects the order of a session: jobs only after `init`, one `init`, jobs of the announced kind.
#[test]
fn events_out_of_order_end_the_session() {
    let good = upload_but("", "");
    let download = format!(r#"{{"event":"download","oid":"{OID}","size":5,"action":null}}"#);
    let table: [(&[&[u8]], &str); 5] = [
        (&[&good], "upload before init"),
        (&[download.as_bytes()], "download before init"),
        (&[&upload_but("size", "-1")], "upload before init"),
        (&[INIT.as_bytes(), INIT.as_bytes()], "init in a session of uploads"),
        (&[INIT.as_bytes(), download.as_bytes()], "download in a session of uploads"),
    ];
    for (lines, words) in table {
        let Outcome { end, said, witness } = feed(&session(lines)[..]);
        let error = end.expect_err(words).to_string();
        assert_eq!(error, format!("line {} from git-lfs: {words}", lines.len()));
        assert_eq!(said.last(), Some(&json!({"error": {"code": 400, "message": error}})));
        assert_eq!((witness.begun, witness.jobs), (lines.len() - 1, 0));
    }
}

/// Protects the answer to `init`: a wrong one is refused in words, for git-lfs shows them.
#[test]
fn a_wrong_init_is_refused() {
    for (init, words) in [
        (r#"{"event":"init"}"#, "init: missing field `operation`"),
        (r#"{"event":"init","operation":"verify"}"#, "init: unknown variant `verify`"),
        (r#"{"event":"init","operation":5}"#, "init: "),
        (r#"{"event":"init","operation":"upload","concurrent":"yes"}"#, "init: invalid type"),
        (r#"{"event":"init","operation":"upload","concurrenttransfers":-1}"#, "init: invalid value"),
    ] {
        let Outcome { end, said, witness } = feed(&session(&[init.as_bytes()])[..]);
        let error = end.expect_err(init).to_string();
        assert!(error.contains(words), "{init}: {error}");
        assert_eq!(said, [json!({"error": {"code": 400, "message": error}})]);
        assert_eq!(witness.begun, 0);
    }
}

/// Protects memory: of a line of 100 MiB we read a little more than the limit, then refuse.
#[test]
fn a_huge_line_is_refused_before_it_is_read() {
    struct Counted<'a, R>(R, &'a mut u64);
    impl<R: Read> Read for Counted<'_, R> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let count = self.0.read(buffer)?;
            *self.1 += count as u64;
            Ok(count)
        }
    }
    let mut read = 0;
    let huge = INIT.as_bytes().chain(&b"\n{\"event\":\""[..]).chain(io::repeat(b'x').take(100 << 20));
    let Outcome { end, said, .. } = feed(Counted(huge, &mut read));
    assert_eq!(end.expect_err("too long").to_string(), "line 2 from git-lfs: longer than 1048576 bytes");
    assert_eq!(said.len(), 2);
    assert!(read < 2 * MAX_LINE_BYTES as u64, "read {read} bytes");
}

/// Protects long but honest lines: exactly the limit, with its line end, is served.
#[test]
fn a_line_of_the_limit_is_served() {
    let mut line = upload_but("", "");
    line.resize(MAX_LINE_BYTES - 1, b' ');
    let Outcome { end, witness, .. } = feed(&session(&[INIT.as_bytes(), &line])[..]);
    assert!(end.is_ok(), "{end:?}");
    assert_eq!(witness.jobs, 1);
}

/// Protects compatibility with a later git-lfs: what we don't know is skipped, however deep it nests, and
/// what we don't need may be missing.
#[test]
fn unknown_and_missing_fields_are_no_error() {
    let depth = 400_000;
    let deep = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let job = upload(&format!(r#""new":{deep},"oid":"{OID}","size":5,"path":"/f""#));
    let init = br#"{"event":"init","operation":"upload","version":{"major":4}}"#;
    let Outcome { end, said, witness } = feed(&session(&[init, &job, TERMINATE.as_bytes()])[..]);
    assert!(end.is_ok(), "{end:?}");
    assert_eq!((witness.begun, witness.jobs), (1, 1));
    assert_eq!(said.first(), Some(&json!({})));
}

/// Protects a clean exit: the end of input is as good as `terminate`, at any point, and needs no newline;
/// after `terminate` nothing is read.
#[test]
fn the_end_of_input_is_a_clean_end() {
    let job = upload_but("", "");
    let whole = session(&[INIT.as_bytes(), &job]);
    for (input, answers) in [
        (&b""[..], 0),
        (&session(&[TERMINATE.as_bytes()]), 0),
        (&session(&[INIT.as_bytes()]), 1),
        (&whole, 4),
        (&whole[..whole.len() - 1], 4),
        (&session(&[INIT.as_bytes(), TERMINATE.as_bytes(), b"no more"]), 1),
    ] {
        let Outcome { end, said, .. } = feed(input);
        assert!(end.is_ok(), "{end:?}");
        assert_eq!(said.len(), answers, "{said:?}");
    }
}

/// Protects empty objects: they are done without any progress, as no event could be true.
#[test]
fn an_empty_object_has_no_progress() {
    let Outcome { said, .. } = feed(&session(&[INIT.as_bytes(), &upload_but("size", "0")])[..]);
    assert_eq!(said, [json!({}), json!({"event": "complete", "oid": OID})]);
}

/// Protects git-lfs from a line it can't read: a path that is not UTF-8 fails its object, in words.
#[cfg(unix)]
#[test]
fn a_path_that_is_not_utf8_fails_its_object() {
    use std::os::unix::ffi::OsStringExt;
    struct Odd;
    impl Transfer for Odd {
        fn begin(&mut self, _: &Init) -> Result<(), Failure> {
            Ok(())
        }
        fn upload(&mut self, _: &Upload, _: &mut Progress<'_>) -> Result<(), Failure> {
            unreachable!("the session downloads")
        }
        fn download(&mut self, _: &Download, _: &mut Progress<'_>) -> Result<PathBuf, Failure> {
            Ok(std::ffi::OsString::from_vec(vec![b'/', 0xff]).into())
        }
    }
    let init = INIT.replace("upload", "download");
    let job = format!(r#"{{"event":"download","oid":"{OID}","size":5}}"#);
    let mut output = Vec::new();
    serve(&session(&[init.as_bytes(), job.as_bytes()])[..], &mut output, &mut Odd).expect("a clean end");
    let last = output.trim_ascii_end().rsplit(|&byte| byte == b'\n').next().expect("git-lfs is told");
    let last: Value = serde_json::from_slice(last).expect("answers are JSON");
    assert_eq!(last["oid"], OID);
    assert!(last["error"]["message"].as_str().is_some_and(|words| words.contains("not UTF-8")), "{last}");
}

/// Every line of these tests, good and bad, as material for random sessions.
fn known_lines() -> Vec<Vec<u8>> {
    let tables = broken_lines().into_iter().chain(bad_jobs());
    let short = tables.map(|(_, line, _)| line).filter(|line| line.len() < 10_000);
    let good = [INIT.as_bytes().to_vec(), TERMINATE.as_bytes().to_vec(), upload_but("", "")];
    short.chain(good).collect()
}

proptest! {
    /// Protects against what the tables forgot: random bytes never panic, and every answer is JSON.
    #[test]
    fn random_bytes_never_panic(bytes: Vec<u8>) {
        feed(&bytes[..]);
        feed(&[INIT.as_bytes(), b"\n", &bytes].concat()[..]);
    }

    /// The same for sessions of known lines, some of which have bytes overwritten, and whatever the end: an
    /// error of ours is an error git-lfs was told.
    #[test]
    fn damaged_sessions_never_panic(
        lines in proptest::collection::vec(proptest::sample::select(known_lines()), 0..8),
        damage: Vec<(proptest::sample::Index, u8)>,
    ) {
        let mut lines: Vec<&[u8]> = lines.iter().map(Vec::as_slice).collect();
        lines.insert(0, INIT.as_bytes());
        let mut input = session(&lines);
        for (place, byte) in damage.iter().take(3) {
            let place = place.index(input.len());
            input[place] = *byte;
        }
        let Outcome { end, said, .. } = feed(&input[..]);
        if let Err(error) = end {
            let told = said.last().and_then(|last| last["error"]["message"].as_str());
            prop_assert_eq!(told.map(str::to_owned), Some(error.to_string()));
        }
    }
}
