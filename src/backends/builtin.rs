//! From a chat request to the built-in engine and back.

use std::collections::VecDeque;

use futures_util::stream;
use serde_json::{Map, Value, json};
use thinkgate_engine as engine;

use super::{Answer, BackendError, Call, ExpertDetail, ExpertReport, Step, Steps, Usage, Whole};
use crate::conversation::Mode;

/// A model that this process runs.
pub struct Builtin {
    name: String,
    engine: engine::Engine,
}

/// Tokens kept for the answer when thinking, so that reasoning cannot eat them all.
const RESERVE: u64 = 256;

impl Builtin {
    /// The model `name`, already loaded.
    #[must_use]
    pub fn new(name: &str, engine: engine::Engine) -> Self {
        Builtin { name: name.to_owned(), engine }
    }

    /// Queues the call and returns its steps, or the whole answer.
    ///
    /// # Errors
    /// The request asks for something the engine does not do, or there is no room.
    pub async fn ask(&self, call: &Call) -> Result<Answer, BackendError> {
        let request = request_of(call)?;
        // Long prompts take long to tokenise, and other requests' events must not wait for that.
        let engine = self.engine.clone();
        let submitted = tokio::task::spawn_blocking(move || engine.submit(request)).await;
        let generation = submitted
            .map_err(|error| BackendError::Engine(error.to_string()))?
            .map_err(|error| self.explain(error))?;
        let watch = Watch { engine: self.engine.clone(), wanted: call.experts.is_some() };
        if call.stream {
            return Ok(Answer::Steps(steps_of(generation, watch)));
        }
        collect(generation, &watch).await.map(Answer::Whole)
    }

    fn explain(&self, error: engine::SubmitError) -> BackendError {
        use engine::SubmitError;
        match error {
            SubmitError::Prompt(reason) => {
                refused("messages", format!("the chat template refuses it: {reason}"))
            }
            SubmitError::Invalid { field, value, reason } => {
                refused(field, format!("{field}: {reason}, got {value}"))
            }
            SubmitError::TooLong { tokens, context } => BackendError::Refused {
                param: "messages".into(),
                message: format!("the prompt has {tokens} tokens; {} holds {context}", self.name),
                code: "context_length_exceeded",
            },
            SubmitError::Busy => BackendError::Busy(self.name.clone()),
            SubmitError::Stopped => BackendError::Engine("it has stopped".into()),
        }
    }
}

fn refused(param: &str, message: impl Into<String>) -> BackendError {
    BackendError::Refused { param: param.into(), message: message.into(), code: "invalid_value" }
}

