use serde_json::{Map, Value, json};

use super::super::outlet::Outlet;
use super::super::turns::text_of;
use super::super::{message_of, parse};
use crate::backends::{BackendError, Usage};

/// Ollama's answers have one choice.
const CHOICE: u64 = 0;

/// A stream being read; every line is an answer in itself, with what is new.
#[derive(Debug, Default)]
pub(in crate::backends) struct Reader;

impl Reader {
    /// One line; true when it was the last.
    pub(in crate::backends::wire) fn event(
        &mut self,
        data: &str,
        outlet: &mut Outlet,
    ) -> Result<bool, BackendError> {
        read(&parse(data)?, outlet)
    }
}

/// An answer in one piece.
pub(in crate::backends::wire) fn whole(
    body: &Map<String, Value>,
    outlet: &mut Outlet,
) -> Result<(), BackendError> {
    if !body.contains_key("message") && !body.contains_key("error") {
        return Err(BackendError::BadAnswer("an answer without a message".into()));
    }
    if !read(body, outlet)? {
        outlet.finish_all();
    }
    Ok(())
}

fn read(line: &Map<String, Value>, outlet: &mut Outlet) -> Result<bool, BackendError> {
    if let Some(error) = line.get("error").filter(|error| !error.is_null()) {
        return Err(BackendError::Reported(message_of(error)));
    }
    if let Some(message) = line.get("message") {
        if let Some(thoughts) = text_of(message, "thinking") {
            outlet.reasoning(CHOICE, thoughts);
        }
        outlet.content(CHOICE, text_of(message, "content").unwrap_or_default());
        let calls = message.get("tool_calls").and_then(Value::as_array);
        calls.into_iter().flatten().for_each(|call| read_call(call, outlet));
    }
    if let Some(logprobs) =
        line.get("logprobs").filter(|list| list.as_array().is_some_and(|list| !list.is_empty()))
    {
        let logprobs = json!({"content": logprobs, "refusal": null});
        outlet.other(CHOICE, Map::new(), Map::from_iter([("logprobs".to_owned(), logprobs)]));
    }
    let done = line.get("done").and_then(Value::as_bool).unwrap_or(false);
    if done {
        let reason = match line.get("done_reason").and_then(Value::as_str) {
            Some("length") => "length",
            _ if outlet.calls(CHOICE) > 0 => "tool_calls",
            _ => "stop",
        };
        outlet.finish(CHOICE, reason);
        if let Some(usage) = usage(line) {
            outlet.usage(usage);
        }
    }
    Ok(done)
}

fn read_call(call: &Value, outlet: &mut Outlet) {
    let Some(function) = call.get("function") else { return };
    let id = match text_of(call, "id").filter(|id| !id.is_empty()) {
        Some(id) => id.to_owned(),
        None => format!("call_{}", crate::id::unique()),
    };
    let arguments = match function.get("arguments") {
        Some(Value::String(text)) => text.clone(),
        Some(arguments) => arguments.to_string(),
        None => "{}".into(),
    };
    let mut out = Map::new();
    out.insert("id".into(), id.into());
    out.insert("type".into(), "function".into());
    out.insert("function".into(), json!({"name": text_of(function, "name"), "arguments": arguments}));
    outlet.call(CHOICE, out);
}

/// A prompt that was read for an earlier request is not counted again, so its count may be absent.
fn usage(line: &Map<String, Value>) -> Option<Usage> {
    let count = |name: &str| line.get(name).and_then(Value::as_u64);
    Some(Usage {
        prompt_tokens: count("prompt_eval_count")?,
        completion_tokens: count("eval_count")?,
        reasoning_tokens: None,
        cached_tokens: None,
        raw: None,
    })
}
