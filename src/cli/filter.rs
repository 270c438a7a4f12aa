//! `git sparse known-pointers`: a clean filter that prints the pointer which the index already has.
//!
//! `git sparse clone` has just written and hashed the files: reading them once more through
//! git-lfs' filter would also make the second copy that it avoids. Protocol: gitattributes(5),
//! "Long Running Filter Process".

use std::io::{self, Read, Write};

use clap::Args;

use crate::daemon::message::{Failure, Kind};
use crate::git::command::Git;

/// Answer git's clean filter with the index' own pointers (run by git sparse clone)
#[derive(Debug, Args)]
pub struct KnownPointers {}

const PACKET_BYTES: usize = 65_516;

impl KnownPointers {
    pub fn run(self) -> Result<(), Failure> {
        let (mut input, mut output) = (io::stdin().lock(), io::stdout().lock());
        serve(&mut input, &mut output).map_err(|error| Failure::new(Kind::Fatal, format!("filter: {error}")))
    }
}

fn serve(input: &mut impl Read, output: &mut impl Write) -> io::Result<()> {
    read_list(input)?;
    write_list(output, &["git-filter-server", "version=2"])?;
    read_list(input)?;
    write_list(output, &["capability=clean"])?;
    while let Some(command) = read_list(input)? {
        let path = command.iter().find_map(|line| line.strip_prefix("pathname=")).unwrap_or_default();
        // The content is known: it is let pass unread.
        while read_packet(input)?.is_some_and(|packet| packet.is_some()) {}
        match Git::at(".").run(&["cat-file", "blob", &format!(":{path}")]) {
            Ok(pointer) => {
                write_list(output, &["status=success"])?;
                write_packet(output, format!("{pointer}\n").as_bytes())?;
                output.write_all(b"0000")?;
                output.write_all(b"0000")?;
            }
            Err(_) => write_list(output, &["status=error"])?,
        }
        output.flush()?;
    }
    Ok(())
}

/// Lines up to a flush packet; `None` at the end of input.
fn read_list(input: &mut impl Read) -> io::Result<Option<Vec<String>>> {
    let mut lines = Vec::new();
    loop {
        match read_packet(input)? {
            None => return Ok(None),
            Some(None) => return Ok(Some(lines)),
            Some(Some(line)) => lines.push(String::from_utf8_lossy(&line).trim_end_matches('\n').to_owned()),
        }
    }
}

/// One packet: `None` at the end of input, `Some(None)` for a flush packet.
fn read_packet(input: &mut impl Read) -> io::Result<Option<Option<Vec<u8>>>> {
    let mut head = [0; 4];
    match input.read_exact(&mut head) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        read => read?,
    }
    let bad = || io::Error::new(io::ErrorKind::InvalidData, "a packet without a length");
    let text = std::str::from_utf8(&head).map_err(|_| bad())?;
    let len = usize::from_str_radix(text, 16).map_err(|_| bad())?;
    if len == 0 {
        return Ok(Some(None));
    }
    let mut body = vec![0; len.checked_sub(4).ok_or_else(bad)?];
    input.read_exact(&mut body)?;
    Ok(Some(Some(body)))
}

fn write_list(output: &mut impl Write, lines: &[&str]) -> io::Result<()> {
    for line in lines {
        write_packet(output, format!("{line}\n").as_bytes())?;
    }
    output.write_all(b"0000")?;
    output.flush()
}

fn write_packet(output: &mut impl Write, body: &[u8]) -> io::Result<()> {
    for piece in body.chunks(PACKET_BYTES) {
        write!(output, "{:04x}", piece.len() + 4)?;
        output.write_all(piece)?;
    }
    Ok(())
}
