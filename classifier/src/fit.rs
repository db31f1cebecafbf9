//! From examples to a classifier: rarity, one ridge regression a head, rounding, and how to weigh the vote.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use anyhow::{Result, ensure};
use thinkgate::classifier::features::{BUCKETS, dense_names, is_length};
use thinkgate::classifier::{Blend, Canary, Classifier, Data, HEADS, Vote};
use thinkgate::conversation::Conversation;
use thinkgate::reading::Reading;
use thinkgate::signals::extract;

use crate::examples::{Example, WRITTEN, digest};
use crate::ridge::{self, Matrix, Point, Weights};
use crate::weigh;

/// Measured numbers count this much beside words of unit length.
const DENSE_SCALE: f32 = 0.3;
/// A word seen once tells nothing.
const SEEN_FROM: u32 = 2;
/// Single outcomes of model pairs are the noisiest labels; the first is of log-odds, the others of shares.
const PENALTIES: [f64; HEADS.len()] =
    [0.4, 30.0, 3.0, 6.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0];
/// Heads whose vote is weighed beside the rules; only for them is it needed what they say of rows they never saw.
const WEIGHED: usize = 2;
const FOLDS: usize = 5;
/// What a written prompt counts beside one of a public set of the same size: they are the most varied of all.
const WRITTEN_WORTH: f64 = 1.5;

/// What is left out when a head is asked about a row it must not have seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leaving {
    /// The row and a fifth of all others.
    Items,
    /// The row's whole source and a fifth of all sources.
    Sources,
}

/// Outputs of the weighed heads for a row they have not seen.
#[derive(Debug, Clone, Copy, Default)]
pub struct LeftOut {
    items: [f64; WEIGHED],
    sources: [f64; WEIGHED],
}

impl LeftOut {
    /// The outputs, by what was left out.
    #[must_use]
    pub fn of(&self, leaving: Leaving) -> &[f64; WEIGHED] {
        match leaving {
            Leaving::Items => &self.items,
            Leaving::Sources => &self.sources,
        }
    }

    fn slot(&mut self, leaving: Leaving) -> &mut [f64; WEIGHED] {
        match leaving {
            Leaving::Items => &mut self.items,
            Leaving::Sources => &mut self.sources,
        }
    }
}

/// Fits all heads, to serve where thinking is called for from this score on.
///
/// # Errors
/// A head without examples.
pub fn fit(examples: &[Example], on_from: f64) -> Result<Classifier> {
    let scaling = Scaling::of(examples);
    let matrix = scaling.matrix(examples);
    let heads: Vec<Vec<Point>> = (0..HEADS.len()).map(|head| points(examples, head)).collect();
    for (head, points) in HEADS.iter().zip(&heads) {
        ensure!(!points.is_empty(), "no example says anything about {head}");
    }
    let columns = dense_names().enumerate().filter(|(_, name)| is_length(name));
    let length: Vec<usize> = columns.map(|(column, _)| column).collect();
    let groups = source_groups(examples);
    let fold = |row: usize, leaving: Leaving| match leaving {
        Leaving::Items => examples[row].fold,
        Leaving::Sources => groups[row],
    };
    let mut jobs: Vec<(usize, Option<(Leaving, usize)>)> =
        (0..HEADS.len()).map(|head| (head, None)).collect();
    for leaving in [Leaving::Items, Leaving::Sources] {
        jobs.extend((0..WEIGHED).flat_map(|head| (0..FOLDS).map(move |fold| (head, Some((leaving, fold))))));
    }
    let fitted = in_parallel(&jobs, |(head, without)| {
        let kept =
            heads[*head].iter().filter(|(row, ..)| without.is_none_or(|(of, at)| fold(*row, of) != at));
        let blind_to: &[usize] = if HEADS[*head] == "strong" { &[] } else { &length };
        let fit = if HEADS[*head] == "thinking" { ridge::fit_log_odds } else { ridge::fit };
        fit(&matrix, &kept.copied().collect::<Vec<Point>>(), PENALTIES[*head], blind_to)
    });
    let mut left_out = vec![LeftOut::default(); examples.len()];
    for ((head, without), weights) in jobs.iter().zip(&fitted) {
        let Some((leaving, at)) = *without else { continue };
        for row in (0..examples.len()).filter(|row| fold(*row, leaving) == at) {
            left_out[row].slot(leaving)[*head] = matrix.output(row, weights);
        }
    }
    let blend = weigh::blends(examples, &left_out, on_from)?;
    let mut classifier = scaling.classifier(&fitted[..HEADS.len()], examples, blend);
    classifier.canaries = canaries(&classifier);
    Ok(classifier)
}

