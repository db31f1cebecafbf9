//! The one place that knows status codes: every failure, in the form that the client's API gives it.

use axum::body::Body;
use axum::http::header::{CONNECTION, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{Response, StatusCode};
use serde_json::{Value, json};

use crate::backends::{BackendError, is_ours};
use crate::conversation::BadRequest;
use crate::record::Outcome;

/// Whatever can end a request early.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// A field that is missing or has a value outside its set.
    #[error(transparent)]
    BadRequest(#[from] BadRequest),
    /// The body is not JSON.
    #[error("the body is not valid JSON: {0}")]
    NotJson(String),
    /// The body is of a type we do not read.
    #[error("content-type {0:?} is not supported; send application/json")]
    MediaType(String),
    /// The body is larger than allowed.
    #[error("the body is larger than {0} bytes")]
    TooLarge(usize),
    /// The body did not arrive in time.
    #[error("the body did not arrive in time")]
    SlowBody,
    /// The connection broke while the body was read.
    #[error("the body could not be read")]
    BrokenBody,
    /// No key, or not one of ours.
    #[error("missing or unknown API key; send it as \"Authorization: Bearer KEY\" or \"x-api-key: KEY\"")]
    Unauthorised,
    /// No such route.
    #[error("no such route: {0}")]
    NoRoute(String),
    /// The route exists, for another method.
    #[error("this route does not take {0}")]
    Method(String),
    /// No room for another request.
    #[error("the gateway has no room for another request now")]
    Overloaded,
    /// The gateway stops and cannot wait any longer.
    #[error("the gateway is shutting down")]
    ShuttingDown,
    /// A backend failed.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// A bug.
    #[error("internal error")]
    Internal,
}

/// Whose form an error takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorForm {
    /// `{"error": {"message", "type", "param", "code"}}`
    OpenAi,
    /// `{"type": "error", "error": {"type", "message"}, "request_id"}`
    Anthropic,
}

/// How a failure looks to the client.
struct Shown {
    status: StatusCode,
    kind: &'static str,
    code: &'static str,
    param: Option<String>,
}

