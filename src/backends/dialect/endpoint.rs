//! Where a request goes and what authorises it.

use crate::config::{Dialect, Upstream, Wire};

/// Where a request goes and what authorises it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// The whole address.
    pub url: String,
    /// How the key is shown.
    pub auth: Auth,
    /// Headers besides.
    pub headers: &'static [(&'static str, &'static str)],
}

/// How the key is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Auth {
    /// `authorization: Bearer KEY`.
    Bearer,
    /// The key alone, in a header of this name.
    Header(&'static str),
}

impl Endpoint {
    /// Where a text is continued.
    #[must_use]
    pub fn of_completion(upstream: &Upstream) -> Endpoint {
        let base = upstream.url.as_str().trim_end_matches('/');
        let url = format!("{base}/completions{}", query(upstream, false));
        Endpoint { url, auth: auth(upstream), headers: headers(upstream.wire) }
    }

    /// Of this model over there; some wires say in the address whether the answer is a stream.
    #[must_use]
    pub fn of(upstream: &Upstream, model_id: &str, stream: bool) -> Endpoint {
        let base = upstream.url.as_str().trim_end_matches('/');
        let path = path(upstream.wire, model_id, stream);
        let query = query(upstream, stream);
        Endpoint {
            url: format!("{base}{path}{query}"),
            auth: auth(upstream),
            headers: headers(upstream.wire),
        }
    }
}

fn path(wire: Wire, model_id: &str, stream: bool) -> String {
    let id = escaped(model_id);
    match (wire, stream) {
        (Wire::Chat, _) => "/chat/completions".to_owned(),
        (Wire::Anthropic, _) => "/messages".to_owned(),
        (Wire::OllamaNative, _) => "/api/chat".to_owned(),
        (Wire::Gemini, false) => format!("/models/{id}:generateContent"),
        (Wire::Gemini, true) => format!("/models/{id}:streamGenerateContent"),
        (Wire::Bedrock, false) => format!("/model/{id}/converse"),
        (Wire::Bedrock, true) => format!("/model/{id}/converse-stream"),
    }
}

fn query(upstream: &Upstream, stream: bool) -> String {
    match (&upstream.api_version, upstream.wire) {
        (Some(version), Wire::Chat) => format!("?api-version={version}"),
        // Without it the stream is one JSON array.
        (_, Wire::Gemini) if stream => "?alt=sse".to_owned(),
        _ => String::new(),
    }
}

fn auth(upstream: &Upstream) -> Auth {
    match (upstream.dialect, upstream.wire) {
        (Dialect::Azure, _) => Auth::Header("api-key"),
        (_, Wire::Anthropic) => Auth::Header("x-api-key"),
        (_, Wire::Gemini) => Auth::Header("x-goog-api-key"),
        _ => Auth::Bearer,
    }
}

fn headers(wire: Wire) -> &'static [(&'static str, &'static str)] {
    match wire {
        Wire::Anthropic => &[("anthropic-version", "2023-06-01")],
        _ => &[],
    }
}

/// A model id as a segment of a path: Bedrock's hold colons and slashes.
fn escaped(model_id: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    model_id
        .bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}
