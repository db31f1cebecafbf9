//! The one story of every API that asks for answers: read, decide, dispatch, respond.

use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use axum::http::{HeaderMap, Request, Response};
use axum::routing::{MethodRouter, post};
use futures_util::{StreamExt, TryStreamExt, stream};
use serde_json::Value;

use super::client::{Api, Form, Head};
use super::error::ApiError;
use super::relay::Relay;
use super::request::{ClientRequest, Room};
use crate::app::App;
use crate::backends::{Answer, Asked, Call, Steps};
use crate::config::Key;
use crate::conversation::{Asks, Conversation};
use crate::decide::{Decision, Snapshot, decide};
use crate::dispatch::{Dispatched, Order, dispatch};
use crate::loaded::Loaded;
use crate::record::{Caller, Outcome, Record};

/// The handler of an API's route.
pub(super) fn route(api: Api) -> MethodRouter<Arc<App>> {
    post(
        move |State(app): State<Arc<App>>,
              Extension(caller): Extension<Caller>,
              Extension(loaded): Extension<Arc<Loaded>>,
              request: Request<Body>| async move { respond(api, app, caller, &loaded, request).await },
    )
}

async fn respond(
    api: Api,
    app: Arc<App>,
    caller: Caller,
    loaded: &Loaded,
    request: Request<Body>,
) -> Response<Body> {
    let mut record = app.recorder.start(api.route(), caller.clone());
    let mut decided = None;
    let mut response = match answer(api, &app, loaded, &caller, request, &mut decided, &mut record).await {
        Ok(Reply::Whole(body)) => {
            record.ended(Outcome::Answered, None);
            json_response(&body)
        }
        Ok(Reply::Stream(relay)) => relay.respond(record, app.config.limits.ping, app.watch_cut_off()),
        Err(error) => {
            record.ended(error.outcome(), Some(error.code()));
            error.rescue(api.errors(), &caller.request_id)
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
    Stream(Relay),
}

/// The story of a request. `decided` holds the decision from the moment there is one, so that failures show it too.
async fn answer(
    api: Api,
    app: &Arc<App>,
    loaded: &Loaded,
    caller: &Caller,
    request: Request<Body>,
    decided: &mut Option<Decision>,
    record: &mut Record,
) -> Result<Reply, ApiError> {
    let (head, body) = request.into_parts();
    let mut asked = ClientRequest::read(app, &loaded.config, Some(api), &head.headers, body).await?;
    let (decision, free) = decide_request(app, loaded, caller, &mut asked)?;
    record.decided(&decision);
    let decision = decided.insert(decision);

    let stream = asked.stream;
    let head = head_of(loaded, caller, &asked);
    let (order, form, room) = order_of(app, caller, decision, asked, free)?;
    note_applied(decision, &order);
    record.told(decision);
    let work = dispatch(Arc::clone(app), order);
    let mut work = Box::pin(async move {
        let _held = room;
        work.await
    });
    if !stream {
        let dispatched = work.await?;
        note_fallback(decision, &dispatched, record);
        let Answer::Whole(whole) = dispatched.answer else { return Err(ApiError::Internal) };
        whole.usage.iter().for_each(|usage| record.used(usage));
        return Ok(Reply::Whole(form.whole(head.by(&decision.model), *whole)));
    }
    tokio::select! {
        dispatched = &mut work => {
            let dispatched = dispatched?;
            note_fallback(decision, &dispatched, record);
            let writer = form.writer(head.by(&decision.model));
            Ok(Reply::Stream(Relay { writer, steps: steps_of(dispatched) }))
        }
        // Thinking may take minutes to its first token, and proxies cut what is silent for one: the response begins
        // without it.
        () = tokio::time::sleep(app.config.limits.ping) => {
            let steps = stream::once(work).map_ok(steps_of).try_flatten().boxed();
            Ok(Reply::Stream(Relay { writer: form.writer(head.by(&decision.model)), steps }))
        }
    }
}

/// What the backend will be told. A text that is continued is told nothing.
pub(super) fn note_applied(decision: &mut Decision, order: &Order) {
    if !order.is_completion() {
        decision.note_applied(order.applied());
    }
}

/// Decides, and tells whether the model was ours to choose.
pub(super) fn decide_request(
    app: &App,
    loaded: &Loaded,
    caller: &Caller,
    asked: &mut ClientRequest,
) -> Result<(Decision, bool), ApiError> {
    let snapshot = loaded.snapshot(caller.key.as_deref());
    asked.forget_overruled_model(&snapshot.policy);
    let conversation = asked.conversation(app, caller, snapshot)?;
    let named = |asks: &Asks| matches!(asks, Asks::Model(_));
    let free = conversation.model.is_none() && !conversation.wishes.iter().any(|wish| named(&wish.asks));
    let mut decision = timed(&conversation, snapshot);
    if let kinds @ [_, ..] = asked.form.left_out() {
        decision
            .notes
            .push(format!("left out tools that run on a vendor's servers only: {}", kinds.join(", ")));
    }
    if asked.is_completion() {
        let note =
            "mode not applied: a plain text is continued as it stands, and no switch reaches its thinking";
        decision.notes.push(note.to_owned());
    }
    Ok((decision, free))
}

/// Deciding itself reads no clock.
fn timed(conversation: &Conversation<'_>, snapshot: &Snapshot) -> Decision {
    let start = Instant::now();
    let mut decision = decide(conversation, snapshot);
    decision.micros = Some(u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX));
    decision
}

/// What the answer begins with, apart from who gives it.
fn head_of(loaded: &Loaded, caller: &Caller, asked: &ClientRequest) -> Head {
    Head {
        request_id: caller.request_id.clone(),
        created: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs(),
        model: String::new(),
        reasoning: asked.reasoning(&loaded.config),
        experts: asked.experts().is_some(),
    }
}

pub(super) fn order_of(
    app: &App,
    caller: &Caller,
    decision: &Decision,
    asked: ClientRequest,
    free: bool,
) -> Result<(Order, Box<dyn Form>, Room), ApiError> {
    let (call, form, room) = call_of(caller, decision, asked);
    let order = Order::new(app, decision, call, free).ok_or(ApiError::Internal)?;
    Ok((order, form, room))
}

/// What a backend is asked.
pub(super) fn call_of(
    caller: &Caller,
    decision: &Decision,
    asked: ClientRequest,
) -> (Call, Box<dyn Form>, Room) {
    let (stream, experts) = (asked.stream, asked.experts());
    let (form, body, room) = asked.into_parts();
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
    (call, form, room)
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
    if decision.applied.is_some() {
        decision.note_applied(dispatched.applied.clone());
    }
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
