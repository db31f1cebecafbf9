//! Does the router think where the task calls for it, and more where it is harder?

use super::bench::{Bench, EvaluateError, column};
use super::controls::{Policy, ROUTER};
use super::labels;
use super::measured::Measured;
use super::metrics::{LengthMatched, Ties, auc, calibration_error, reliability, share, spearman};
use super::outcomes;
use super::report::{Cell, Section, Table, Unit};
use super::rows::Split;
use super::sources;

/// Rows that a source needs to count in the mean over sources.
const ENOUGH: usize = 10;
const LANGUAGES: [(&str, &str); 2] = [("en", "English"), ("zh", "Chinese")];

/// The suite's tables.
pub(super) fn section(bench: &Bench<'_>) -> Result<Section, EvaluateError> {
    let mut tables = Vec::new();
    for (code, name) in LANGUAGES {
        let task = Task::of(bench, code, name)?;
        tables.push(task.separation(bench));
        tables.push(task.sources(bench));
        tables.push(task.calibration(bench));
        tables.push(task.reliability());
    }
    tables.push(levels(bench)?);
    tables.extend(outcomes::tables(bench)?);
    tables.extend([labelled(), kept_back()]);
    Ok(Section {
        suite: "thinking",
        title: "Thinking",
        notes: vec![
            "Task level: sources that plainly call for thinking (mathematics, logic, several hops) against those \
             that plainly do not (short facts, small talk, extraction, everyday instructions). The label is that \
             of the source and kind, not a measured outcome."
                .to_owned(),
            format!(
                "AUC: the chance that a row that calls for thinking scores above one that does not; 0.5 is random. \
                 Over sources: the mean over sources with at least {ENOUGH} rows, each against all of the other \
                 side. Like length: among rows of like length only."
            ),
            "Missed: of the rows that call for thinking, those not made to think, at the shipped thresholds. \
             Needless: of the others, those made to think. Unsure: score between the thresholds."
                .to_owned(),
        ],
        tables,
    })
}

/// The labelled rows of one language.
struct Task<'a> {
    language: &'static str,
    rows: Vec<&'a Measured>,
    expected: Vec<bool>,
    policies: Vec<Policy>,
    /// Source and side of each row, as an index into `groups`.
    group: Vec<usize>,
    groups: Vec<(&'a str, bool)>,
}

impl<'a> Task<'a> {
    fn of(bench: &Bench<'a>, code: &str, language: &'static str) -> Result<Self, EvaluateError> {
        let labelled = |row: &&Measured| row.expected.is_some() && row.row.lang == code;
        let rows: Vec<&Measured> = bench.counted().filter(labelled).collect();
        let expected: Vec<bool> = rows.iter().filter_map(|row| row.expected).collect();
        for (side, kind) in [(true, "calls for thinking"), (false, "is easy")] {
            if !expected.contains(&side) {
                let why = format!("none in {} has a row in {language} that {kind}", bench.dir.display());
                return Err(EvaluateError::File { file: "*".to_owned(), why });
            }
        }
        let of = |row: &&'a Measured| (row.row.source.as_str(), row.expected == Some(true));
        let mut groups: Vec<(&str, bool)> = rows.iter().map(of).collect();
        groups.sort_by_key(|(source, hard)| (!hard, *source));
        groups.dedup();
        let place =
            |row: &&'a Measured| groups.iter().position(|group| *group == of(row)).unwrap_or_default();
        let group = rows.iter().map(place).collect();
        let policies = bench.thinking_policies(&rows);
        Ok(Task { language, rows, expected, policies, group, groups })
    }

