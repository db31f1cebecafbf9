//! Completions: a plain text is continued by an upstream. No template renders it, so nothing switches its thinking.

use axum::body::Bytes;
use serde_json::{Map, Value, json};

use super::chat::opening;
use super::client::{Form, Head, Queue, Writer, data};
use super::error::{ApiError, ErrorForm};
use super::request::check_sampling;
use crate::backends::{Step, Whole};
use crate::conversation::BadRequest;

/// What of the request shapes the answer.
struct Completion {
    include_usage: bool,
}

pub(super) fn read(mut body: Value) -> Result<(Value, Box<dyn Form>), BadRequest> {
    if let Value::Object(fields) = &mut body {
        check_sampling(fields)?;
        // Beside a prompt these would make it a chat.
        fields.shift_remove("messages");
        if !fields.contains_key("prompt") {
            return Err(BadRequest::missing("prompt", "a string or an array"));
        }
    }
    let include_usage = body.pointer("/stream_options/include_usage") == Some(&Value::Bool(true));
    Ok((body, Box::new(Completion { include_usage })))
}

impl Form for Completion {
    fn whole(self: Box<Self>, head: Head, whole: Whole) -> Value {
        let mut body = opening(&head, "text_completion", "cmpl");
        body.insert("choices".into(), whole.choices.into());
        if let Some(usage) = &whole.usage {
            body.insert("usage".into(), usage.to_json());
        }
        body.into()
    }

    fn writer(self: Box<Self>, head: Head) -> Box<dyn Writer> {
        Box::new(CompletionWriter {
            opening: opening(&head, "text_completion", "cmpl"),
            include_usage: self.include_usage,
            usage: None,
            head,
        })
    }
}

struct CompletionWriter {
    head: Head,
    opening: Map<String, Value>,
    include_usage: bool,
    usage: Option<Value>,
}

impl Writer for CompletionWriter {
    fn step(&mut self, step: Step, out: &mut Queue) {
        match step {
            Step::Answer { choice, text } | Step::Reasoning { choice, text } => {
                self.choice(choice, &text, Value::Null, Map::new(), out);
            }
            Step::Other { choice, beside, .. } if !beside.is_empty() => {
                self.choice(choice, "", Value::Null, beside, out);
            }
            Step::Finished { choice, reason } => self.choice(choice, "", reason.into(), Map::new(), out),
            Step::Usage(usage) => self.usage = Some(usage.to_json()),
            Step::Other { .. } | Step::Experts(_) | Step::Repetition(_) => {}
        }
    }

    fn end(&mut self, out: &mut Queue) {
        if let Some(usage) = self.usage.take().filter(|_| self.include_usage) {
            let mut chunk = self.opening.clone();
            chunk.insert("choices".into(), json!([]));
            chunk.insert("usage".into(), usage);
            out.push_back(data(chunk));
        }
        out.push_back(Bytes::from_static(b"data: [DONE]\n\n"));
    }

    fn fail(&mut self, error: &ApiError, out: &mut Queue) {
        out.push_back(data(error.body(ErrorForm::OpenAi, &self.head.request_id)));
    }
}

impl CompletionWriter {
    fn choice(&mut self, index: u64, text: &str, reason: Value, beside: Map<String, Value>, out: &mut Queue) {
        let mut choice = Map::from_iter([
            ("index".to_owned(), index.into()),
            ("text".to_owned(), text.into()),
            ("logprobs".to_owned(), Value::Null),
            ("finish_reason".to_owned(), reason),
        ]);
        choice.extend(beside);
        let mut chunk = self.opening.clone();
        chunk.insert("choices".into(), json!([choice]));
        if self.include_usage {
            chunk.insert("usage".into(), Value::Null);
        }
        out.push_back(data(chunk));
    }
}
