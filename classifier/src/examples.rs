//! What is trained on: rows of the public sets and the prompts written for this, as numbers with targets.

use std::path::Path;

use anyhow::{Context, Result};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use thinkgate::classifier::Features;
use thinkgate::conversation::Conversation;
use thinkgate::decide::{Snapshot, decide};
use thinkgate::evaluate::rows::{self, Split};
use thinkgate::reading::Reading;
use thinkgate::signals::{extract, language_of};

use crate::targets::{Targets, of_row, of_written};

/// Starts the name of what was written for this.
pub const WRITTEN: &str = "written/";

/// One prompt, ready to fit on.
#[derive(Debug, Clone)]
pub struct Example {
    /// File it came from, without ending; [`WRITTEN`] and the area where it was written for this.
    pub file: String,
    /// The prompt's last user message.
    pub text: String,
    /// `zh`, or `en` for all others.
    pub language: &'static str,
    /// What serving would see.
    pub features: Features,
    /// The rules' log-odds for thinking, without their prior.
    pub rules: f64,
    /// The same for a strong model.
    pub rules_strong: f64,
    /// What each head should say.
    pub targets: Targets,
    /// Whether the public set it is of plainly calls for thinking.
    pub plain: Option<bool>,
    /// Which of the five folds it is left out of.
    pub fold: usize,
}

/// A request written for training, in several wordings.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Written {
    /// What it is about, or how it is asked: its share of the training is set by area.
    pub area: String,
    /// A kind of work of the contract.
    pub task: String,
    /// Whether thinking helps: 0, 0.5 or 1.
    pub thinking: f64,
    /// How much likelier a large model is right than a small one, 0..=1, where it was judged.
    pub expert: Option<f64>,
    /// Wordings in Chinese.
    pub zh: Vec<String>,
    /// Wordings in English.
    pub en: Vec<String>,
}

/// The examples of the public sets that shipped weights may be fitted on.
///
/// # Errors
/// A file that cannot be read.
pub fn public(folder: &Path, rules: &Snapshot) -> Result<Vec<Example>> {
    let all = rows::read_dir(folder)?;
    let fit_on = all.iter().filter(|row| rows::split(row) == Split::Train && rows::licensed(row));
    let examples = fit_on.filter_map(|row| {
        let targets = of_row(row);
        let conversation = row.conversation().ok()?;
        targets.any().then(|| Example {
            plain: rows::expects_thinking(row),
            ..example(&row.file, &conversation, rules, targets)
        })
    });
    Ok(examples.collect())
}

/// Neighbouring requests that are left out together: some share a pasted text.
const BLOCK: usize = 4;

/// The prompts written for training: every wording of every request in a file.
///
/// # Errors
/// A line that is no such request, by file and number.
pub fn written(path: &Path, rules: &Snapshot) -> Result<Vec<Example>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut examples = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let at = || format!("{}:{}", path.display(), index + 1);
        let request: Written = serde_json::from_str(line).with_context(at)?;
        let targets = of_written(&request).with_context(at)?;
        let fold = fold(&format!("{} {}", path.display(), index / BLOCK));
        for wording in request.zh.iter().chain(&request.en) {
            let conversation = Conversation::of_prompt(wording);
            let file = format!("{WRITTEN}{}", request.area);
            examples.push(Example { fold, ..example(&file, &conversation, rules, targets.clone()) });
        }
    }
    Ok(examples)
}

fn example(file: &str, conversation: &Conversation<'_>, rules: &Snapshot, targets: Targets) -> Example {
    let last = conversation.last_user().unwrap_or_default();
    let text = conversation.messages[last].text.to_string();
    let reading = Reading::of(&text);
    let signals = extract(conversation, last, &reading);
    let decision = decide(conversation, rules);
    let numbers = &rules.rules.strengths().score;
    Example {
        file: file.to_owned(),
        language: if language_of(reading.ask()) == "zh" { "zh" } else { "en" },
        features: Features::of(&reading, &signals),
        rules: log_odds(decision.score) - numbers.prior,
        rules_strong: log_odds(decision.strong_probability) - numbers.complexity_prior,
        targets,
        plain: None,
        fold: fold(&text),
        text,
    }
}

/// The same question falls into the same fold whatever its source.
fn fold(text: &str) -> usize {
    usize::from(Sha256::digest(rows::normalised(text).as_bytes())[31] % 5)
}

/// ln(p / (1 - p)), of probabilities kept off 0 and 1.
#[must_use]
pub fn log_odds(probability: f64) -> f64 {
    let kept = probability.clamp(1e-6, 1.0 - 1e-6);
    (kept / (1.0 - kept)).ln()
}

/// SHA-256 over what was trained on, in order.
#[must_use]
pub fn digest(examples: &[Example]) -> String {
    let mut hasher = Sha256::new();
    for example in examples {
        hasher.update(example.file.as_bytes());
        hasher.update(example.text.as_bytes());
        hasher.update(format!("{:?}", example.targets).as_bytes());
    }
    hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}
