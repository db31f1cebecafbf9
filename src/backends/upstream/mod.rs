//! A model on another server: one request, one answer or one stream of steps.
//!
//! What goes out is written by `dialect/`, framed by `wire/`; this is about connections, patience and limits.

mod habit;
mod reader;

use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_TYPE, HeaderMap, RETRY_AFTER};
use serde_json::Value;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};

use self::habit::Habit;
use self::reader::Reader;
use super::dialect::{self, Auth, Outgoing};
use super::wire::whole::{MAX_WHOLE_BYTES, collect};
use super::wire::{self, Outlet, history};
use super::{Answer, Applied, BackendError, Call, Lossy, Whole};
use crate::config::{self, Wire};

/// Requests to one server at a time; more only makes each slower.
const ROOM: usize = 256;
/// How long a request waits for room.
const PATIENCE: Duration = Duration::from_secs(3);
/// As much of an error body as is worth reading.
const MAX_ERROR_BYTES: usize = 64 << 10;

/// A server elsewhere.
#[derive(Debug)]
pub struct Upstream {
    name: String,
    config: config::Upstream,
    client: reqwest::Client,
    room: Arc<Semaphore>,
    habit: Arc<Habit>,
}

/// The client that talks to every server with this connect timeout. The library's defaults follow redirects, read the
/// environment for proxies and wait for ever; a gateway must do none of these.
///
/// # Errors
/// The TLS setup of this machine is unusable.
pub fn client(connect: Duration) -> reqwest::Result<reqwest::Client> {
    // Losing the race to install it means it is installed.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let builder = || {
        reqwest::Client::builder()
            .connect_timeout(connect)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .referer(false)
            .retry(reqwest::retry::never())
            .pool_max_idle_per_host(64)
            .pool_idle_timeout(Duration::from_secs(90))
            .tcp_nodelay(true)
    };
    // A machine without any root certificate can still talk plain HTTP; HTTPS will then fail per request, with a reason.
    builder().build().or_else(|_| builder().tls_certs_only([]).build())
}

impl Upstream {
    /// The server of the model `name`.
    #[must_use]
    pub fn new(name: &str, config: config::Upstream, client: reqwest::Client) -> Self {
        Upstream {
            name: name.to_owned(),
            config,
            client,
            room: Arc::new(Semaphore::new(ROOM)),
            habit: Arc::default(),
        }
    }

    /// Sends the call and reads the answer, or its beginning.
    ///
    /// # Errors
    /// Whatever happened before the first step.
    pub async fn ask(&self, call: &Call) -> Result<Answer, BackendError> {
        let outgoing = match call.is_completion() {
            true => dialect::completion(call, &self.config)?,
            false => dialect::outgoing(call, &self.config),
        };
        wire::refuse(outgoing.wire, &call.body)?;
        let permit = self.enter().await?;
        let deadline = Instant::now() + self.config.timeouts.total;
        // A text that is continued is nobody's answer, so nothing is taken out of it.
        let inline = self.habit.expects(&self.config, &outgoing).filter(|_| !call.is_completion());
        let (wire, stream) = (outgoing.wire, call.stream || outgoing.force_stream);
        let response = self.send_mended(outgoing, stream).await?;
        let outlet = Outlet::new(inline);
        if !stream {
            let body = self.read_whole(response, deadline).await?;
            return self.read(wire, body, outlet).map(Answer::Whole);
        }
        let steps = Reader::new(wire, response, outlet, self, deadline, permit).into_steps();
        if call.stream {
            return Ok(Answer::Steps(steps));
        }
        collect(steps).await.map(|whole| Answer::Whole(Box::new(whole)))
    }

    /// What the server will be told of the call.
    #[must_use]
    pub fn applied(&self, call: &Call) -> Applied {
        dialect::applied(call, &self.config)
    }

    fn read(&self, wire: Wire, body: Value, mut outlet: Outlet) -> Result<Box<Whole>, BackendError> {
        let whole = wire::read_whole(wire, body, &mut outlet)?;
        self.habit.learn(outlet.shape());
        Ok(Box::new(whole))
    }

    async fn enter(&self) -> Result<OwnedSemaphorePermit, BackendError> {
        match timeout(PATIENCE, Arc::clone(&self.room).acquire_owned()).await {
            Ok(Ok(permit)) => Ok(permit),
            _ => Err(BackendError::Busy(self.name.clone())),
        }
    }

