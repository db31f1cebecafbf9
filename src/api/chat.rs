//! `POST /v1/chat/completions`: parse, decide, dispatch, respond.

use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use axum::http::{HeaderMap, Request, Response};
use futures_util::{StreamExt, TryStreamExt, stream};
use serde_json::{Map, Value, json};

use super::error::ApiError;
use super::request::{ChatRequest, Room};
use super::stream::Relay;
use crate::app::App;
use crate::backends::{Answer, Asked, Call, Steps, Whole};
use crate::config::Key;
use crate::conversation::{Asks, Conversation};
use crate::decide::{Decision, Snapshot, decide};
use crate::dispatch::{Dispatched, Order, dispatch};
use crate::loaded::Loaded;
use crate::record::{Caller, Outcome, Record, Route};

pub(super) async fn completions(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Extension(loaded): Extension<Arc<Loaded>>,
    request: Request<Body>,
) -> Response<Body> {
    let mut record = app.recorder.start(Route::Chat, caller.clone());
    let mut decided = None;
    let mut response = match answer(&app, &loaded, &caller, request, &mut decided, &mut record).await {
        Ok(Reply::Whole(body)) => {
            record.ended(Outcome::Answered, None);
            json_response(&body)
        }
        Ok(Reply::Stream(relay)) => relay.respond(record, app.config.limits.ping, app.watch_cut_off()),
        Err(error) => {
            record.ended(error.outcome(), Some(error.code()));
            error.rescue()
        }
    };
    if let Some(decision) = &decided {
        add_headers(response.headers_mut(), decision);
    }
    response
}

/// What goes back.
enum Reply {
    Whole(Value),
    Stream(Box<Relay>),
}

/// The story of a request. `decided` holds the decision from the moment there is one, so that failures show it too.
async fn answer(
    app: &Arc<App>,
    loaded: &Loaded,
    caller: &Caller,
    request: Request<Body>,
    decided: &mut Option<Decision>,
    record: &mut Record,
) -> Result<Reply, ApiError> {
    let (head, body) = request.into_parts();
    let request = ChatRequest::read(app, &head.headers, body).await?;
    let (decision, free) = decide_request(app, loaded, caller, &request)?;
    record.decided(&decision);
    let decision = decided.insert(decision);

    let shown = Shown::of(caller, &request);
    let (order, room) = order_of(app, caller, decision, request, free)?;
    decision.note_applied(order.applied());
    record.told(decision);
    let work = dispatch(Arc::clone(app), order);
    let mut work = Box::pin(async move {
        let _held = room;
        work.await
    });
    if !shown.stream {
        let dispatched = work.await?;
        note_fallback(decision, &dispatched, record);
        return shown.whole(decision, dispatched, record);
    }
    tokio::select! {
        dispatched = &mut work => {
            let dispatched = dispatched?;
            note_fallback(decision, &dispatched, record);
            Ok(shown.relay(decision, steps_of(dispatched)))
        }
        // Thinking may take minutes to its first token, and proxies cut what is silent for one: the response begins
        // without it.
        () = tokio::time::sleep(app.config.limits.ping) => {
            let steps = stream::once(work).map_ok(steps_of).try_flatten().boxed();
            Ok(shown.relay(decision, steps))
        }
    }
}

/// Decides, and tells whether the model was ours to choose.
pub(super) fn decide_request(
    app: &App,
    loaded: &Loaded,
    caller: &Caller,
    request: &ChatRequest,
) -> Result<(Decision, bool), ApiError> {
    let snapshot = loaded.snapshot(caller.key.as_deref());
    let conversation = request.conversation(app, caller, snapshot)?;
    let named = |asks: &Asks| matches!(asks, Asks::Model(_));
    let free = conversation.model.is_none() && !conversation.wishes.iter().any(|wish| named(&wish.asks));
    Ok((timed(&conversation, snapshot), free))
}

/// Deciding itself reads no clock.
fn timed(conversation: &Conversation<'_>, snapshot: &Snapshot) -> Decision {
    let start = Instant::now();
    let mut decision = decide(conversation, snapshot);
    decision.micros = Some(u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX));
    decision
}

pub(super) fn order_of(
    app: &App,
    caller: &Caller,
    decision: &Decision,
    request: ChatRequest,
    free: bool,
) -> Result<(Order, Room), ApiError> {
    let (stream, experts) = (request.stream, request.experts);
    let (body, room) = request.into_fields();
    let thinking = &decision.thinking;
    // Callers without keys are one.
    let caller = caller.key.as_deref().map_or(0, Key::holder);
    let call = Call {
        asked: Asked::of(decision, &body),
        body,
        thinking: thinking.mode,
        budget: thinking.budget_tokens,
        stream,
        experts,
        caller,
    };
    let order = Order::new(app, decision, call, free).ok_or(ApiError::Internal)?;
    Ok((order, room))
}

