//! "What does the gateway answer, and to whom?" The routes, and the guard before them.

mod calls;
mod chat;
mod client;
mod completions;
mod decision;
mod error;
mod exchange;
mod headers;
mod messages;
mod models;
mod ready;
mod relay;
mod request;
mod responses;
mod rights;
mod seal;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue};
use axum::http::{HeaderMap, Method, Request, Response};
use axum::middleware::{Next, from_fn_with_state};
use axum::routing::{get, post};
use axum::{Extension, Router};
use futures_util::FutureExt;
use subtle::ConstantTimeEq;

use crate::app::App;
use crate::config::{Key, digest};
use crate::id::unique;
use crate::loaded::Loaded;
use crate::record::Caller;

use client::{Api, error_form};
pub use error::{ApiError, ErrorForm};

/// Every route.
pub fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/v1/chat/completions", exchange::route(Api::Chat))
        .route("/v1/completions", exchange::route(Api::Completions))
        .route("/v1/messages", exchange::route(Api::Messages))
        .route("/v1/messages/count_tokens", post(messages::count_tokens))
        .route("/v1/responses", exchange::route(Api::Responses))
        .route("/v1/decision", post(decision::decision))
        .route("/v1/models", get(models::list))
        .route("/v1/models/{*id}", get(models::one))
        .route("/metrics", get(metrics))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready::ready))
        .route("/", get(welcome))
        .fallback(|Extension(caller): Extension<Caller>, request: Request<Body>| async move {
            ApiError::NoRoute(shown_path(&request)).rescue(error_form(&request), &caller.request_id)
        })
        .method_not_allowed_fallback(
            |Extension(caller): Extension<Caller>, request: Request<Body>| async move {
                let error = ApiError::Method(request.method().to_string());
                error.rescue(error_form(&request), &caller.request_id)
            },
        )
        .layer(from_fn_with_state(Arc::clone(&app), guard))
        .with_state(app)
}

/// Gives every request an id, lets in who may enter, and turns a bug into an error instead of a broken connection.
async fn guard(State(app): State<Arc<App>>, mut request: Request<Body>, next: Next) -> Response<Body> {
    let id = request_id(request.headers());
    let form = error_form(&request);
    // Asked for once: whatever is reloaded meanwhile, this request sees one version from its key to its answer.
    let loaded = app.loaded();
    let mut response = match admit(&app, &loaded, &request, &id) {
        Err(error) => error.rescue(form, &id),
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            request.extensions_mut().insert(loaded);
            let running = AssertUnwindSafe(next.run(request)).catch_unwind();
            running.await.unwrap_or_else(|_| {
                tracing::error!(request_id = id, "a handler panicked");
                ApiError::Internal.rescue(form, &id)
            })
        }
    };
    let headers = response.headers_mut();
    headers.insert(HeaderName::from_static("x-content-type-options"), HeaderValue::from_static("nosniff"));
    if let Ok(id) = HeaderValue::from_str(&id) {
        if form == ErrorForm::Anthropic {
            headers.insert(HeaderName::from_static("request-id"), id.clone());
        }
        headers.insert(HeaderName::from_static("x-request-id"), id);
    }
    response
}

fn admit(app: &App, loaded: &Loaded, request: &Request<Body>, id: &str) -> Result<Caller, ApiError> {
    let keys = &loaded.config.keys;
    let mut caller = Caller { request_id: id.to_owned(), ..Caller::default() };
    caller.key = authorise(keys, request.headers());
    // Probes carry no keys, and these answers tell nothing to who has none.
    if matches!(request.uri().path(), "/healthz" | "/readyz" | "/") {
        return Ok(caller);
    }
    if caller.key.is_none() && !keys.is_empty() {
        return Err(ApiError::Unauthorised);
    }
    if request.method() == Method::POST {
        let place = Arc::clone(&app.places).try_acquire_owned().map_err(|_| ApiError::Overloaded)?;
        caller.place = Some(Arc::new(place));
    }
    Ok(caller)
}

/// The caller's key. Digests are compared in constant time, and all of them, so that the time taken tells nothing.
fn authorise(keys: &[Arc<Key>], headers: &HeaderMap) -> Option<Arc<Key>> {
    let offered = digest(offered_key(headers)?);
    let mut found = None;
    for known in keys {
        if bool::from(known.digest.ct_eq(&offered)) {
            found = Some(known);
        }
    }
    found.cloned()
}

/// As OpenAI's clients send it, else as Anthropic's do.
fn offered_key(headers: &HeaderMap) -> Option<&[u8]> {
    let bearer = headers.get(AUTHORIZATION).and_then(|value| {
        let (scheme, key) = value.as_bytes().split_at_checked(7)?;
        scheme.eq_ignore_ascii_case(b"bearer ").then_some(key)
    });
    let own = || headers.get("x-api-key").map(HeaderValue::as_bytes);
    bearer.or_else(own).map(<[u8]>::trim_ascii)
}

/// The client's own id where it is plain, else one of ours.
fn request_id(headers: &HeaderMap) -> String {
    let own = headers.get("x-request-id").and_then(|value| value.to_str().ok());
    let plain = |id: &&str| {
        (1..=64).contains(&id.len())
            && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
    };
    own.filter(plain).map_or_else(unique, str::to_owned)
}

fn shown_path(request: &Request<Body>) -> String {
    request.uri().path().chars().take(120).collect()
}

async fn metrics(State(app): State<Arc<App>>) -> ([(HeaderName, &'static str); 1], String) {
    ([(CONTENT_TYPE, "text/plain; version=0.0.4")], app.recorder.metrics.text())
}

async fn welcome(State(app): State<Arc<App>>) -> String {
    let mut text = format!("thinkgate {}\n\n", env!("CARGO_PKG_VERSION"));
    // Names are for those who may ask.
    let named = if app.config.keys.is_empty() { app.models.as_slice() } else { &[] };
    for served in named {
        let profile = &served.model.profile;
        text.push_str(&format!("  {} ({})\n", profile.name, profile.architecture.as_str()));
    }
    text.push_str(
        "Endpoints\n  \
         POST /v1/chat/completions  OpenAI chat; model \"auto\" lets the gateway choose\n  \
         POST /v1/responses         OpenAI responses, stateless\n  \
         POST /v1/messages          Anthropic messages, and /v1/messages/count_tokens\n  \
         POST /v1/completions       a plain text, continued by an upstream\n  \
         POST /v1/decision          any of these bodies; says what would be done, and why\n  \
         GET  /v1/models            what can be named\n  \
         GET  /healthz /readyz      alive, and welcoming requests\n  \
         GET  /metrics              for Prometheus\n",
    );
    text
}
