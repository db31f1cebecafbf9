//! A rule's regular expression, in the dialect of the packs.

use std::ops::Range;

use regex_automata::meta::{self, Regex};
use regex_automata::{Input, util::syntax};

/// Larger compiled patterns are refused.
const REGEX_SIZE: usize = 1 << 20;

/// A regular expression over normalised text.
#[derive(Debug, Clone)]
pub struct Pattern {
    text: String,
    regex: Regex,
}

impl Pattern {
    /// Compiles what a rule's author wrote.
    ///
    /// # Errors
    /// Why it does not compile.
    pub(super) fn new(written: &str) -> Result<Self, String> {
        let text = ascii_borders(written);
        let regex = Regex::builder()
            .configure(Regex::config().nfa_size_limit(Some(REGEX_SIZE)))
            .syntax(syntax::Config::new().nest_limit(50).multi_line(true))
            .build(&text)
            .map_err(|error| reason(&error))?;
        Ok(Pattern { text, regex })
    }

    /// As it is compiled.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it matches the empty text.
    pub(super) fn matches_nothing(&self) -> bool {
        self.regex.is_match("")
    }

    /// The first match in what `input` says.
    pub(super) fn find(&self, input: Input<'_>) -> Option<Range<usize>> {
        self.regex.search(&input).map(|found| found.range())
    }

    /// Every match, without the help of literals.
    #[cfg(test)]
    pub(super) fn find_all<'t>(&'t self, text: &'t str) -> impl Iterator<Item = Range<usize>> + 't {
        self.regex.find_iter(text).map(|found| found.range())
    }
}

/// Why a pattern does not compile.
fn reason(error: &meta::BuildError) -> String {
    match (error.syntax_error(), error.size_limit()) {
        (Some(error), _) => error.to_string(),
        (None, Some(limit)) => format!("compiled size exceeds {limit} bytes"),
        (None, None) => error.to_string(),
    }
}

/// `\b` between a Chinese and a Latin character must hold ("请prove一下"), so word borders are ASCII ones.
fn ascii_borders(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len());
    let mut chars = pattern.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('b') => out.push_str(r"(?-u:\b)"),
            Some(other) => out.extend(['\\', other]),
            None => out.push('\\'),
        }
    }
    out
}
