//! Did thinking pay? On prompts that models answered both ways.

use std::collections::BTreeSet;

use super::bench::{Bench, EvaluateError, column};
use super::controls::{PROFILED, Policy, ROUTER};
use super::measured::Measured;
use super::metrics::{ModeOutcome, Switching, Ties, View, area};
use super::profiles;
use super::report::{Cell, Table, Unit};
use super::rows::Outcome;

const SETS: [(&str, &str); 3] =
    [("SimpleQA", "th_tts_simpleqa"), ("FRAMES", "th_tts_frames"), ("GSM8K", "th_qwen3_gsm8k")];
const POOLED: &str = "all three";

/// One table over all sets, one for each, and one by model.
pub(super) fn tables(bench: &Bench<'_>) -> Result<Vec<Table>, EvaluateError> {
    let mut sets = Vec::new();
    for (name, file) in SETS {
        sets.push((name, bench.of_file(file)?));
    }
    let all: Vec<&Measured> = sets.iter().flat_map(|(_, rows)| rows.iter().copied()).collect();
    sets.insert(0, (POOLED, all));
    let mut tables = Vec::new();
    for (name, rows) in &sets {
        tables.push(Trial::of(bench, rows.clone(), own_outcomes(rows)?).table(bench, name));
    }
    tables.extend(by_model(bench, &sets));
    Ok(tables)
}

/// Rows with the results of one model.
struct Trial<'a> {
    rows: Vec<&'a Measured>,
    outcomes: Vec<ModeOutcome>,
    policies: Vec<Policy>,
}

impl<'a> Trial<'a> {
    fn of(bench: &Bench<'_>, rows: Vec<&'a Measured>, outcomes: Vec<ModeOutcome>) -> Self {
        let mut policies = bench.thinking_policies(&rows);
        policies.push(Policy::oracle(&outcomes));
        Trial { rows, outcomes, policies }
    }

    fn table(&self, bench: &Bench<'_>, name: &str) -> Table {
        let mut table = Table::new(
            format!("Measured outcomes, {name}"),
            format!(
                "{} rows; {:.1} % need thinking, {:.1} % are easy. Area: accuracy over tokens above switching at \
                 random. F1: over/under-thinking. Recall: of the rows that need it, those made to think; precision: \
                 of the thinking rows that are easy or need it, those that need it. Broken: right only without.{}",
                self.rows.len(),
                100.0 * self.share(ModeOutcome::needs),
                100.0 * self.share(ModeOutcome::easy),
                bench.missing_peers(&self.rows)
            ),
            &[
                "policy",
                "area",
                "F1",
                "thinks",
                "accuracy",
                "tokens",
                "precision",
                "recall",
                "easy made to think",
                "broken",
            ],
        );
        for policy in &self.policies {
            let of = |unit: Unit, pick: fn(View) -> f64| {
                bench.cell(self.rows.len(), unit, |weights| pick(self.switching(policy).view(weights)))
            };
            table.rows.push(vec![
                Cell::text(&policy.name),
                self.area(bench, policy),
                of(Unit::Plain, |view| view.f1),
                of(Unit::Percent, |view| view.share),
                of(Unit::Percent, |view| view.accuracy),
                of(Unit::Whole, |view| view.tokens),
                of(Unit::Percent, |view| view.precision),
                of(Unit::Percent, |view| view.recall),
                of(Unit::Percent, |view| view.needless),
                of(Unit::Percent, |view| view.broken),
            ]);
        }
        table
    }

    fn share(&self, of: fn(&ModeOutcome) -> bool) -> f64 {
        self.outcomes.iter().filter(|outcome| of(outcome)).count() as f64 / self.outcomes.len() as f64
    }

    fn switching<'s>(&'s self, policy: &'s Policy) -> Switching<'s> {
        Switching { outcomes: &self.outcomes, on: &policy.on }
    }

    fn area(&self, bench: &Bench<'_>, policy: &Policy) -> Cell {
        let ties = Ties::of(&policy.scores);
        bench.cell(self.rows.len(), Unit::Plain, |weights| area(&ties, |row| self.outcomes[row], weights))
    }
}

