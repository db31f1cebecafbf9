//! From TOML text to typed values, noting every fault on the way instead of stopping at the first.
//!
//! The keys a section is asked for are the keys it accepts, so the list of known keys cannot drift from the code.

use std::cell::RefCell;
use std::fmt;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// One thing wrong with a config: where, what, and what would be accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The file, where there is one.
    pub file: Option<String>,
    /// Line in the file, counted from 1.
    pub line: Option<usize>,
    /// The key as a path, such as `models[0].architecture`.
    pub key: String,
    /// What is wrong and what would do.
    pub message: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.file, self.line) {
            (Some(file), Some(line)) => write!(out, "{file}:{line}: ")?,
            (Some(file), None) => write!(out, "{file}: ")?,
            (None, Some(line)) => write!(out, "{line}: ")?,
            (None, None) => {}
        }
        if !self.key.is_empty() {
            write!(out, "{}: ", self.key)?;
        }
        out.write_str(&self.message)
    }
}

impl std::error::Error for Fault {}

/// The document being read and what was found wrong with it.
pub(super) struct Document<'t> {
    file: Option<String>,
    text: &'t str,
    faults: RefCell<Vec<Fault>>,
}

impl<'t> Document<'t> {
    pub(super) fn new(file: Option<String>, text: &'t str) -> Self {
        Document { file, text, faults: RefCell::default() }
    }

    /// Parses the text; what could not be parsed is noted and left out.
    pub(super) fn parse(&self) -> DeTable<'t> {
        let (table, errors) = DeTable::parse_recoverable(self.text);
        for error in errors {
            self.note(error.span().map(|span| span.start), "", error.message().to_owned());
        }
        table.into_inner()
    }

    pub(super) fn root<'s, 'i>(&'s self, table: &'s DeTable<'i>) -> Section<'s, 'i, 't> {
        Section { document: self, path: String::new(), table: Some(table), asked: RefCell::default() }
    }

    fn note(&self, at: Option<usize>, key: &str, message: String) {
        let line = at.map(|at| 1 + self.text[..at].bytes().filter(|byte| *byte == b'\n').count());
        let fault = Fault { file: self.file.clone(), line, key: key.to_owned(), message };
        self.faults.borrow_mut().push(fault);
    }

    /// Every fault, in the order of the file.
    pub(super) fn into_faults(self) -> Vec<Fault> {
        let mut faults = self.faults.into_inner();
        faults.sort_by_key(|fault| fault.line);
        faults
    }
}

/// One table of the document; an absent one reads as empty, so that defaults apply.
pub(super) struct Section<'s, 'i, 't> {
    document: &'s Document<'t>,
    path: String,
    table: Option<&'s DeTable<'i>>,
    asked: RefCell<Vec<&'static str>>,
}

impl<'s, 'i, 't> Section<'s, 'i, 't> {
    /// The key's value, if it is there. Asking makes the key a known one.
    fn value(&self, key: &'static str) -> Option<&'s Spanned<DeValue<'i>>> {
        self.asked.borrow_mut().push(key);
        self.table?.iter().find(|(name, _)| &**name.get_ref() == key).map(|(_, value)| value)
    }

    pub(super) fn has(&self, key: &'static str) -> bool {
        self.value(key).is_some()
    }

    pub(super) fn string(&self, key: &'static str) -> Option<String> {
        let value = self.value(key)?;
        let text = value.get_ref().as_str().map(str::to_owned);
        if text.is_none() {
            self.refuse(key, value, "a string");
        }
        text
    }

    pub(super) fn strings(&self, key: &'static str) -> Vec<String> {
        let Some(value) = self.value(key) else { return Vec::new() };
        let list: Option<Vec<String>> = value.get_ref().as_array().and_then(|list| {
            list.iter().map(|item| item.get_ref().as_str().map(str::to_owned)).collect::<Option<_>>()
        });
        list.unwrap_or_else(|| {
            self.refuse(key, value, "an array of strings");
            Vec::new()
        })
    }