/// Sources dealt into as many groups as there are folds; the written prompts, which belong to no source, by item.
fn source_groups(examples: &[Example]) -> Vec<usize> {
    let mut files: Vec<&str> = examples.iter().map(|example| example.file.as_str()).collect();
    files.sort_unstable();
    files.dedup();
    let group = |example: &Example| {
        if example.file.starts_with(WRITTEN) {
            return example.fold;
        }
        files.iter().position(|file| *file == example.file).unwrap_or_default() % FOLDS
    };
    examples.iter().map(group).collect()
}

/// What ties a head's weights to features.
struct Scaling {
    centre: Vec<f32>,
    scale: Vec<f32>,
    rarity_step: f32,
    rarity: Vec<u8>,
}

impl Scaling {
    #[expect(clippy::cast_precision_loss, reason = "counts of rows")]
    fn of(examples: &[Example]) -> Self {
        let width = dense_names().count();
        let rows = examples.len() as f32;
        let mut seen = vec![0_u32; BUCKETS];
        let (mut centre, mut square) = (vec![0.0; width], vec![0.0; width]);
        for example in examples {
            for (bucket, _) in &example.features.words {
                seen[*bucket as usize] += 1;
            }
            for (at, value) in example.features.dense.iter().enumerate() {
                centre[at] += value / rows;
                square[at] += value * value / rows;
            }
        }
        let deviation = |at: usize| (square[at] - centre[at] * centre[at]).max(0.0).sqrt();
        let scale = (0..width)
            .map(|at| if deviation(at) > 1e-4 { DENSE_SCALE / deviation(at) } else { 0.0 })
            .collect();
        let inverse = |seen: u32| 1.0 + ((1.0 + rows) / (1.0 + seen as f32)).ln();
        let rarity_step = inverse(SEEN_FROM) / 255.0;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0..=255 by its step")]
        let rarity = seen
            .iter()
            .map(|seen| if *seen < SEEN_FROM { 0 } else { (inverse(*seen) / rarity_step).round() as u8 })
            .collect();
        Scaling { centre, scale, rarity_step, rarity }
    }

    fn matrix(&self, examples: &[Example]) -> Matrix {
        let mut matrix = Matrix::new(self.centre.len());
        for example in examples {
            let value = |(bucket, count): &(u32, f32)| {
                (*bucket, count * f32::from(self.rarity[*bucket as usize]) * self.rarity_step)
            };
            let mut words: Vec<(u32, f32)> = example.features.words.iter().map(value).collect();
            words.retain(|(_, value)| *value > 0.0);
            let norm = words.iter().map(|(_, value)| value * value).sum::<f32>().sqrt();
            words.iter_mut().for_each(|(_, value)| *value /= norm);
            let measured = example.features.dense.iter().zip(self.centre.iter().zip(&self.scale));
            let dense: Vec<f32> = measured.map(|(value, (centre, scale))| (value - centre) * scale).collect();
            matrix.push(&words, &dense);
        }
        matrix
    }

