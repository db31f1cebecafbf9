//! Chat completions: the canonical form itself, so reading changes nothing and writing only names reasoning as asked.

use std::collections::{BTreeMap, BTreeSet};

use axum::body::Bytes;
use serde_json::{Map, Value, json};

use super::client::{Form, Head, Queue, Writer, data};
use super::error::{ApiError, ErrorForm};
use super::request::{check_fields, omits_reasoning};
use crate::backends::{Step, Whole};
use crate::config::ReasoningField;
use crate::conversation::BadRequest;

const DONE: Bytes = Bytes::from_static(b"data: [DONE]\n\n");
/// Every field of a message that holds reasoning or stands for it.
const REASONING: [&str; 4] = ["reasoning_content", "reasoning", "reasoning_details", "thinking_blocks"];

/// What of the request shapes the answer.
struct Chat {
    include_usage: bool,
    hides_reasoning: bool,
}

pub(super) fn read(body: Value) -> Result<(Value, Box<dyn Form>), BadRequest> {
    if let Value::Object(fields) = &body {
        check_fields(fields)?;
        if !fields.contains_key("messages") {
            return Err(BadRequest::missing("messages", "an array of messages"));
        }
    }
    let flag = |pointer: &str| body.pointer(pointer).and_then(Value::as_bool);
    let form = Chat {
        include_usage: flag("/stream_options/include_usage").unwrap_or(false),
        hides_reasoning: body.as_object().is_some_and(omits_reasoning),
    };
    Ok((body, Box::new(form)))
}

impl Form for Chat {
    fn hides_reasoning(&self) -> bool {
        self.hides_reasoning
    }

    fn whole(self: Box<Self>, head: Head, whole: Whole) -> Value {
        let notes = head.notes_of(&whole);
        let mut choices = whole.choices;
        for choice in &mut choices {
            if let Some(Value::Object(message)) = choice.get_mut("message") {
                name_reasoning(message, head.reasoning);
            }
        }
        let mut body = opening(&head, "chat.completion", "chatcmpl");
        body.insert("choices".into(), choices.into());
        if let Some(usage) = &whole.usage {
            body.insert("usage".into(), usage.to_json());
        }
        if !notes.is_empty() {
            body.insert("thinkgate".into(), notes.into());
        }
        body.into()
    }

    fn writer(self: Box<Self>, head: Head) -> Box<dyn Writer> {
        Box::new(ChatWriter {
            opening: opening(&head, "chat.completion.chunk", "chatcmpl"),
            include_usage: self.include_usage,
            begun: BTreeSet::new(),
            numbered: BTreeMap::new(),
            usage: None,
            notes: head.notes(),
            head,
        })
    }
}

/// The fields that every completion and every chunk begin with.
pub(super) fn opening(head: &Head, object: &str, prefix: &str) -> Map<String, Value> {
    Map::from_iter([
        ("id".to_owned(), format!("{prefix}-{}", head.request_id).into()),
        ("object".to_owned(), object.into()),
        ("created".to_owned(), head.created.into()),
        ("model".to_owned(), head.model.as_str().into()),
    ])
}

/// Gives the reasoning of a message or delta the name that the client looks for, or takes away every trace of it.
fn name_reasoning(fields: &mut Map<String, Value>, shown: Option<ReasoningField>) {
    let Some(field) = shown else {
        REASONING.iter().for_each(|name| drop(fields.shift_remove(*name)));
        return;
    };
    let Some(text) = fields.shift_remove(REASONING[0]) else { return };
    if text.as_str().is_some_and(str::is_empty) {
        // Some clients take an empty one for all there is.
        return;
    }
    for name in field.names() {
        fields.insert((*name).to_owned(), text.clone());
    }
}