    pub(super) fn boolean(&self, key: &'static str) -> Option<bool> {
        let value = self.value(key)?;
        let flag = value.get_ref().as_bool();
        if flag.is_none() {
            self.refuse(key, value, "true or false");
        }
        flag
    }

    /// A whole number from `least` up to `most`.
    pub(super) fn integer(&self, key: &'static str, least: u64, most: u64) -> Option<u64> {
        let value = self.value(key)?;
        let number = whole_number(value.get_ref()).filter(|number| (least..=most).contains(number));
        if number.is_none() {
            self.refuse(key, value, &format!("a whole number from {least} to {most}"));
        }
        number
    }

    /// A number from `least` up to `most`.
    pub(super) fn number(&self, key: &'static str, least: f64, most: f64) -> Option<f64> {
        let value = self.value(key)?;
        let number = any_number(value.get_ref()).filter(|number| (least..=most).contains(number));
        if number.is_none() {
            self.refuse(key, value, &format!("a number from {least} to {most}"));
        }
        number
    }

    /// A time in milliseconds, from one millisecond to an hour.
    pub(super) fn milliseconds(&self, key: &'static str) -> Option<Duration> {
        self.integer(key, 1, 3_600_000).map(Duration::from_millis)
    }

    /// A parameter count: `"30.5B"`, `"600M"` or a plain number.
    pub(super) fn parameters(&self, key: &'static str) -> Option<u64> {
        let value = self.value(key)?;
        let count = match value.get_ref() {
            DeValue::String(text) => parameter_count(text),
            other => whole_number(other),
        };
        let count = count.filter(|count| *count > 0);
        if count.is_none() {
            self.refuse(key, value, "a parameter count such as \"30.5B\", \"600M\" or 600000000");
        }
        count
    }

    /// One of the named values.
    pub(super) fn one_of<T: Copy>(&self, key: &'static str, choices: &[(&str, T)]) -> Option<T> {
        let value = self.value(key)?;
        let name = value.get_ref().as_str();
        let choice = choices.iter().find(|(known, _)| Some(*known) == name).map(|(_, choice)| *choice);
        if choice.is_none() {
            let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
            self.refuse(key, value, &format!("one of {}", names.join(", ")));
        }
        choice
    }

