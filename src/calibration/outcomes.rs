//! Rows with measured outcomes, and rows with an answer to check.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::trial::FOLDS;
use crate::conversation::Conversation;
use crate::evaluate::metrics::ModeOutcome;
use crate::evaluate::rows::{RowError, normalised, read_lines};

/// One prompt and what is known of it.
#[derive(Debug, Clone)]
pub struct Measurement {
    /// OpenAI chat messages that are one.
    pub messages: Value,
    /// What each model made of it, by the model's name in the file.
    pub outcomes: BTreeMap<String, ModeOutcome>,
    /// Any of these is right. Empty where outcomes are given.
    pub answers: Vec<String>,
}

impl Measurement {
    /// The row as a request.
    #[must_use]
    pub fn conversation(&self) -> Conversation<'_> {
        Conversation::from_messages(&self.messages).expect("no other row is read")
    }

    /// The last user message.
    #[must_use]
    pub fn text(&self) -> String {
        let conversation = self.conversation();
        conversation.last_user().map(|last| conversation.messages[last].text.to_string()).unwrap_or_default()
    }
}

/// The part of the rows that a text belongs to, whatever its spacing and source.
#[must_use]
pub fn fold_of(text: &str) -> usize {
    let digest = Sha256::digest(normalised(text).as_bytes());
    // The first eight bytes decide what training may see; folds of what was kept back must not follow from them.
    let bits = u64::from_be_bytes(std::array::from_fn(|at| digest[8 + at]));
    usize::try_from(bits % FOLDS as u64).unwrap_or_default()
}

/// Reads JSONL, plain or gzipped. A row holds `messages` or a `prompt`, and `mode_outcomes` (by model: `think_correct`,
/// `nothink_correct`, `think_tokens`, `nothink_tokens`), or these four fields with `mode_models`, or an `answer`: a string,
/// a number or a list of them.
///
/// # Errors
/// The first fault, as `FILE:LINE: FIELD: reason`.
pub fn read_outcomes(file: &Path) -> Result<Vec<Measurement>, RowError> {
    let mut rows = Vec::new();
    read_lines(file, |line| {
        rows.push(measurement(line)?);
        Ok(())
    })?;
    Ok(rows)
}

fn measurement(line: &str) -> Result<Measurement, String> {
    let row: Value = serde_json::from_str(line).map_err(|error| format!("not JSON: {error}"))?;
    let messages = match (row.get("messages"), row.get("prompt")) {
        (Some(messages), _) => messages.clone(),
        (None, Some(Value::String(prompt))) => json!([{"role": "user", "content": prompt}]),
        (None, Some(_)) => return Err("prompt: expected a string".to_owned()),
        (None, None) => return Err("messages: missing, and no prompt in its place".to_owned()),
    };
    Conversation::from_messages(&messages).map_err(|error| error.message)?;
    let outcomes = outcomes(&row)?;
    let answers = if outcomes.is_empty() { answers(&row)? } else { Vec::new() };
    Ok(Measurement { messages, outcomes, answers })
}

fn outcomes(row: &Value) -> Result<BTreeMap<String, ModeOutcome>, String> {
    if let Some(by_model) = row.get("mode_outcomes") {
        let by_model = by_model.as_object().ok_or("mode_outcomes: expected an object by model")?;
        let one = |(model, fields): (&String, &Value)| {
            Ok((model.clone(), outcome(fields, &format!("mode_outcomes.{model}."))?))
        };
        return by_model.iter().map(one).collect();
    }
    if row.get("think_correct").is_none() && row.get("nothink_correct").is_none() {
        return Ok(BTreeMap::new());
    }
    Ok(BTreeMap::from([(model_of(row)?, outcome(row, "")?)]))
}

/// The model that both modes are of; what stands in brackets after its name is about the mode.
fn model_of(row: &Value) -> Result<String, String> {
    let name = |mode: &str| {
        let name = row.get("mode_models").and_then(|models| models.get(mode)).and_then(Value::as_str);
        let name = name.ok_or_else(|| format!("mode_models.{mode}: missing; it names the measured model"))?;
        Ok::<_, String>(name.split(" (").next().unwrap_or(name).to_owned())
    };
    let (think, direct) = (name("think")?, name("nothink")?);
    if think == direct {
        return Ok(think);
    }
    Err(format!("mode_models: {think} and {direct} are two models; a profile is of one in both modes"))
}

