//! A model on another server: one request, one answer or one stream of steps.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream;
use reqwest::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_TYPE, HeaderMap, RETRY_AFTER};
use serde_json::{Map, Value};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};

use super::dialect::Auth;
use super::sse::{BadEvent, Events};
use super::think::{self, Part, Splitter};
use super::{Answer, BackendError, Call, Step, Steps, Usage, Whole, dialect};
use crate::config;
use crate::conversation::Mode;

/// Requests to one server at a time; more only makes each slower.
const ROOM: usize = 256;
/// How long a request waits for room.
const PATIENCE: Duration = Duration::from_secs(3);
/// An answer in one piece beyond this size is refused rather than held in memory.
const MAX_WHOLE_BYTES: usize = 32 << 20;
/// As much of an error body as is worth reading.
const MAX_ERROR_BYTES: usize = 64 << 10;

/// A server elsewhere.
#[derive(Debug)]
pub struct Upstream {
    name: String,
    config: config::Upstream,
    client: reqwest::Client,
    room: Arc<Semaphore>,
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
        Upstream { name: name.to_owned(), config, client, room: Arc::new(Semaphore::new(ROOM)) }
    }

    /// Sends the call and reads the answer, or its beginning.
    ///
    /// # Errors
    /// Whatever happened before the first step.
    pub async fn ask(&self, call: &Call) -> Result<Answer, BackendError> {
        let permit = self.enter().await?;
        let deadline = Instant::now() + self.config.timeouts.total;
        let response = self.send(call).await?;
        let expects_closer = self.config.inline_reasoning && call.thinking == Mode::On;
        if call.stream {
            let reader = Reader {
                events: Events::default(),
                choices: BTreeMap::new(),
                queue: VecDeque::new(),
                usage: None,
                ended: false,
                begun: false,
                response,
                deadline,
                timeouts: self.config.timeouts,
                inline: self.config.inline_reasoning,
                expects_closer,
                _permit: permit,
            };
            return Ok(Answer::Steps(reader.into_steps()));
        }
        let body = self.read_whole(response, deadline).await?;
        read_answer(&body, self.config.inline_reasoning, expects_closer)
            .map(|whole| Answer::Whole(Box::new(whole)))
    }

    async fn enter(&self) -> Result<OwnedSemaphorePermit, BackendError> {
        match timeout(PATIENCE, Arc::clone(&self.room).acquire_owned()).await {
            Ok(Ok(permit)) => Ok(permit),
            _ => Err(BackendError::Busy(self.name.clone())),
        }
    }

    async fn send(&self, call: &Call) -> Result<reqwest::Response, BackendError> {
        let outgoing = dialect::outgoing(call, &self.config);
        let body = serde_json::to_vec(&outgoing.body).expect("a JSON value always serialises");
        let accept = if call.stream { "text/event-stream" } else { "application/json" };
        // Only these headers: whatever the client sent is its business with us.
        let mut request = self
            .client
            .post(outgoing.endpoint.url)
            .header(CONTENT_TYPE, "application/json")
            .header(ACCEPT, accept)
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
        let patience = if call.stream { times.first_token } else { times.total };
        let response = match timeout(patience, request.send()).await {
            Err(_) => return Err(BackendError::Timeout("start to answer", patience)),
            Ok(Err(error)) if error.is_connect() => return Err(BackendError::Connect(error.without_url())),
            Ok(Err(error)) => return Err(BackendError::Truncated(Some(error.without_url()))),
            Ok(Ok(response)) => response,
        };
        check(response, call.stream, times.idle).await
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
    stream: bool,
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
        return Err(BackendError::Status { status: status.as_u16(), body, retry_after });
    }
    let kind = text_header(response.headers(), CONTENT_TYPE.as_str()).unwrap_or_default();
    if stream && !kind.starts_with("text/event-stream") {
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

/// An answer in one piece, with reasoning where our clients look for it.
fn read_answer(body: &Value, inline: bool, expects_closer: bool) -> Result<Whole, BackendError> {
    if let Some(error) = body.get("error").filter(|error| !error.is_null()) {
        return Err(BackendError::Reported(message_of(error)));
    }
    let choices = body.get("choices").and_then(Value::as_array).filter(|choices| !choices.is_empty());
    let mut choices =
        choices.cloned().ok_or_else(|| BackendError::BadAnswer("an answer without choices".into()))?;
    for choice in &mut choices {
        if let Some(Value::Object(message)) = choice.get_mut("message") {
            separate(message, inline, expects_closer);
        }
    }
    Ok(Whole { choices, usage: body.get("usage").and_then(Usage::of_json), experts: None, repetition: None })
}

/// Moves the reasoning of a message into `reasoning_content`.
fn separate(message: &mut Map<String, Value>, inline: bool, expects_closer: bool) {
    let mut reasoning = take_reasoning(message);
    if let Some(content) = message.get("content").and_then(Value::as_str).filter(|_| inline) {
        let (thought, answer) = think::split(content, expects_closer && reasoning.is_none());
        if answer.len() != content.len() {
            reasoning = Some(reasoning.unwrap_or_default() + &thought);
            message.insert("content".into(), answer.into());
        }
    }
    if let Some(reasoning) = reasoning.filter(|reasoning| !reasoning.is_empty()) {
        message.insert("reasoning_content".into(), reasoning.into());
    }
}

/// Takes the reasoning out of a message or delta: `reasoning` since vLLM 0.16, `reasoning_content` before and elsewhere.
fn take_reasoning(fields: &mut Map<String, Value>) -> Option<String> {
    let mut found = None;
    for name in ["reasoning", "reasoning_content"] {
        if let Some(Value::String(text)) = fields.shift_remove(name)
            && !text.is_empty()
        {
            // Servers that send both send the same text twice.
            found.get_or_insert(text);
        }
    }
    found
}

fn message_of(error: &Value) -> String {
    let text = error.get("message").and_then(Value::as_str).or_else(|| error.as_str());
    text.unwrap_or("no message").chars().take(500).collect()
}

/// A stream being read. Dropping it closes the connection, which tells the server to stop.
struct Reader {
    response: reqwest::Response,
    events: Events,
    choices: BTreeMap<u64, Choice>,
    queue: VecDeque<Step>,
    usage: Option<Usage>,
    begun: bool,
    ended: bool,
    deadline: Instant,
    timeouts: config::Timeouts,
    inline: bool,
    expects_closer: bool,
    _permit: OwnedSemaphorePermit,
}

struct Choice {
    splitter: Option<Splitter>,
    finished: bool,
}

impl Reader {
    fn into_steps(self) -> Steps {
        Box::pin(stream::unfold(self, |mut reader| async move {
            let step = reader.next().await?;
            Some((step, reader))
        }))
    }

    async fn next(&mut self) -> Option<Result<Step, BackendError>> {
        loop {
            if let Some(step) = self.queue.pop_front() {
                return Some(Ok(step));
            }
            if self.ended {
                return None;
            }
            if let Err(error) = self.advance().await {
                self.ended = true;
                return Some(Err(error));
            }
        }
    }

    /// Reads once more from the connection and queues what that completes.
    async fn advance(&mut self) -> Result<(), BackendError> {
        let (what, patience) = match self.begun {
            false => ("send a first token", self.timeouts.first_token),
            true => ("send another token", self.timeouts.idle),
        };
        let until = self.deadline.min(Instant::now() + patience);
        let chunk = match tokio::time::timeout_at(until, self.response.chunk()).await {
            Err(_) if until == self.deadline => {
                return Err(BackendError::Timeout("finish its answer", self.timeouts.total));
            }
            Err(_) => return Err(BackendError::Timeout(what, patience)),
            Ok(chunk) => chunk.map_err(broken)?,
        };
        let Some(chunk) = chunk else { return self.end() };
        for data in self.events.push(&chunk).map_err(bad_event)? {
            if data.trim() == "[DONE]" {
                return self.done();
            }
            self.read_event(&data)?;
        }
        Ok(())
    }

    fn read_event(&mut self, data: &str) -> Result<(), BackendError> {
        let event: Value = serde_json::from_str(data)
            .map_err(|_| BackendError::BadAnswer("an event that is not JSON".into()))?;
        if let Some(error) = event.get("error").filter(|error| !error.is_null()) {
            return Err(BackendError::Reported(message_of(error)));
        }
        if let Some(usage) = event.get("usage").and_then(Usage::of_json) {
            self.usage = Some(usage);
        }
        let Value::Object(mut event) = event else { return Ok(()) };
        let Some(Value::Array(choices)) = event.shift_remove("choices") else { return Ok(()) };
        for choice in choices {
            if let Value::Object(choice) = choice {
                self.read_choice(choice);
            }
        }
        Ok(())
    }

    fn read_choice(&mut self, mut fields: Map<String, Value>) {
        let index = fields.shift_remove("index").and_then(|index| index.as_u64()).unwrap_or(0);
        let (inline, expects_closer) = (self.inline, self.expects_closer);
        let choice = self.choices.entry(index).or_insert_with(|| Choice {
            splitter: inline.then(|| Splitter::new(expects_closer)),
            finished: false,
        });
        let before = self.queue.len();
        let delta = fields.shift_remove("delta");
        let finish_reason = fields.shift_remove("finish_reason").filter(|reason| !reason.is_null());
        if let Some(Value::Object(mut delta)) = delta {
            delta.shift_remove("role");
            if let Some(text) = take_reasoning(&mut delta) {
                choice.splitter.iter_mut().for_each(Splitter::field_seen);
                self.queue.push_back(Step::Reasoning { choice: index, text });
            }
            if let Some(Value::String(text)) = delta.shift_remove("content") {
                choice.push(index, text, &mut self.queue);
            }
            let told = |value: &Value| !value.is_null();
            let delta: Map<String, Value> = delta.into_iter().filter(|(_, value)| told(value)).collect();
            let beside: Map<String, Value> = fields.into_iter().filter(|(_, value)| told(value)).collect();
            if !delta.is_empty() || !beside.is_empty() {
                if !delta.is_empty() {
                    // A tool call ends whatever text stands before it.
                    choice.flush(index, &mut self.queue);
                }
                self.queue.push_back(Step::Other { choice: index, delta, beside });
            }
        }
        if let Some(reason) = finish_reason {
            choice.flush(index, &mut self.queue);
            choice.finished = true;
            let reason = reason.as_str().unwrap_or("stop").to_owned();
            self.queue.push_back(Step::Finished { choice: index, reason });
        }
        self.begun |= self.queue.len() > before;
    }

    /// The server said it is done: what it did not finish by name is finished now.
    fn done(&mut self) -> Result<(), BackendError> {
        for (index, choice) in &mut self.choices {
            if !choice.finished {
                choice.flush(*index, &mut self.queue);
                choice.finished = true;
                self.queue.push_back(Step::Finished { choice: *index, reason: "stop".into() });
            }
        }
        self.end()
    }

    /// The stream is over. Without a finished choice that is a failure, however cleanly the connection was closed.
    fn end(&mut self) -> Result<(), BackendError> {
        if self.choices.is_empty() || self.choices.values().any(|choice| !choice.finished) {
            return Err(BackendError::Truncated(None));
        }
        self.ended = true;
        self.queue.extend(self.usage.take().map(Step::Usage));
        Ok(())
    }
}

impl Choice {
    fn push(&mut self, index: u64, text: String, queue: &mut VecDeque<Step>) {
        match &mut self.splitter {
            Some(splitter) => queue.extend(splitter.push(&text).into_iter().map(|part| step_of(index, part))),
            None if text.is_empty() => {}
            None => queue.push_back(Step::Answer { choice: index, text }),
        }
    }

    fn flush(&mut self, index: u64, queue: &mut VecDeque<Step>) {
        if let Some(splitter) = &mut self.splitter {
            queue.extend(splitter.finish().into_iter().map(|part| step_of(index, part)));
        }
    }
}

fn step_of(choice: u64, part: Part) -> Step {
    match part {
        Part::Reasoning(text) => Step::Reasoning { choice, text },
        Part::Answer(text) => Step::Answer { choice, text },
    }
}

fn bad_event(bad: BadEvent) -> BackendError {
    BackendError::BadAnswer(match bad {
        BadEvent::TooLarge => "an event of more than a mebibyte".into(),
        BadEvent::NotUtf8 => "an event that is not UTF-8".into(),
    })
}
