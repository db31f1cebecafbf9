//! Builders of calls and upstreams.

use serde_json::{Map, Value, json};
use thinkgate::backends::{Asked, Call};
use thinkgate::config::{Dialect, Upstream};
use thinkgate::conversation::Mode;

pub(crate) fn upstream(dialect: Dialect, model_id: &str) -> Upstream {
    Upstream::new("http://127.0.0.1:9000/v1".parse().expect("a URL"), dialect, model_id)
}

/// What a client may ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Intent {
    Off,
    /// On, by this gateway's own estimate.
    On,
    /// On, with a budget that the client named.
    Budget,
    /// On, with an effort that the client named.
    Effort,
}

impl Intent {
    pub(crate) const ALL: [(Intent, &str); 4] = [
        (Intent::Off, "off"),
        (Intent::On, "on"),
        (Intent::Budget, "budget 700"),
        (Intent::Effort, "effort xhigh"),
    ];
}

pub(crate) fn call(body: Value, intent: Intent) -> Call {
    let Value::Object(body) = body else { panic!("an object") };
    let (thinking, budget, asked) = match intent {
        Intent::Off => (Mode::Off, None, Asked::Nothing),
        Intent::On => (Mode::On, Some(2048), Asked::Nothing),
        Intent::Budget => (Mode::On, Some(700), Asked::Budget),
        Intent::Effort => (Mode::On, Some(8192), Asked::Effort),
    };
    Call { body, thinking, budget, asked, stream: false, experts: None, caller: 0 }
}

/// A request that says something about thinking in every dialect at once.
pub(crate) fn loud() -> Map<String, Value> {
    let body = json!({
        "model": "auto",
        "messages": [{"role": "user", "content": "2+2?"}],
        "thinking": {"type": "enabled", "budget_tokens": 5, "clear_thinking": false, "keep": "all", "display": "omitted"},
        "enable_thinking": true,
        "think": "high",
        "reasoning": {"effort": "high", "max_tokens": 5, "enabled": true, "exclude": false, "summary": "auto"},
        "reasoning_effort": "high",
        "include_reasoning": true,
        "thinking_budget": 5,
        "thinking_token_budget": 5,
        "thinking_budget_tokens": 5,
        "reasoning_budget_tokens": 5,
        "thinking_config": {"thinking_budget": 5},
        "thinkingConfig": {"thinkingBudget": 5},
        "output_config": {"effort": "high"},
        "chat_template_kwargs": {"enable_thinking": true, "thinking": true, "reasoning_effort": "high", "chat_template": "x"},
        "reasoning_format": "raw",
        "reasoning_split": false,
        "reasoning_history": "preserved",
        "separate_reasoning": false,
        "stream_reasoning": false,
        "preserve_thinking": true,
        "clear_thinking": true,
        "extra_body": {"google": {"thinking_config": {"thinking_budget": 5}}},
        "api_base": "http://elsewhere",
        "chat_template": "x",
    });
    let Value::Object(body) = body else { panic!("an object") };
    body
}