fn request_of(call: &Call) -> Result<engine::Request, BackendError> {
    refuse_unsupported(&call.body)?;
    let thinking = call.thinking == Mode::On;
    let max_tokens = ["max_completion_tokens", "max_tokens"]
        .iter()
        .find_map(|field| call.body.get(*field).and_then(Value::as_u64));
    let budget = if thinking { call.budget.map(|tokens| tokens as usize) } else { None };
    Ok(engine::Request {
        chat: chat_of(&call.body, thinking)?,
        thinking_budget: budget,
        max_tokens: max_tokens.map(|tokens| usize::try_from(tokens).unwrap_or(usize::MAX)),
        reserve_answer: if thinking { reserve(max_tokens) } else { 0 },
        stop: stop_of(call.body.get("stop")),
        sampling: sampling_of(&call.body),
        group: call.caller,
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

/// What would be silently ignored is refused: an answer that looks right and is not is worse than an error.
fn refuse_unsupported(body: &Map<String, Value>) -> Result<(), BackendError> {
    let unsupported = |param: &str, what: &str| {
        Err(BackendError::Refused {
            param: param.into(),
            message: format!("{param}: the built-in engine does not support {what}; name an upstream model"),
            code: "unsupported_parameter",
        })
    };
    let filled =
        |field: &str| body.get(field).is_some_and(|value| !matches!(value, Value::Null | Value::Bool(false)));
    if body.get("n").and_then(Value::as_u64).is_some_and(|n| n > 1) {
        return unsupported("n", "more than one choice");
    }
    if filled("logprobs") {
        return unsupported("logprobs", "log probabilities");
    }
    if body.get("tools").and_then(Value::as_array).is_some_and(|tools| !tools.is_empty()) {
        return unsupported("tools", "tools");
    }
    let format = body.get("response_format").and_then(|format| format.get("type")).and_then(Value::as_str);
    if matches!(format, Some("json_object" | "json_schema")) {
        return unsupported("response_format", "constrained output");
    }
    Ok(())
}

fn chat_of(body: &Map<String, Value>, thinking: bool) -> Result<engine::Chat, BackendError> {
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
        tools: None,
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

/// Tells which experts worked, if the client wants to know.
struct Watch {
    engine: engine::Engine,
    wanted: bool,
}

impl Watch {
    fn report(&self, finish: &engine::Finish) -> Option<ExpertReport> {
        let used = finish.experts.as_ref().filter(|_| self.wanted)?;
        let per_token = self.engine.info().experts_per_token;
        Some(ExpertReport::new(used, per_token, |token| self.engine.token_text(token)))
    }
}

/// What becomes of the generation after each of its events.
enum After {
    Event(engine::Generation, Watch),
    /// The steps that follow its end; none after a failure.
    Rest(VecDeque<Step>),
}

impl After {
    const END: After = After::Rest(VecDeque::new());
}

fn steps_of(generation: engine::Generation, watch: Watch) -> Steps {
    Box::pin(stream::unfold(After::Event(generation, watch), |state| async move {
        let (mut generation, watch) = match state {
            After::Event(generation, watch) => (generation, watch),
            After::Rest(mut rest) => return Some((Ok(rest.pop_front()?), After::Rest(rest))),
        };
        loop {
            let step = match generation.next().await {
                Some(engine::Event::Reasoning(text)) if text.is_empty() => continue,
                Some(engine::Event::Answer(text)) if text.is_empty() => continue,
                Some(engine::Event::Reasoning(text)) => Ok(Step::Reasoning { choice: 0, text }),
                Some(engine::Event::Answer(text)) => Ok(Step::Answer { choice: 0, text }),
                Some(engine::Event::Finished(finish)) => {
                    let mut rest: VecDeque<Step> =
                        watch.report(&finish).map(Step::Experts).into_iter().collect();
                    rest.push_back(Step::Finished { choice: 0, reason: reason_of(&finish).into() });
                    rest.push_back(Step::Usage(usage_of(&finish)));
                    return Some((Ok(rest.pop_front()?), After::Rest(rest)));
                }
                Some(engine::Event::Failed(error)) => {
                    return Some((Err(BackendError::Engine(error.to_string())), After::END));
                }
                None => return Some((Err(BackendError::Truncated(None)), After::END)),
            };
            return Some((step, After::Event(generation, watch)));
        }
    }))
}

async fn collect(mut generation: engine::Generation, watch: &Watch) -> Result<Whole, BackendError> {
    let (mut reasoning, mut content) = (String::new(), String::new());
    loop {
        match generation.next().await {
            Some(engine::Event::Reasoning(text)) => reasoning.push_str(&text),
            Some(engine::Event::Answer(text)) => content.push_str(&text),
            Some(engine::Event::Finished(finish)) => {
                let mut message = json!({"role": "assistant", "content": content});
                if !reasoning.is_empty() {
                    message["reasoning_content"] = reasoning.into();
                }
                let choice = json!({"index": 0, "message": message, "finish_reason": reason_of(&finish)});
                let usage = Some(usage_of(&finish));
                return Ok(Whole { choices: vec![choice], usage, experts: watch.report(&finish) });
            }
            Some(engine::Event::Failed(error)) => return Err(BackendError::Engine(error.to_string())),
            None => return Err(BackendError::Truncated(None)),
        }
    }
}

fn reason_of(finish: &engine::Finish) -> &'static str {
    match finish.reason {
        engine::FinishReason::Stop => "stop",
        engine::FinishReason::Length => "length",
    }
}

fn usage_of(finish: &engine::Finish) -> Usage {
    Usage {
        prompt_tokens: finish.prompt_tokens as u64,
        completion_tokens: finish.completion_tokens as u64,
        reasoning_tokens: Some(finish.reasoning_tokens as u64),
        cached_tokens: Some(finish.cached_tokens as u64),
        raw: None,
    }
}
