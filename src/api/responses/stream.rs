//! An answer in pieces as typed events: every item and every part of it is begun and ended by name, and numbered.

use serde_json::{Map, Value, json};

use super::super::calls::{CallEvent, Calls};
use super::super::client::{Head, Queue, Writer, named};
use super::super::error::ApiError;
use super::super::seal::{Sealed, unseen};
use super::Responses;
use super::envelope::{Status, envelope};
use super::output::{
    call_item, end_of, id_of, kind_of, logprobs_of, message_item, reasoning_item, reasoning_part,
    summary_part, text_part,
};
use super::tools::{ToolName, input_of};
use crate::backends::{Step, Usage};

pub(super) struct ResponseWriter {
    form: Responses,
    head: Head,
    /// Events so far.
    events: u64,
    /// Items that are complete.
    output: Vec<Value>,
    open: Option<Open>,
    calls: Calls,
    status: Status,
    usage: Option<Usage>,
    notes: Map<String, Value>,
}

/// The item that is being written.
struct Open {
    id: String,
    what: What,
}

enum What {
    Reasoning { text: String, sealed: Sealed },
    Message { parts: Vec<Value>, part: Part },
    Call { call_id: String, name: ToolName, arguments: String },
}

/// The part of a message that is being written.
struct Part {
    refusal: bool,
    text: String,
    logprobs: Vec<Value>,
}

impl Part {
    fn finished(&self) -> Value {
        match self.refusal {
            true => json!({"type": "refusal", "refusal": self.text}),
            false => text_part(&self.text, self.logprobs.clone()),
        }
    }
}

impl ResponseWriter {
    pub(super) fn new(form: Responses, head: Head) -> Self {
        ResponseWriter {
            events: 0,
            output: Vec::new(),
            open: None,
            calls: Calls::default(),
            status: Status::Completed,
            usage: None,
            notes: head.notes(),
            form,
            head,
        }
    }

    fn emit(&mut self, kind: &str, fields: Value, out: &mut Queue) {
        let mut event = json!({"type": kind, "sequence_number": self.events});
        if let (Value::Object(event), Value::Object(fields)) = (&mut event, fields) {
            event.extend(fields);
        }
        self.events += 1;
        out.push_back(named(&event));
    }

    /// An event about the item that is being written.
    fn emit_at(&mut self, kind: &str, mut fields: Value, out: &mut Queue) {
        let Some(open) = &self.open else { return };
        fields["item_id"] = open.id.as_str().into();
        fields["output_index"] = self.output.len().into();
        self.emit(kind, fields, out);
    }

    fn emit_response(&mut self, kind: &str, status: &Status, out: &mut Queue) {
        let output = self.output.clone();
        let mut response = envelope(&self.form, &self.head, status, output, self.usage.as_ref());
        if *status != Status::InProgress && !self.notes.is_empty() {
            response.insert("thinkgate".into(), std::mem::take(&mut self.notes).into());
        }
        self.emit(kind, json!({"response": response}), out);
    }

    /// Ends the item that is being written, and begins another.
    fn begin_item(&mut self, kind: &str, what: What, out: &mut Queue) {
        self.close("completed", out);
        let id = id_of(&self.head, kind, self.output.len());
        let item = match &what {
            What::Reasoning { .. } => reasoning_item(&id, "", false, &Sealed::default(), "in_progress"),
            What::Message { .. } => message_item(&id, Vec::new(), "in_progress"),
            What::Call { call_id, name, .. } => call_item(&id, call_id, name, "", "in_progress"),
        };
        self.open = Some(Open { id, what });
        self.emit(
            "response.output_item.added",
            json!({"output_index": self.output.len(), "item": item}),
            out,
        );
    }

    /// Ends the item that is being written, if there is one.
    fn close(&mut self, status: &str, out: &mut Queue) {
        match self.open.as_ref().map(|open| &open.what) {
            Some(What::Reasoning { .. }) => self.close_reasoning(out),
            Some(What::Message { .. }) => self.close_part(out),
            Some(What::Call { .. }) => self.close_call(out),
            None => return,
        }
        let Some(Open { id, what }) = self.open.take() else { return };
        let item = match what {
            What::Reasoning { text, sealed } => {
                reasoning_item(&id, &text, self.form.summary, &sealed, "completed")
            }
            What::Message { parts, .. } => message_item(&id, parts, status),
            What::Call { call_id, name, arguments } => {
                call_item(&id, &call_id, &name, &arguments, "completed")
            }
        };
        let event = json!({"output_index": self.output.len(), "item": item});
        self.emit("response.output_item.done", event, out);
        self.output.push(item);
    }

