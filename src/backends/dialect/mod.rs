//! How each backend family spells the thinking mode. One file per family, data in and data out.

mod generic;
mod vllm;

use serde_json::{Map, Value, json};

use super::Call;
use crate::config::{Dialect, Upstream};

/// The body to send: the client's, in the backend's own words.
#[must_use]
pub fn body(call: &Call, upstream: &Upstream) -> Map<String, Value> {
    let mut body = call.body.clone();
    for field in THINKING_FIELDS.iter().chain(NEVER_FORWARDED) {
        body.shift_remove(*field);
    }
    body.insert("model".into(), upstream.model_id.clone().into());
    match upstream.dialect {
        Dialect::Vllm => vllm::apply(&mut body, call, upstream),
        Dialect::Generic => generic::apply(&mut body),
    }
    ask_for_usage(&mut body, call.stream);
    body
}

/// The body of a completion: no chat template, so no field speaks of thinking.
#[must_use]
pub fn completion_body(call: &Call, upstream: &Upstream) -> Map<String, Value> {
    let mut body = call.body.clone();
    for field in THINKING_FIELDS.iter().chain(NEVER_FORWARDED).chain(&["chat_template_kwargs"]) {
        body.shift_remove(*field);
    }
    body.insert("model".into(), upstream.model_id.clone().into());
    ask_for_usage(&mut body, call.stream);
    body
}

/// Every top-level field that some backend reads as a word about thinking. A client's field in one dialect would
/// contradict ours in another, so none is left standing.
const THINKING_FIELDS: &[&str] = &[
    "thinking",
    "enable_thinking",
    "think",
    "reasoning",
    "reasoning_effort",
    "include_reasoning",
    "thinking_budget",
    "thinking_token_budget",
    "thinking_budget_tokens",
];

/// Fields by which some gateways let a client choose where its request goes, or replace the model's template.
const NEVER_FORWARDED: &[&str] =
    &["api_base", "base_url", "api_key", "custom_llm_provider", "extra_headers", "timeout", "chat_template"];

/// Usage is always asked for, because it is always counted; whether the client sees it is decided on the way back.
fn ask_for_usage(body: &mut Map<String, Value>, stream: bool) {
    body.insert("stream".into(), stream.into());
    if !stream {
        body.shift_remove("stream_options");
        return;
    }
    match body.get_mut("stream_options") {
        Some(Value::Object(options)) => {
            options.insert("include_usage".into(), true.into());
        }
        _ => {
            body.insert("stream_options".into(), json!({"include_usage": true}));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::Timeouts;
    use crate::conversation::Mode;

    fn upstream(dialect: Dialect) -> Upstream {
        let time = Duration::from_secs(1);
        Upstream {
            url: "http://127.0.0.1:9000/v1".parse().expect("a URL"),
            dialect,
            model_id: "Qwen/Qwen3-4B".into(),
            api_key: None,
            budget: false,
            inline_reasoning: true,
            timeouts: Timeouts { connect: time, first_token: time, idle: time, total: time },
        }
    }

    fn call(body: Value, thinking: Mode) -> Call {
        let Value::Object(body) = body else { panic!("an object") };
        Call {
            body,
            thinking,
            budget: (thinking == Mode::On).then_some(512),
            stream: false,
            experts: None,
            caller: 0,
        }
    }

    #[test]
    fn vllm_gets_both_switches_and_no_foreign_field() {
        let call = call(
            json!({"model": "auto", "messages": [], "reasoning_effort": "high", "enable_thinking": true,
                   "thinking": {"type": "enabled"}, "chat_template_kwargs": {"enable_thinking": true, "x": 1},
                   "api_base": "http://elsewhere", "vendor_field": [1, 2]}),
            Mode::Off,
        );
        let body = Value::from(body(&call, &upstream(Dialect::Vllm)));
        assert_eq!(
            body,
            json!({"model": "Qwen/Qwen3-4B", "messages": [],
                   "chat_template_kwargs": {"x": 1, "enable_thinking": false, "thinking": false},
                   "vendor_field": [1, 2], "temperature": 0.7, "top_p": 0.8, "top_k": 20, "min_p": 0,
                   "stream": false})
        );
    }

    #[test]
    fn vllm_gets_a_budget_only_where_the_server_takes_one() {
        let call = call(json!({"messages": [], "temperature": 0.2}), Mode::On);
        let mut upstream = upstream(Dialect::Vllm);
        assert!(!body(&call, &upstream).contains_key("thinking_token_budget"));
        upstream.budget = true;
        let body = Value::from(body(&call, &upstream));
        assert_eq!(body["thinking_token_budget"], 512);
        assert_eq!(body["chat_template_kwargs"]["enable_thinking"], true);
        assert_eq!(body["temperature"], 0.2);
        assert!(body.get("top_p").is_none(), "one sampling field of the client keeps all of ours out");
    }

    #[test]
    fn generic_gets_no_word_about_thinking() {
        let call = call(
            json!({"messages": [], "think": true, "chat_template_kwargs": {"thinking": true}}),
            Mode::On,
        );
        let body = Value::from(body(&call, &upstream(Dialect::Generic)));
        assert_eq!(body, json!({"messages": [], "model": "Qwen/Qwen3-4B", "stream": false}));
    }

    #[test]
    fn usage_is_asked_for_on_streams() {
        let mut call =
            call(json!({"messages": [], "stream_options": {"include_obfuscation": false}}), Mode::On);
        call.stream = true;
        let body = Value::from(body(&call, &upstream(Dialect::Generic)));
        assert_eq!(body["stream_options"], json!({"include_obfuscation": false, "include_usage": true}));
    }
}
