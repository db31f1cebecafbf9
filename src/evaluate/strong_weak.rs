//! Do the prompts that need the strong model get it?

use super::bench::{Bench, EvaluateError, column, known};
use super::controls::{Policy, ROUTER};
use super::measured::Measured;
use super::metrics::{Curve, Pair, Ties, calibration_error, mean, share_threshold, spearman};
use super::report::{Cell, Section, Table, Unit};
use super::rows::Split;

const SETS: [(&str, &str); 5] = [
    ("RouteLLM MMLU", "sw_routellm_mmlu"),
    ("RouteLLM GSM8K", "sw_routellm_gsm8k"),
    ("LLMRouter", "sw_llmrouter_9models"),
    ("RouterBench part", "sw_routerbench_zs"),
    ("ZeroEval", "sw_zeroeval"),
];
const CMMLU: &str = "sw_routerdc_cmmlu_zh";
/// Below these the recovered gap is noise.
const SMALL_GAP: f64 = 0.08;
const FEW_ROWS: usize = 200;

/// The suite's tables.
pub(super) fn section(bench: &Bench<'_>) -> Result<Section, EvaluateError> {
    let mut duels = Vec::new();
    for (name, file) in SETS {
        duels.push(Duel::of(bench, name, file)?);
    }
    let mut tables: Vec<Table> = duels.iter().map(|duel| duel.table(bench)).collect();
    tables.push(over_sets(bench, &duels));
    tables.push(measured_difficulty(bench)?);
    Ok(Section {
        suite: "strong-weak",
        title: "Strong or weak model",
        notes: vec![
            "The score is `strong_probability`. APGR: average share of the quality gap recovered over all shares of \
             strong calls; 0.5 is random. CPT(50), CPT(80): the smallest share of strong calls that recovers 50 and \
             80 % of the gap. Ties are never cut."
                .to_owned(),
            "Share at the 50 % threshold: the threshold sends half of the set's training rows to the strong model; \
             its distance from 50 % is the drift. Gain there: gap recovered minus share, 0 is random."
                .to_owned(),
            "Shipped: strong where `strong_probability` is at least 0.5. ECE: that probability against whether the \
             weak model of this pair failed."
                .to_owned(),
        ],
        tables,
    })
}

/// One set of a strong and a weak model's results.
struct Duel<'a> {
    name: &'static str,
    rows: Vec<&'a Measured>,
    pairs: Vec<Pair>,
    policies: Vec<Policy>,
    /// Per policy, the threshold that sends half of the training rows.
    thresholds: Vec<Option<f64>>,
}

impl<'a> Duel<'a> {
    fn of(bench: &Bench<'a>, name: &'static str, file: &str) -> Result<Self, EvaluateError> {
        let mut rows = bench.of_file(file)?;
        rows.retain(|row| !row.row.contaminated);
        let strong = column(&rows, "strong_correct", |row| row.row.strong_correct)?;
        let weak = column(&rows, "weak_correct", |row| row.row.weak_correct)?;
        let pairs: Vec<Pair> =
            strong.iter().zip(&weak).map(|(strong, weak)| Pair { strong: *strong, weak: *weak }).collect();
        let fails = pairs.iter().map(|pair| 1.0 - pair.weak).sum::<f64>() / pairs.len().max(1) as f64;
        let policies = policies(bench, &rows, fails);
        let fitted: Vec<&Measured> =
            bench.rows.iter().filter(|row| row.row.file == file && row.split == Split::Train).collect();
        let thresholds = policies.iter().map(|policy| half_threshold(bench, policy, &fitted)).collect();
        Ok(Duel { name, rows, pairs, policies, thresholds })
    }

    fn curve(&self, ties: &Ties, weights: &[f64]) -> Curve {
        Curve::of(ties, |row| self.pairs[row], weights)
    }

    /// Share of the gap that sending these rows recovers, and the share sent.
    fn recovered(&self, weights: &[f64], sent: impl Fn(usize) -> f64) -> (f64, f64) {
        let gap = mean(weights, |row| self.pairs[row].strong - self.pairs[row].weak);
        let gained = mean(weights, |row| sent(row) * (self.pairs[row].strong - self.pairs[row].weak));
        (gained / gap, mean(weights, &sent))
    }

    fn table(&self, bench: &Bench<'_>) -> Table {
        let mut table = Table::new(
            self.name,
            self.note(bench),
            &[
                "policy",
                "APGR",
                "CPT(50)",
                "CPT(80)",
                "share at the 50 % threshold",
                "gain there",
                "share as shipped",
                "gain as shipped",
                "ECE",
            ],
        );
        let count = self.rows.len();
        for (policy, threshold) in self.policies.iter().zip(&self.thresholds) {
            let ties = Ties::of(&policy.scores);
            let over = |row: usize| f64::from(threshold.is_some_and(|at| policy.scores[row] >= at));
            let shipped = |row: usize| policy.on[row];
            let gain = |(recovered, sent): (f64, f64)| recovered - sent;
            let at_threshold = |unit: Unit, pick: fn((f64, f64)) -> f64| match threshold {
                Some(_) => bench.cell(count, unit, |weights| pick(self.recovered(weights, over))),
                None => Cell::number(f64::NAN, unit),
            };
            table.rows.push(vec![
                Cell::text(&policy.name),
                bench.cell(count, Unit::Plain, |weights| self.curve(&ties, weights).apgr()),
                bench.cell(count, Unit::Percent, |weights| self.curve(&ties, weights).cpt(0.5)),
                bench.cell(count, Unit::Percent, |weights| self.curve(&ties, weights).cpt(0.8)),
                at_threshold(Unit::Percent, |(_, sent)| sent),
                at_threshold(Unit::Plain, |(recovered, sent)| recovered - sent),
                bench.cell(count, Unit::Percent, |weights| self.recovered(weights, shipped).1),
                bench.cell(count, Unit::Plain, |weights| gain(self.recovered(weights, shipped))),
                self.calibration(bench, policy),
            ]);
        }
        table
    }

