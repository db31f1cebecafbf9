//! What each head should say of a row, from measured outcomes where there are some and from the source's design
//! where there are none.

use anyhow::{Result, bail, ensure};
use thinkgate::classifier::{HEADS, TASKS};
use thinkgate::decide::TaskLabel;
use thinkgate::evaluate::rows::{Row, expects_thinking};

use crate::examples::Written;

/// What each head should say; `None` where a row says nothing of it.
#[derive(Debug, Clone, Default)]
pub struct Targets {
    /// Whether thinking helps, 0..=1.
    pub thinking: Option<f64>,
    /// Gain of the strong model, -1..=1.
    pub strong: Option<f64>,
    /// Whether the weak model fails, 0..=1.
    pub weak_fails: Option<f64>,
    /// Difficulty within its kind, in the source's steps.
    pub level: Option<f64>,
    /// log2 of measured reasoning tokens.
    pub tokens: Option<f64>,
    /// The kind of work.
    pub task: Option<TaskLabel>,
}

impl Targets {
    /// Whether the row says anything.
    #[must_use]
    pub fn any(&self) -> bool {
        self.head(0).or(self.head(1)).or(self.head(2)).or(self.head(3)).is_some() || self.task.is_some()
    }

    /// What this head should say.
    #[must_use]
    pub fn head(&self, head: usize) -> Option<f64> {
        match head {
            0 => self.thinking,
            1 => self.strong,
            2 => self.level,
            3 => self.tokens,
            _ => self.task.map(|task| f64::from(u8::from(task == TASKS[head - (HEADS.len() - TASKS.len())]))),
        }
    }
}

/// What a row of the public sets says.
#[must_use]
pub fn of_row(row: &Row) -> Targets {
    let gap = gap(row);
    Targets {
        thinking: thinking(row),
        strong: gap.or_else(|| (expects_thinking(row) == Some(false)).then_some(0.0)),
        weak_fails: gap.and(row.weak_correct).map(|right| 1.0 - right),
        level: level(row),
        tokens: tokens(row),
        task: task(row),
    }
}

/// Gain of a strong model where a large one is sure to be right and a small one sure to fail.
const EXPERT_GAIN: f64 = 0.4;

/// What a written request says.
///
/// # Errors
/// A kind of work that the contract does not know, or a share that is none.
pub fn of_written(request: &Written) -> Result<Targets> {
    let Ok(task) = serde_json::from_value(serde_json::json!(request.task)) else {
        bail!("task {:?}: expected one of {TASKS:?} in lower case", request.task);
    };
    for (key, share) in [("thinking", request.thinking), ("expert", request.expert.unwrap_or(0.0))] {
        ensure!((0.0..=1.0).contains(&share), "{key} {share}: expected 0 to 1");
    }
    let gain = EXPERT_GAIN * request.expert.unwrap_or(0.6 * request.thinking);
    Ok(Targets {
        thinking: Some(request.thinking),
        task: Some(task),
        strong: Some(gain),
        ..Targets::default()
    })
}

/// Share of these models that fail.
fn failing(row: &Row, named: impl Fn(&str) -> bool) -> Option<f64> {
    let scores: Vec<f64> =
        row.model_scores.iter().filter(|(name, _)| named(name)).map(|(_, score)| *score).collect();
    #[expect(clippy::cast_precision_loss, reason = "a handful of models")]
    (!scores.is_empty()).then(|| 1.0 - scores.iter().sum::<f64>() / scores.len() as f64)
}

/// Part of the failures are slips that thinking does not mend.
fn in_part(failing: f64) -> f64 {
    0.8 * failing
}

/// Grade-school problems are neither all easy nor all hard: there, how often small models fail without thinking says
/// more than the kind of source.
fn thinking(row: &Row) -> Option<f64> {
    let small = |name: &str| {
        [
            "Qwen2.5-7B",
            "gpt-4o-mini",
            "Llama-3.1-8B",
            "llama-3.1-8b",
            "claude-3-haiku",
            "qwen2.5-7b",
            "gemma-2-9b",
        ]
        .iter()
        .any(|known| name.contains(known))
    };
    match (row.file.as_str(), row.dataset.as_deref()) {
        ("sw_routellm_gsm8k", _) => row.weak_correct.map(|right| in_part(1.0 - right)),
        ("sw_zeroeval", _) if row.source.contains("gsm8k") => failing(row, small).map(in_part),
        ("sw_llmrouter_9models", Some("gsm8k")) => failing(row, small).map(in_part),
        ("sw_llmrouter_9models", Some("commonsense_qa" | "arc_challenge"))
        | ("sw_routerbench_zs", Some("arc-challenge")) => Some(0.15),
        ("lb_cmath_zh", _) => {
            let steps = row.reasoning_steps.unwrap_or(1.0);
            Some((0.3 + 0.15 * (steps - 1.0) + 0.05 * (row.level.unwrap_or(3.0) - 3.0)).clamp(0.2, 0.9))
        }
        ("lb_math500", _) => row.level.map(|level| (0.5 + 0.12 * level).min(1.0)),
        _ => expects_thinking(row).map(|thinks| f64::from(u8::from(thinks))),
    }
}

