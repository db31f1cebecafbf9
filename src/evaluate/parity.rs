//! Does the same question get the same decision in Chinese and in English, and in other words?

use std::path::Path;

use serde::Deserialize;

use super::bench::{EvaluateError, Settings};
use super::controls::{Known, Peers, Policy, ROUTER};
use super::measured::{Judgement, in_parallel, judge};
use super::metrics::{estimate, share};
use super::report::{Cell, Section, Table, Unit};
use super::rows::{RowError, read_lines};
use crate::conversation::{Conversation, Mode};
use crate::decide::Snapshot;

const FILE: &str = "parity.jsonl";
const BUILT_IN: &str = include_str!("../../classifier/data/parity.jsonl");

/// One question in several phrasings of two languages.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Pair {
    id: String,
    thinking: Mode,
    en: Vec<String>,
    zh: Vec<String>,
}

/// One phrasing.
struct Phrasing<'a> {
    pair: usize,
    language: &'static str,
    text: &'a str,
    known: Known,
}

/// The suite's tables.
pub(super) fn section(
    settings: &Settings,
    snapshot: &Snapshot,
    peers: &Peers,
) -> Result<Section, EvaluateError> {
    let pairs = read(settings.written.as_deref())?;
    let phrasings: Vec<Phrasing<'_>> = pairs.iter().enumerate().flat_map(phrasings).collect();
    let judged = in_parallel(phrasings.iter().collect(), |phrasing: &Phrasing<'_>| {
        judge(&Conversation::of_prompt(phrasing.text), snapshot)
    });
    let trial = Trial { pairs: &pairs, phrasings: &phrasings, judged };
    Ok(Section {
        suite: "zh-en",
        title: "Chinese and English",
        notes: vec![
            "The same question in both languages, several phrasings each; which mode is right was written down with it."
                .to_owned(),
        ],
        tables: vec![trial.agreement(settings, peers), trial.disagreements()],
    })
}

fn read(folder: Option<&Path>) -> Result<Vec<Pair>, EvaluateError> {
    let mut pairs = Vec::new();
    let path = folder.map_or_else(|| Path::new("classifier/data").join(FILE), |folder| folder.join(FILE));
    let mut take = |line: &str| -> Result<(), String> {
        let pair: Pair = serde_json::from_str(line).map_err(|error| error.to_string())?;
        for (name, texts) in [("en", &pair.en), ("zh", &pair.zh)] {
            if texts.is_empty() {
                return Err(format!("{}: {name} has no phrasing", pair.id));
            }
        }
        pairs.push(pair);
        Ok(())
    };
    match folder {
        Some(_) => read_lines(&path, take)?,
        None => {
            for (index, line) in BUILT_IN.lines().enumerate() {
                let fault = |reason| RowError::Line { path: path.clone(), line: index + 1, reason };
                take(line).map_err(fault)?;
            }
        }
    }
    if pairs.is_empty() {
        let why = format!("{} holds no pair", path.display());
        return Err(EvaluateError::File { file: "parity".to_owned(), why });
    }
    Ok(pairs)
}

fn phrasings((at, pair): (usize, &Pair)) -> impl Iterator<Item = Phrasing<'_>> {
    [("en", &pair.en), ("zh", &pair.zh)].into_iter().flat_map(move |(language, texts)| {
        texts.iter().enumerate().map(move |(number, text)| {
            let id = format!("{}:{language}:{number}", pair.id);
            Phrasing { pair: at, language, text, known: Known { id, length: text.chars().count() as f64 } }
        })
    })
}

struct Trial<'a> {
    pairs: &'a [Pair],
    phrasings: &'a [Phrasing<'a>],
    judged: Vec<Judgement>,
}

