//! Builders: a gateway from the text of its configuration, and an upstream that does as it is told.

mod upstream;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use thinkgate::app::App;
use thinkgate::config::{Config, ConfigError};
use thinkgate::reload::watch;
use thinkgate::server::{Ended, serve};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

pub(crate) use upstream::{MockUpstream, Reply, chunk, finish, whole};

/// Longer than anything here takes; only a test that fails waits for it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Longer than the clock ticks of a file system, so that no write looks like the one before it.
const WATCH_INTERVAL: Duration = Duration::from_millis(20);

/// A gateway serving on a free port until it is stopped or dropped.
pub(crate) struct Gateway {
    pub(crate) address: SocketAddr,
    pub(crate) app: Arc<App>,
    client: reqwest::Client,
    stop: Option<oneshot::Sender<()>>,
    task: Option<JoinHandle<Ended>>,
}

/// Parses a configuration with an environment of two variables.
pub(crate) fn parse(text: &str) -> Result<Config, ConfigError> {
    let environment = |name: &str| match name {
        "CLIENT_KEY" => Some("client-key".to_owned()),
        "UPSTREAM_KEY" => Some("upstream-key".to_owned()),
        _ => None,
    };
    Config::parse(text, Some("thinkgate.toml".into()), Path::new(env!("CARGO_MANIFEST_DIR")), &environment)
}

impl Gateway {
    pub(crate) async fn start(config: &str) -> Gateway {
        Gateway::with(parse(config).unwrap_or_else(|error| panic!("{error}"))).await
    }

    /// From a file, which is watched.
    pub(crate) async fn watching(config: &Path) -> Gateway {
        Gateway::with(Config::load(Some(config)).unwrap_or_else(|error| panic!("{error}"))).await
    }

    async fn with(config: Config) -> Gateway {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let app = App::new(config).expect("loads");
        let (stop, stopped) = oneshot::channel::<()>();
        let shutdown = async {
            let _ = stopped.await;
        };
        let served = Arc::clone(&app);
        let task = tokio::spawn(async move {
            tokio::select! {
                ended = serve(listener, Arc::clone(&served), shutdown) => ended,
                never = watch(Arc::clone(&served), WATCH_INTERVAL) => match never {},
            }
        });
        let client = thinkgate::backends::upstream::client(PATIENCE).expect("a client");
        Gateway { address, app, client, stop: Some(stop), task: Some(task) }
    }

    /// In front of one vLLM upstream that is named `up`.
    pub(crate) async fn before(upstream: &MockUpstream) -> Gateway {
        Gateway::start(&upstream.model("up")).await
    }

    /// The same, in front of a server of which nothing is known: what is sent back to it, it gets back.
    pub(crate) async fn before_unknown(upstream: &MockUpstream) -> Gateway {
        Gateway::start(&upstream.model("up").replace("vllm", "generic")).await
    }

    pub(crate) fn request(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        let method = method.parse().expect("a method");
        self.client.request(method, format!("http://{}{path}", self.address)).timeout(PATIENCE)
    }