    fn separation(&self, bench: &Bench<'_>) -> Table {
        let mut table = Table::new(
            format!("Task level, {}", self.language),
            format!("{}{}", self.counts(), bench.missing_peers(&self.rows)),
            &[
                "policy",
                "AUC",
                "over sources",
                "seen sources",
                "sources never trained on",
                "like length",
                "missed",
                "needless",
                "unsure",
            ],
        );
        let count = self.rows.len();
        let lengths: Vec<f64> = self.rows.iter().map(|row| row.length).collect();
        for policy in &self.policies {
            let ties = Ties::of(&policy.scores);
            let matched = LengthMatched::of(&policy.scores, &lengths);
            let among = |never: bool| {
                let ties = &ties;
                let side = move |row: usize| self.side_among(row, never);
                bench.cell(count, Unit::Plain, move |weights| auc(ties, side, weights))
            };
            let wrong = |hard: bool| {
                let counts = move |row: usize| self.expected[row] == hard;
                let wrong = move |row: usize| if hard { 1.0 - policy.on[row] } else { policy.on[row] };
                bench.cell(count, Unit::Percent, move |weights| share(weights, counts, wrong))
            };
            table.rows.push(vec![
                Cell::text(&policy.name),
                bench.cell(count, Unit::Plain, |weights| auc(&ties, |row| Some(self.expected[row]), weights)),
                bench.cell(count, Unit::Plain, |weights| self.over_sources(&ties, weights)),
                among(false),
                among(true),
                bench
                    .cell(count, Unit::Plain, |weights| matched.auc(|row| Some(self.expected[row]), weights)),
                wrong(true),
                wrong(false),
                self.unsure(policy, |_| true),
            ]);
        }
        table
    }

    fn counts(&self) -> String {
        let hard = self.expected.iter().filter(|hard| **hard).count();
        let of = |side: bool| self.groups.iter().filter(|(_, hard)| *hard == side).count();
        format!(
            "{hard} rows of {} sources call for thinking, {} rows of {} sources do not.",
            of(true),
            self.expected.len() - hard,
            of(false)
        )
    }

    fn side_among(&self, row: usize, never: bool) -> Option<bool> {
        ((self.rows[row].split == Split::NeverTrained) == never).then(|| self.expected[row])
    }

    /// AUC of one source's rows against all rows of the other side.
    fn of_source(&self, ties: &Ties, group: usize, weights: &[f64]) -> f64 {
        let hard = self.groups[group].1;
        let side =
            |row: usize| (self.expected[row] != hard || self.group[row] == group).then(|| self.expected[row]);
        auc(ties, side, weights)
    }

    fn over_sources(&self, ties: &Ties, weights: &[f64]) -> f64 {
        let enough = |group: &usize| self.group.iter().filter(|of| *of == group).count() >= ENOUGH;
        let (mut sum, mut sources) = (0.0, 0.0);
        for group in (0..self.groups.len()).filter(enough) {
            let of_source = self.of_source(ties, group, weights);
            if !of_source.is_nan() {
                sum += of_source;
                sources += 1.0;
            }
        }
        sum / sources
    }

    /// Share between the thresholds; no control has any.
    fn unsure(&self, policy: &Policy, counts: impl Fn(usize) -> bool) -> Cell {
        if policy.name != ROUTER {
            return Cell::number(f64::NAN, Unit::Percent);
        }
        let unsure = |row: usize| f64::from(self.rows[row].judgement.abstained);
        Cell::number(share(&vec![1.0; self.rows.len()], counts, unsure), Unit::Percent)
    }

    fn sources(&self, bench: &Bench<'_>) -> Table {
        let ranking: Vec<&Policy> = self
            .policies
            .iter()
            .filter(|policy| !["always off", "always on"].contains(&policy.name.as_str()))
            .collect();
        let mut columns =
            vec!["source", "calls for thinking", "never trained on", "rows", "made to think", "unsure"];
        columns.extend(ranking.iter().map(|policy| policy.name.as_str()));
        let mut table = Table::new(
            format!("Task level by source, {}", self.language),
            "AUC of each source's rows against all rows of the other side.",
            &columns,
        );
        let ties: Vec<Ties> = ranking.iter().map(|policy| Ties::of(&policy.scores)).collect();
        for (group, (source, hard)) in self.groups.iter().enumerate() {
            let rows: Vec<usize> = (0..self.rows.len()).filter(|row| self.group[*row] == group).collect();
            let never = self.rows[rows[0]].split == Split::NeverTrained;
            let on = rows.iter().filter(|row| self.rows[**row].judgement.on).count() as f64;
            let mut cells = vec![
                Cell::text(*source),
                yes_or_no(*hard),
                yes_or_no(never),
                Cell::Count(rows.len()),
                Cell::number(on / rows.len() as f64, Unit::Percent),
                self.unsure(ranking[0], |row| self.group[row] == group),
            ];
            cells.extend(ties.iter().map(|ties| {
                bench.cell(self.rows.len(), Unit::Plain, |weights| self.of_source(ties, group, weights))
            }));
            table.rows.push(cells);
        }
        table
    }