impl Trial<'_> {
    fn of_pair(&self, pair: usize, language: Option<&'static str>) -> impl Iterator<Item = usize> {
        self.phrasings.iter().enumerate().filter_map(move |(at, phrasing)| {
            let counts = language.is_none_or(|language| language == phrasing.language);
            (phrasing.pair == pair && counts).then_some(at)
        })
    }

    fn policies(&self, settings: &Settings, peers: &Peers) -> Vec<Policy> {
        let known: Vec<Known> = self.phrasings.iter().map(|phrasing| phrasing.known.clone()).collect();
        let on: Vec<bool> = self.judged.iter().map(|judgement| judgement.on).collect();
        let router = Policy::router(self.judged.iter().map(|judgement| judgement.score).collect(), &on);
        let names = ["always off", "always on"];
        Policy::beside_controls(router, &known, names, 0.5, peers, settings.seed)
    }

    fn agreement(&self, settings: &Settings, peers: &Peers) -> Table {
        let mut table = Table::new(
            "Agreement",
            format!(
                "{} questions, {} phrasings. All alike: every phrasing in both languages gets one mode. First alike: \
                 the first phrasings of either language do. Across: of all pairs of an English and a Chinese phrasing \
                 of one question, those that agree. As expected: the mode written down.",
                self.pairs.len(),
                self.phrasings.len()
            ),
            &["policy", "all alike", "first alike", "across", "as expected, en", "as expected, zh"],
        );
        for policy in self.policies(settings, peers) {
            let cell = |value: &(dyn Fn(usize) -> f64 + Sync)| {
                let values: Vec<f64> = (0..self.pairs.len()).map(value).collect();
                let metric = |weights: &[f64]| share(weights, |_| true, |pair| values[pair]);
                let count = values.len();
                Cell::estimate(estimate(count, settings.resamples, settings.seed, metric), Unit::Percent)
            };
            table.rows.push(vec![
                Cell::text(&policy.name),
                cell(&|pair| self.all_alike(pair, &policy.on)),
                cell(&|pair| self.across(pair, &policy.on, 1)),
                cell(&|pair| self.across(pair, &policy.on, usize::MAX)),
                cell(&|pair| self.expected(pair, &policy.on, "en")),
                cell(&|pair| self.expected(pair, &policy.on, "zh")),
            ]);
        }
        table
    }

    /// Chance that every phrasing gets one mode; a coin is thrown anew for each.
    fn all_alike(&self, pair: usize, on: &[f64]) -> f64 {
        let all = self.of_pair(pair, None).fold((1.0, 1.0), |(on_so_far, off_so_far), at| {
            (on_so_far * on[at], off_so_far * (1.0 - on[at]))
        });
        all.0 + all.1
    }

    /// Mean agreement between the first `most` phrasings of either language.
    fn across(&self, pair: usize, on: &[f64], most: usize) -> f64 {
        let (mut alike, mut count) = (0.0, 0.0);
        for en in self.of_pair(pair, Some("en")).take(most) {
            for zh in self.of_pair(pair, Some("zh")).take(most) {
                alike += on[en] * on[zh] + (1.0 - on[en]) * (1.0 - on[zh]);
                count += 1.0;
            }
        }
        alike / count
    }

    fn expected(&self, pair: usize, on: &[f64], language: &'static str) -> f64 {
        let right = |at: usize| if self.pairs[pair].thinking == Mode::On { on[at] } else { 1.0 - on[at] };
        let (sum, count) =
            self.of_pair(pair, Some(language)).fold((0.0, 0.0), |(sum, n), at| (sum + right(at), n + 1.0));
        sum / count
    }

    fn disagreements(&self) -> Table {
        let mut table = Table::new(
            "Decisions other than expected",
            format!("Those of {ROUTER}. A question whose phrasings differ has at least one line here."),
            &["question", "language", "phrasing", "expected", "score"],
        );
        for (phrasing, judgement) in self.phrasings.iter().zip(&self.judged) {
            let expected = self.pairs[phrasing.pair].thinking;
            if judgement.on != (expected == Mode::On) {
                table.rows.push(vec![
                    Cell::text(&phrasing.known.id),
                    Cell::text(phrasing.language),
                    Cell::text(phrasing.text),
                    Cell::text(expected.as_str()),
                    Cell::number(judgement.score, Unit::Plain),
                ]);
            }
        }
        table
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> Pair {
        let text = r#"{"id":"p","thinking":"on","en":["a","b"],"zh":["甲","乙"]}"#;
        serde_json::from_str(text).expect("a pair")
    }

    #[test]
    fn agreement_is_counted_over_phrasings() {
        let pairs = [pair()];
        let phrasings: Vec<Phrasing<'_>> = pairs.iter().enumerate().flat_map(phrasings).collect();
        let ids: Vec<&str> = phrasings.iter().map(|phrasing| phrasing.known.id.as_str()).collect();
        assert_eq!(ids, ["p:en:0", "p:en:1", "p:zh:0", "p:zh:1"]);
        let trial = Trial { pairs: &pairs, phrasings: &phrasings, judged: Vec::new() };
        let of = |on: &[f64]| {
            (
                trial.all_alike(0, on),
                trial.across(0, on, 1),
                trial.across(0, on, usize::MAX),
                trial.expected(0, on, "en"),
                trial.expected(0, on, "zh"),
            )
        };
        assert_eq!(of(&[1.0; 4]), (1.0, 1.0, 1.0, 1.0, 1.0));
        assert_eq!(of(&[0.0; 4]), (1.0, 1.0, 1.0, 0.0, 0.0));
        assert_eq!(of(&[1.0, 1.0, 1.0, 0.0]), (0.0, 1.0, 0.5, 1.0, 0.5));
        assert_eq!(of(&[0.5; 4]), (0.125, 0.5, 0.5, 0.5, 0.5));
    }

    #[test]
    fn the_pairs_inside_the_binary_are_read_and_faults_are_named() {
        let pairs = read(None).expect("pairs");
        assert!(pairs.iter().any(|pair| pair.thinking == Mode::On));
        assert!(pairs.iter().any(|pair| pair.thinking == Mode::Off));
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join(FILE), r#"{"id":"p","thinking":"on","en":[],"zh":["x"]}"#)
            .expect("written");
        let error = read(Some(folder.path())).expect_err("a fault").to_string();
        assert!(error.contains("parity.jsonl:1: p: en has no phrasing"), "{error}");
    }
}
