//! "How is this backend told to think, or not to?" Data in and data out.
//!
//! `plan.rs` holds the decision against what is known of the model, whatever the words; the file of a dialect, or of those that
//! tell it alike, puts the plan in its words; `words.rs` has those that several share.

mod anthropic;
mod bedrock;
mod completion;
mod effort;
mod endpoint;
mod fireworks;
mod flag;
mod gemini;
mod generic;
mod llama_cpp;
mod mlx_lm;
mod ollama_native;
mod openrouter;
mod plan;
mod restate;
mod sglang;
mod tensorrt_llm;
mod together;
mod typed;
mod vllm;
mod words;

use serde_json::{Map, Value, json};

pub use self::completion::completion;
pub use self::endpoint::{Auth, Endpoint};
use self::plan::{Plan, Say};
use super::Call;
use super::applied::{Applied, Lossy};
use super::capability::{self, Capability, History, Spelling, UnknownFields};
use super::wire::{self, history};
use crate::config::{Dialect, Upstream, Wire};
use crate::conversation::Mode;

/// What is sent, and what it amounts to.
#[derive(Debug)]
pub struct Outgoing {
    /// The body, in the backend's own words.
    pub body: Map<String, Value>,
    /// How it is framed.
    pub wire: Wire,
    /// Where it goes.
    pub endpoint: Endpoint,
    /// What the backend was told.
    pub applied: Applied,
    /// The answer comes as a stream that the client did not ask for.
    pub force_stream: bool,
}

/// The request to send.
#[must_use]
pub fn outgoing(call: &Call, upstream: &Upstream) -> Outgoing {
    let mut plan = Plan::of(call, upstream);
    let stream = call.stream || plan.force_stream;
    let mut body = call.body.clone();
    settle_history(&mut body, &mut plan);
    prepare(&mut body, &plan);
    body.insert("stream".into(), stream.into());
    if upstream.wire == Wire::Chat {
        ask_for_usage(&mut body, stream);
    }
    let mut body = wire::framed(upstream.wire, body);
    spell(&mut body, &plan);
    Outgoing {
        body,
        wire: upstream.wire,
        endpoint: Endpoint::of(upstream, plan.model_id, stream),
        force_stream: plan.force_stream,
        applied: plan.applied,
    }
}

/// What a backend would be told, without writing the request.
#[must_use]
pub fn applied(call: &Call, upstream: &Upstream) -> Applied {
    let mut plan = Plan::of(call, upstream);
    let is_answer = |message: &Value| message["role"] == "assistant";
    let messages = call.body.get("messages").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    if messages.iter().any(is_answer) && plan.capability.history != History::Ignored {
        // Only answers are read; what others said, images among it, need not be copied.
        let outline = |message: &Value| match is_answer(message) {
            true => message.clone(),
            false => json!({ "role": message["role"] }),
        };
        let mut body = Map::new();
        body.insert("messages".into(), messages.iter().map(outline).collect());
        if let Some(tools) = call.body.get("tools") {
            body.insert("tools".into(), tools.clone());
        }
        settle_history(&mut body, &mut plan);
    }
    plan.applied
}

/// Reasoning of earlier turns, as the backend wants it.
fn settle_history(body: &mut Map<String, Value>, plan: &mut Plan<'_>) {
    let rule = history::Rule {
        capability: plan.capability,
        dialect: plan.upstream.dialect,
        wire: plan.upstream.wire,
        thinking: plan.applied.mode == Mode::On,
    };
    for lossy in history::settle(body, &rule) {
        plan.applied.lost(lossy);
    }
}

fn spell(body: &mut Map<String, Value>, plan: &Plan<'_>) {
    let spell = match plan.upstream.dialect {
        Dialect::Vllm => vllm::spell,
        Dialect::Sglang | Dialect::Lmdeploy => sglang::spell,
        Dialect::LlamaCpp => llama_cpp::spell,
        Dialect::TensorrtLlm => tensorrt_llm::spell,
        Dialect::MlxLm => mlx_lm::spell,
        Dialect::OllamaNative => ollama_native::spell,
        Dialect::Openai
        | Dialect::Azure
        | Dialect::Ollama
        | Dialect::LmStudio
        | Dialect::Xai
        | Dialect::Groq => effort::spell,
        Dialect::Deepseek
        | Dialect::Glm
        | Dialect::Kimi
        | Dialect::Doubao
        | Dialect::Minimax
        | Dialect::Hunyuan => typed::spell,
        Dialect::Dashscope | Dialect::Siliconflow | Dialect::MistralRs => flag::spell,
        Dialect::Openrouter => openrouter::spell,
        Dialect::Together => together::spell,
        Dialect::Fireworks => fireworks::spell,
        Dialect::Anthropic => anthropic::spell,
        Dialect::Gemini => gemini::spell,
        Dialect::Bedrock => bedrock::spell,
        Dialect::Generic => generic::spell,
    };
    spell(body, plan);
    for (field, value) in &plan.capability.always {
        body.entry(field).or_insert_with(|| value.clone());
    }
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
    "reasoning_budget_tokens",
    "thinking_config",
    "thinkingConfig",
    "output_config",
    "chat_template_kwargs",
    "reasoning_format",
    "reasoning_split",
    "reasoning_history",
    "reasoning_control",
    "separate_reasoning",
    "stream_reasoning",
    "preserve_thinking",
    "clear_thinking",
];

