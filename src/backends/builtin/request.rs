//! A client's body as the engine's request. What would be silently ignored is refused: an answer that looks right and
//! is not is worse than an error.

use serde_json::{Map, Value, json};
use thinkgate_engine as engine;

use crate::backends::{BackendError, Call, ExpertDetail};
use crate::conversation::Mode;

/// Tokens kept for the answer when thinking, so that reasoning cannot eat them all.
const RESERVE: u64 = 256;

pub(super) fn refused(param: &str, message: impl Into<String>) -> BackendError {
    BackendError::Refused { param: param.into(), message: message.into(), code: "invalid_value" }
}

fn unsupported<T>(param: &str, what: &str) -> Result<T, BackendError> {
    Err(BackendError::Refused {
        param: param.into(),
        message: format!("{param}: {what}; name an upstream model"),
        code: "unsupported_parameter",
    })
}

pub(super) fn request_of(call: &Call, model: &engine::ModelInfo) -> Result<engine::Request, BackendError> {
    let body = &call.body;
    refuse_unsupported(body)?;
    let thinking = call.thinking == Mode::On;
    let max_tokens = ["max_completion_tokens", "max_tokens"]
        .iter()
        .filter_map(|field| body.get(*field).and_then(Value::as_u64))
        .min();
    let budget = if thinking { call.budget.map(|tokens| tokens as usize) } else { None };
    let tools = tools_of(body, model)?;
    Ok(engine::Request {
        answer_format: answer_format(body, tools.as_ref())?,
        chat: chat_of(body, thinking, tools)?,
        thinking_budget: budget,
        max_tokens: max_tokens.map(|tokens| usize::try_from(tokens).unwrap_or(usize::MAX)),
        reserve_answer: if thinking { reserve(max_tokens) } else { 0 },
        stop: stop_of(body.get("stop")),
        sampling: sampling_of(body),
        answer_sampling: answer_sampling(body)?,
        one_call: body.get("parallel_tool_calls") == Some(&Value::Bool(false)),
        logprobs: logprobs_of(body)?,
        group: call.caller,
        priority: body.get("priority").and_then(Value::as_i64).unwrap_or(0),
        // Whoever wants to see the experts wants to see them for the whole prompt.
        read_all: call.experts.is_some(),
        trace_experts: call.experts.map_or(0, ExpertDetail::traced),
    })
}

/// A quarter of what the client allows, up to [`RESERVE`].
fn reserve(max_tokens: Option<u64>) -> usize {
    let tokens = max_tokens.map_or(RESERVE, |most| most.div_ceil(4).min(RESERVE));
    usize::try_from(tokens).unwrap_or(usize::MAX)
}

fn refuse_unsupported(body: &Map<String, Value>) -> Result<(), BackendError> {
    if body.get("n").and_then(Value::as_u64).is_some_and(|n| n > 1) {
        return unsupported("n", "the built-in engine gives one choice");
    }
    for old in ["functions", "function_call"] {
        if body.get(old).is_some_and(|value| !value.is_null()) {
            return unsupported(old, "the built-in engine knows the newer tools only");
        }
    }
    Ok(())
}

/// The tools that the model is to know of.
fn tools_of(body: &Map<String, Value>, model: &engine::ModelInfo) -> Result<Option<Value>, BackendError> {
    let tools = body.get("tools").filter(|tools| tools.as_array().is_some_and(|tools| !tools.is_empty()));
    let Some(tools) = tools.filter(|_| body.get("tool_choice") != Some(&json!("none"))) else {
        return Ok(None);
    };
    if !model.takes_tools {
        return unsupported("tools", "this model's chat template does not render tools");
    }
    Ok(Some(tools.clone()))
}

/// What the client holds the answer to: a format, or the call of a tool.
fn answer_format(
    body: &Map<String, Value>,
    tools: Option<&Value>,
) -> Result<engine::AnswerFormat, BackendError> {
    let format = body.get("response_format").filter(|format| !format.is_null());
    let format = format.map_or(Ok(engine::AnswerFormat::Free), response_format)?;
    let Some(tools) = tools else { return Ok(format) };
    if format != engine::AnswerFormat::Free {
        return unsupported("response_format", "the built-in engine takes no format beside tools");
    }
    Ok(required_call(body.get("tool_choice"), tools)?.map_or(format, engine::AnswerFormat::ToolCall))
}

