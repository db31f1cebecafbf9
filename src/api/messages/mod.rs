//! Anthropic's messages: blocks in, blocks out.

mod answer;
mod blocks;
mod count;
mod read;
mod stream;

use serde_json::{Value, json};

use super::client::{Form, Head, Writer};
use crate::backends::{Usage, Whole};
pub(super) use count::count_tokens;
pub(super) use read::{is_one, read};

/// What of the request shapes the answer.
struct Messages {
    /// Thinking is to be signed for, not shown.
    omits_thinking: bool,
    stop_sequences: Vec<String>,
    /// Kinds of tools that only Anthropic's servers run.
    left_out: Vec<String>,
}

impl Form for Messages {
    fn left_out(&self) -> &[String] {
        &self.left_out
    }

    fn hides_reasoning(&self) -> bool {
        self.omits_thinking
    }

    fn whole(self: Box<Self>, head: Head, whole: Whole) -> Value {
        answer::message(&head, &self.stop_sequences, whole)
    }

    fn writer(self: Box<Self>, head: Head) -> Box<dyn Writer> {
        Box::new(stream::MessageWriter::new(head, self.stop_sequences))
    }
}

/// The message that both forms of an answer begin with.
fn opening(head: &Head) -> Value {
    json!({
        "id": format!("msg_{}", head.request_id),
        "type": "message",
        "role": "assistant",
        "model": head.model,
        "content": [],
        "stop_reason": null,
        "stop_sequence": null,
        "usage": usage(None),
    })
}

/// Tokens of the prompt that had been read before are counted apart here. Where nobody counted, zero stands, because
/// clients need a number.
fn usage(usage: Option<&Usage>) -> Value {
    let Some(usage) = usage else { return json!({"input_tokens": 0, "output_tokens": 0}) };
    let cached = usage.cached_tokens.unwrap_or(0);
    let raw = |pointer: &str| usage.raw.as_ref().and_then(|raw| raw.pointer(pointer)).and_then(Value::as_u64);
    let written = raw("/cache_creation_input_tokens")
        .or_else(|| raw("/prompt_tokens_details/cache_creation_tokens"))
        .or_else(|| raw("/prompt_tokens_details/cache_write_tokens"))
        .unwrap_or(0);
    let mut counts = json!({
        "input_tokens": usage.prompt_tokens.saturating_sub(cached + written),
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": cached,
        "output_tokens": usage.completion_tokens,
    });
    if let Some(reasoning) = usage.reasoning_tokens {
        counts["output_tokens_details"] = json!({"thinking_tokens": reasoning});
    }
    counts
}

/// Why an answer ended, and the stop sequence that ended it, where the backend tells.
fn stop(reason: &str, told: Option<&Value>, sequences: &[String], calls: bool) -> (Value, Value) {
    let sequence = told.and_then(Value::as_str).filter(|told| sequences.iter().any(|one| one == told));
    let reason = match reason {
        "length" => "max_tokens",
        "tool_calls" | "function_call" => "tool_use",
        "content_filter" => "refusal",
        "stop" if calls => "tool_use",
        "stop" if sequence.is_some() => "stop_sequence",
        // These a backend of the same family passes on.
        "pause_turn" | "refusal" | "model_context_window_exceeded" | "max_tokens" | "tool_use" => reason,
        _ => "end_turn",
    };
    let sequence = sequence.filter(|_| reason == "stop_sequence");
    (reason.into(), sequence.into())
}
