//! An upstream that does as it is told and remembers what it was asked.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Response, StatusCode, Uri};
use futures_util::{StreamExt, stream};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::Notify;

/// What the upstream does with one request.
#[derive(Debug, Clone)]
pub(crate) enum Reply {
    /// Answers in one piece.
    Whole(Value),
    /// The same, unless the body holds what a strict server of this dialect refuses.
    Strict(&'static str, Value),
    /// Answers with this status, headers and body.
    Status(u16, Vec<(&'static str, &'static str)>, String),
    /// Sends these bytes piece by piece and closes cleanly.
    Pieces(Vec<Bytes>),
    /// The same under this media type.
    Stream(&'static str, Vec<Bytes>),
    /// Sends these bytes and breaks the connection.
    Broken(Vec<Bytes>),
    /// Sends these bytes and then nothing, for ever.
    Stalled(Vec<Bytes>),
    /// Never answers.
    Silent,
}

impl Reply {
    /// A stream of these events, one piece each, and `[DONE]`.
    pub(crate) fn events(events: &[Value]) -> Reply {
        let mut pieces: Vec<Bytes> = events.iter().map(|event| format!("data: {event}\n\n").into()).collect();
        pieces.push("data: [DONE]\n\n".into());
        Reply::Pieces(pieces)
    }

    /// The same bytes in pieces of `size`.
    pub(crate) fn cut(self, size: usize) -> Reply {
        let Reply::Pieces(pieces) = self else { panic!("only streams are cut") };
        let bytes = pieces.concat();
        Reply::Pieces(bytes.chunks(size).map(Bytes::copy_from_slice).collect())
    }
}

/// A chunk of a stream with this delta.
pub(crate) fn chunk(delta: Value) -> Value {
    json!({"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "m",
           "choices": [{"index": 0, "delta": delta, "finish_reason": null}]})
}

/// The last chunk of a choice.
pub(crate) fn finish(reason: &str) -> Value {
    json!({"id": "x", "choices": [{"index": 0, "delta": {}, "finish_reason": reason}]})
}

/// An answer in one piece with this message.
pub(crate) fn whole(message: Value) -> Reply {
    Reply::Whole(json!({"id": "x", "object": "chat.completion", "created": 1, "model": "m",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12}}))
}

#[derive(Default)]
struct Script {
    replies: Mutex<VecDeque<Reply>>,
    requests: Mutex<Vec<(HeaderMap, Value)>>,
    paths: Mutex<Vec<String>>,
    arrived: Notify,
    dropped: Notify,
}

/// The server.
pub(crate) struct MockUpstream {
    address: SocketAddr,
    script: Arc<Script>,
}

impl MockUpstream {
    /// Gives these replies in order; the last one again and again.
    pub(crate) async fn start(replies: impl IntoIterator<Item = Reply>) -> MockUpstream {
        let script = Arc::new(Script::default());
        script.replies.lock().expect("no test panicked with it").extend(replies);
        let router = Router::new().fallback(reply).with_state(Arc::clone(&script));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        tokio::spawn(async move { axum::serve(listener, router).await });
        MockUpstream { address, script }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// The configuration of a vLLM model that this upstream serves.
    pub(crate) fn model(&self, name: &str) -> String {
        self.model_with(name, "")
    }

    /// The same with more keys in the upstream table.
    pub(crate) fn model_with(&self, name: &str, more: &str) -> String {
        format!(
            "[[models]]\nname = \"{name}\"\ncatalogue = \"Qwen3-4B\"\n[models.upstream]\nurl = \"{}\"\n\
             dialect = \"vllm\"\nmodel_id = \"Qwen/Qwen3-4B\"\n{more}\n",
            self.url()
        )
    }

    /// Bodies received so far.
    pub(crate) fn bodies(&self) -> Vec<Value> {
        self.script
            .requests
            .lock()
            .expect("no test panicked with it")
            .iter()
            .map(|(_, body)| body.clone())
            .collect()
    }

    /// Paths with their queries asked for so far.
    pub(crate) fn paths(&self) -> Vec<String> {
        self.script.paths.lock().expect("no test panicked with it").clone()
    }

    /// Headers of the first request.
    pub(crate) fn headers(&self) -> HeaderMap {
        self.script.requests.lock().expect("no test panicked with it")[0].0.clone()
    }

    /// Waits until a request has arrived.
    pub(crate) async fn arrived(&self) {
        tokio::time::timeout(super::PATIENCE, self.script.arrived.notified())
            .await
            .expect("a request arrives");
    }

    /// Waits until a reply was dropped before its end.
    pub(crate) async fn dropped(&self) {
        tokio::time::timeout(super::PATIENCE, self.script.dropped.notified())
            .await
            .expect("the reply is dropped");
    }
}

/// Tells when a reply that never ends by itself was given up.
struct Pending(Arc<Script>);

impl Drop for Pending {
    fn drop(&mut self) {
        self.0.dropped.notify_one();
    }
}

async fn reply(
    State(script): State<Arc<Script>>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response<Body> {
    script.paths.lock().expect("no test panicked with it").push(uri.to_string());
    let body: Value = serde_json::from_slice(&body).expect("JSON");
    let asked = body.clone();
    script.requests.lock().expect("no test panicked with it").push((headers, body));
    let reply = {
        let mut replies = script.replies.lock().expect("no test panicked with it");
        if replies.len() > 1 { replies.pop_front() } else { replies.front().cloned() }.expect("a reply")
    };
    script.arrived.notify_one();
    match reply {
        Reply::Whole(body) => respond(200, "application/json", body.to_string().into()),
        Reply::Strict(dialect, answer) => {
            let faults = crate::strict::faults(dialect, asked.as_object().expect("an object"));
            match faults.is_empty() {
                true => respond(200, "application/json", answer.to_string().into()),
                false => respond(
                    422,
                    "application/json",
                    json!({"error": {"message": faults.join("; ")}}).to_string().into(),
                ),
            }
        }
        Reply::Status(status, headers, body) => {
            let mut response = respond(status, "application/json", body.into());
            for (name, value) in headers {
                response.headers_mut().insert(name, value.parse().expect("a value"));
            }
            response
        }
        Reply::Stream(kind, pieces) => respond(200, kind, Body::from_stream(spaced(pieces))),
        Reply::Pieces(pieces) => respond(200, "text/event-stream", Body::from_stream(spaced(pieces))),
        Reply::Broken(pieces) => {
            // A reset may overtake bytes still on their way, so they get time to arrive.
            let end = stream::once(async {
                tokio::time::sleep(Duration::from_millis(100)).await;
                Err(std::io::Error::other("broken"))
            });
            respond(200, "text/event-stream", Body::from_stream(spaced(pieces).chain(end)))
        }
        Reply::Stalled(pieces) => {
            let pending = Pending(script);
            let end = stream::once(async move {
                let _pending = pending;
                std::future::pending().await
            });
            respond(200, "text/event-stream", Body::from_stream(spaced(pieces).chain(end)))
        }
        Reply::Silent => {
            let _pending = Pending(script);
            std::future::pending().await
        }
    }
}

/// Pieces with a breath between them, so that each is a chunk of its own on the wire.
fn spaced(pieces: Vec<Bytes>) -> impl futures_util::Stream<Item = Result<Bytes, std::io::Error>> + Send {
    stream::iter(pieces).then(|piece| async move {
        tokio::time::sleep(Duration::from_micros(200)).await;
        Ok(piece)
    })
}

fn respond(status: u16, kind: &str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(status).expect("a status");
    response.headers_mut().insert("content-type", kind.parse().expect("a type"));
    response
}
