//! What an answer shows of thinking, on whatever wire it came.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use crate::signals::estimated_tokens;

/// What one answer shows.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(super) struct Seen {
    /// The field that reasoning came in; `tokens only` where it was counted and not shown.
    pub(super) reasoning_in: Option<String>,
    /// Tokens of reasoning, as counted by the server or as estimated from the text.
    pub(super) reasoning_tokens: u32,
    /// Whether the server counted them.
    pub(super) counted: bool,
    /// How they stand to the other counts: `within`, `beside`.
    pub(super) counts: Option<&'static str>,
    /// The answer has text.
    pub(super) answered: bool,
}

impl Seen {
    /// Reads a body: one JSON value, or the events or lines of a stream.
    pub(super) fn of_body(body: &str) -> Option<Seen> {
        let mut found = Found::default();
        match serde_json::from_str::<Value>(body) {
            Ok(value) => found.visit(&value),
            Err(_) => {
                let lines = body.lines().map(|line| line.strip_prefix("data:").unwrap_or(line).trim());
                for value in lines.filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
                    found.visit(&value);
                }
            }
        }
        found.any.then(|| found.judged())
    }

    pub(super) fn thought(&self) -> bool {
        self.reasoning_tokens > 0
    }
}

#[derive(Default)]
struct Found {
    any: bool,
    reasoning: BTreeMap<&'static str, String>,
    answer: String,
    usage: Option<Value>,
}

/// Fields that hold reasoning as text.
const REASONING: [&str; 3] = ["reasoning_content", "reasoning", "thinking"];
/// Fields that hold the usage.
const USAGE: [&str; 2] = ["usage", "usageMetadata"];

impl Found {
    fn visit(&mut self, value: &Value) {
        match value {
            Value::Array(items) => items.iter().for_each(|item| self.visit(item)),
            Value::Object(fields) => {
                self.any = true;
                let thought = fields.get("thought") == Some(&Value::Bool(true));
                for (field, value) in fields {
                    self.visit_field(field, value, thought);
                }
            }
            _ => {}
        }
    }

    fn visit_field(&mut self, field: &str, value: &Value, thought: bool) {
        if USAGE.contains(&field) && value.is_object() {
            self.usage = Some(value.clone());
        } else if field == "reasoningContent" {
            // Bedrock: the text, or a piece of it, beside its signature.
            let text = value.pointer("/reasoningText/text").or_else(|| value.get("text"));
            self.reason("reasoningContent", text.and_then(Value::as_str).unwrap_or_default());
        } else if field == "reasoning_details" && value.as_array().is_some_and(|list| !list.is_empty()) {
            self.reasoning.entry("reasoning_details").or_default().push_str(&value.to_string());
        } else if let (Some(name), Some(text)) =
            (REASONING.iter().find(|name| **name == field), value.as_str())
        {
            self.reason(name, text);
        } else if let ("content" | "text" | "response", Some(text)) = (field, value.as_str()) {
            if thought { self.reason("thought", text) } else { self.answer.push_str(text) }
        } else {
            self.visit(value);
        }
    }

    fn reason(&mut self, field: &'static str, text: &str) {
        if !text.trim().is_empty() {
            self.reasoning.entry(field).or_default().push_str(text);
        }
    }

    fn judged(mut self) -> Seen {
        if let Some(end) = self.answer.find("</think>") {
            let inline = self.answer[..end].trim_start().trim_start_matches("<think>").to_owned();
            self.reason("<think> in content", &inline);
            self.answer.drain(..end + "</think>".len());
        }
        let mut names: Vec<&str> = self.reasoning.keys().copied().collect();
        // The same text under two names is one field and its copy for others.
        names.sort_by_key(|name| *name == "reasoning_details");
        let told = self.usage.as_ref().and_then(|usage| count(usage, REASONING_COUNTS));
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a few thousand at most")]
        let estimated = self.reasoning.values().map(|text| estimated_tokens(text) as u32).max().unwrap_or(0);
        let hidden = told.is_some_and(|count| count > 0).then(|| "tokens only".to_owned());
        Seen {
            reasoning_in: (!names.is_empty()).then(|| names.join(", ")).or(hidden),
            reasoning_tokens: told.filter(|count| *count > 0).unwrap_or(estimated),
            counted: told.is_some(),
            counts: self.usage.as_ref().and_then(accounting),
            answered: !self.answer.trim().is_empty(),
        }
    }
}

const REASONING_COUNTS: &[&str] = &[
    "/completion_tokens_details/reasoning_tokens",
    "/output_tokens_details/thinking_tokens",
    "/output_tokens_details/reasoning_tokens",
    "/reasoning_tokens",
    "/thoughtsTokenCount",
];

