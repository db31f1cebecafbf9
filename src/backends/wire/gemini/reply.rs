use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::super::outlet::Outlet;
use super::super::turns::text_of;
use super::super::{parse, told};
use crate::backends::{BackendError, Usage};

/// Ids of calls that the server gave none begin with this.
pub(super) const MINTED: &str = "tg-call-";

/// A stream being read; every event is an answer in itself, with what is new.
#[derive(Debug, Default)]
pub(in crate::backends) struct Reader {
    finished: BTreeSet<u64>,
}

impl Reader {
    /// One event. The last is told by the end of the connection.
    pub(in crate::backends::wire) fn event(
        &mut self,
        data: &str,
        outlet: &mut Outlet,
    ) -> Result<(), BackendError> {
        self.read(&parse(data)?, outlet)
    }

    fn read(&mut self, event: &Map<String, Value>, outlet: &mut Outlet) -> Result<(), BackendError> {
        if let Some(error) = event.get("error") {
            return Err(told(error, error.get("code").and_then(Value::as_u64)));
        }
        if let Some(usage) = event.get("usageMetadata").and_then(usage) {
            outlet.usage(usage);
        }
        let candidates = event.get("candidates").and_then(Value::as_array);
        for candidate in candidates.into_iter().flatten() {
            self.candidate(candidate, outlet);
        }
        let blocked = event.get("promptFeedback").and_then(|feedback| text_of(feedback, "blockReason"));
        if blocked.is_some() && candidates.is_none_or(Vec::is_empty) && self.finished.insert(0) {
            outlet.finish(0, "content_filter");
        }
        Ok(())
    }

    fn candidate(&mut self, candidate: &Value, outlet: &mut Outlet) {
        let index = candidate.get("index").and_then(Value::as_u64).unwrap_or(0);
        let parts = candidate.pointer("/content/parts").and_then(Value::as_array);
        for part in parts.into_iter().flatten() {
            read_part(index, part, outlet);
        }
        if let Some(logprobs) = candidate.get("logprobsResult").and_then(logprobs) {
            outlet.other(index, Map::new(), Map::from_iter([("logprobs".to_owned(), logprobs)]));
        }
        if let Some(reason) = text_of(candidate, "finishReason")
            && reason != "FINISH_REASON_UNSPECIFIED"
            && self.finished.insert(index)
        {
            outlet.finish(index, finish_reason(reason, outlet.calls(index) > 0));
        }
    }
}

/// An answer in one piece.
pub(in crate::backends::wire) fn whole(
    body: &Map<String, Value>,
    outlet: &mut Outlet,
) -> Result<(), BackendError> {
    Reader::default().read(body, outlet)?;
    outlet.finish_all();
    Ok(())
}

fn read_part(index: u64, part: &Value, outlet: &mut Outlet) {
    let signature = text_of(part, "thoughtSignature");
    if let Some(call) = part.get("functionCall") {
        read_call(index, call, signature, outlet);
        return;
    }
    if let Some(text) = text_of(part, "text") {
        if part.get("thought").and_then(Value::as_bool).unwrap_or(false) {
            outlet.reasoning(index, text);
        } else {
            outlet.content(index, text);
        }
    } else if let Some(data) = part.get("inlineData") {
        let text = |key| text_of(data, key).unwrap_or_default();
        let url = format!("data:{};base64,{}", text("mimeType"), text("data"));
        outlet.field(index, "images", json!([{"type": "image_url", "image_url": {"url": url}}]));
    }
    if let Some(signature) = signature {
        outlet.field(index, "extra_content", google(signature));
    }
}

fn read_call(index: u64, call: &Value, signature: Option<&str>, outlet: &mut Outlet) {
    let id = match text_of(call, "id").filter(|id| !id.is_empty()) {
        Some(id) => id.to_owned(),
        // Unique within the conversation as far as clients care: they pair it with the result that follows.
        None => format!("{MINTED}{}", crate::id::unique()),
    };
    let arguments = call.get("args").map_or_else(|| "{}".to_owned(), Value::to_string);
    let function = json!({"name": text_of(call, "name").unwrap_or_default(), "arguments": arguments});
    let mut out = Map::new();
    out.insert("id".into(), id.into());
    out.insert("type".into(), "function".into());
    out.insert("function".into(), function);
    if let Some(signature) = signature {
        out.insert("extra_content".into(), google(signature));
    }
    outlet.call(index, out);
}

fn google(signature: &str) -> Value {
    json!({"google": {"thought_signature": signature}})
}

fn finish_reason(reason: &str, called: bool) -> &'static str {
    match reason {
        "STOP" if called => "tool_calls",
        "MAX_TOKENS" => "length",
        "SAFETY"
        | "RECITATION"
        | "BLOCKLIST"
        | "PROHIBITED_CONTENT"
        | "SPII"
        | "LANGUAGE"
        | "IMAGE_SAFETY"
        | "IMAGE_PROHIBITED_CONTENT"
        | "IMAGE_RECITATION"
        | "MODEL_ARMOR" => "content_filter",
        _ => "stop",
    }
}

/// Thoughts are counted beside the answer here, and within it by everybody else; so are tokens that tools read.
fn usage(usage: &Value) -> Option<Usage> {
    let count = |name: &str| usage.get(name).and_then(Value::as_u64);
    let thoughts = count("thoughtsTokenCount");
    Some(Usage {
        prompt_tokens: count("promptTokenCount")? + count("toolUsePromptTokenCount").unwrap_or(0),
        completion_tokens: count("candidatesTokenCount").unwrap_or(0) + thoughts.unwrap_or(0),
        reasoning_tokens: thoughts,
        cached_tokens: count("cachedContentTokenCount"),
        raw: None,
    })
}

/// OpenAI's form of log probabilities.
fn logprobs(result: &Value) -> Option<Value> {
    let token = |entry: &Value| {
        let token = text_of(entry, "token").unwrap_or_default();
        json!({"token": token, "logprob": entry.get("logProbability"), "bytes": token.as_bytes()})
    };
    let chosen = result.get("chosenCandidates")?.as_array()?;
    let tops = result.get("topCandidates").and_then(Value::as_array);
    let content: Vec<Value> = chosen
        .iter()
        .enumerate()
        .map(|(at, entry)| {
            let top = tops.and_then(|tops| tops.get(at)?.get("candidates")?.as_array());
            let mut entry = token(entry);
            entry["top_logprobs"] = top.into_iter().flatten().map(token).collect();
            entry
        })
        .collect();
    Some(json!({"content": content, "refusal": null}))
}
