//! "What does the gateway answer, and to whom?" The routes, and the guard before them.

mod chat;
mod decision;
mod error;
mod models;
mod ready;
mod request;
mod stream;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue};
use axum::http::{HeaderMap, Method, Request, Response};
use axum::middleware::{Next, from_fn_with_state};
use axum::routing::{get, post};
use futures_util::FutureExt;
use subtle::ConstantTimeEq;

use crate::app::App;
use crate::config::{Key, digest};
use crate::id::unique;
use crate::loaded::Loaded;
use crate::record::Caller;

pub use error::ApiError;

/// Every route.
pub fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/v1/chat/completions", post(chat::completions))
        .route("/v1/decision", post(decision::decision))
        .route("/v1/models", get(models::list))
        .route("/v1/models/{*id}", get(models::one))
        .route("/metrics", get(metrics))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready::ready))
        .route("/", get(welcome))
        .fallback(|request: Request<Body>| async move { ApiError::NoRoute(shown_path(&request)).rescue() })
        .method_not_allowed_fallback(
            |method: Method| async move { ApiError::Method(method.to_string()).rescue() },
        )
        .layer(from_fn_with_state(Arc::clone(&app), guard))
        .with_state(app)
}

/// Gives every request an id, lets in who may enter, and turns a bug into an error instead of a broken connection.
async fn guard(State(app): State<Arc<App>>, mut request: Request<Body>, next: Next) -> Response<Body> {
    let id = request_id(request.headers());
    // Asked for once: whatever is reloaded meanwhile, this request sees one version from its key to its answer.
    let loaded = app.loaded();
    let mut response = match admit(&app, &loaded, &request, &id) {
        Err(error) => error.rescue(),
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            request.extensions_mut().insert(loaded);
            let running = AssertUnwindSafe(next.run(request)).catch_unwind();
            running.await.unwrap_or_else(|_| {
                tracing::error!(request_id = id, "a handler panicked");
                ApiError::Internal.rescue()
            })
        }
    };
    let headers = response.headers_mut();
    headers.insert(HeaderName::from_static("x-content-type-options"), HeaderValue::from_static("nosniff"));
    if let Ok(id) = HeaderValue::from_str(&id) {
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
    let value = headers.get(AUTHORIZATION)?.as_bytes();
    let (scheme, key) = value.split_at_checked(7)?;
    if !scheme.eq_ignore_ascii_case(b"bearer ") {
        return None;
    }
    let offered = digest(key.trim_ascii());
    let mut found = None;
    for known in keys {
        if bool::from(known.digest.ct_eq(&offered)) {
            found = Some(known);
        }
    }
    found.cloned()
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
    let mut text = format!("thinkgate {}\n\nModels\n", env!("CARGO_PKG_VERSION"));
    for served in &app.models {
        let profile = &served.model.profile;
        text.push_str(&format!("  {} ({})\n", profile.name, profile.architecture.as_str()));
    }
    text.push_str(
        "\nEndpoints\n  \
         POST /v1/chat/completions  OpenAI chat; model \"auto\" lets the gateway choose\n  \
         POST /v1/decision          the same body; says what would be done, and why\n  \
         GET  /v1/models            what can be named\n  \
         GET  /healthz /readyz      alive, and welcoming requests\n  \
         GET  /metrics              for Prometheus\n",
    );
    text
}
