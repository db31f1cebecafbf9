//! The object around the output: what was asked, how it ended, what it cost.

use serde_json::{Map, Value, json};

use super::super::client::Head;
use super::Responses;
use crate::backends::Usage;

/// How a response ended, or has not yet.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Status {
    InProgress,
    Completed,
    /// For this reason.
    Incomplete(&'static str),
    /// With this error.
    Failed(Value),
}

impl Status {
    /// What a chat's reason to end means here.
    pub(super) fn of(reason: &str) -> Status {
        match reason {
            "length" => Status::Incomplete("max_output_tokens"),
            "content_filter" => Status::Incomplete("content_filter"),
            _ => Status::Completed,
        }
    }

    pub(super) fn as_str(&self) -> &'static str {
        match self {
            Status::InProgress => "in_progress",
            Status::Completed => "completed",
            Status::Incomplete(_) => "incomplete",
            Status::Failed(_) => "failed",
        }
    }
}

/// Fields that a response repeats, and what stands where the request had none.
pub(super) fn echoed() -> [(&'static str, Value); 17] {
    [
        ("instructions", Value::Null),
        ("max_output_tokens", Value::Null),
        ("max_tool_calls", Value::Null),
        ("metadata", json!({})),
        ("parallel_tool_calls", json!(true)),
        ("prompt_cache_key", Value::Null),
        ("reasoning", json!({"effort": null, "summary": null})),
        ("safety_identifier", Value::Null),
        ("service_tier", Value::Null),
        ("temperature", Value::Null),
        ("text", json!({"format": {"type": "text"}})),
        ("tool_choice", json!("auto")),
        ("tools", json!([])),
        ("top_logprobs", Value::Null),
        ("top_p", Value::Null),
        ("truncation", json!("disabled")),
        ("user", Value::Null),
    ]
}

/// The whole response object.
pub(super) fn envelope(
    form: &Responses,
    head: &Head,
    status: &Status,
    output: Vec<Value>,
    usage: Option<&Usage>,
) -> Map<String, Value> {
    let (error, incomplete) = match status {
        Status::Failed(error) => (error.clone(), Value::Null),
        Status::Incomplete(reason) => (Value::Null, json!({"reason": reason})),
        Status::InProgress | Status::Completed => (Value::Null, Value::Null),
    };
    let mut response = Map::from_iter([
        ("id".to_owned(), format!("resp_{}", head.request_id).into()),
        ("object".to_owned(), "response".into()),
        ("created_at".to_owned(), head.created.into()),
        ("status".to_owned(), status.as_str().into()),
        ("background".to_owned(), false.into()),
        ("error".to_owned(), error),
        ("incomplete_details".to_owned(), incomplete),
        ("model".to_owned(), head.model.as_str().into()),
        ("output".to_owned(), output.into()),
        ("previous_response_id".to_owned(), Value::Null),
        ("store".to_owned(), false.into()),
        ("usage".to_owned(), usage.map_or(Value::Null, counts)),
    ]);
    response.extend(form.echo.clone());
    response
}

/// Clients need numbers here, so that zero stands for what nobody counted.
fn counts(usage: &Usage) -> Value {
    let raw = |pointer: &str| usage.raw.as_ref().and_then(|raw| raw.pointer(pointer)).and_then(Value::as_u64);
    let written =
        raw("/cache_creation_input_tokens").or_else(|| raw("/prompt_tokens_details/cache_write_tokens"));
    json!({
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {
            "cached_tokens": usage.cached_tokens.unwrap_or(0), "cache_write_tokens": written.unwrap_or(0),
        },
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens.unwrap_or(0)},
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
    })
}