    /// The table under `key`; empty where absent.
    pub(super) fn section(&self, key: &'static str) -> Section<'s, 'i, 't> {
        let value = self.value(key);
        let table = value.and_then(|value| value.get_ref().as_table());
        if let (Some(value), None) = (value, table) {
            self.refuse(key, value, "a table");
        }
        self.child(self.path_of(key), table)
    }

    /// The array of tables under `key`; empty where absent.
    pub(super) fn sections(&self, key: &'static str) -> Vec<Section<'s, 'i, 't>> {
        let Some(value) = self.value(key) else { return Vec::new() };
        let tables: Option<Vec<_>> = value.get_ref().as_array().and_then(|list| {
            let child = |(index, item): (usize, &'s Spanned<DeValue<'i>>)| {
                let path = format!("{}[{index}]", self.path_of(key));
                item.get_ref().as_table().map(|table| self.child(path, Some(table)))
            };
            list.iter().enumerate().map(child).collect::<Option<_>>()
        });
        tables.unwrap_or_else(|| {
            self.refuse(key, value, &format!("an array of tables, written [[{key}]]"));
            Vec::new()
        })
    }

    /// Every table under this one, by its free name.
    pub(super) fn named_sections(&self) -> Vec<(String, Section<'s, 'i, 't>)> {
        let Some(table) = self.table else { return Vec::new() };
        let mut named = Vec::new();
        for (name, value) in table {
            let name = name.get_ref().to_string();
            let path = if self.path.is_empty() { name.clone() } else { format!("{}.{name}", self.path) };
            match value.get_ref().as_table() {
                Some(table) => named.push((name, self.child(path, Some(table)))),
                None => {
                    self.document.note(Some(value.span().start), &path, "expected a table".to_owned());
                }
            }
        }
        named
    }

    /// Notes a fault of `key` that only the caller can see.
    pub(super) fn fault(&self, key: &str, message: impl Into<String>) {
        let at = self.table.and_then(|table| {
            let found = table.iter().find(|(name, _)| &**name.get_ref() == key);
            // A missing key is shown at its section's first key, which is near enough to find it.
            found.or_else(|| table.iter().next()).map(|(name, _)| name.span().start)
        });
        self.document.note(at, &self.path_of(key), message.into());
    }

    /// Notes every key that was never asked for, and ends the reading of this section.
    pub(super) fn finish(self) {
        self.refuse_unknown();
    }

    /// Notes every key that was never asked for. Call it last.
    pub(super) fn refuse_unknown(&self) {
        let Some(table) = self.table else { return };
        let asked = self.asked.borrow();
        for (name, _) in table {
            let name = name.get_ref();
            if asked.iter().any(|known| *known == &**name) {
                continue;
            }
            let mut known: Vec<&str> = asked.clone();
            known.sort_unstable();
            known.dedup();
            let hint = match nearest(name, &known) {
                Some(nearest) => format!("unknown key; did you mean {nearest}?"),
                None => format!("unknown key; known here are {}", known.join(", ")),
            };
            self.fault(name, hint);
        }
    }

    fn child(&self, path: String, table: Option<&'s DeTable<'i>>) -> Section<'s, 'i, 't> {
        Section { document: self.document, path, table, asked: RefCell::default() }
    }

    fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    fn refuse(&self, key: &str, value: &Spanned<DeValue<'_>>, accepted: &str) {
        let span = value.span();
        let found: String = self.document.text[span.clone()].chars().take(60).collect();
        self.document.note(Some(span.start), &self.path_of(key), format!("expected {accepted}, got {found}"));
    }
}

fn whole_number(value: &DeValue<'_>) -> Option<u64> {
    let number = value.as_integer()?;
    u64::from_str_radix(&number.as_str().replace('_', ""), number.radix()).ok()
}

fn any_number(value: &DeValue<'_>) -> Option<f64> {
    match value {
        DeValue::Float(number) => number.as_str().replace('_', "").parse().ok(),
        DeValue::Integer(number) => number.as_str().replace('_', "").parse().ok(),
        _ => None,
    }
}

/// `30.5B`, `600M`, `1T` or digits.
fn parameter_count(text: &str) -> Option<u64> {
    let text = text.trim();
    let (digits, unit) = match text.chars().last()?.to_ascii_uppercase() {
        'K' => (&text[..text.len() - 1], 1e3),
        'M' => (&text[..text.len() - 1], 1e6),
        'B' => (&text[..text.len() - 1], 1e9),
        'T' => (&text[..text.len() - 1], 1e12),
        _ => (text, 1.0),
    };
    let number: f64 = digits.trim().parse().ok()?;
    // Above 2^53 a count is a slip of the pen, and would no longer be exact.
    (number.is_finite() && number > 0.0 && number * unit < 9e15).then(|| (number * unit).round() as u64)
}

/// The known name that `name` was likely meant to be.
fn nearest<'k>(name: &str, known: &[&'k str]) -> Option<&'k str> {
    let (distance, best) = known.iter().map(|known| (distance(name, known), *known)).min()?;
    (distance <= 1 + name.chars().count() / 4).then_some(best)
}

/// Levenshtein distance in characters.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, l) in left.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, r) in right.iter().enumerate() {
            let changed = diagonal + usize::from(l != *r);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameter_counts_are_read_as_people_write_them() {
        for (text, count) in [
            ("30.5B", Some(30_500_000_000)),
            ("600M", Some(600_000_000)),
            ("0.6b", Some(600_000_000)),
            ("1000", Some(1000)),
            ("many", None),
            ("-3B", None),
            ("B", None),
        ] {
            assert_eq!(parameter_count(text), count, "{text}");
        }
    }

    #[test]
    fn a_slip_of_the_pen_is_recognised() {
        assert_eq!(nearest("architecure", &["architecture", "path"]), Some("architecture"));
        assert_eq!(nearest("zebra", &["architecture", "path"]), None);
    }
}