    pub(crate) fn get(&self, path: &str) -> reqwest::RequestBuilder {
        self.request("GET", path)
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> reqwest::RequestBuilder {
        self.request("POST", path).header("content-type", "application/json").body(body.to_string())
    }

    pub(crate) fn chat(&self, body: &Value) -> reqwest::RequestBuilder {
        self.post("/v1/chat/completions", body)
    }

    pub(crate) fn stop(&mut self) {
        self.stop.take().expect("stopped once").send(()).expect("serving");
    }

    pub(crate) async fn ended(&mut self) -> Ended {
        let task = self.task.take().expect("awaited once");
        tokio::time::timeout(PATIENCE, task).await.expect("ends").expect("does not panic")
    }

    /// Waits until the metrics contain `line`.
    pub(crate) async fn metric(&self, line: &str) {
        let seen = async {
            while !self.app.recorder.metrics.text().contains(line) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let waited = tokio::time::timeout(PATIENCE, seen).await;
        assert!(waited.is_ok(), "no {line:?} in\n{}", self.app.recorder.metrics.text());
    }
}

/// One user message.
pub(crate) fn ask(text: &str) -> Value {
    json!({"messages": [{"role": "user", "content": text}]})
}

/// One user message, answered as a stream.
pub(crate) fn ask_stream(text: &str) -> Value {
    let mut body = ask(text);
    body["stream"] = true.into();
    body
}

pub(crate) async fn json_of(response: reqwest::Response) -> Value {
    let text = response.text().await.expect("a body");
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

pub(crate) fn header<'r>(response: &'r reqwest::Response, name: &str) -> &'r str {
    let value = response.headers().get(name).unwrap_or_else(|| panic!("no header {name}"));
    value.to_str().expect("ASCII")
}

/// The events of a stream whose events have names, read to its end.
pub(crate) struct Named {
    pub(crate) events: Vec<Value>,
    pub(crate) pings: usize,
}

impl Named {
    pub(crate) async fn of(response: reqwest::Response) -> Named {
        assert_eq!(header(&response, "content-type"), "text/event-stream");
        let text = response.text().await.expect("a well-formed end");
        let mut named = Named { events: Vec::new(), pings: 0 };
        for event in text.split_terminator("\n\n") {
            let Some((name, data)) = event.split_once("\ndata: ") else {
                assert_eq!(event, ": ping");
                named.pings += 1;
                continue;
            };
            let event: Value = serde_json::from_str(data).expect("JSON");
            assert_eq!(name.strip_prefix("event: "), event["type"].as_str(), "{data}");
            match event["type"] == "ping" {
                true => named.pings += 1,
                false => named.events.push(event),
            }
        }
        named
    }

    /// The types of the events, in order; one that comes again and again is named once.
    pub(crate) fn order(&self) -> Vec<&str> {
        let mut types: Vec<&str> = self.events.iter().filter_map(|event| event["type"].as_str()).collect();
        types.dedup();
        types
    }

    /// The first event of this type.
    pub(crate) fn first(&self, kind: &str) -> &Value {
        self.events.iter().find(|event| event["type"] == kind).unwrap_or_else(|| panic!("no {kind}"))
    }

    pub(crate) fn last(&self) -> &Value {
        self.events.last().expect("an event")
    }

    /// The texts at `pointer`, joined.
    pub(crate) fn joined(&self, pointer: &str) -> String {
        self.events.iter().filter_map(|event| event.pointer(pointer)?.as_str()).collect()
    }
}

/// The events of a stream, read to its end.
pub(crate) struct Events {
    pub(crate) events: Vec<Value>,
    pub(crate) done: bool,
    pub(crate) pings: usize,
}

impl Events {
    pub(crate) async fn of(response: reqwest::Response) -> Events {
        assert_eq!(header(&response, "content-type"), "text/event-stream");
        let text = response.text().await.expect("a well-formed end");
        let mut events = Events { events: Vec::new(), done: false, pings: 0 };
        for event in text.split_terminator("\n\n") {
            assert!(!events.done, "nothing comes after [DONE]");
            match event.strip_prefix("data: ") {
                Some("[DONE]") => events.done = true,
                Some(data) => events.events.push(serde_json::from_str(data).expect("JSON")),
                None => {
                    assert_eq!(event, ": ping");
                    events.pings += 1;
                }
            }
        }
        events
    }

    /// The first choice's deltas of `field`, joined.
    pub(crate) fn joined(&self, field: &str) -> String {
        let pointer = format!("/choices/0/delta/{field}");
        self.events.iter().filter_map(|event| event.pointer(&pointer)?.as_str()).collect()
    }

    /// Position of the first event that has something at `pointer`.
    pub(crate) fn position(&self, pointer: &str) -> usize {
        let filled =
            |event: &Value| event.pointer(pointer).is_some_and(|value| !value.is_null() && value != "");
        self.events.iter().position(filled).unwrap_or_else(|| panic!("no {pointer}"))
    }

    pub(crate) fn error(&self) -> &Value {
        &self.events.last().expect("an event")["error"]
    }
}