    /// Names and place of what reasoning stands in.
    fn reasoning_place(&self) -> (&'static str, &'static str, &'static str, fn(&str) -> Value) {
        match self.form.summary {
            true => (
                "response.reasoning_summary_text",
                "response.reasoning_summary_part",
                "summary_index",
                summary_part,
            ),
            false => ("response.reasoning_text", "response.content_part", "content_index", reasoning_part),
        }
    }

    fn reasoning(&mut self, more: &str, out: &mut Queue) {
        if self.head.reasoning.is_none() {
            return;
        }
        if !matches!(self.open, Some(Open { what: What::Reasoning { .. }, .. })) {
            let what = What::Reasoning { text: String::new(), sealed: Sealed::default() };
            self.begin_item("rs", what, out);
        }
        let (text_event, part_event, index, part) = self.reasoning_place();
        let Some(Open { what: What::Reasoning { text, .. }, .. }) = &mut self.open else { return };
        let first = text.is_empty();
        text.push_str(more);
        if first {
            self.emit_at(&format!("{part_event}.added"), json!({index: 0, "part": part("")}), out);
        }
        self.emit_at(&format!("{text_event}.delta"), json!({index: 0, "delta": more}), out);
    }

    fn close_reasoning(&mut self, out: &mut Queue) {
        let (text_event, part_event, index, part) = self.reasoning_place();
        let Some(Open { what: What::Reasoning { text, .. }, .. }) = &self.open else { return };
        if text.is_empty() {
            return;
        }
        let text = text.clone();
        self.emit_at(&format!("{text_event}.done"), json!({index: 0, "text": text}), out);
        self.emit_at(&format!("{part_event}.done"), json!({index: 0, "part": part(&text)}), out);
    }

    /// What the backend wants back belongs to the reasoning before it, shown or not.
    fn seal(&mut self, add: impl FnOnce(&mut Sealed), ends: bool, out: &mut Queue) {
        if !matches!(self.open, Some(Open { what: What::Reasoning { .. }, .. })) {
            let what = What::Reasoning { text: String::new(), sealed: Sealed::default() };
            self.begin_item("rs", what, out);
        }
        if let Some(Open { what: What::Reasoning { sealed, .. }, .. }) = &mut self.open {
            add(sealed);
        }
        if ends {
            self.close("completed", out);
        }
    }

    fn text(&mut self, more: &str, refusal: bool, out: &mut Queue) {
        self.begin_part(refusal, out);
        let Some(Open { what: What::Message { parts, part }, .. }) = &mut self.open else { return };
        part.text.push_str(more);
        let at = parts.len();
        match refusal {
            true => self.emit_at("response.refusal.delta", json!({"content_index": at, "delta": more}), out),
            false => {
                let fields = json!({"content_index": at, "delta": more, "logprobs": []});
                self.emit_at("response.output_text.delta", fields, out);
            }
        }
    }

    /// Makes the open item a message, and its open part one of this kind.
    fn begin_part(&mut self, refusal: bool, out: &mut Queue) {
        let fresh = || Part { refusal, text: String::new(), logprobs: Vec::new() };
        match &self.open {
            Some(Open { what: What::Message { part, .. }, .. }) if part.refusal == refusal => return,
            Some(Open { what: What::Message { .. }, .. }) => self.close_part(out),
            _ => self.begin_item("msg", What::Message { parts: Vec::new(), part: fresh() }, out),
        }
        let Some(Open { what: What::Message { parts, part }, .. }) = &mut self.open else { return };
        *part = fresh();
        let fields = json!({"content_index": parts.len(), "part": part.finished()});
        self.emit_at("response.content_part.added", fields, out);
    }

    fn close_part(&mut self, out: &mut Queue) {
        let Some(Open { what: What::Message { parts, part }, .. }) = &mut self.open else { return };
        let at = parts.len();
        let finished = part.finished();
        parts.push(finished.clone());
        let (kind, fields) = match part.refusal {
            true => ("response.refusal.done", json!({"content_index": at, "refusal": part.text})),
            false => (
                "response.output_text.done",
                json!({"content_index": at, "text": part.text, "logprobs": part.logprobs}),
            ),
        };
        self.emit_at(kind, fields, out);
        self.emit_at("response.content_part.done", json!({"content_index": at, "part": finished}), out);
    }

