//! `GET /v1/models` and `/v1/models/{id}`: what a client may name.

use std::sync::Arc;
use std::time::UNIX_EPOCH;

use axum::Extension;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::Response;
use serde_json::{Value, json};

use super::chat::json_response;
use super::error::ApiError;
use crate::app::{App, Served};
use crate::conversation::unknown_model;
use crate::loaded::Loaded;

/// Names that route, offered beside the models so that a client's menu shows them.
const ALIASES: [&str; 3] = ["auto", "auto:think", "auto:fast"];

pub(super) async fn list(State(app): State<Arc<App>>) -> Response<Body> {
    let aliases = ALIASES.iter().map(|name| alias(&app, name));
    let models = app.models.iter().map(|served| model(&app, served));
    let data: Vec<Value> = aliases.chain(models).collect();
    json_response(&json!({"object": "list", "data": data}))
}

pub(super) async fn one(
    State(app): State<Arc<App>>,
    Extension(loaded): Extension<Arc<Loaded>>,
    Path(id): Path<String>,
) -> Response<Body> {
    if let Some(name) = ALIASES.iter().find(|name| **name == id) {
        return json_response(&alias(&app, name));
    }
    match app.served(&id) {
        Some(served) => json_response(&model(&app, served)),
        None => ApiError::from(unknown_model(&id, &loaded.snapshot(None).policy)).rescue(),
    }
}

fn alias(app: &App, name: &str) -> Value {
    json!({"id": name, "object": "model", "created": created(app), "owned_by": "thinkgate"})
}

fn model(app: &App, served: &Served) -> Value {
    let model = &served.model;
    let profile = &model.profile;
    json!({
        "id": profile.name,
        "object": "model",
        "created": created(app),
        "owned_by": if served.is_builtin() { "builtin" } else { "upstream" },
        "architecture": profile.architecture,
        "total_params": profile.total_params,
        "active_params": profile.active_params,
        "context_length": profile.context_length,
        "thinking": profile.thinking,
        "tools": profile.tools,
        "vision": profile.vision,
        "languages": model.languages,
        "skill": profile.skill,
        "shape": model.shape,
        "available": served.breaker.available(std::time::Instant::now()),
    })
}

fn created(app: &App) -> u64 {
    app.started.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
