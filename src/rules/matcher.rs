//! Runs many patterns over one text. One pass looks for the literals that patterns start with or cannot do
//! without; a pattern is then tried only where its literals stand. Linear time by construction.

use std::ops::Range;

use regex_automata::{Anchored, Input};

use super::demands::{Bytes, Demands, Edge, Literals};
use super::index::Index;
use super::pack::Rule;
use super::pattern::Pattern;
use crate::signals::Signals;

/// A rule's index, and where its patterns are.
#[derive(Debug, Clone)]
pub(super) struct Parts {
    rule: usize,
    any: Range<usize>,
    all: Range<usize>,
    unless: Range<usize>,
}

/// A pattern, with where it can match.
#[derive(Debug, Clone)]
struct Tried {
    pattern: Pattern,
    starts: Starts,
    needs_inner: bool,
    bytes: Vec<Bytes>,
}

/// Where a pattern's matches can start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Starts {
    /// At its literals.
    Literals,
    /// At line starts.
    Lines,
    /// Nobody knows.
    Anywhere,
}

/// What a literal is to its pattern.
#[derive(Debug, Clone, Copy)]
enum Role {
    /// A match may start at it.
    Start,
    /// A match holds it.
    Inner,
}

/// The patterns of all rules, with one index of what to look for.
#[derive(Debug, Clone)]
pub(super) struct Matcher {
    patterns: Vec<Tried>,
    index: Index<(u32, Role)>,
}

/// Takes in rules, one by one.
#[derive(Default)]
pub(super) struct Builder {
    patterns: Vec<Tried>,
    literals: Vec<((u32, Role), Literals)>,
}

impl Builder {
    pub(super) fn add(&mut self, index: usize, rule: &Rule) -> Parts {
        Parts {
            rule: index,
            any: self.add_all(&rule.any),
            all: self.add_all(&rule.all),
            unless: self.add_all(&rule.unless),
        }
    }

    fn add_all(&mut self, list: &[Pattern]) -> Range<usize> {
        let first = self.patterns.len();
        for pattern in list {
            let at = u32::try_from(self.patterns.len()).expect("some thousand patterns");
            let demands = Demands::of(pattern.as_str());
            self.patterns.push(Tried::of(pattern, &demands));
            self.literals.extend(demands.start.map(|set| ((at, Role::Start), set)));
            self.literals.extend(demands.inner.map(|set| ((at, Role::Inner), set)));
        }
        first..self.patterns.len()
    }

    pub(super) fn build(self) -> Matcher {
        Matcher { patterns: self.patterns, index: Index::new(self.literals.into_iter()) }
    }
}

impl Tried {
    fn of(pattern: &Pattern, demands: &Demands) -> Self {
        let starts = match (&demands.start, demands.edge) {
            (Some(_), _) => Starts::Literals,
            (None, Edge::Line) => Starts::Lines,
            (None, _) => Starts::Anywhere,
        };
        let (needs_inner, bytes) = (demands.inner.is_some(), demands.bytes.clone());
        Tried { pattern: pattern.clone(), starts, needs_inner, bytes }
    }
}

/// What one pass over a text saw: where patterns may match. Good for that text only.
#[derive(Debug)]
pub struct Sight<'m> {
    matcher: &'m Matcher,
    bytes: Bytes,
    patterns: Vec<Seen>,
    candidates: Vec<Candidate>,
}

/// What was seen of a pattern. Its candidates are a chain through all candidates, in order of position.
#[derive(Debug, Clone, Copy)]
struct Seen {
    first: u32,
    last: u32,
    inner: bool,
}

#[derive(Debug)]
struct Candidate {
    at: u32,
    next: u32,
}

const NONE: u32 = u32::MAX;

impl Matcher {
    pub(super) fn look(&self, text: &str) -> Sight<'_> {
        let nothing = Seen { first: NONE, last: NONE, inner: false };
        let mut patterns = vec![nothing; self.patterns.len()];
        let mut candidates: Vec<Candidate> = Vec::with_capacity(text.len() / 2);
        let bytes = self.index.scan(text, |at, (whose, role)| {
            let seen = &mut patterns[whose as usize];
            match role {
                Role::Inner => seen.inner = true,
                Role::Start => {
                    let at = u32::try_from(at).expect("texts are read through a window");
                    let new = u32::try_from(candidates.len()).expect("a few for each byte of it");
                    match candidates.get_mut(seen.last as usize) {
                        // Two literals of one pattern at one place.
                        Some(last) if last.at == at => return,
                        Some(last) => last.next = new,
                        None => seen.first = new,
                    }
                    seen.last = new;
                    candidates.push(Candidate { at, next: NONE });
                }
            }
        });
        Sight { matcher: self, bytes, patterns, candidates }
    }
}