impl ApiError {
    /// A short name for logs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.shown().code
    }

    /// How the request ended, if it ends with this.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        let status = self.shown().status;
        if matches!(self, ApiError::Overloaded | ApiError::Backend(BackendError::Busy(_))) {
            Outcome::Busy
        } else if status.is_client_error() {
            Outcome::Refused
        } else {
            Outcome::Failed
        }
    }

    /// The error object in this form, also used inside a stream. Only Anthropic's form has a place for the id.
    #[must_use]
    pub fn body(&self, form: ErrorForm, request_id: &str) -> Value {
        match form {
            ErrorForm::OpenAi => self.openai_body(),
            ErrorForm::Anthropic => json!({
                "type": "error",
                "error": {"type": anthropic_type(self.shown().status), "message": self.message()},
                "request_id": request_id,
            }),
        }
    }

    /// The failure in words: an upstream's own where it blames the request.
    #[must_use]
    pub fn message(&self) -> String {
        self.openai_body().pointer("/error/message").and_then(Value::as_str).unwrap_or_default().to_owned()
    }

    fn openai_body(&self) -> Value {
        if let ApiError::Backend(BackendError::Status { status, body: Some(body), .. }) = self
            && !is_ours(*status)
            && let Some(error) = reported(body)
        {
            return json!({ "error": error });
        }
        let shown = self.shown();
        json!({"error": {
            "message": self.to_string(), "type": shown.kind, "param": shown.param, "code": shown.code,
        }})
    }

    /// The response.
    #[must_use]
    pub fn rescue(&self, form: ErrorForm, request_id: &str) -> Response<Body> {
        let mut response = Response::new(Body::from(self.body(form, request_id).to_string()));
        *response.status_mut() = match (form, self.shown().status) {
            (ErrorForm::Anthropic, StatusCode::SERVICE_UNAVAILABLE) => overloaded(),
            (_, status) => status,
        };
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(seconds) = self.retry_after() {
            headers.insert(RETRY_AFTER, seconds);
        }
        if self.must_not_be_repeated() {
            headers.insert(HeaderName::from_static("x-should-retry"), HeaderValue::from_static("false"));
        }
        match self {
            // What is left of the body would be read as the next request.
            ApiError::TooLarge(_) | ApiError::SlowBody => {
                headers.insert(CONNECTION, HeaderValue::from_static("close"));
            }
            ApiError::Unauthorised => {
                headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            _ => {}
        }
        response
    }

    fn shown(&self) -> Shown {
        let refuse = |status: StatusCode, code: &'static str| (status, "invalid_request_error", code);
        let mut param = None;
        let (status, kind, code) = match self {
            ApiError::BadRequest(bad) => {
                param.clone_from(&bad.param);
                match bad.code {
                    "model_not_found" => refuse(StatusCode::NOT_FOUND, bad.code),
                    "not_permitted" => (StatusCode::FORBIDDEN, "permission_error", bad.code),
                    _ => refuse(StatusCode::BAD_REQUEST, bad.code),
                }
            }
            ApiError::NotJson(_) => refuse(StatusCode::BAD_REQUEST, "invalid_json"),
            ApiError::MediaType(_) => refuse(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type"),
            ApiError::TooLarge(_) => refuse(StatusCode::PAYLOAD_TOO_LARGE, "request_too_large"),
            ApiError::SlowBody => refuse(StatusCode::REQUEST_TIMEOUT, "request_timeout"),
            ApiError::BrokenBody => refuse(StatusCode::BAD_REQUEST, "incomplete_body"),
            ApiError::Unauthorised => refuse(StatusCode::UNAUTHORIZED, "invalid_api_key"),
            ApiError::NoRoute(_) => refuse(StatusCode::NOT_FOUND, "unknown_url"),
            ApiError::Method(_) => refuse(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed"),
            ApiError::Overloaded => {
                (StatusCode::SERVICE_UNAVAILABLE, "service_unavailable_error", "server_is_overloaded")
            }
            ApiError::ShuttingDown => {
                (StatusCode::SERVICE_UNAVAILABLE, "service_unavailable_error", "server_shutdown")
            }
            ApiError::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "server_error", "internal_error"),
            ApiError::Backend(error) => {
                if let BackendError::Refused { param: refused, .. } = error {
                    param = Some(refused.clone());
                }
                let (status, kind) = of_backend(error);
                (status, kind, error.code())
            }
        };
        Shown { status, kind, code, param }
    }

    fn retry_after(&self) -> Option<HeaderValue> {
        match self {
            ApiError::Overloaded | ApiError::Backend(BackendError::Busy(_)) => {
                Some(HeaderValue::from_static("1"))
            }
            ApiError::Backend(BackendError::Status { retry_after: Some(value), .. }) => {
                HeaderValue::from_str(value).ok()
            }
            _ => None,
        }
    }

    /// Something was started and may be paid for, so clients should not start it again by themselves.
    fn must_not_be_repeated(&self) -> bool {
        match self {
            ApiError::Backend(error) => !error.may_retry() && of_backend(error).0.is_server_error(),
            _ => false,
        }
    }
}

/// Anthropic's status for what others answer with 503.
fn overloaded() -> StatusCode {
    StatusCode::from_u16(529).unwrap_or(StatusCode::SERVICE_UNAVAILABLE)
}

fn anthropic_type(status: StatusCode) -> &'static str {
    match status.as_u16() {
        401 => "authentication_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        503 | 529 => "overloaded_error",
        504 => "timeout_error",
        400..=499 => "invalid_request_error",
        _ => "api_error",
    }
}

fn of_backend(error: &BackendError) -> (StatusCode, &'static str) {
    match error {
        BackendError::Refused { .. } => (StatusCode::BAD_REQUEST, "invalid_request_error"),
        BackendError::Busy(_) => (StatusCode::SERVICE_UNAVAILABLE, "service_unavailable_error"),
        BackendError::Timeout(..) => (StatusCode::GATEWAY_TIMEOUT, "upstream_timeout"),
        BackendError::Engine(_) => (StatusCode::INTERNAL_SERVER_ERROR, "server_error"),
        // Our key was refused; the client's is fine, so it must not look like a 401.
        BackendError::Status { status, .. } if is_ours(*status) => {
            (StatusCode::BAD_GATEWAY, "upstream_error")
        }
        BackendError::Status { status: 429, .. } => (StatusCode::TOO_MANY_REQUESTS, "rate_limit_error"),
        BackendError::Status { status, .. } if (400..500).contains(status) => {
            (StatusCode::from_u16(*status).unwrap_or(StatusCode::BAD_GATEWAY), "invalid_request_error")
        }
        BackendError::Status { status: 503 | 529, .. } => {
            (StatusCode::SERVICE_UNAVAILABLE, "service_unavailable_error")
        }
        BackendError::Status { status: 504, .. } => (StatusCode::GATEWAY_TIMEOUT, "upstream_timeout"),
        BackendError::Connect(_)
        | BackendError::Status { .. }
        | BackendError::BadAnswer(_)
        | BackendError::Reported(_)
        | BackendError::Truncated(_) => (StatusCode::BAD_GATEWAY, "upstream_error"),
    }
}

/// The error object of an upstream, in OpenAI's shape or vLLM's older flat one.
fn reported(body: &Value) -> Option<Value> {
    let error = body.get("error").unwrap_or(body);
    let text = |key: &str| error.get(key).cloned().unwrap_or(Value::Null);
    let message = error.get("message")?.as_str()?;
    Some(json!({"message": message, "type": text("type"), "param": text("param"), "code": text("code")}))
}