/// Strong minus weak, half as the row's own pair measured it and half over all models of their classes: one run of one
/// pair is a noisy label.
fn gap(row: &Row) -> Option<f64> {
    let pair = row.strong_correct? - row.weak_correct?;
    let (strong, weak): (&[&str], &[&str]) = match row.file.as_str() {
        "sw_routerbench_zs" => (&["gpt-4"], &["mixtral", "gpt-3.5", "Yi-34B", "claude-instant"]),
        "sw_llmrouter_9models" => (&["51b", "49b"], &["mistral", "llama-3.1-8b", "codegemma", "gemma-2"]),
        "sw_zeroeval" => (&["72B", "70B", "gpt-4o-2024", "sonnet"], &["2.5-7B", "8B", "Mixtral", "9B"]),
        "sw_routellm_mmlu" | "sw_routellm_gsm8k" => return Some(pair),
        _ => return None,
    };
    let among =
        |names: &'static [&'static str]| failing(row, |name| names.iter().any(|known| name.contains(known)));
    let (strong, weak) = (among(strong), among(weak));
    Some(strong.zip(weak).map_or(pair, |(strong, weak)| 0.5 * (pair + weak - strong)))
}

/// Levels of MATH in steps of the source (mean and deviation of MATH-500), CMATH by steps and school year.
fn level(row: &Row) -> Option<f64> {
    match row.file.as_str() {
        "lb_math500" => row.level.map(|level| (level - 3.4) / 1.35),
        "sw_zeroeval" if row.source.contains("math") => {
            let failing = failing(row, |_| true)?;
            Some((3.7 + 2.2 * failing - 3.4) / 1.35)
        }
        "lb_cmath_zh" => {
            let steps = (row.reasoning_steps? - 1.9) / 1.0;
            Some(0.6 * steps + 0.6 * (row.level? - 3.5) / 1.7)
        }
        _ => None,
    }
}

fn tokens(row: &Row) -> Option<f64> {
    match row.file.as_str() {
        "th_tts_frames" | "th_tts_simpleqa" => row.modes.think_tokens.map(|tokens| tokens.max(16.0).log2()),
        // The mean of Qwen3-8B on all of GSM8K; its single figures have no licence.
        "sw_routellm_gsm8k" => Some(2152_f64.log2()),
        _ => None,
    }
}

fn task(row: &Row) -> Option<TaskLabel> {
    let subject = row.subject.as_deref().unwrap_or_default().to_lowercase();
    let about = |words: &[&str]| words.iter().any(|word| subject.contains(word));
    let of_subject = || {
        if about(&["math", "algebra", "statistics"]) {
            TaskLabel::Math
        } else if about(&["logic"]) && !about(&["biolog", "psycholog", "sociolog", "astro"]) {
            TaskLabel::Logic
        } else if about(&[
            "physics",
            "chemistry",
            "biology",
            "anatomy",
            "medicine",
            "clinical",
            "astronomy",
            "engineering",
            "genetics",
            "virology",
            "nutrition",
            "medical",
        ]) {
            TaskLabel::Science
        } else {
            TaskLabel::Knowledge
        }
    };
    Some(match row.task.as_deref()? {
        "math" => TaskLabel::Math,
        "code" | "code-reasoning" => TaskLabel::Code,
        "logic" => TaskLabel::Logic,
        "fact" | "open-qa" => TaskLabel::Fact,
        "multi-hop-fact" | "commonsense" => TaskLabel::Knowledge,
        "knowledge-mcq" | "exam" => of_subject(),
        "translate" => TaskLabel::Translate,
        "extract" | "summarize" | "closed-qa" | "classify" => TaskLabel::Extract,
        "writing" | "rewrite" | "brainstorm" => TaskLabel::Write,
        "chat" => TaskLabel::Chat,
        _ => return None,
    })
}