impl Sight<'_> {
    /// Calls `fire` for every rule whose parts and signals agree, with where its first `any` matched.
    pub(super) fn fired(
        &self,
        text: &str,
        list: &[Parts],
        rules: &[Rule],
        signals: &Signals,
        mut fire: impl FnMut(usize, Option<Range<usize>>),
    ) {
        let find = |part: &Range<usize>| part.clone().map(|at| self.matches(at, text).next());
        for parts in list {
            if !rules[parts.rule].signal.iter().all(|condition| condition.holds(signals)) {
                continue;
            }
            let first = find(&parts.any).flatten().min_by_key(|found| found.start);
            if (first.is_none() && !parts.any.is_empty())
                || find(&parts.all).any(|found| found.is_none())
                || find(&parts.unless).any(|found| found.is_some())
            {
                continue;
            }
            fire(parts.rule, first.or_else(|| find(&parts.all).flatten().next()));
        }
    }

    /// Calls `fire` for every match of every `any` pattern.
    pub(super) fn each_match(&self, text: &str, list: &[Parts], mut fire: impl FnMut(usize, Range<usize>)) {
        for parts in list {
            let ranges = parts.any.clone().flat_map(|at| self.matches(at, text));
            ranges.for_each(|range| fire(parts.rule, range));
        }
    }

    /// The matches of a pattern, leftmost first, without overlaps.
    fn matches(&self, pattern: usize, text: &str) -> impl Iterator<Item = Range<usize>> {
        let tried = &self.matcher.patterns[pattern];
        let seen = self.patterns[pattern];
        let possible = (tried.starts != Starts::Literals || seen.first != NONE)
            && (seen.inner || !tried.needs_inner)
            && tried.bytes.iter().all(|set| set.meets(&self.bytes));
        let mut next = possible.then_some(0);
        let mut chain = seen.first;
        std::iter::from_fn(move || {
            let from = next?;
            let match_at =
                |at: usize| tried.pattern.find(Input::new(text).range(at..).anchored(Anchored::Yes));
            let found = match tried.starts {
                Starts::Anywhere => tried.pattern.find(Input::new(text).range(from..)),
                Starts::Lines => line_starts(text, from).find_map(match_at),
                Starts::Literals => self.chain(&mut chain).filter(|at| *at >= from).find_map(match_at),
            };
            // Behind an empty match the same would be found for ever.
            next = found.as_ref().filter(|found| !found.is_empty()).map(|found| found.end);
            found
        })
    }

    fn chain(&self, next: &mut u32) -> impl Iterator<Item = usize> {
        std::iter::from_fn(move || {
            let candidate = self.candidates.get(*next as usize)?;
            *next = candidate.next;
            Some(candidate.at as usize)
        })
    }
}

fn line_starts(text: &str, from: usize) -> impl Iterator<Item = usize> {
    let bytes = text.as_bytes();
    let first = (from == 0 || bytes[from - 1] == b'\n').then_some(from);
    let later = memchr::memchr_iter(b'\n', &bytes[from..]).map(move |at| from + at + 1);
    first.into_iter().chain(later)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::reading::Reading;
    use crate::rules::{Example, RuleSet};

    /// Stretches of texts that rules fire on, so that most of what is generated comes near to matching.
    fn stretches(set: &RuleSet) -> Vec<String> {
        let mut out: Vec<String> =
            ["\n", " ", "。", "?", "²", "1", "12*34", "\u{200b}", "a", "的", "\u{301}", "=", "ee"]
                .map(String::from)
                .to_vec();
        for example in set.rules().iter().flat_map(|rule| &rule.matches) {
            let Example::Prompt(text) = example else { continue };
            let chars: Vec<char> = text.chars().collect();
            out.extend(chars.chunks(12).map(|chunk| chunk.iter().collect()));
            out.push(text.clone());
        }
        out
    }

    #[test]
    fn finds_what_each_pattern_finds_alone() {
        let set = RuleSet::builtin().expect("the packs load");
        let stretches = stretches(&set);
        let text = proptest::collection::vec(proptest::sample::select(stretches), 1..12);
        let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(200));
        let same = |parts: Vec<String>| {
            let reading = Reading::of(&parts.concat());
            let sight = set.look(reading.whole());
            for (at, tried) in set.matcher.patterns.iter().enumerate() {
                let found: Vec<_> = sight.matches(at, reading.whole()).collect();
                let alone: Vec<_> = tried.pattern.find_all(reading.whole()).collect();
                prop_assert_eq!(found, alone, "{}", tried.pattern.as_str());
            }
            Ok(())
        };
        runner.run(&text, same).expect("the same matches");
    }
}