    fn calibration(&self, bench: &Bench<'_>) -> Table {
        let mut table = Table::new(
            format!("Calibration, {}", self.language),
            "Expected calibration error of the probability that thinking helps, ten bins. The constant mix states \
             the base rate of these rows, which no router knows.",
            &["policy", "ECE"],
        );
        for policy in &self.policies {
            if let Some(probabilities) = &policy.probabilities {
                let truth = |row: usize| f64::from(self.expected[row]);
                let ece = |weights: &[f64]| calibration_error(weights, |row| probabilities[row], truth);
                let cell = bench.cell(self.rows.len(), Unit::Plain, ece);
                table.rows.push(vec![Cell::text(&policy.name), cell]);
            }
        }
        table
    }

    fn reliability(&self) -> Table {
        let mut table = Table::new(
            format!("Reliability, {}", self.language),
            "Of the rows given a probability in this bin, the share that calls for thinking.",
            &["probability", "rows", "mean probability", "calls for thinking"],
        );
        let bins = reliability(
            &vec![1.0; self.rows.len()],
            |row| self.rows[row].judgement.thinking,
            |row| f64::from(self.expected[row]),
        );
        for (at, bin) in bins.iter().enumerate() {
            let of = |value: f64| Cell::number(if bin.rows > 0.0 { value } else { f64::NAN }, Unit::Plain);
            let range = format!("{:.1} to {:.1}", at as f64 / 10.0, (at + 1) as f64 / 10.0);
            let cells = [Cell::Count(bin.rows as usize), of(bin.probability), of(bin.share)];
            table.rows.push(std::iter::once(Cell::text(range)).chain(cells).collect());
        }
        table
    }
}

/// Score against the source's own level, within one task, so that "mathematics is hard" cannot carry it.
fn levels(bench: &Bench<'_>) -> Result<Table, EvaluateError> {
    let math = bench.of_file("lb_math500")?;
    let cmath = bench.of_file("lb_cmath_zh")?;
    let measures = [
        ("MATH-500, level (en)", &math, column(&math, "level", |row| row.row.level)?),
        ("CMATH, grade (zh)", &cmath, column(&cmath, "level", |row| row.row.level)?),
        ("CMATH, steps (zh)", &cmath, column(&cmath, "reasoning_steps", |row| row.row.reasoning_steps)?),
    ];
    let mut table = Table::new(
        "Level within a task",
        format!(
            "Spearman's correlation of the score with the source's level. MATH-500: {} rows, CMATH: {} rows.",
            math.len(),
            cmath.len()
        ),
        &["policy", measures[0].0, measures[1].0, measures[2].0],
    );
    for (_, rows, levels) in &measures {
        let levels = Ties::of(levels);
        for (at, policy) in bench.thinking_policies(rows).iter().enumerate() {
            if table.rows.len() <= at {
                table.rows.push(vec![Cell::text(&policy.name)]);
            }
            let ties = Ties::of(&policy.scores);
            let rho = |weights: &[f64]| spearman(&ties, &levels, weights);
            table.rows[at].push(bench.cell(rows.len(), Unit::Plain, rho));
        }
    }
    Ok(table)
}

/// Why the labels of the task level are what they are.
fn labelled() -> Table {
    let mut table = Table::new(
        "What is labelled",
        "A file without a line, and rows of other kinds, are not plain either way and do not count at task level.",
        &["file", "calls for thinking", "because"],
    );
    table.rows = labels::reasons()
        .map(|(file, hard, why)| vec![Cell::text(file), yes_or_no(hard), Cell::text(why)])
        .collect();
    table
}

/// What training may see.
fn kept_back() -> Table {
    let mut table = Table::new(
        "What training may see",
        "Of a file that is trained on, one text in five is kept back.",
        &["file", "trained on", "shipped weights may be", "because"],
    );
    let line = |(file, trained, licensed, why)| {
        vec![Cell::text(file), yes_or_no(trained), yes_or_no(trained && licensed), Cell::text(why)]
    };
    table.rows = sources::reasons().map(line).collect();
    table
}

fn yes_or_no(yes: bool) -> Cell {
    Cell::text(if yes { "yes" } else { "no" })
}