fn outcome(fields: &Value, path: &str) -> Result<ModeOutcome, String> {
    let number = |field: &str, most: f64| {
        let value = fields.get(field).ok_or_else(|| format!("{path}{field}: missing"))?;
        let number = value.as_f64().filter(|number| (0.0..=most).contains(number));
        number.ok_or_else(|| format!("{path}{field}: expected a number from 0 to {most}, got {value}"))
    };
    Ok(ModeOutcome {
        think: number("think_correct", 1.0)?,
        direct: number("nothink_correct", 1.0)?,
        think_tokens: number("think_tokens", 1e6)?,
        direct_tokens: number("nothink_tokens", 1e6)?,
    })
}

fn answers(row: &Value) -> Result<Vec<String>, String> {
    let one = |value: &Value| match value {
        Value::String(text) if !normalised(text).is_empty() => Ok(text.clone()),
        Value::Number(number) => Ok(number.to_string()),
        other => Err(format!("answer: expected a string, a number or a list of them, got {other}")),
    };
    match row.get("answer") {
        None => Err("mode_outcomes: missing, and no answer to check in its place".to_owned()),
        Some(Value::Array(all)) if !all.is_empty() => all.iter().map(one).collect(),
        Some(value) => Ok(vec![one(value)?]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FOUR: &str = r#""think_correct":1,"nothink_correct":0.5,"think_tokens":600,"nothink_tokens":20"#;

    fn read(line: &str) -> Result<Measurement, String> {
        measurement(line)
    }

    #[test]
    fn outcomes_are_read_by_model_and_of_the_rows_own() {
        let row =
            read(&format!("{{\"prompt\":\"hi\",\"mode_outcomes\":{{\"a\":{{{FOUR}}},\"b\":{{{FOUR}}}}}}}"));
        let row = row.expect("a row");
        assert_eq!(row.outcomes.keys().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!((row.outcomes["b"].direct, row.text().as_str()), (0.5, "hi"));
        let models = r#""mode_models":{"think":"Q (thinking)","nothink":"Q (no thinking)"}"#;
        let row = read(&format!("{{\"prompt\":\"hi\",{models},{FOUR}}}")).expect("a row");
        assert_eq!(row.outcomes.keys().collect::<Vec<_>>(), ["Q"]);
        let row = read(r#"{"prompt":"1+1","answer":[2,"two"]}"#).expect("a row");
        assert_eq!(row.answers, ["2", "two"]);
    }

    #[test]
    fn faults_name_the_field() {
        for (line, says) in [
            ("{".to_owned(), "not JSON"),
            (format!("{{{FOUR}}}"), "messages: missing"),
            ("{\"prompt\":1}".to_owned(), "prompt: expected a string"),
            ("{\"prompt\":\"x\"}".to_owned(), "mode_outcomes: missing"),
            (format!("{{\"prompt\":\"x\",{FOUR}}}"), "mode_models.think: missing"),
            (
                format!("{{\"prompt\":\"x\",\"mode_models\":{{\"think\":\"a\",\"nothink\":\"b\"}},{FOUR}}}"),
                "a and b are two models",
            ),
            (
                "{\"prompt\":\"x\",\"mode_outcomes\":{\"m\":{\"think_correct\":2}}}".to_owned(),
                "mode_outcomes.m.think_correct: expected a number from 0 to 1, got 2",
            ),
            (
                "{\"prompt\":\"x\",\"mode_outcomes\":{\"m\":{\"think_correct\":1}}}".to_owned(),
                "mode_outcomes.m.nothink_correct: missing",
            ),
            ("{\"prompt\":\"x\",\"answer\":[]}".to_owned(), "answer: expected"),
        ] {
            let error = read(&line).expect_err("a fault");
            assert!(error.contains(says), "{error}");
        }
    }

    #[test]
    fn the_same_text_is_in_the_same_fold() {
        let mut counts = [0; FOLDS];
        for n in 0..1000 {
            let text = format!("What is {n} plus two?");
            assert_eq!(fold_of(&text), fold_of(&text.to_uppercase().replace(' ', "  ")));
            counts[fold_of(&text)] += 1;
        }
        assert!(counts.iter().all(|count| (150..250).contains(count)), "{counts:?}");
    }
}