    fn calibration(&self, bench: &Bench<'_>, policy: &Policy) -> Cell {
        let Some(probabilities) = &policy.probabilities else { return Cell::number(f64::NAN, Unit::Plain) };
        let ece = |weights: &[f64]| {
            calibration_error(weights, |row| probabilities[row], |row| 1.0 - self.pairs[row].weak)
        };
        bench.cell(self.rows.len(), Unit::Plain, ece)
    }

    fn note(&self, bench: &Bench<'_>) -> String {
        let count = self.rows.len();
        let weights = vec![1.0; count];
        let weak = mean(&weights, |row| self.pairs[row].weak);
        let strong = mean(&weights, |row| self.pairs[row].strong);
        let caution = if strong - weak < SMALL_GAP || count < FEW_ROWS {
            " With so small a gap or so few rows the recovered share says little."
        } else {
            ""
        };
        format!(
            "{count} rows; weak model {:.1} % right, strong model {:.1} %.{caution}{}",
            100.0 * weak,
            100.0 * strong,
            bench.missing_peers(&self.rows)
        )
    }
}

fn policies(bench: &Bench<'_>, rows: &[&Measured], base_rate: f64) -> Vec<Policy> {
    let scores: Vec<f64> = rows.iter().map(|row| row.judgement.strong).collect();
    let strong: Vec<bool> = scores.iter().map(|score| *score >= 0.5).collect();
    bench.beside_controls(Policy::router(scores, &strong), rows, ["always weak", "always strong"], base_rate)
}

/// Constants have no threshold, and peers none without decisions on the training rows.
fn half_threshold(bench: &Bench<'_>, policy: &Policy, fitted: &[&Measured]) -> Option<f64> {
    let scores: Vec<f64> = match policy.name.as_str() {
        ROUTER | "shuffled" => fitted.iter().map(|row| row.judgement.strong).collect(),
        "length only" => fitted.iter().map(|row| row.length).collect(),
        name => bench.peers.scores(name, &known(fitted))?,
    };
    (!scores.is_empty()).then(|| share_threshold(&scores, 0.5))
}

/// Each set counts the same, however many rows it has.
fn over_sets(bench: &Bench<'_>, duels: &[Duel<'_>]) -> Table {
    let mut table = Table::new(
        "Mean over the sets",
        "APGR, each of the five sets counting the same. A peer stands here where it decided every set.",
        &["policy", "APGR"],
    );
    let rows: usize = duels.iter().map(|duel| duel.rows.len()).sum();
    for policy in &duels[0].policies {
        let of = |duel: &Duel<'_>| {
            let policy = duel.policies.iter().find(|of_duel| of_duel.name == policy.name)?;
            Some(Ties::of(&policy.scores))
        };
        let Some(ties) = duels.iter().map(of).collect::<Option<Vec<Ties>>>() else { continue };
        let cell = bench.cell(rows, Unit::Plain, |weights| {
            let mut rest = weights;
            let mut sum = 0.0;
            for (duel, ties) in duels.iter().zip(&ties) {
                let (here, after) = rest.split_at(duel.rows.len());
                sum += duel.curve(ties, here).apgr();
                rest = after;
            }
            sum / duels.len() as f64
        });
        table.rows.push(vec![Cell::text(&policy.name), cell]);
    }
    table
}

/// Chinese has no measured pair of two size classes, but exam questions that seven models answered.
fn measured_difficulty(bench: &Bench<'_>) -> Result<Table, EvaluateError> {
    let rows = bench.of_file(CMMLU)?;
    let wrong = column(&rows, "model_scores", |row| {
        let scores = &row.row.model_scores;
        (!scores.is_empty()).then(|| 1.0 - scores.values().sum::<f64>() / scores.len() as f64)
    })?;
    let mut table = Table::new(
        "Measured difficulty in Chinese, CMMLU",
        format!(
            "{} exam questions. Spearman's correlation of the score with the share of seven models of one size that \
             are wrong.{}",
            rows.len(),
            bench.missing_peers(&rows)
        ),
        &["policy", "Spearman"],
    );
    let difficulty = Ties::of(&wrong);
    for policy in policies(bench, &rows, 0.5) {
        let ties = Ties::of(&policy.scores);
        let cell = bench.cell(rows.len(), Unit::Plain, |weights| spearman(&ties, &difficulty, weights));
        table.rows.push(vec![Cell::text(&policy.name), cell]);
    }
    Ok(table)
}
