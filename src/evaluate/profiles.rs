//! What a profile of each model adds to one score for all of them, on rows that the profile was not fitted on.

use std::collections::HashMap;

use super::bench::Bench;
use super::controls::{PROFILED, Policy, ROUTER};
use super::measured::Measured;
use super::metrics::{ModeOutcome, Switching, Ties, View, area, estimate};
use super::report::{Cell, Table, Unit};
use crate::calibration::{GAIN_PER_1000_TOKENS, HeldOut, Sample, fold_of, held_out};

pub(super) const NOTE: &str = "With a profile: the mode by the model's own success and token curves, each row told by \
                               a profile fitted on the rows of four folds of five, by item, that it is not in; \
                               intervals resample the rows, not the fits. No line where a model has too few rows.";

/// Lines that show what was bought for what.
const LINES: [&str; 5] = [ROUTER, PROFILED, "always off", "always on", "oracle"];

/// One model's rows, told by profiles of it that did not see them.
pub(super) struct Profiled<'a> {
    told: HashMap<&'a str, HeldOut>,
}

impl<'a> Profiled<'a> {
    /// Over all rows for which `outcome` knows the model's result.
    pub(super) fn of(rows: &[&'a Measured], outcome: impl Fn(&&'a Measured) -> Option<ModeOutcome>) -> Self {
        let (ids, samples): (Vec<&str>, Vec<Sample>) = rows
            .iter()
            .filter_map(|row| {
                let judgement = &row.judgement;
                let fold = fold_of(&row.row.text());
                let sample =
                    Sample { inputs: judgement.inputs, outcome: outcome(row)?, fold, on: judgement.on };
                Some((row.row.id.as_str(), sample))
            })
            .unzip();
        let told = held_out(&samples).unwrap_or_default();
        Profiled { told: ids.into_iter().zip(told).collect() }
    }

    /// The line of these rows; none where the model has too few for a profile.
    pub(super) fn policy(&self, rows: &[&Measured]) -> Option<Policy> {
        let told: Vec<&HeldOut> =
            rows.iter().map(|row| self.told.get(row.row.id.as_str())).collect::<Option<_>>()?;
        Some(policy(&told, GAIN_PER_1000_TOKENS))
    }
}

fn policy(told: &[&HeldOut], least_gain: f64) -> Policy {
    let on = |told: &&HeldOut| f64::from(told.outlook.gain_per_1000_tokens() >= least_gain);
    Policy {
        name: PROFILED.to_owned(),
        scores: told.iter().map(|told| told.rank).collect(),
        on: told.iter().map(on).collect(),
        probabilities: None,
    }
}

/// A table for [`add_lines`].
pub(super) fn empty_table() -> Table {
    Table::new(
        "What a profile of each model changes",
        format!(
            "Value: share right less {GAIN_PER_1000_TOKENS} for each 1,000 tokens, the price that profiles ask thinking \
             to be worth. Over thinkgate: by how much the value exceeds that of the same score for every model, on the \
             same resamples."
        ),
        &["model", "set", "policy", "thinks", "right", "tokens", "value", "over thinkgate"],
    )
}

/// One line for each policy that is worth comparing.
pub(super) fn add_lines(
    table: &mut Table,
    names: [&str; 2],
    policies: &[Policy],
    outcomes: &[ModeOutcome],
    bench: &Bench<'_>,
) {
    let view = |policy: &Policy, weights: &[f64]| Switching { outcomes, on: &policy.on }.view(weights);
    let value = |policy: &Policy, weights: &[f64]| value(&view(policy, weights), GAIN_PER_1000_TOKENS);
    let named = |name: &str| policies.iter().find(|policy| policy.name == name);
    let Some(router) = named(ROUTER) else { return };
    for policy in LINES.iter().filter_map(|name| named(name)) {
        let whole = view(policy, &vec![1.0; outcomes.len()]);
        let over = |weights: &[f64]| value(policy, weights) - value(router, weights);
        let mut cells = names.map(Cell::text).to_vec();
        cells.extend([
            Cell::text(&policy.name),
            Cell::number(whole.share, Unit::Percent),
            Cell::number(whole.accuracy, Unit::Percent),
            Cell::number(whole.tokens, Unit::Whole),
            bench.cell(outcomes.len(), Unit::Plain, |weights| value(policy, weights)),
            bench.cell(outcomes.len(), Unit::Plain, over),
        ]);
        table.rows.push(cells);
    }
}

fn value(view: &View, price: f64) -> f64 {
    view.accuracy - price * view.tokens / 1000.0
}

/// How intervals are drawn.
#[derive(Debug, Clone, Copy)]
pub struct Resampling {
    /// Draws per interval.
    pub resamples: usize,
    /// Seeds every draw.
    pub seed: u64,
}

/// One model's rows, told by profiles fitted on the other folds, beside the score alone and the controls. `None` where
/// there are too few rows to hold some out.
#[must_use]
pub fn held_out_table(
    title: String,
    samples: &[Sample],
    least_gain: f64,
    resampling: &Resampling,
) -> Option<Table> {
    let told = held_out(samples)?;
    let outcomes: Vec<ModeOutcome> = samples.iter().map(|sample| sample.outcome).collect();
    let on: Vec<bool> = samples.iter().map(|sample| sample.on).collect();
    let alone = Policy::router(samples.iter().map(|sample| sample.inputs.thinking).collect(), &on);
    let policies = [
        policy(&told.iter().collect::<Vec<_>>(), least_gain),
        Policy { name: "no profile".to_owned(), ..alone },
        Policy::constant("always on", samples.len(), 1.0, 1.0),
        Policy::constant("always off", samples.len(), 0.0, 0.0),
        Policy::oracle(&outcomes),
    ];
    let note = format!(
        "Each row told by a profile fitted on the four folds of five, by text, that it is not in. Value: share right less \
         {least_gain} for each 1,000 tokens."
    );
    let columns = ["policy", "thinks", "right", "tokens", "value", "area", "F1"];
    let mut table = Table::new(title, note, &columns);
    for policy in &policies {
        let cell = |unit: Unit, metric: &(dyn Fn(&[f64]) -> f64 + Sync)| {
            let Resampling { resamples, seed } = *resampling;
            Cell::estimate(estimate(samples.len(), resamples, seed, metric), unit)
        };
        let view = |weights: &[f64]| Switching { outcomes: &outcomes, on: &policy.on }.view(weights);
        let ties = Ties::of(&policy.scores);
        table.rows.push(vec![
            Cell::text(&policy.name),
            cell(Unit::Percent, &|weights| view(weights).share),
            cell(Unit::Percent, &|weights| view(weights).accuracy),
            cell(Unit::Whole, &|weights| view(weights).tokens),
            cell(Unit::Plain, &|weights| value(&view(weights), least_gain)),
            cell(Unit::Plain, &|weights| area(&ties, |row| outcomes[row], weights)),
            cell(Unit::Plain, &|weights| view(weights).f1),
        ]);
    }
    Some(table)
}