fn count(usage: &Value, pointers: &[&str]) -> Option<u32> {
    let found = pointers.iter().find_map(|pointer| usage.pointer(pointer)?.as_u64());
    found.and_then(|count| u32::try_from(count).ok())
}

/// Whether the total has the reasoning in the generated tokens or beside them.
fn accounting(usage: &Value) -> Option<&'static str> {
    let reasoning = count(usage, REASONING_COUNTS).filter(|count| *count > 0)?;
    let prompt = count(usage, &["/prompt_tokens", "/input_tokens", "/promptTokenCount"])?;
    let generated = count(usage, &["/completion_tokens", "/output_tokens", "/candidatesTokenCount"])?;
    match count(usage, &["/total_tokens", "/totalTokenCount"]) {
        Some(total) if total == prompt + generated + reasoning => Some("beside"),
        Some(total) if total == prompt + generated => Some("within"),
        _ if generated < reasoning => Some("beside"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn seen(body: Value) -> Seen {
        Seen::of_body(&body.to_string()).expect("JSON")
    }

    #[test]
    fn reasoning_is_found_on_every_wire() {
        let text = "Let me count the primes one by one.";
        for (body, field) in [
            (
                json!({"choices": [{"message": {"content": "7", "reasoning_content": text}}]}),
                "reasoning_content",
            ),
            (json!({"choices": [{"message": {"content": "7", "reasoning": text}}]}), "reasoning"),
            (
                json!({"choices": [{"message": {"content": format!("<think>{text}</think>7")}}]}),
                "<think> in content",
            ),
            (
                json!({"choices": [{"message": {"content": format!("{text}</think>7")}}]}),
                "<think> in content",
            ),
            (
                json!({"content": [{"type": "thinking", "thinking": text}, {"type": "text", "text": "7"}]}),
                "thinking",
            ),
            (json!({"message": {"content": "7", "thinking": text}}), "thinking"),
            (
                json!({"candidates": [{"content": {"parts": [{"thought": true, "text": text}, {"text": "7"}]}}]}),
                "thought",
            ),
            (
                json!({"output": {"message": {"content": [{"reasoningContent": {"reasoningText": {"text": text}}},
                                                          {"text": "7"}]}}}),
                "reasoningContent",
            ),
        ] {
            let seen = seen(body.clone());
            assert_eq!(seen.reasoning_in.as_deref(), Some(field), "{body}");
            assert!(seen.thought() && seen.answered, "{body}");
        }
    }

    #[test]
    fn an_answer_without_reasoning_shows_none() {
        for body in [
            json!({"choices": [{"message": {"content": "7", "reasoning_content": ""}}]}),
            json!({"choices": [{"message": {"content": "<think>\n\n</think>\n\n7", "reasoning": null}}]}),
            json!({"content": [{"type": "text", "text": "7"}], "usage": {"input_tokens": 3, "output_tokens": 1}}),
        ] {
            let seen = seen(body.clone());
            assert!(!seen.thought() && seen.answered && seen.reasoning_in.is_none(), "{body}");
        }
        assert_eq!(Seen::of_body("<html>"), None);
    }

    #[test]
    fn counts_tell_hidden_reasoning_and_where_it_is_counted() {
        let usage = |details: Value, total: u64| {
            json!({"choices": [{"message": {"content": "7"}}], "usage": {"prompt_tokens": 10, "completion_tokens": 50,
                   "total_tokens": total, "completion_tokens_details": details}})
        };
        let within = seen(usage(json!({"reasoning_tokens": 40}), 60));
        assert_eq!((within.reasoning_in.as_deref(), within.counts), (Some("tokens only"), Some("within")));
        assert_eq!(seen(usage(json!({"reasoning_tokens": 40}), 100)).counts, Some("beside"));
        assert_eq!(seen(usage(json!({"reasoning_tokens": 0}), 60)).reasoning_in, None);
    }

    #[test]
    fn streams_are_joined() {
        let body = "data: {\"choices\":[{\"delta\":{\"reasoning_content\":\"Let me \"}}]}\n\n\
                    data: {\"choices\":[{\"delta\":{\"reasoning_content\":\"count.\"}}]}\n\n\
                    data: {\"choices\":[{\"delta\":{\"content\":\"7\"}}]}\n\ndata: [DONE]\n\n";
        let seen = Seen::of_body(body).expect("events");
        assert!(seen.answered && seen.reasoning_in.as_deref() == Some("reasoning_content"));
    }
}
