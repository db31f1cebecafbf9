//! Runs many patterns over one text. A single Aho-Corasick pass over literals tells which patterns can match
//! at all; only those are run. Linear time by construction.

use std::ops::Range;

use aho_corasick::{AhoCorasick, MatchKind};
use regex::Regex;
use regex_syntax::hir::literal::{ExtractKind, Extractor};

use super::Condition;
use super::pack::{Rule, Stage};
use crate::signals::Signals;

/// More literals than this for one pattern, and the prefilter costs more than it saves.
const MOST_LITERALS: usize = 250;
/// Shorter literals are everywhere.
const SHORTEST_LITERAL: usize = 2;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Any,
    All,
    Unless,
}

#[derive(Debug, Clone)]
struct Pattern {
    regex: Regex,
    rule: usize,
    part: Part,
}

/// The patterns of the rules that look at one place.
#[derive(Debug, Clone)]
pub(super) struct Matcher {
    /// Indices of the rules, in file order, each with its patterns' range in `patterns`.
    rules: Vec<(usize, Range<usize>)>,
    patterns: Vec<Pattern>,
    literals: AhoCorasick,
    /// For each literal, the pattern it may begin.
    owners: Vec<usize>,
    /// Patterns that no literal can rule out.
    always: Vec<usize>,
}

impl Matcher {
    pub(super) fn new<'r>(rules: impl Iterator<Item = (usize, &'r Rule)>) -> Self {
        let mut out = Matcher {
            rules: Vec::new(),
            patterns: Vec::new(),
            literals: AhoCorasick::new::<_, &str>([]).expect("nothing to compile"),
            owners: Vec::new(),
            always: Vec::new(),
        };
        let mut literals: Vec<Vec<u8>> = Vec::new();
        for (index, rule) in rules.filter(|(_, rule)| rule.stage != Stage::Retired) {
            let start = out.patterns.len();
            let parts = [(Part::Any, &rule.any), (Part::All, &rule.all), (Part::Unless, &rule.unless)];
            for (part, regexes) in parts {
                for regex in regexes {
                    match prefixes(regex.as_str()) {
                        Some(prefixes) => {
                            out.owners.extend(prefixes.iter().map(|_| out.patterns.len()));
                            literals.extend(prefixes);
                        }
                        None => out.always.push(out.patterns.len()),
                    }
                    out.patterns.push(Pattern { regex: regex.clone(), rule: index, part });
                }
            }
            out.rules.push((index, start..out.patterns.len()));
        }
        out.literals = AhoCorasick::builder()
            .match_kind(MatchKind::Standard)
            .build(&literals)
            .expect("a few thousand short literals");
        out
    }

    /// Calls `fire` for every rule whose parts and signals agree, with where its first `any` matched.
    pub(super) fn fired(
        &self,
        text: &str,
        rules: &[Rule],
        signals: &Signals,
        mut fire: impl FnMut(usize, Option<Range<usize>>),
    ) {
        if self.rules.is_empty() {
            return;
        }
        let possible = self.possible(text);
        for (index, range) in &self.rules {
            let rule = &rules[*index];
            let find = |part: Part| {
                let possible = &possible;
                range
                    .clone()
                    .filter(move |at| self.patterns[*at].part == part)
                    .map(move |at| possible[at].then(|| self.patterns[at].regex.find(text)).flatten())
            };
            if !rule.signal.iter().all(|condition: &Condition| condition.holds(signals)) {
                continue;
            }
            let first = find(Part::Any).flatten().min_by_key(regex::Match::start);
            if (first.is_none() && !rule.any.is_empty())
                || find(Part::All).any(|found| found.is_none())
                || find(Part::Unless).any(|found| found.is_some())
            {
                continue;
            }
            let span = first.or_else(|| find(Part::All).flatten().next()).map(|found| found.range());
            fire(*index, span);
        }
    }

    /// Calls `fire` for every match of every `any` pattern.
    pub(super) fn each_match(&self, text: &str, mut fire: impl FnMut(usize, Range<usize>)) {
        let possible = self.possible(text);
        for (at, pattern) in self.patterns.iter().enumerate() {
            if possible[at] && pattern.part == Part::Any {
                for found in pattern.regex.find_iter(text) {
                    fire(pattern.rule, found.range());
                }
            }
        }
    }

    fn possible(&self, text: &str) -> Vec<bool> {
        let mut possible = vec![false; self.patterns.len()];
        for at in &self.always {
            possible[*at] = true;
        }
        for found in self.literals.find_overlapping_iter(text) {
            possible[self.owners[found.pattern().as_usize()]] = true;
        }
        possible
    }
}

/// The literals one of which every match starts with; none where they are too many, too short or unbounded.
fn prefixes(pattern: &str) -> Option<Vec<Vec<u8>>> {
    let hir = regex_syntax::parse(pattern).ok()?;
    let mut extractor = Extractor::new();
    extractor.kind(ExtractKind::Prefix).limit_total(MOST_LITERALS).limit_class(12).limit_repeat(4);
    let mut sequence = extractor.extract(&hir);
    sequence.optimize_for_prefix_by_preference();
    let literals = sequence.literals()?;
    if literals.is_empty() || literals.len() > MOST_LITERALS {
        return None;
    }
    literals
        .iter()
        .map(|literal| (literal.len() >= SHORTEST_LITERAL).then(|| literal.as_bytes().to_vec()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_are_found_behind_boundaries_and_groups() {
        assert_eq!(prefixes(r"(?-u:\b)prove that"), Some(vec![b"prove that".to_vec()]));
        assert_eq!(prefixes("证明|求证").map(|found| found.len()), Some(2));
        assert_eq!(prefixes(r"\d+ apples"), None);
        assert_eq!(prefixes(r"a?b"), None);
    }
}
