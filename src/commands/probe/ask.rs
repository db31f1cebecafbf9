//! One question to one upstream, answered as it comes, without the gateway's own reading of it.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::seen::Seen;
use crate::backends::dialect::{Auth, outgoing};
use crate::backends::{Applied, Asked, Call};
use crate::config::Upstream;
use crate::conversation::Mode;

/// Answered at once with a guess, right only after counting: a model that may think has something to think about, and is
/// done soon.
const QUESTION: &str = "How many prime numbers lie between 20 and 60? Answer with the number alone.";
/// Room for thought and answer.
const CAP: u32 = 4096;

/// How one question went.
#[derive(Debug)]
pub(super) struct Asking {
    pub(super) applied: Applied,
    pub(super) outcome: Outcome,
}

#[derive(Debug)]
pub(super) enum Outcome {
    /// It answered.
    Answered(Seen),
    /// It refused the request as such.
    Refused(String),
    /// It could not be reached, or not used.
    Failed(String),
}

/// Asks in a mode, with a budget where it is on.
pub(super) async fn ask(
    client: &reqwest::Client,
    upstream: &Upstream,
    thinking: Mode,
    budget: Option<u32>,
) -> Asking {
    let call = Call {
        body: question(),
        thinking,
        budget,
        asked: if budget.is_some() { Asked::Budget } else { Asked::Nothing },
        stream: false,
        experts: None,
        caller: 0,
    };
    let sent = outgoing(&call, upstream);
    let accept = if sent.force_stream { "text/event-stream" } else { "application/json" };
    let mut request = client
        .post(&sent.endpoint.url)
        .header("content-type", "application/json")
        .header("accept", accept)
        .header("accept-encoding", "identity")
        .body(Value::from(sent.body).to_string());
    if let Some(key) = &upstream.api_key {
        request = match sent.endpoint.auth {
            Auth::Bearer => request.bearer_auth(key.reveal()),
            Auth::Header(name) => request.header(name, key.reveal()),
        };
    }
    for (name, value) in sent.endpoint.headers {
        request = request.header(*name, *value);
    }
    Asking { applied: sent.applied, outcome: outcome(request, upstream.timeouts.total).await }
}

fn question() -> Map<String, Value> {
    let body = json!({"messages": [{"role": "user", "content": QUESTION}], "max_tokens": CAP});
    match body {
        Value::Object(body) => body,
        _ => Map::new(),
    }
}

async fn outcome(request: reqwest::RequestBuilder, patience: Duration) -> Outcome {
    let work = async {
        let response = request.send().await?;
        let status = response.status().as_u16();
        Ok::<_, reqwest::Error>((status, response.text().await?))
    };
    match tokio::time::timeout(patience, work).await {
        Err(_) => Outcome::Failed(format!("no answer within {patience:?}")),
        Ok(Err(error)) if error.is_connect() => Outcome::Failed("no connection".into()),
        Ok(Err(error)) => Outcome::Failed(error.without_url().to_string()),
        Ok(Ok((200, body))) => match Seen::of_body(&body) {
            Some(seen) => Outcome::Answered(seen),
            None => Outcome::Failed("an answer that is not JSON".into()),
        },
        // What a request says is at fault here; 401, 404 and the like are about key and address.
        Ok(Ok((status @ (400 | 422), body))) => Outcome::Refused(format!("{status}: {}", message(&body))),
        Ok(Ok((status, body))) => Outcome::Failed(format!("status {status}: {}", message(&body))),
    }
}

/// The message of an error body, on one line.
fn message(body: &str) -> String {
    let json: Value = serde_json::from_str(body).unwrap_or_default();
    let text = ["/error/message", "/message", "/error", "/detail"];
    let text = text.iter().find_map(|pointer| json.pointer(pointer)?.as_str()).unwrap_or(body);
    let line: Vec<&str> = text.split_whitespace().collect();
    line.join(" ").chars().filter(|c| !c.is_control()).take(160).collect()
}
