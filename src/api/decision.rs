//! `POST /v1/decision`: the body of any chat request; decides, calls nothing.

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::{Request, Response};

use super::chat::{add_headers, decide_request, json_response, order_of};
use super::error::ApiError;
use super::request::ChatRequest;
use crate::app::App;
use crate::decide::Decision;
use crate::loaded::Loaded;
use crate::record::{Caller, Outcome, Route};

pub(super) async fn decision(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Extension(loaded): Extension<Arc<Loaded>>,
    request: Request<Body>,
) -> Response<Body> {
    let mut record = app.recorder.start(Route::Decision, caller.clone());
    match decide(&app, &loaded, &caller, request).await {
        Ok(decision) => {
            record.decided(&decision);
            record.ended(Outcome::Answered, None);
            let mut response = json_response(&serde_json::to_value(&decision).unwrap_or_default());
            add_headers(response.headers_mut(), &decision);
            response
        }
        Err(error) => {
            record.ended(error.outcome(), Some(error.code()));
            error.rescue()
        }
    }
}

async fn decide(
    app: &App,
    loaded: &Loaded,
    caller: &Caller,
    request: Request<Body>,
) -> Result<Decision, ApiError> {
    let (head, body) = request.into_parts();
    let request = ChatRequest::read(app, &head.headers, body).await?;
    let (mut decision, free) = decide_request(app, loaded, caller, &request)?;
    let (order, _room) = order_of(app, caller, &decision, request, free)?;
    decision.note_applied(order.applied());
    Ok(decision)
}
