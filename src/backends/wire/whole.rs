//! "What did it say in all?" From the steps of an answer to the answer in one piece, for clients that want no stream.

use std::collections::BTreeMap;

use futures_util::StreamExt;
use serde_json::{Map, Value, json};

use super::super::{BackendError, Step, Steps, Usage, Whole};

/// An answer in one piece beyond this size is refused rather than held in memory.
pub(in crate::backends) const MAX_WHOLE_BYTES: usize = 32 << 20;

/// What one choice said.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    pub(super) content: String,
    pub(super) reasoning: String,
    /// Other fields of the message.
    pub(super) fields: Map<String, Value>,
    /// Fields beside the message.
    beside: Map<String, Value>,
    reason: Option<String>,
}

/// An answer being put together.
#[derive(Debug, Default)]
pub(super) struct Gathering {
    pub(super) choices: BTreeMap<u64, Gathered>,
    usage: Option<Usage>,
}

/// Waits for the end of a stream and puts it together.
///
/// # Errors
/// The stream's own, or more than anybody should hold.
pub(in crate::backends) async fn collect(mut steps: Steps) -> Result<Whole, BackendError> {
    let (mut gathering, mut bytes) = (Gathering::default(), 0);
    while let Some(step) = steps.next().await {
        let step = step?;
        bytes += size(&step);
        if bytes > MAX_WHOLE_BYTES {
            return Err(BackendError::BadAnswer(format!("an answer of more than {MAX_WHOLE_BYTES} bytes")));
        }
        gathering.take(step);
    }
    Ok(gathering.into_whole())
}

/// Near enough: what text the step adds.
fn size(step: &Step) -> usize {
    match step {
        Step::Reasoning { text, .. } | Step::Answer { text, .. } => text.len(),
        Step::Other { delta, beside, .. } => {
            let length = |fields: &Map<String, Value>| fields.values().map(weight).sum::<usize>();
            length(delta) + length(beside)
        }
        _ => 0,
    }
}

fn weight(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len(),
        Value::Array(items) => items.iter().map(weight).sum(),
        Value::Object(fields) => fields.iter().map(|(name, value)| name.len() + weight(value)).sum(),
        _ => 8,
    }
}

impl Gathering {
    pub(super) fn take(&mut self, step: Step) {
        match step {
            Step::Reasoning { choice, text } => self.choice(choice).reasoning.push_str(&text),
            Step::Answer { choice, text } => self.choice(choice).content.push_str(&text),
            Step::Other { choice, delta, beside } => {
                let choice = self.choice(choice);
                merge(&mut choice.fields, delta);
                merge(&mut choice.beside, beside);
            }
            Step::Finished { choice, reason } => self.choice(choice).reason = Some(reason),
            Step::Usage(usage) => self.usage = Some(usage),
            Step::Experts(_) | Step::Repetition(_) => {}
        }
    }

    fn choice(&mut self, index: u64) -> &mut Gathered {
        self.choices.entry(index).or_default()
    }

    pub(super) fn into_whole(self) -> Whole {
        let choices = self.choices.into_iter().map(|(index, choice)| choice.into_json(index)).collect();
        Whole { choices, usage: self.usage, ..Whole::default() }
    }
}

impl Gathered {
    fn into_json(self, index: u64) -> Value {
        let mut message = Map::new();
        message.insert("role".into(), "assistant".into());
        // Clients tell a call without words from an empty answer by it.
        let silent = self.content.is_empty() && self.fields.contains_key("tool_calls");
        message.insert("content".into(), if silent { Value::Null } else { self.content.into() });
        if !self.reasoning.is_empty() {
            message.insert("reasoning_content".into(), self.reasoning.into());
        }
        for (name, value) in self.fields {
            let value = if name == "tool_calls" { without_index(value) } else { value };
            message.insert(name, value);
        }
        let mut choice = Map::new();
        choice.insert("index".into(), index.into());
        choice.insert("message".into(), message.into());
        choice.insert("finish_reason".into(), self.reason.into());
        choice.extend(self.beside);
        choice.into()
    }
}

/// The number of a call belongs to streams.
fn without_index(mut calls: Value) -> Value {
    for call in calls.as_array_mut().into_iter().flatten().filter_map(Value::as_object_mut) {
        call.shift_remove("index");
        call.entry("type").or_insert_with(|| "function".into());
    }
    calls
}

/// Adds what a delta says to what was said before.
fn merge(before: &mut Map<String, Value>, delta: Map<String, Value>) {
    for (name, value) in delta {
        match before.get_mut(&name) {
            None if matches!(name.as_str(), "tool_calls" | "reasoning_details") => {
                let mut list = json!([]);
                join(&name, &mut list, value);
                before.insert(name, list);
            }
            None => drop(before.insert(name, value)),
            Some(old) => join(&name, old, value),
        }
    }
}

fn join(name: &str, old: &mut Value, new: Value) {
    match (old, new) {
        (_, Value::Null) => {}
        (Value::String(old), Value::String(new)) if grows(name) => old.push_str(&new),
        (Value::Object(old), Value::Object(new)) => merge(old, new),
        (Value::Array(old), Value::Array(new)) if matches!(name, "tool_calls" | "reasoning_details") => {
            for item in new {
                join_numbered(old, item);
            }
        }
        (Value::Array(old), Value::Array(new)) => old.extend(new),
        (old, new) => *old = new,
    }
}

/// Texts that come in pieces; every other text says the same again.
fn grows(name: &str) -> bool {
    matches!(name, "arguments" | "refusal" | "text" | "summary" | "data" | "content" | "transcript")
}

/// A piece of an item goes to the item of its number and type; without a number it is an item of its own.
fn join_numbered(items: &mut Vec<Value>, item: Value) {
    let same = |other: &&mut Value| {
        item.get("index").is_some_and(Value::is_number)
            && other.get("index") == item.get("index")
            && (other.get("type") == item.get("type")
                || other.get("type").is_none()
                || item.get("type").is_none())
    };
    match (items.iter_mut().rev().find(same), item) {
        (Some(Value::Object(old)), Value::Object(new)) => merge(old, new),
        (_, item) => items.push(item),
    }
}