    /// Sends it; once more, without the thoughts of earlier turns, where these were refused. Nothing was started then.
    async fn send_mended(
        &self,
        mut outgoing: Outgoing,
        stream: bool,
    ) -> Result<reqwest::Response, BackendError> {
        match self.send(&outgoing, stream).await {
            Err(error) if history::is_refused(&error) => {
                if !history::strip_thoughts(outgoing.wire, &mut outgoing.body) {
                    return Err(error);
                }
                tracing::warn!(model = self.name, "asking again without the thoughts of earlier turns");
                outgoing.applied.lost(Lossy::HistoryStripped);
                self.send(&outgoing, stream).await
            }
            sent => sent,
        }
    }

    async fn send(&self, outgoing: &Outgoing, stream: bool) -> Result<reqwest::Response, BackendError> {
        let body = serde_json::to_vec(&outgoing.body).expect("a JSON value always serialises");
        let media_type = if stream { wire::media_type(outgoing.wire) } else { "application/json" };
        // Only these headers: whatever the client sent is its business with us.
        let mut request = self
            .client
            .post(&outgoing.endpoint.url)
            .header(CONTENT_TYPE, "application/json")
            .header(ACCEPT, media_type)
            .header(ACCEPT_ENCODING, "identity")
            .body(body);
        if let Some(key) = &self.config.api_key {
            request = match outgoing.endpoint.auth {
                Auth::Bearer => request.bearer_auth(key.reveal()),
                Auth::Header(name) => request.header(name, key.reveal()),
            };
        }
        for (name, value) in outgoing.endpoint.headers {
            request = request.header(*name, *value);
        }
        // An answer in one piece starts when it is complete.
        let times = &self.config.timeouts;
        let patience = if stream { times.first_token } else { times.total };
        let response = match timeout(patience, request.send()).await {
            Err(_) => return Err(BackendError::Timeout("start to answer", patience)),
            Ok(Err(error)) if error.is_connect() => return Err(BackendError::Connect(error.without_url())),
            Ok(Err(error)) => return Err(BackendError::Truncated(Some(error.without_url()))),
            Ok(Ok(response)) => response,
        };
        check(response, stream.then_some(media_type), times.idle).await
    }

    async fn read_whole(
        &self,
        response: reqwest::Response,
        deadline: Instant,
    ) -> Result<Value, BackendError> {
        let total = self.config.timeouts.total;
        let bytes = tokio::time::timeout_at(deadline, read_up_to(response, MAX_WHOLE_BYTES))
            .await
            .map_err(|_| BackendError::Timeout("finish its answer", total))??;
        serde_json::from_slice(&bytes)
            .map_err(|_| BackendError::BadAnswer("an answer that is not JSON".into()))
    }
}

/// Turns away every response that is not the answer it should be.
async fn check(
    response: reqwest::Response,
    stream: Option<&str>,
    patience: Duration,
) -> Result<reqwest::Response, BackendError> {
    let status = response.status();
    if status.is_redirection() {
        return Err(BackendError::BadAnswer(format!("a redirect ({})", status.as_u16())));
    }
    if !status.is_success() {
        let retry_after = text_header(response.headers(), RETRY_AFTER.as_str());
        let bytes = timeout(patience, read_up_to(response, MAX_ERROR_BYTES)).await;
        let body = bytes.ok().and_then(Result::ok).and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let body = body.map(wire::error_body);
        return Err(BackendError::Status { status: status.as_u16(), body, retry_after });
    }
    let kind = text_header(response.headers(), CONTENT_TYPE.as_str()).unwrap_or_default();
    if stream.is_some_and(|expected| !kind.starts_with(expected)) {
        let shown: String = kind.chars().take(60).collect();
        return Err(BackendError::BadAnswer(format!("{shown:?} instead of a stream of events")));
    }
    Ok(response)
}

fn text_header(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
}

async fn read_up_to(mut response: reqwest::Response, most: usize) -> Result<Vec<u8>, BackendError> {
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(broken)? {
        if bytes.len() + chunk.len() > most {
            return Err(BackendError::BadAnswer(format!("an answer of more than {most} bytes")));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

fn broken(error: reqwest::Error) -> BackendError {
    BackendError::Truncated(Some(error.without_url()))
}