/// Fields by which some gateways let a client choose where its request goes, or replace the model's template.
const NEVER_FORWARDED: &[&str] = &[
    "api_base",
    "base_url",
    "api_key",
    "custom_llm_provider",
    "extra_headers",
    "timeout",
    "chat_template",
    "models",
    "route",
    "fallbacks",
];

/// Flags of a chat template that hold the mode or its depth, and two that servers refuse.
const MODE_FLAGS: &[&str] = &[
    "enable_thinking",
    "thinking",
    "thinking_mode",
    "thinking_budget",
    "reasoning_effort",
    "chat_template",
    "tokenize",
];

/// Makes the body this upstream's, up to the word about thinking.
fn prepare(body: &mut Map<String, Value>, plan: &Plan<'_>) {
    let kept = kept(body, plan);
    let passes = &plan.capability.passes;
    for field in THINKING_FIELDS.iter().filter(|field| !passes.iter().any(|passed| passed == *field)) {
        body.shift_remove(*field);
    }
    for field in NEVER_FORWARDED {
        body.shift_remove(*field);
    }
    strip_google(body);
    body.extend(kept);
    body.insert("model".into(), plan.model_id.into());
    for field in plan.refused() {
        body.shift_remove(field);
    }
    if plan.upstream.wire == Wire::Chat {
        restate::without_failures(body);
    }
    if !plan.capability.developer_role {
        restate::developers(body);
    }
    // Wires of their own translate the marks or have no place for them.
    if plan.capability.unknown_fields == UnknownFields::Refused && plan.upstream.wire == Wire::Chat {
        restate::without_cache_marks(body);
    }
    match plan.applied.lossy.contains(&Lossy::SchemaInText) {
        true if restate::schema_of(body).is_some() => restate::schema_in_text(body),
        true => restate::json_in_text(body),
        false => {}
    }
    if plan.frees_tools {
        body.insert("tool_choice".into(), "auto".into());
    }
    sample_by_mode(body, plan);
    rename_cap(body, plan.capability);
}

/// Google's chat completions read their word about thinking inside a literal `extra_body`.
fn strip_google(body: &mut Map<String, Value>) {
    let Some(extra) = body.get_mut("extra_body").and_then(Value::as_object_mut) else { return };
    let Some(google) = extra.get_mut("google").and_then(Value::as_object_mut) else { return };
    google.shift_remove("thinking_config");
    if google.is_empty() {
        extra.shift_remove("google");
    }
    if extra.is_empty() {
        body.shift_remove("extra_body");
    }
}

/// What the client says inside the dialect's own thinking object beside the mode.
fn kept(body: &Map<String, Value>, plan: &Plan<'_>) -> Option<(String, Value)> {
    let capability = plan.capability;
    let keeps = |key: &str| capability.keeps.iter().any(|kept| kept == key);
    let (field, keep): (&str, &dyn Fn(&str) -> bool) = match (capability.spelling, plan.say) {
        (Spelling::Kwargs, _) => ("chat_template_kwargs", &|key| !MODE_FLAGS.contains(&key)),
        // Without a mode the object would be empty words.
        (_, Say::Nothing) => return None,
        (Spelling::Object, _) => ("reasoning", &keeps),
        (Spelling::Typed | Spelling::Enabled | Spelling::EnabledOrAdaptive | Spelling::Adaptive, _) => {
            ("thinking", &keeps)
        }
        _ => return None,
    };
    let own = body.get(field)?.as_object()?;
    let own: Map<String, Value> =
        own.iter().filter(|(key, _)| keep(key)).map(|(key, value)| (key.clone(), value.clone())).collect();
    (!own.is_empty()).then(|| (field.to_owned(), own.into()))
}

/// The sampling that the model's makers name for the mode. A server's own defaults are those for one mode, whatever the
/// mode; a client that set any of these knows what it wants.
fn sample_by_mode(body: &mut Map<String, Value>, plan: &Plan<'_>) {
    let taken = &plan.capability.sampling;
    let Some(family) = capability::sampling(plan.model_id).filter(|_| !taken.is_empty()) else { return };
    if taken.iter().any(|field| body.get(field).is_some_and(|value| !value.is_null())) {
        return;
    }
    for (field, value) in family.of(plan.applied.mode) {
        if taken.contains(field) {
            body.insert(field.clone(), value.clone());
        }
    }
}

/// One name for the cap on tokens, where the backend takes only one; of two caps the lower.
fn rename_cap(body: &mut Map<String, Value>, capability: &Capability) {
    let Some(name) = &capability.cap else { return };
    let Some(cap) = plan::cap_of(body) else { return };
    body.shift_remove("max_tokens");
    body.shift_remove("max_completion_tokens");
    body.insert(name.clone(), cap.into());
}

/// Usage is always asked for, because it is always counted; whether the client sees it is decided on the way back.
fn ask_for_usage(body: &mut Map<String, Value>, stream: bool) {
    body.insert("stream".into(), stream.into());
    if !stream {
        body.shift_remove("stream_options");
        return;
    }
    words::object(body, "stream_options").insert("include_usage".into(), true.into());
}