fn own_outcomes(rows: &[&Measured]) -> Result<Vec<ModeOutcome>, EvaluateError> {
    let think = column(rows, "think_correct", |row| row.row.modes.think_correct)?;
    let direct = column(rows, "nothink_correct", |row| row.row.modes.nothink_correct)?;
    let think_tokens = column(rows, "think_tokens", |row| row.row.modes.think_tokens)?;
    let direct_tokens = column(rows, "nothink_tokens", |row| row.row.modes.nothink_tokens)?;
    let outcome = |row: usize| ModeOutcome {
        think: think[row],
        direct: direct[row],
        think_tokens: think_tokens[row],
        direct_tokens: direct_tokens[row],
    };
    Ok((0..rows.len()).map(outcome).collect())
}

fn complete(outcome: &Outcome) -> Option<ModeOutcome> {
    Some(ModeOutcome {
        think: outcome.think_correct?,
        direct: outcome.nothink_correct?,
        think_tokens: outcome.think_tokens?,
        direct_tokens: outcome.nothink_tokens?,
    })
}

/// The same decisions judged by what each model makes of them: whether thinking pays depends on the model too. Beside
/// them, decisions by a profile of the model that was fitted on other rows.
fn by_model(bench: &Bench<'_>, sets: &[(&str, Vec<&Measured>)]) -> [Table; 2] {
    const AREAS: [&str; 5] = [ROUTER, PROFILED, "shuffled", "length only", "oracle"];
    const F1S: [&str; 8] =
        [ROUTER, PROFILED, "always off", "always on", "constant mix", "shuffled", "length only", "oracle"];
    let mut columns: Vec<String> =
        ["model", "set", "rows", "right without", "right with", "need it"].map(str::to_owned).into();
    columns.extend(AREAS.map(|name| format!("area, {name}")));
    columns.extend(F1S.map(|name| format!("F1, {name}")));
    let columns: Vec<&str> = columns.iter().map(String::as_str).collect();
    let note = format!(
        "The same decisions for every model. Where a model never gains, no area is to be won. Switching always or \
         never, or by a coin, has area 0. {}",
        profiles::NOTE
    );
    let mut table = Table::new("Measured outcomes by model", note, &columns);
    let mut bought = profiles::empty_table();
    let models: BTreeSet<&String> = sets[0].1.iter().flat_map(|row| row.row.mode_outcomes.keys()).collect();
    for model in models {
        let of = |row: &&Measured| row.row.mode_outcomes.get(model).and_then(complete);
        let profiled = profiles::Profiled::of(&sets[0].1, of);
        for (name, rows) in sets {
            let (rows, outcomes): (Vec<&Measured>, Vec<ModeOutcome>) =
                rows.iter().filter_map(|row| of(row).map(|outcome| (*row, outcome))).unzip();
            let known = rows.iter().map(|row| &row.row.file).collect::<BTreeSet<_>>().len();
            // A pool of one set repeats that set.
            if rows.is_empty() || (*name == POOLED && known < 2) {
                continue;
            }
            let mut trial = Trial::of(bench, rows, outcomes);
            trial.policies.extend(profiled.policy(&trial.rows));
            table.rows.push(trial.line(bench, [model, name], &AREAS, &F1S));
            profiles::add_lines(&mut bought, [model, name], &trial.policies, &trial.outcomes, bench);
        }
    }
    [table, bought]
}

impl Trial<'_> {
    fn line(&self, bench: &Bench<'_>, names: [&str; 2], areas: &[&str], f1s: &[&str]) -> Vec<Cell> {
        let mean = |of: fn(&ModeOutcome) -> f64| {
            let sum: f64 = self.outcomes.iter().map(of).sum();
            Cell::number(sum / self.outcomes.len() as f64, Unit::Percent)
        };
        let named = |name: &str| self.policies.iter().find(|policy| policy.name == name);
        let f1 = |policy: &Policy| {
            let of = |weights: &[f64]| self.switching(policy).view(weights).f1;
            bench.cell(self.rows.len(), Unit::Plain, of)
        };
        // A model with too few rows has no profile.
        let or_none = |cell: Option<Cell>| cell.unwrap_or(Cell::number(f64::NAN, Unit::Plain));
        let mut cells = names.map(Cell::text).to_vec();
        cells.push(Cell::Count(self.rows.len()));
        cells.extend([mean(|outcome| outcome.direct), mean(|outcome| outcome.think)]);
        cells.push(Cell::number(self.share(ModeOutcome::needs), Unit::Percent));
        cells.extend(areas.iter().map(|name| or_none(named(name).map(|policy| self.area(bench, policy)))));
        cells.extend(f1s.iter().map(|name| or_none(named(name).map(f1))));
        cells
    }
}