fn response_format(format: &Value) -> Result<engine::AnswerFormat, BackendError> {
    let missing = |path: &str| refused("response_format", format!("response_format.{path}: missing"));
    match format.get("type").and_then(Value::as_str) {
        Some("text") => Ok(engine::AnswerFormat::Free),
        Some("json_object") => Ok(engine::AnswerFormat::Json(json!({"type": "object"}))),
        Some("json_schema") => {
            let schema = format.pointer("/json_schema/schema").filter(|schema| schema.is_object());
            let schema = schema.ok_or_else(|| missing("json_schema.schema"))?;
            Ok(engine::AnswerFormat::Json(schema.clone()))
        }
        Some("grammar") => {
            let grammar = format.get("grammar").and_then(Value::as_str).ok_or_else(|| missing("grammar"))?;
            Ok(engine::AnswerFormat::Grammar(grammar.to_owned()))
        }
        other => {
            let got = other.map_or_else(|| "nothing".to_owned(), |other| format!("{other:?}"));
            let known = "text, json_object, json_schema or grammar";
            Err(refused("response_format", format!("response_format.type: expected {known}, got {got}")))
        }
    }
}

/// The tools of which one must be called, if the client says so.
fn required_call(choice: Option<&Value>, tools: &Value) -> Result<Option<Value>, BackendError> {
    let named = |choice: &Value| choice.pointer("/function/name").and_then(Value::as_str).map(str::to_owned);
    match choice {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(mode)) if mode == "auto" => Ok(None),
        Some(Value::String(mode)) if mode == "required" => Ok(Some(tools.clone())),
        Some(choice) => {
            let name = named(choice).ok_or_else(|| {
                refused(
                    "tool_choice",
                    format!("tool_choice: expected none, auto, required or a function, got {choice}"),
                )
            })?;
            let is_it = |tool: &&Value| tool.pointer("/function/name") == Some(&Value::String(name.clone()));
            let tool = tools.as_array().into_iter().flatten().find(is_it);
            let tool =
                tool.ok_or_else(|| refused("tool_choice", format!("tool_choice: no tool {name:?}")))?;
            Ok(Some(json!([tool])))
        }
    }
}

fn chat_of(
    body: &Map<String, Value>,
    thinking: bool,
    tools: Option<Value>,
) -> Result<engine::Chat, BackendError> {
    let messages = body.get("messages").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let mut template_kwargs = match body.get("chat_template_kwargs") {
        Some(Value::Object(kwargs)) => kwargs.clone(),
        _ => Map::new(),
    };
    for decided in ["enable_thinking", "thinking", "chat_template", "tokenize"] {
        template_kwargs.shift_remove(decided);
    }
    Ok(engine::Chat {
        messages: messages.iter().enumerate().map(flatten).collect::<Result<_, _>>()?,
        tools,
        thinking,
        template_kwargs,
    })
}

/// Templates know text content and four roles; parts are joined, other roles mapped.
fn flatten((index, message): (usize, &Value)) -> Result<Value, BackendError> {
    let mut message = message.clone();
    if let Some(Value::Array(parts)) = message.get("content") {
        let mut texts = Vec::new();
        for part in parts {
            let text = part.get("text").or_else(|| part.get("refusal")).and_then(Value::as_str);
            texts.push(text.ok_or_else(|| {
                refused(&format!("messages[{index}].content"), "the built-in engine reads text parts only")
            })?);
        }
        message["content"] = texts.join("\n").into();
    }
    match message.get("role").and_then(Value::as_str) {
        Some("developer") => message["role"] = json!("system"),
        Some("function") => message["role"] = json!("tool"),
        _ => {}
    }
    Ok(message)
}

fn stop_of(stop: Option<&Value>) -> Vec<String> {
    match stop {
        Some(Value::String(one)) => vec![one.clone()],
        Some(Value::Array(several)) => {
            several.iter().filter_map(|one| one.as_str().map(str::to_owned)).collect()
        }
        _ => Vec::new(),
    }
}

fn logprobs_of(body: &Map<String, Value>) -> Result<Option<usize>, BackendError> {
    let wanted = body.get("logprobs") == Some(&Value::Bool(true));
    let top = body.get("top_logprobs").filter(|top| !top.is_null());
    match top.map(|top| top.as_u64().and_then(|top| usize::try_from(top).ok()).ok_or(top)) {
        None => Ok(wanted.then_some(0)),
        Some(Ok(top)) if wanted => Ok(Some(top)),
        Some(Ok(_)) => Err(refused("top_logprobs", "top_logprobs: needs logprobs: true")),
        Some(Err(got)) => Err(refused("top_logprobs", format!("top_logprobs: expected 0 to 20, got {got}"))),
    }
}

