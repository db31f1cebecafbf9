//! `POST /v1/messages/count_tokens`: what the prompt would take on the model that would answer.

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::header::{HeaderName, HeaderValue};
use axum::http::{Request, Response};
use serde_json::{Map, Value, json};

use super::super::client::Api;
use super::super::error::{ApiError, ErrorForm};
use super::super::exchange::{add_headers, call_of, decide_request, json_response};
use super::super::request::ClientRequest;
use crate::app::App;
use crate::decide::Decision;
use crate::loaded::Loaded;
use crate::record::{Caller, Outcome, Record, Route};
use crate::signals::estimated_tokens;

/// What a template puts around a message.
const FRAME: f32 = 4.0;
/// A picture of a million pixels, as Anthropic counts it; what it really takes differs by model.
const PICTURE: f32 = 1600.0;

pub(in super::super) async fn count_tokens(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Extension(loaded): Extension<Arc<Loaded>>,
    request: Request<Body>,
) -> Response<Body> {
    let mut record = app.recorder.start(Route::Count, caller.clone());
    match count(&app, &loaded, &caller, request, &mut record).await {
        Ok((counted, decision)) => {
            record.ended(Outcome::Answered, None);
            let mut response = json_response(&json!({"input_tokens": counted.tokens}));
            let headers = response.headers_mut();
            add_headers(headers, &decision);
            let how = if counted.exact { "exact" } else { "estimated" };
            headers.insert(HeaderName::from_static("x-thinkgate-tokens"), HeaderValue::from_static(how));
            response
        }
        Err(error) => {
            record.ended(error.outcome(), Some(error.code()));
            error.rescue(ErrorForm::Anthropic, &caller.request_id)
        }
    }
}

struct Counted {
    tokens: u64,
    /// By the model's own tokenizer and template.
    exact: bool,
}

async fn count(
    app: &App,
    loaded: &Loaded,
    caller: &Caller,
    request: Request<Body>,
    record: &mut Record,
) -> Result<(Counted, Decision), ApiError> {
    let (head, body) = request.into_parts();
    let mut asked =
        ClientRequest::read(app, &loaded.config, Some(Api::Messages), &head.headers, body).await?;
    let (decision, _) = decide_request(app, loaded, caller, &mut asked)?;
    record.decided(&decision);
    let served = app.served(&decision.model).ok_or(ApiError::Internal)?;
    let (call, _form, _room) = call_of(caller, &decision, asked);
    let counted = match served.count_tokens(&call).await? {
        Some(tokens) => Counted { tokens: tokens as u64, exact: true },
        None => Counted { tokens: estimate(&call.body), exact: false },
    };
    Ok((counted, decision))
}

/// By the characters of all texts, calls and tools, with a frame around each message; pictures at a flat rate.
fn estimate(body: &Map<String, Value>) -> u64 {
    let list = |field: &str| body.get(field).and_then(Value::as_array).into_iter().flatten();
    let messages: f32 = list("messages").map(|message| FRAME + of_message(message)).sum();
    let tools: f32 = list("tools").map(|tool| estimated_tokens(&tool["function"].to_string())).sum();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an estimate, positive")]
    let tokens = (messages + tools).ceil() as u64;
    tokens.max(1)
}

fn of_message(message: &Value) -> f32 {
    let content: f32 = match &message["content"] {
        Value::String(text) => estimated_tokens(text),
        Value::Array(parts) => {
            parts.iter().map(|part| part["text"].as_str().map_or(PICTURE, estimated_tokens)).sum()
        }
        _ => 0.0,
    };
    let calls = message["tool_calls"].as_array().into_iter().flatten();
    content + calls.map(|call| estimated_tokens(&call["function"].to_string())).sum::<f32>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_that_is_read_counts() {
        let of = |body: Value| match body {
            Value::Object(fields) => estimate(&fields),
            _ => panic!("an object"),
        };
        let short = of(json!({"messages": [{"role": "user", "content": "Hello there"}]}));
        assert!((4..12).contains(&short), "{short}");
        let with_tool = of(json!({"messages": [{"role": "user", "content": "Hello there"}],
            "tools": [{"function": {"name": "f", "description": "does what it says and nothing more"}}]}));
        assert!(with_tool > short);
        let picture = of(json!({"messages": [{"role": "user", "content": [
            {"type": "text", "text": "Hello there"}, {"type": "image_url", "image_url": {"url": "data:…"}}]}]}));
        assert!(picture > short + 1000, "{picture}");
    }
}