/// Another model than the one decided on may have answered; headers, body and record must say so.
fn note_fallback(decision: &mut Decision, dispatched: &Dispatched, record: &mut Record) {
    let profile = &dispatched.served.model.profile;
    if decision.model == profile.name {
        return;
    }
    decision
        .notes
        .push(format!("fallback: {} could not take the request; {} did", decision.model, profile.name));
    decision.model.clone_from(&profile.name);
    decision.architecture = profile.architecture;
    decision.note_applied(dispatched.applied.clone());
    record.served_by(decision);
}

fn steps_of(dispatched: Dispatched) -> Steps {
    match dispatched.answer {
        Answer::Steps(steps) => steps,
        // A stream was asked for; a backend that answers otherwise breaks its own contract.
        Answer::Whole(_) => Box::pin(stream::once(async {
            Err(crate::backends::BackendError::BadAnswer("one piece instead of a stream".into()))
        })),
    }
}

/// What of the request shapes the response.
struct Shown {
    id: String,
    stream: bool,
    include_usage: bool,
    show_reasoning: bool,
    experts: bool,
}

impl Shown {
    fn of(caller: &Caller, request: &ChatRequest) -> Shown {
        Shown {
            id: format!("chatcmpl-{}", caller.request_id),
            stream: request.stream,
            include_usage: request.include_usage,
            show_reasoning: request.show_reasoning,
            experts: request.experts.is_some(),
        }
    }

    fn whole(
        self,
        decision: &Decision,
        dispatched: Dispatched,
        record: &mut Record,
    ) -> Result<Reply, ApiError> {
        let Answer::Whole(whole) = dispatched.answer else {
            return Err(ApiError::Internal);
        };
        let Whole { mut choices, usage, experts, repetition } = *whole;
        if !self.show_reasoning {
            for choice in &mut choices {
                if let Some(Value::Object(message)) = choice.get_mut("message") {
                    message.shift_remove("reasoning_content");
                }
            }
        }
        let mut body = head(&self.id, "chat.completion", &decision.model);
        body.insert("choices".into(), choices.into());
        if let Some(usage) = &usage {
            record.used(usage);
            body.insert("usage".into(), usage.to_json());
        }
        let mut notes = Map::new();
        if self.experts {
            notes.insert("experts".into(), json!(experts));
        }
        if let Some(repetition) = repetition {
            notes.insert("repetition".into(), json!(repetition));
        }
        if !notes.is_empty() {
            body.insert("thinkgate".into(), notes.into());
        }
        Ok(Reply::Whole(body.into()))
    }

    fn relay(self, decision: &Decision, steps: Steps) -> Reply {
        let head = head(&self.id, "chat.completion.chunk", &decision.model);
        Reply::Stream(Box::new(Relay::new(
            head,
            steps,
            self.include_usage,
            self.show_reasoning,
            self.experts,
        )))
    }
}

/// The fields that every completion and every chunk begin with.
fn head(id: &str, object: &str, model: &str) -> Map<String, Value> {
    let created = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let head = json!({"id": id, "object": object, "created": created, "model": model});
    match head {
        Value::Object(head) => head,
        _ => Map::new(),
    }
}

pub(super) fn json_response(body: &Value) -> Response<Body> {
    let mut response = Response::new(Body::from(body.to_string()));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// What decided, so that a decision can be laid to the rules that were in force.
fn versions_of(decision: &Decision) -> String {
    let versions = &decision.versions;
    let mut out = format!("rules={}", versions.rules);
    for (part, version) in [("classifier", &versions.classifier), ("calibration", &versions.calibration)] {
        if let Some(version) = version {
            out.push_str(&format!(";{part}={version}"));
        }
    }
    out
}

/// The decision, for whoever wants to see it without changing what clients parse.
pub(super) fn add_headers(headers: &mut HeaderMap, decision: &Decision) {
    let fields = [
        ("x-thinkgate-decision", decision.compact()),
        ("x-thinkgate-thinking", decision.thinking.mode.as_str().to_owned()),
        ("x-thinkgate-model", decision.model.clone()),
        ("x-thinkgate-architecture", decision.architecture.as_str().to_owned()),
        ("x-thinkgate-score", format!("{:.4}", decision.score)),
        ("x-thinkgate-versions", versions_of(decision)),
    ];
    let applied = decision.applied.as_ref().map(|applied| ("x-thinkgate-applied", applied.compact()));
    for (name, value) in fields.into_iter().chain(applied) {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
}
