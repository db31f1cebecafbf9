//! The engine's events as an answer: step by step, or whole.

use std::collections::VecDeque;

use futures_util::stream;
use serde_json::{Map, Value, json};
use thinkgate_engine as engine;

use crate::backends::{BackendError, ExpertReport, Repetition, Step, Steps, Usage, Whole};
use crate::id::unique;

/// What is known of a generation beside its events.
pub(super) struct Watch {
    model: String,
    engine: engine::Engine,
    /// The client wants to know which experts worked.
    experts: bool,
    calls: usize,
}

impl Watch {
    pub(super) fn new(model: &str, engine: &engine::Engine, experts: bool) -> Watch {
        Watch { model: model.to_owned(), engine: engine.clone(), experts, calls: 0 }
    }

    /// OpenAI's object for a call, with its place among the calls of this answer.
    fn tool_call(&mut self, call: engine::ToolCall) -> Value {
        let index = self.calls;
        self.calls += 1;
        let function = json!({"name": call.name, "arguments": call.arguments});
        json!({"index": index, "id": format!("call_{}", unique()), "type": "function", "function": function})
    }

    fn report(&self, finish: &engine::Finish) -> Option<ExpertReport> {
        let used = finish.experts.as_ref().filter(|_| self.experts)?;
        let per_token = self.engine.info().experts_per_token;
        Some(ExpertReport::new(used, per_token, |token| self.engine.token_text(token)))
    }

    /// Operators want to know of loops as well.
    fn note_loop(&self, finish: &engine::Finish) -> Option<Repetition> {
        let engine::Repetition { period, tokens } = finish.repetition?;
        let cut = finish.cut_loop;
        tracing::warn!(model = self.model, period, tokens, cut, "a reply ended in a loop");
        Some(Repetition { period, tokens, cut })
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

pub(super) fn steps_of(generation: engine::Generation, watch: Watch) -> Steps {
    Box::pin(stream::unfold(After::Event(generation, watch), |state| async move {
        let (mut generation, mut watch) = match state {
            After::Event(generation, watch) => (generation, watch),
            After::Rest(mut rest) => return Some((Ok(rest.pop_front()?), After::Rest(rest))),
        };
        loop {
            let step = match generation.next().await {
                Some(engine::Event::Reasoning(text)) if text.is_empty() => continue,
                Some(engine::Event::Answer(text)) if text.is_empty() => continue,
                Some(engine::Event::Reasoning(text)) => Ok(Step::Reasoning { choice: 0, text }),
                Some(engine::Event::Answer(text)) => Ok(Step::Answer { choice: 0, text }),
                Some(engine::Event::ToolCall(call)) => {
                    let delta = field("tool_calls", json!([watch.tool_call(call)]));
                    Ok(Step::Other { choice: 0, delta, beside: Map::new() })
                }
                Some(engine::Event::Token(token)) => {
                    let beside = field("logprobs", logprobs(vec![described(&token)]));
                    Ok(Step::Other { choice: 0, delta: Map::new(), beside })
                }
                Some(engine::Event::Finished(finish)) => {
                    let experts = watch.report(&finish).map(Step::Experts);
                    let repetition = watch.note_loop(&finish).map(Step::Repetition);
                    let mut rest: VecDeque<Step> = experts.into_iter().chain(repetition).collect();
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

fn field(name: &str, value: Value) -> Map<String, Value> {
    Map::from_iter([(name.to_owned(), value)])
}

/// A message as it grows.
#[derive(Default)]
struct Message {
    reasoning: String,
    content: String,
    calls: Vec<Value>,
    tokens: Option<Vec<Value>>,
}

impl Message {
    fn into_choice(self, reason: &str) -> Value {
        let mut message = json!({"role": "assistant", "content": self.content});
        if !self.reasoning.is_empty() {
            message["reasoning_content"] = self.reasoning.into();
        }
        if !self.calls.is_empty() {
            if self.content.is_empty() {
                message["content"] = Value::Null;
            }
            message["tool_calls"] = self.calls.into();
        }
        let mut choice = json!({"index": 0, "message": message, "finish_reason": reason});
        if let Some(tokens) = self.tokens {
            choice["logprobs"] = logprobs(tokens);
        }
        choice
    }
}

pub(super) async fn collect(
    mut generation: engine::Generation,
    mut watch: Watch,
) -> Result<Whole, BackendError> {
    let mut message = Message::default();
    loop {
        match generation.next().await {
            Some(engine::Event::Reasoning(text)) => message.reasoning.push_str(&text),
            Some(engine::Event::Answer(text)) => message.content.push_str(&text),
            Some(engine::Event::ToolCall(call)) => {
                let mut call = watch.tool_call(call);
                if let Value::Object(fields) = &mut call {
                    fields.shift_remove("index"); // a place is for streams to say
                }
                message.calls.push(call);
            }
            Some(engine::Event::Token(token)) => {
                message.tokens.get_or_insert_default().push(described(&token));
            }
            Some(engine::Event::Finished(finish)) => {
                let choices = vec![message.into_choice(reason_of(&finish))];
                let (usage, experts) = (Some(usage_of(&finish)), watch.report(&finish));
                return Ok(Whole { choices, usage, experts, repetition: watch.note_loop(&finish) });
            }
            Some(engine::Event::Failed(error)) => return Err(BackendError::Engine(error.to_string())),
            None => return Err(BackendError::Truncated(None)),
        }
    }
}

fn logprobs(tokens: Vec<Value>) -> Value {
    json!({"content": tokens, "refusal": null})
}

fn described(token: &engine::TokenLogprobs) -> Value {
    let entry = |token: &engine::TokenLogprob| json!({"token": token.text, "logprob": token.logprob, "bytes": token.bytes});
    let mut described = entry(&token.drawn);
    described["top_logprobs"] = token.likeliest.iter().map(entry).collect();
    described
}

fn reason_of(finish: &engine::Finish) -> &'static str {
    match finish.reason {
        engine::FinishReason::Stop => "stop",
        engine::FinishReason::ToolCalls => "tool_calls",
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