struct ChatWriter {
    head: Head,
    /// What every chunk begins with.
    opening: Map<String, Value>,
    include_usage: bool,
    /// Choices whose first chunk has named the role.
    begun: BTreeSet<u64>,
    /// Entries so far of lists that say what reasoning there was.
    numbered: BTreeMap<(u64, &'static str), u64>,
    usage: Option<Value>,
    /// What the last chunk of the choice says beside the answer.
    notes: Map<String, Value>,
}

impl Writer for ChatWriter {
    fn step(&mut self, step: Step, out: &mut Queue) {
        match step {
            Step::Reasoning { choice, text } => {
                self.delta(
                    choice,
                    Map::from_iter([("reasoning_content".to_owned(), text.into())]),
                    Map::new(),
                    out,
                );
            }
            Step::Answer { choice, text } => {
                self.delta(choice, Map::from_iter([("content".to_owned(), text.into())]), Map::new(), out);
            }
            Step::Other { choice, delta, beside } => self.delta(choice, delta, beside, out),
            Step::Experts(report) => drop(self.notes.insert("experts".into(), json!(report))),
            Step::Repetition(repetition) => drop(self.notes.insert("repetition".into(), json!(repetition))),
            Step::Finished { choice, reason } => {
                self.begin_choice(choice, out);
                let beside = Map::from_iter([("finish_reason".to_owned(), reason.into())]);
                let mut chunk = self.chunk(choice, json!({}), beside);
                if !self.notes.is_empty() {
                    chunk.insert("thinkgate".into(), std::mem::take(&mut self.notes).into());
                }
                out.push_back(data(chunk));
            }
            Step::Usage(usage) => self.usage = Some(usage.to_json()),
        }
    }

    fn end(&mut self, out: &mut Queue) {
        if let Some(usage) = self.usage.take().filter(|_| self.include_usage) {
            out.push_back(data(self.event(Vec::new(), usage)));
        }
        out.push_back(DONE);
    }

    /// Clients take an end without `[DONE]` for a failure only if an error stands before it.
    fn fail(&mut self, error: &ApiError, out: &mut Queue) {
        out.push_back(data(error.body(ErrorForm::OpenAi, &self.head.request_id)));
    }
}

impl ChatWriter {
    fn delta(
        &mut self,
        choice: u64,
        mut delta: Map<String, Value>,
        beside: Map<String, Value>,
        out: &mut Queue,
    ) {
        self.begin_choice(choice, out);
        name_reasoning(&mut delta, self.head.reasoning);
        self.number(choice, &mut delta);
        if !delta.is_empty() || !beside.is_empty() {
            out.push_back(data(self.chunk(choice, delta.into(), beside)));
        }
    }

    /// Clients that put deltas together need to know which entries of a list are the same.
    fn number(&mut self, choice: u64, delta: &mut Map<String, Value>) {
        for name in ["thinking_blocks", "reasoning_details"] {
            let entries = delta.get_mut(name).and_then(Value::as_array_mut).into_iter().flatten();
            for entry in entries.filter_map(Value::as_object_mut).filter(|entry| !entry.contains_key("index"))
            {
                let next = self.numbered.entry((choice, name)).or_insert(0);
                entry.insert("index".into(), (*next).into());
                *next += 1;
            }
        }
    }

    /// A choice's first chunk names the role and says nothing yet.
    fn begin_choice(&mut self, choice: u64, out: &mut Queue) {
        if self.begun.insert(choice) {
            let delta = json!({"role": "assistant", "content": ""});
            out.push_back(data(self.chunk(choice, delta, Map::new())));
        }
    }

    fn chunk(&self, choice: u64, delta: Value, beside: Map<String, Value>) -> Map<String, Value> {
        let mut fields = Map::new();
        fields.insert("index".into(), choice.into());
        fields.insert("delta".into(), delta);
        fields.insert("finish_reason".into(), Value::Null);
        fields.extend(beside);
        self.event(vec![fields.into()], Value::Null)
    }

    fn event(&self, choices: Vec<Value>, usage: Value) -> Map<String, Value> {
        let mut chunk = self.opening.clone();
        chunk.insert("choices".into(), choices.into());
        if self.include_usage {
            chunk.insert("usage".into(), usage);
        }
        chunk
    }
}