    fn call(&mut self, events: Vec<CallEvent>, out: &mut Queue) {
        for event in events {
            match event {
                CallEvent::Begin { id, name } => {
                    let name = self.form.tools.of_chat(&name);
                    let kind = kind_of(&name);
                    self.begin_item(kind, What::Call { call_id: id, name, arguments: String::new() }, out);
                }
                CallEvent::Arguments(more) => {
                    let Some(Open { what: What::Call { name, arguments, .. }, .. }) = &mut self.open else {
                        continue;
                    };
                    arguments.push_str(&more);
                    // Free text is inside the arguments, and known when they are complete.
                    if !name.custom {
                        self.emit_at("response.function_call_arguments.delta", json!({"delta": more}), out);
                    }
                }
                CallEvent::End(_) => self.close("completed", out),
            }
        }
    }

    fn close_call(&mut self, out: &mut Queue) {
        let Some(Open { what: What::Call { name, arguments, .. }, .. }) = &mut self.open else { return };
        if name.custom {
            let input = input_of(arguments);
            self.emit_at("response.custom_tool_call_input.delta", json!({"delta": input}), out);
            self.emit_at("response.custom_tool_call_input.done", json!({"input": input}), out);
            return;
        }
        if arguments.is_empty() {
            "{}".clone_into(arguments);
        }
        let fields = json!({"name": name.name, "arguments": arguments});
        self.emit_at("response.function_call_arguments.done", fields, out);
    }

    fn other(&mut self, mut delta: Map<String, Value>, beside: Map<String, Value>, out: &mut Queue) {
        if let Some(Value::Array(blocks)) = delta.shift_remove("thinking_blocks") {
            let blocks = unseen(&self.head, blocks);
            if !blocks.is_empty() {
                self.seal(|sealed| sealed.add_blocks(blocks), true, out);
            }
        }
        if let Some(Value::Array(details)) = delta.shift_remove("reasoning_details") {
            let details = unseen(&self.head, details);
            if !details.is_empty() {
                self.seal(|sealed| sealed.add_details(details), false, out);
            }
        }
        if let Some(Value::String(refusal)) = delta.shift_remove("refusal")
            && !refusal.is_empty()
        {
            self.text(&refusal, true, out);
        }
        if let Some(Value::Array(fragments)) = delta.shift_remove("tool_calls") {
            let events = self.calls.push(&fragments);
            self.call(events, out);
        }
        let logprobs = logprobs_of(&beside.into());
        if !logprobs.is_empty() {
            self.begin_part(false, out);
            if let Some(Open { what: What::Message { part, .. }, .. }) = &mut self.open {
                part.logprobs.extend(logprobs);
            }
        }
    }
}

impl Writer for ResponseWriter {
    fn begin(&mut self, out: &mut Queue) {
        self.emit_response("response.created", &Status::InProgress, out);
        self.emit_response("response.in_progress", &Status::InProgress, out);
    }

    fn step(&mut self, step: Step, out: &mut Queue) {
        match step {
            Step::Reasoning { text, .. } => self.reasoning(&text, out),
            Step::Answer { text, .. } => self.text(&text, false, out),
            Step::Other { delta, beside, .. } => self.other(delta, beside, out),
            Step::Finished { reason, .. } => {
                self.status = Status::of(&reason);
                let events = self.calls.finish();
                self.call(events, out);
                self.close(end_of(&self.status), out);
            }
            Step::Usage(usage) => self.usage = Some(usage),
            Step::Experts(report) => drop(self.notes.insert("experts".into(), json!(report))),
            Step::Repetition(repetition) => drop(self.notes.insert("repetition".into(), json!(repetition))),
        }
    }

    fn end(&mut self, out: &mut Queue) {
        let status = self.status.clone();
        self.emit_response(&format!("response.{}", status.as_str()), &status, out);
    }

    fn fail(&mut self, error: &ApiError, out: &mut Queue) {
        let status = Status::Failed(json!({"code": error.code(), "message": error.message()}));
        self.emit_response("response.failed", &status, out);
    }
}