/// Fields the client left out stay absent, so that the model's own defaults apply.
fn sampling_of(body: &Map<String, Value>) -> engine::Sampling {
    #[expect(clippy::cast_possible_truncation, reason = "sampling needs no more than f32 holds")]
    let number = |field: &str| body.get(field).and_then(Value::as_f64).map(|value| value as f32);
    engine::Sampling {
        temperature: number("temperature"),
        top_p: number("top_p"),
        top_k: body.get("top_k").and_then(Value::as_u64).and_then(|top| usize::try_from(top).ok()),
        min_p: number("min_p"),
        presence_penalty: number("presence_penalty"),
        frequency_penalty: number("frequency_penalty"),
        repetition_penalty: number("repetition_penalty"),
        seed: body.get("seed").and_then(Value::as_i64).map(i64::cast_unsigned),
    }
}

/// How the answer is drawn where it differs from the thinking before it.
fn answer_sampling(body: &Map<String, Value>) -> Result<Option<engine::Sampling>, BackendError> {
    const FIELDS: [&str; 7] = [
        "temperature",
        "top_p",
        "top_k",
        "min_p",
        "presence_penalty",
        "frequency_penalty",
        "repetition_penalty",
    ];
    let fields = match body.get("answer_sampling") {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::Object(fields)) => fields,
        Some(other) => {
            return Err(refused(
                "answer_sampling",
                format!("answer_sampling: expected an object, got {other}"),
            ));
        }
    };
    for (field, value) in fields {
        if !FIELDS.contains(&field.as_str()) || !value.is_number() {
            let known = FIELDS.join(", ");
            let message =
                format!("answer_sampling.{field}: expected a number for one of {known}, got {value}");
            return Err(refused("answer_sampling", message));
        }
    }
    Ok(Some(sampling_of(fields)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backends::Asked;

    fn call(body: Value) -> Call {
        let Value::Object(body) = body else { panic!("an object") };
        Call {
            body,
            thinking: Mode::On,
            budget: None,
            asked: Asked::Nothing,
            stream: false,
            experts: None,
            caller: 0,
        }
    }

    fn model(takes_tools: bool) -> engine::ModelInfo {
        engine::ModelInfo {
            architecture: engine::Architecture::Dense,
            total_params: 1,
            active_params: 1,
            layers: 1,
            hidden: 1,
            experts: 0,
            experts_per_token: 0,
            context_length: 1,
            vocab: 1,
            has_thinking: true,
            takes_tools,
        }
    }

    fn tool(name: &str) -> Value {
        json!({"type": "function", "function": {"name": name}})
    }

    #[test]
    fn a_format_or_a_tool_holds_the_answer() {
        let format = |body: Value| request_of(&call(body), &model(true)).map(|request| request.answer_format);
        let tools = json!([tool("f"), tool("g")]);
        let cases = [
            (json!({}), engine::AnswerFormat::Free),
            (json!({"response_format": {"type": "text"}}), engine::AnswerFormat::Free),
            (
                json!({"response_format": {"type": "json_schema", "json_schema": {"schema": {"type": "array"}}}}),
                engine::AnswerFormat::Json(json!({"type": "array"})),
            ),
            (json!({"tools": tools}), engine::AnswerFormat::Free),
            (json!({"tools": tools, "tool_choice": "none"}), engine::AnswerFormat::Free),
            (
                json!({"tools": tools, "tool_choice": "required"}),
                engine::AnswerFormat::ToolCall(tools.clone()),
            ),
            (
                json!({"tools": tools, "tool_choice": {"type": "function", "function": {"name": "g"}}}),
                engine::AnswerFormat::ToolCall(json!([tool("g")])),
            ),
        ];
        for (body, expected) in cases {
            assert_eq!(format(body.clone()).expect("accepted"), expected, "{body}");
        }
    }

    #[test]
    fn what_the_engine_cannot_do_is_refused_by_name() {
        let cases = [
            (json!({"n": 2}), "n"),
            (json!({"functions": []}), "functions"),
            (json!({"response_format": {"type": "xml"}}), "response_format"),
            (json!({"response_format": {"type": "json_schema"}}), "response_format"),
            (json!({"response_format": {"type": "json_object"}, "tools": [tool("f")]}), "response_format"),
            (json!({"tools": [tool("f")], "tool_choice": {"function": {"name": "g"}}}), "tool_choice"),
            (json!({"tools": [tool("f")], "tool_choice": "perhaps"}), "tool_choice"),
            (json!({"top_logprobs": 3}), "top_logprobs"),
            (json!({"logprobs": true, "top_logprobs": -1}), "top_logprobs"),
            (json!({"answer_sampling": {"temprature": 0}}), "answer_sampling"),
        ];
        for (body, field) in cases {
            match request_of(&call(body.clone()), &model(true)) {
                Err(BackendError::Refused { param, .. }) => assert_eq!(param, field, "{body}"),
                other => panic!("{body}: {other:?}"),
            }
        }
        let refused = request_of(&call(json!({"tools": [tool("f")]})), &model(false));
        assert!(matches!(refused, Err(BackendError::Refused { param, .. }) if param == "tools"));
    }
}
