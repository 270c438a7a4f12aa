//! An object of JSON as it is written: its members, and what stands between them.

use std::collections::HashMap;
use std::ops::Range;

/// One object on a line.
pub(super) struct Object<'a> {
    line: &'a [u8],
    members: Vec<Member>,
}

struct Member {
    name: String,
    key: Range<usize>,
    value: Range<usize>,
}

impl<'a> Object<'a> {
    /// None where the line is no object.
    pub fn of(line: &'a [u8]) -> Option<Object<'a>> {
        let mut reader = Reader { line, at: 0 };
        let mut members = Vec::new();
        reader.take(b'{')?;
        if reader.peek()? != b'}' {
            loop {
                reader.peek()?;
                let key = reader.value()?;
                let name = serde_json::from_slice(&line[key.clone()]).ok()?;
                reader.take(b':')?;
                reader.peek()?;
                members.push(Member { name, key, value: reader.value()? });
                match reader.peek()? {
                    b',' => reader.at += 1,
                    _ => break,
                }
            }
        }
        reader.take(b'}')?;
        Some(Object { line, members })
    }

    /// Names, and values as they are written, in the order in which they stand.
    pub fn members(&self) -> impl Iterator<Item = (&str, &'a [u8])> {
        self.members.iter().map(|member| (member.name.as_str(), &self.line[member.value.clone()]))
    }

    /// A value as it is written; the last one, where the name comes twice.
    pub fn value(&self, name: &str) -> Option<&'a [u8]> {
        let member = self.members.iter().rev().find(|member| member.name == name)?;
        Some(&self.line[member.value.clone()])
    }

    /// An object like this with these values: members stay where they are and get the names that they have in `renamed`;
    /// those that it has no value for go, and those that it lacks come last.
    pub fn with(&self, mut values: Vec<(String, Vec<u8>)>, renamed: &HashMap<&str, &str>) -> Vec<u8> {
        let mut members: Vec<Vec<u8>> = Vec::new();
        for member in &self.members {
            let Some(name) = renamed.get(member.name.as_str()) else { continue };
            let Some(at) = values.iter().position(|(own, _)| own == name) else { continue };
            let (_, value) = values.remove(at);
            let key = match *name == member.name {
                true => self.line[member.key.clone()].to_vec(),
                false => quoted(name),
            };
            let between = &self.line[member.key.end..member.value.start];
            members.push([&key[..], between, &value].concat());
        }
        let between = self.between();
        members
            .extend(values.into_iter().map(|(name, value)| [&quoted(&name)[..], between.1, &value].concat()));
        let (before, after) = match (self.members.first(), self.members.last()) {
            (Some(first), Some(last)) => (&self.line[..first.key.start], &self.line[last.value.end..]),
            _ => (&b"{"[..], &b"}"[..]),
        };
        [before, &members.join(between.0), after].concat()
    }

    /// What stands between members, and between a name and its value.
    fn between(&self) -> (&'a [u8], &'a [u8]) {
        let name = self.members.first().map(|member| &self.line[member.key.end..member.value.start]);
        let name = name.unwrap_or(b": ");
        let members = match &self.members[..] {
            [first, second, ..] => &self.line[first.value.end..second.key.start],
            _ if name.ends_with(b" ") => b", ",
            _ => b",",
        };
        (members, name)
    }
}

/// The items of an array as they are written; none where it is no array.
pub(super) fn items(array: &[u8]) -> Option<Vec<&[u8]>> {
    let mut reader = Reader { line: array, at: 0 };
    let mut items = Vec::new();
    reader.take(b'[')?;
    if reader.peek()? != b']' {
        loop {
            reader.peek()?;
            items.push(&array[reader.value()?]);
            match reader.peek()? {
                b',' => reader.at += 1,
                _ => break,
            }
        }
    }
    reader.take(b']')?;
    Some(items)
}

fn quoted(name: &str) -> Vec<u8> {
    serde_json::Value::from(name).to_string().into_bytes()
}

/// Reads a line that is JSON; of what is not, it says less than a parser.
struct Reader<'a> {
    line: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    /// The next byte that is no space.
    fn peek(&mut self) -> Option<u8> {
        self.at += self.line.get(self.at..)?.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
        self.line.get(self.at).copied()
    }

    fn take(&mut self, byte: u8) -> Option<()> {
        (self.peek()? == byte).then(|| self.at += 1)
    }

    /// Where a value stands that begins here.
    fn value(&mut self) -> Option<Range<usize>> {
        let start = self.at;
        let mut depth = 0usize;
        loop {
            match *self.line.get(self.at)? {
                b'"' => self.text()?,
                b'{' | b'[' => {
                    depth += 1;
                    self.at += 1;
                }
                b'}' | b']' if depth > 0 => {
                    depth -= 1;
                    self.at += 1;
                }
                _ if depth > 0 => self.at += 1,
                _ => {
                    let is_inside = |byte: &&u8| {
                        !matches!(byte, b',' | b'}' | b']' | b':') && !byte.is_ascii_whitespace()
                    };
                    self.at += self.line[self.at..].iter().take_while(is_inside).count();
                }
            }
            if depth == 0 {
                return (self.at > start).then_some(start..self.at);
            }
        }
    }

    fn text(&mut self) -> Option<()> {
        self.at += 1;
        loop {
            let byte = *self.line.get(self.at)?;
            self.at += if byte == b'\\' { 2 } else { 1 };
            if byte == b'"' {
                return Some(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is not changed keeps its spelling: numbers, escapes, spaces, order.
    #[test]
    fn an_object_keeps_its_spelling() {
        let line = br#"{ "b": 1.50, "a" : {"x": [1, "}"]}, "c\u0041": "\"" }"#;
        let object = Object::of(line).unwrap();
        assert_eq!(object.value("a").unwrap(), br#"{"x": [1, "}"]}"#);
        assert_eq!(object.value("cA").unwrap(), br#""\"""#);
        assert_eq!(object.value("b").unwrap(), b"1.50");
        let same: HashMap<&str, &str> = [("b", "b"), ("a", "a"), ("cA", "cA")].into();
        let values = |names: &[(&str, &str)]| -> Vec<(String, Vec<u8>)> {
            names.iter().map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec())).collect()
        };
        let all = [("a", r#"{"x": [1, "}"]}"#), ("b", "1.50"), ("cA", r#""\"""#)];
        assert_eq!(object.with(values(&all), &same), line);
        let other = object.with(values(&[("cA", "null"), ("b", "2"), ("new", "[]")]), &same);
        assert_eq!(String::from_utf8(other).unwrap(), r#"{ "b": 2, "c\u0041": null, "new": [] }"#);
        let renamed: HashMap<&str, &str> = [("b", "bee")].into();
        let other = object.with(values(&[("bee", "1.50")]), &renamed);
        assert_eq!(String::from_utf8(other).unwrap(), r#"{ "bee": 1.50 }"#);
        for end in 0..line.len() {
            assert!(Object::of(&line[..end]).is_none());
        }
    }
}
