//! Has every arm of the built-in engine answer questions whose answers are known.

use std::io::Write;
use std::sync::Arc;

use futures_util::StreamExt;
use serde_json::{Map, Value, json};

use super::Failure;
use crate::app::{App, Served};
use crate::backends::{Answer, Asked, BackendError, Call, Step};
use crate::calibration::Measurement;
use crate::config::Config;
use crate::conversation::Mode;
use crate::evaluate::metrics::ModeOutcome;
use crate::evaluate::rows::normalised;
use crate::policy::ThinkingAbility;

/// Fills in the outcomes of rows that have an answer to check instead.
///
/// # Errors
/// A model does not load or does not answer, or none is built in and can do both modes.
pub(super) fn measure(
    rows: &mut [Measurement],
    config: &Config,
    seed: u64,
    out: &mut impl Write,
) -> Result<(), Failure> {
    let count = rows.iter().filter(|row| !row.answers.is_empty()).count();
    if count == 0 {
        return Ok(());
    }
    super::runtime()?.block_on(async {
        let app = App::new(config.clone()).map_err(Failure::usage)?;
        let hybrid = |served: &&Arc<Served>| {
            served.is_builtin() && served.model.profile.thinking == ThinkingAbility::Hybrid
        };
        let models: Vec<&Arc<Served>> = app.models.iter().filter(hybrid).collect();
        if models.is_empty() {
            let message =
                "answers are checked on built-in models that can switch thinking, and none is configured";
            return Err(Failure::usage(anyhow::anyhow!(message)));
        }
        for served in &models {
            writeln!(out, "{}: {count} questions, with and without thinking …", served.model.profile.name)?;
            out.flush()?;
            for row in rows.iter_mut().filter(|row| !row.answers.is_empty()) {
                let outcome = ask_both(served, row, seed).await.map_err(Failure::backend)?;
                row.outcomes.insert(served.model.profile.name.clone(), outcome);
            }
        }
        writeln!(out)?;
        Ok(())
    })
}

async fn ask_both(served: &Served, row: &Measurement, seed: u64) -> Result<ModeOutcome, BackendError> {
    let (direct, direct_tokens) = ask(served, row, Mode::Off, seed).await?;
    let (think, think_tokens) = ask(served, row, Mode::On, seed).await?;
    Ok(ModeOutcome { think, direct, think_tokens, direct_tokens })
}

/// Whether it was right, and what it put out.
async fn ask(
    served: &Served,
    row: &Measurement,
    thinking: Mode,
    seed: u64,
) -> Result<(f64, f64), BackendError> {
    let mut body = Map::new();
    body.insert("messages".into(), row.messages.clone());
    body.insert("seed".into(), json!(seed));
    let call =
        Call { body, thinking, budget: None, asked: Asked::Nothing, stream: true, experts: None, caller: 0 };
    let (text, tokens) = match served.ask(&call).await? {
        Answer::Whole(whole) => {
            let text = |choice: &Value| choice.pointer("/message/content")?.as_str().map(str::to_owned);
            let tokens = whole.usage.map_or(0, |usage| usage.completion_tokens);
            (whole.choices.first().and_then(text).unwrap_or_default(), tokens)
        }
        Answer::Steps(mut steps) => {
            let (mut answer, mut tokens) = (String::new(), 0);
            while let Some(step) = steps.next().await {
                match step? {
                    Step::Answer { text, .. } => answer.push_str(&text),
                    Step::Usage(usage) => tokens = usage.completion_tokens,
                    _ => {}
                }
            }
            (answer, tokens)
        }
    };
    #[expect(clippy::cast_precision_loss, reason = "a count of tokens")]
    Ok((f64::from(is_right(&text, &row.answers)), tokens as f64))
}

/// A number is right if it is the last one said, words if they are said.
fn is_right(said: &str, answers: &[String]) -> bool {
    answers.iter().any(|answer| match number(answer) {
        Some(expected) => last_number(said) == Some(expected),
        None => normalised(said).contains(&normalised(answer)),
    })
}

fn number(text: &str) -> Option<f64> {
    text.trim().replace(',', "").parse().ok()
}

fn last_number(text: &str) -> Option<f64> {
    let is_part = |c: char| c.is_ascii_digit() || matches!(c, '.' | ',' | '-');
    let words = text.split(|c| !is_part(c)).rev();
    words.map(|word| word.trim_end_matches(['.', ',', '-'])).find_map(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_number_counts_and_words_are_looked_for() {
        for (said, answer, right) in [
            ("17 + 25 = 42.", "42", true),
            ("It is 1,024", "1024", true),
            ("从 5 减 8 得 -3。", "-3", true),
            ("42, not 43", "42", false),
            ("no idea", "42", false),
            ("The capital is Paris.", "paris", true),
            ("首都是北京。", "北京", true),
            ("Lyon", "Paris", false),
        ] {
            assert_eq!(is_right(said, &[answer.to_owned()]), right, "{said}");
        }
        assert!(is_right("two", &["2".to_owned(), "two".to_owned()]));
    }
}
