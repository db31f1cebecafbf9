//! vLLM: the chat template's flags switch thinking; a token budget works only where the server was started with a
//! reasoning config, and is refused with 400 elsewhere.

use serde_json::{Map, Value, json};

use super::super::Call;
use crate::config::Upstream;
use crate::conversation::Mode;

pub(super) fn apply(body: &mut Map<String, Value>, call: &Call, upstream: &Upstream) {
    let on = call.thinking == Mode::On;
    let mut kwargs = match body.shift_remove("chat_template_kwargs") {
        Some(Value::Object(kwargs)) => kwargs,
        _ => Map::new(),
    };
    // vLLM refuses these two.
    kwargs.shift_remove("chat_template");
    kwargs.shift_remove("tokenize");
    // Templates read one or the other (Qwen3 the first, DeepSeek-V3.1 and Granite the second) and ignore what they do
    // not know.
    kwargs.insert("enable_thinking".into(), on.into());
    kwargs.insert("thinking".into(), on.into());
    body.insert("chat_template_kwargs".into(), kwargs.into());
    if let (true, true, Some(budget)) = (on, upstream.budget, call.budget) {
        body.insert("thinking_token_budget".into(), budget.into());
    }
    if upstream.model_id.to_ascii_lowercase().contains("qwen3") {
        sample_by_mode(body, on);
    }
}

/// The sampling that the Qwen3 report names for each mode. The server's own defaults are those for thinking, whatever
/// the mode; a client that set any of these knows what it wants.
fn sample_by_mode(body: &mut Map<String, Value>, thinking: bool) {
    const FIELDS: [&str; 4] = ["temperature", "top_p", "top_k", "min_p"];
    if FIELDS.iter().any(|field| body.get(*field).is_some_and(|value| !value.is_null())) {
        return;
    }
    let values = if thinking {
        [json!(0.6), json!(0.95), json!(20), json!(0)]
    } else {
        [json!(0.7), json!(0.8), json!(20), json!(0)]
    };
    for (field, value) in FIELDS.into_iter().zip(values) {
        body.insert(field.into(), value);
    }
}
