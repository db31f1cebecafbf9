//! `GET /readyz`: whether requests are welcome, what decides them, and what was refused when it was last read.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::{Response, StatusCode};
use serde_json::{Map, Value, json};

use super::exchange::json_response;
use crate::app::App;
use crate::loaded::{Loaded, Part, Refusal};
use crate::record::Caller;

pub(super) async fn ready(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Extension(loaded): Extension<Arc<Loaded>>,
) -> Response<Body> {
    let ready = app.is_ready();
    // A damaged file is no reason to be taken out of service: the last good one serves.
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    // Messages name files and quote them, which is for those who may call.
    let trusted = loaded.config.keys.is_empty() || caller.key.is_some();
    let mut response = json_response(&json!({
        "status": if ready { "ready" } else { "not ready" },
        "versions": by_part(|part| json!(loaded.standing(part).version)),
        "since": by_part(|part| json!(seconds(loaded.standing(part).since))),
        "last_reload": last_reload(&loaded),
        "errors": by_part(|part| {
            loaded.standing(part).refused.as_ref().map_or(Value::Null, |refusal| error(refusal, trusted))
        }),
    }));
    *response.status_mut() = status;
    response
}

fn by_part(value: impl Fn(Part) -> Value) -> Value {
    let values: Map<String, Value> =
        Part::ALL.into_iter().map(|part| (part.as_str().to_owned(), value(part))).collect();
    values.into()
}

fn last_reload(loaded: &Loaded) -> Value {
    let Some(last) = loaded.last_reload else { return Value::Null };
    let outcome = |part: Part| json!(last.outcomes[part as usize].as_str());
    json!({"time": seconds(last.at), "outcomes": by_part(outcome)})
}

fn error(refusal: &Refusal, trusted: bool) -> Value {
    let message = if trusted {
        refusal.message.as_str()
    } else {
        "refused; the log says why, and so does this page with a key"
    };
    json!({"time": seconds(refusal.at), "message": message})
}

/// Since 1970, as in the decision log.
fn seconds(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}
