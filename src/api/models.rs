//! `GET /v1/models` and `/v1/models/{id}`: what a client may name, in the form of the API it speaks.

use std::sync::Arc;
use std::time::{Instant, UNIX_EPOCH};

use axum::Extension;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{Request, Response};
use serde_json::{Map, Value, json};

use super::client::error_form;
use super::error::{ApiError, ErrorForm};
use super::exchange::json_response;
use crate::app::{App, Served};
use crate::config::Key;
use crate::conversation::unknown_model;
use crate::loaded::Loaded;
use crate::policy::{Policy, Preset};
use crate::record::Caller;

/// Names that route, offered beside the models so that a client's menu shows them.
const ALIASES: [&str; 3] = ["auto", "auto:think", "auto:fast"];

pub(super) async fn list(
    State(app): State<Arc<App>>,
    Extension(loaded): Extension<Arc<Loaded>>,
    Extension(caller): Extension<Caller>,
    request: Request<Body>,
) -> Response<Body> {
    let menu = Menu { app: &app, policy: &loaded.snapshot(None).policy, key: caller.key.as_deref() };
    let entries = menu.entries();
    json_response(&match error_form(&request) {
        ErrorForm::OpenAi => json!({
            "object": "list",
            "data": entries.iter().map(|entry| menu.openai(entry)).collect::<Vec<Value>>(),
        }),
        ErrorForm::Anthropic => json!({
            "data": entries.iter().map(|entry| menu.anthropic(entry)).collect::<Vec<Value>>(),
            "has_more": false,
            "first_id": entries.first().map(Entry::id),
            "last_id": entries.last().map(Entry::id),
        }),
    })
}

pub(super) async fn one(
    State(app): State<Arc<App>>,
    Extension(loaded): Extension<Arc<Loaded>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    request: Request<Body>,
) -> Response<Body> {
    let policy = &loaded.snapshot(None).policy;
    let menu = Menu { app: &app, policy, key: caller.key.as_deref() };
    let form = error_form(&request);
    // A preset may be named with or without "auto:".
    let named = |entry: &&Entry<'_>| entry.id() == id || entry.preset_name() == Some(id.as_str());
    match (menu.entries().iter().find(named), form) {
        (Some(entry), ErrorForm::OpenAi) => json_response(&menu.openai(entry)),
        (Some(entry), ErrorForm::Anthropic) => json_response(&menu.anthropic(entry)),
        (None, form) => ApiError::from(unknown_model(&id, policy)).rescue(form, &caller.request_id),
    }
}

/// What one caller may name.
struct Menu<'a> {
    app: &'a App,
    policy: &'a Policy,
    key: Option<&'a Key>,
}

enum Entry<'a> {
    Alias(&'static str),
    Preset(String, &'a Preset),
    Model(&'a Served),
}

impl Entry<'_> {
    fn id(&self) -> &str {
        match self {
            Entry::Alias(name) => name,
            Entry::Preset(id, _) => id,
            Entry::Model(served) => &served.model.profile.name,
        }
    }

    fn preset_name(&self) -> Option<&str> {
        match self {
            Entry::Preset(id, _) => id.strip_prefix("auto:"),
            Entry::Alias(_) | Entry::Model(_) => None,
        }
    }
}

impl<'a> Menu<'a> {
    fn entries(&self) -> Vec<Entry<'a>> {
        let permitted = |limit: Option<&Vec<String>>, name: &str| {
            limit.is_none_or(|names| names.iter().any(|permitted| permitted == name))
        };
        let key = self.key;
        let own = |name: &str| key.is_some_and(|key| key.preset.as_deref() == Some(name));
        let presets = self
            .policy
            .presets
            .iter()
            .filter(|(name, _)| own(name) || permitted(key.and_then(|key| key.presets.as_ref()), name));
        let models =
            self.app.models.iter().filter(|served| {
                permitted(key.and_then(|key| key.models.as_ref()), &served.model.profile.name)
            });
        ALIASES
            .into_iter()
            .map(Entry::Alias)
            .chain(presets.map(|(name, preset)| Entry::Preset(format!("auto:{name}"), preset)))
            .chain(models.map(|served| Entry::Model(served)))
            .collect()
    }

    fn openai(&self, entry: &Entry<'_>) -> Value {
        let started = self.app.started.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let owner = match entry {
            Entry::Alias(_) | Entry::Preset(..) => "thinkgate",
            Entry::Model(served) if served.is_builtin() => "builtin",
            Entry::Model(_) => "upstream",
        };
        let mut fields = Map::from_iter([
            ("id".to_owned(), entry.id().into()),
            ("object".to_owned(), "model".into()),
            ("created".to_owned(), started.into()),
            ("owned_by".to_owned(), owner.into()),
        ]);
        fields.extend(details(entry));
        fields.into()
    }

    /// When a model came out is not known, for which this API writes the epoch.
    fn anthropic(&self, entry: &Entry<'_>) -> Value {
        let mut fields = Map::from_iter([
            ("type".to_owned(), "model".into()),
            ("id".to_owned(), entry.id().into()),
            ("display_name".to_owned(), entry.id().into()),
            ("created_at".to_owned(), "1970-01-01T00:00:00Z".into()),
            ("lifecycle".to_owned(), "active".into()),
        ]);
        if let Entry::Model(served) = entry {
            fields.insert("max_input_tokens".into(), json!(served.model.profile.context_length));
        }
        fields.extend(details(entry));
        fields.into()
    }
}

/// What either form says beyond its standard.
fn details(entry: &Entry<'_>) -> Map<String, Value> {
    let details = match entry {
        Entry::Alias(_) => json!({}),
        Entry::Preset(_, preset) => json!({
            "thinking": preset.thinking, "unsure": preset.unsure, "max_budget_tokens": preset.max_budget_tokens,
        }),
        Entry::Model(served) => {
            let (model, profile) = (&served.model, &served.model.profile);
            json!({
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
                "available": served.breaker.available(Instant::now()),
            })
        }
    };
    match details {
        Value::Object(details) => details,
        _ => Map::new(),
    }
}
