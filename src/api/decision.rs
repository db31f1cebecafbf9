//! `POST /v1/decision`: the body of any API's request; decides, calls nothing.

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::{Request, Response};

use super::error::{ApiError, ErrorForm};
use super::exchange::{add_headers, decide_request, json_response, note_applied, order_of};
use super::request::ClientRequest;
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
            error.rescue(ErrorForm::OpenAi, &caller.request_id)
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
    let mut asked = ClientRequest::read(app, &loaded.config, None, &head.headers, body).await?;
    let (mut decision, free) = decide_request(app, loaded, caller, &mut asked)?;
    let (order, _form, _room) = order_of(app, caller, &decision, asked, free)?;
    note_applied(&mut decision, &order);
    Ok(decision)
}
