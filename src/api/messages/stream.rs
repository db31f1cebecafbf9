//! An answer in pieces as the events of a message: one block after the other, each begun and ended by name.

use axum::body::Bytes;
use serde_json::{Map, Value, json};

use super::super::calls::{CallEvent, Calls};
use super::super::client::{Head, Queue, Writer, named};
use super::super::error::{ApiError, ErrorForm};
use super::super::seal::{Sealed, unseen};
use super::answer::as_shown;
use super::{opening, stop, usage};
use crate::backends::{Step, Usage};

pub(super) struct MessageWriter {
    head: Head,
    stop_sequences: Vec<String>,
    /// Blocks begun so far.
    blocks: usize,
    open: Option<Open>,
    calls: Calls,
    /// What the backend wants back beside thinking blocks, until the thought is over.
    sealed: Sealed,
    /// Why the answer ended.
    reason: String,
    /// What the backend says of the stop beside the reason.
    told: Option<Value>,
    usage: Option<Usage>,
    notes: Map<String, Value>,
}

/// The block that is being written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Open {
    Thinking,
    Text,
    Call,
}

impl MessageWriter {
    pub(super) fn new(head: Head, stop_sequences: Vec<String>) -> Self {
        MessageWriter {
            stop_sequences,
            blocks: 0,
            open: None,
            calls: Calls::default(),
            sealed: Sealed::default(),
            reason: "stop".to_owned(),
            told: None,
            usage: None,
            notes: head.notes(),
            head,
        }
    }

    /// Makes the open block one of this kind.
    fn open(&mut self, kind: Open, block: Value, out: &mut Queue) {
        self.close(out);
        let index = self.blocks;
        out.push_back(named(&json!({"type": "content_block_start", "index": index, "content_block": block})));
        self.blocks += 1;
        self.open = Some(kind);
    }

    fn close(&mut self, out: &mut Queue) {
        if self.open.take().is_some() {
            out.push_back(named(&json!({"type": "content_block_stop", "index": self.blocks - 1})));
        }
    }

    fn delta(&self, delta: Value, out: &mut Queue) {
        let index = self.blocks.saturating_sub(1);
        out.push_back(named(&json!({"type": "content_block_delta", "index": index, "delta": delta})));
    }

    fn thinking(&mut self, text: &str, out: &mut Queue) {
        if self.head.reasoning.is_none() {
            return;
        }
        if self.open != Some(Open::Thinking) {
            let block = json!({"type": "thinking", "thinking": "", "signature": ""});
            self.open(Open::Thinking, block, out);
        }
        self.delta(json!({"type": "thinking_delta", "thinking": text}), out);
    }

    /// Details come piece by piece, so that they are complete when something else begins.
    fn end_thought(&mut self, out: &mut Queue) {
        if self.sealed.is_empty() {
            return;
        }
        let sealed = std::mem::take(&mut self.sealed);
        if let Some(signature) = sealed.signature() {
            self.signed(json!({"type": "thinking", "thinking": "", "signature": signature}), out);
        }
        if let Some(block) = sealed.block() {
            self.signed(block, out);
        }
    }

    fn text(&mut self, text: &str, out: &mut Queue) {
        self.end_thought(out);
        if self.open != Some(Open::Text) {
            self.open(Open::Text, json!({"type": "text", "text": ""}), out);
        }
        self.delta(json!({"type": "text_delta", "text": text}), out);
    }

    /// What a backend that signs sends after the text of a block, or in its place.
    fn signed(&mut self, block: Value, out: &mut Queue) {
        let Some(block) = as_shown(self.head.reasoning.is_some(), block) else { return };
        if block["type"] != "thinking" {
            self.open(Open::Thinking, block, out);
            self.close(out);
            return;
        }
        let text = block["thinking"].as_str().unwrap_or_default().to_owned();
        let signature = block["signature"].as_str().unwrap_or_default().to_owned();
        if self.open != Some(Open::Thinking) {
            if text.is_empty() && signature.is_empty() {
                return;
            }
            self.open(Open::Thinking, json!({"type": "thinking", "thinking": "", "signature": ""}), out);
            if !text.is_empty() {
                self.delta(json!({"type": "thinking_delta", "thinking": text}), out);
            }
        }
        if !signature.is_empty() {
            self.delta(json!({"type": "signature_delta", "signature": signature}), out);
        }
        self.close(out);
    }

    fn other(&mut self, mut delta: Map<String, Value>, mut beside: Map<String, Value>, out: &mut Queue) {
        if let Some(Value::Array(blocks)) = delta.shift_remove("thinking_blocks") {
            blocks.into_iter().for_each(|block| self.signed(block, out));
        }
        if let Some(Value::Array(details)) = delta.shift_remove("reasoning_details") {
            self.sealed.add_details(unseen(&self.head, details));
        }
        if let Some(Value::String(refusal)) = delta.shift_remove("refusal")
            && !refusal.is_empty()
        {
            self.text(&refusal, out);
        }
        if let Some(Value::Array(fragments)) = delta.shift_remove("tool_calls") {
            self.end_thought(out);
            let events = self.calls.push(&fragments);
            self.call(events, out);
        }
        self.told = beside.shift_remove("stop_reason").or(self.told.take());
    }

    fn call(&mut self, events: Vec<CallEvent>, out: &mut Queue) {
        for event in events {
            match event {
                CallEvent::Begin { id, name } => {
                    let block = json!({"type": "tool_use", "id": id, "name": name, "input": {}});
                    self.open(Open::Call, block, out);
                }
                CallEvent::Arguments(more) => {
                    self.delta(json!({"type": "input_json_delta", "partial_json": more}), out);
                }
                CallEvent::End(_) => self.close(out),
            }
        }
    }
}

impl Writer for MessageWriter {
    /// What the prompt took is not known yet; the last event says it.
    fn begin(&mut self, out: &mut Queue) {
        out.push_back(named(&json!({"type": "message_start", "message": opening(&self.head)})));
    }

    fn step(&mut self, step: Step, out: &mut Queue) {
        match step {
            Step::Reasoning { text, .. } => self.thinking(&text, out),
            Step::Answer { text, .. } => self.text(&text, out),
            Step::Other { delta, beside, .. } => self.other(delta, beside, out),
            Step::Finished { reason, .. } => {
                self.end_thought(out);
                let events = self.calls.finish();
                self.call(events, out);
                self.close(out);
                self.reason = reason;
            }
            Step::Usage(usage) => self.usage = Some(usage),
            Step::Experts(report) => drop(self.notes.insert("experts".into(), json!(report))),
            Step::Repetition(repetition) => drop(self.notes.insert("repetition".into(), json!(repetition))),
        }
    }

    fn end(&mut self, out: &mut Queue) {
        let (reason, sequence) =
            stop(&self.reason, self.told.as_ref(), &self.stop_sequences, self.calls.any());
        let mut event = json!({
            "type": "message_delta",
            "delta": {"stop_reason": reason, "stop_sequence": sequence},
            "usage": usage(self.usage.as_ref()),
        });
        if !self.notes.is_empty() {
            event["thinkgate"] = std::mem::take(&mut self.notes).into();
        }
        out.push_back(named(&event));
        out.push_back(named(&json!({"type": "message_stop"})));
    }

    fn fail(&mut self, error: &ApiError, out: &mut Queue) {
        out.push_back(named(&error.body(ErrorForm::Anthropic, &self.head.request_id)));
    }

    fn ping(&self) -> Bytes {
        named(&json!({"type": "ping"}))
    }
}