    #[expect(clippy::cast_possible_truncation, reason = "weights of order one; rounded into range")]
    fn classifier(
        self,
        heads: &[Weights],
        examples: &[Example],
        blend: BTreeMap<String, Blend>,
    ) -> Classifier {
        let step: Vec<f32> = heads
            .iter()
            .map(|head| {
                head.0[..BUCKETS].iter().fold(0.0, |most: f64, weight| most.max(weight.abs())) as f32 / 127.0
            })
            .collect();
        let mut weights = vec![0_i8; BUCKETS * HEADS.len()];
        for (head, fitted) in heads.iter().enumerate() {
            for bucket in 0..BUCKETS {
                let units = fitted.0[bucket] / f64::from(step[head].max(f32::MIN_POSITIVE));
                weights[bucket * HEADS.len() + head] = units.round() as i8;
            }
        }
        let mut files = BTreeMap::new();
        for example in examples {
            *files.entry(example.file.clone()).or_insert(0) += 1;
        }
        Classifier {
            data: Data { sha256: digest(examples), files },
            dense: heads
                .iter()
                .map(|head| head.dense().iter().map(|weight| *weight as f32).collect())
                .collect(),
            bias: heads.iter().map(|head| head.bias() as f32).collect(),
            centre: self.centre,
            scale: self.scale,
            rarity_step: self.rarity_step,
            rarity: self.rarity,
            step,
            weights,
            blend,
            canaries: Vec::new(),
            version: String::new(),
        }
    }
}

/// Rows with a target for this head. Sources weigh by the root of their size and languages alike, or the largest
/// would decide alone.
fn points(examples: &[Example], head: usize) -> Vec<Point> {
    let targets: Vec<(usize, f64)> = examples
        .iter()
        .enumerate()
        .filter_map(|(row, example)| example.targets.head(head).map(|target| (row, target)))
        .collect();
    if HEADS[head] == "strong" {
        // Measured outcomes in full; the rest only says that what is plainly easy needs no strong model.
        let weight = |row: usize| if examples[row].targets.weak_fails.is_some() { 1.0 } else { 0.06 };
        return targets.into_iter().map(|(row, target)| (row, target, weight(row))).collect();
    }
    let rows: Vec<usize> = targets.iter().map(|(row, _)| *row).collect();
    let weights = balanced(examples, &rows);
    targets.into_iter().zip(weights).map(|((row, target), weight)| (row, target, weight)).collect()
}

/// One weight a row, 1 on average.
#[expect(clippy::cast_precision_loss, reason = "counts of rows")]
pub(crate) fn balanced(examples: &[Example], rows: &[usize]) -> Vec<f64> {
    let mut sizes: BTreeMap<&str, f64> = BTreeMap::new();
    for row in rows {
        *sizes.entry(&examples[*row].file).or_default() += 1.0;
    }
    let weight = |row: &usize| {
        let file = examples[*row].file.as_str();
        let worth = if file.starts_with(WRITTEN) { WRITTEN_WORTH } else { 1.0 };
        worth / sizes[file].sqrt()
    };
    let mut totals: BTreeMap<&str, f64> = BTreeMap::new();
    for row in rows {
        *totals.entry(examples[*row].language).or_default() += weight(row);
    }
    let share = rows.len() as f64 / totals.len() as f64;
    rows.iter().map(|row| weight(row) / totals[examples[*row].language] * share).collect()
}

/// Prompts of every kind, with what the finished classifier says of them.
fn canaries(classifier: &Classifier) -> Vec<Canary> {
    [
        "你好",
        "已知x²+2x+1=0，求x的值",
        "北京人口多少？",
        "Prove that the square root of 2 is irrational.",
        "Translate into German: The meeting is at 3 pm.",
        "甲乙丙三人中只有一人说真话，谁偷了苹果？",
        "Write a haiku about autumn.",
        "为什么这段代码会死锁？",
    ]
    .into_iter()
    .map(|text| {
        let reading = Reading::of(text);
        let signals = extract(&Conversation::of_prompt(text), 0, &reading);
        let Vote(outputs) = classifier.judge(&thinkgate::classifier::Features::of(&reading, &signals));
        Canary { text: text.to_owned(), outputs: outputs.to_vec() }
    })
    .collect()
}

/// Runs the jobs on every core, and returns the results in the jobs' order.
fn in_parallel<J: Sync, R: Send>(jobs: &[J], run: impl Fn(&J) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::new());
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(job) = jobs.get(at) else { return };
                    let result = run(job);
                    done.lock().unwrap_or_else(PoisonError::into_inner).push((at, result));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, result)| result).collect()
}
