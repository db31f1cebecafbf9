use serde_json::{Value, json};

use crate::support::{Gateway, MockUpstream, Reply, ask, header, json_of, whole};

async fn gateway() -> Gateway {
    let upstream = MockUpstream::start([whole(json!({"role": "assistant", "content": "x"}))]).await;
    Gateway::before(&upstream).await
}

#[tokio::test]
async fn bad_bodies_are_refused_with_the_field_at_fault() {
    let gateway = gateway().await;
    for (body, param) in [
        (json!({}), "messages"),
        (json!({"messages": []}), "messages"),
        (json!({"messages": [{"role": "user", "content": 1}]}), "messages[0].content"),
        (json!({"messages": [{"role": "user", "content": "x"}], "temperature": 3}), "temperature"),
        (json!({"messages": [{"role": "user", "content": "x"}], "stream": "true"}), "stream"),
        (json!({"messages": [{"role": "user", "content": "x"}], "max_tokens": -1}), "max_tokens"),
        (
            json!({"messages": [{"role": "user", "content": "x"}], "reasoning_effort": "huge"}),
            "reasoning_effort",
        ),
    ] {
        let response = gateway.chat(&body).send().await.expect("a response");
        assert_eq!(response.status(), 400, "{body}");
        assert_eq!(header(&response, "content-type"), "application/json");
        assert!(!header(&response, "x-request-id").is_empty());
        let error = json_of(response).await;
        assert_eq!(error["error"]["param"], param, "{body}");
        assert_eq!(error["error"]["type"], "invalid_request_error");
        assert!(!error["error"]["message"].as_str().expect("text").is_empty());
    }
}

#[tokio::test]
async fn what_is_not_json_is_refused() {
    let gateway = gateway().await;
    let deep = "[".repeat(200);
    for body in ["", "{", "null x", "{\"a\":}", deep.as_str(), "\u{feff}{}"] {
        let request = gateway.request("POST", "/v1/chat/completions").body(body.to_owned());
        let response = request.send().await.expect("a response");
        assert_eq!(response.status(), 400, "{body:.20}");
        assert_eq!(json_of(response).await["error"]["code"], "invalid_json", "{body:.20}");
    }
    let bytes = b"{\"messages\": [{\"role\": \"user\", \"content\": \"\xff\"}]}".to_vec();
    let response =
        gateway.request("POST", "/v1/chat/completions").body(bytes).send().await.expect("a response");
    assert_eq!(response.status(), 400);
}

#[tokio::test]
async fn other_media_types_are_refused() {
    let gateway = gateway().await;
    let request = gateway
        .request("POST", "/v1/chat/completions")
        .header("content-type", "multipart/form-data; boundary=x");
    assert_eq!(request.body("x").send().await.expect("a response").status(), 415);
}

#[tokio::test]
async fn a_header_that_is_not_understood_is_refused() {
    let gateway = gateway().await;
    let response =
        gateway.chat(&ask("hi")).header("x-thinkgate-thinking", "perhaps").send().await.expect("a response");
    assert_eq!(response.status(), 400);
    assert_eq!(json_of(response).await["error"]["param"], "x-thinkgate-thinking");
}

#[tokio::test]
async fn an_unknown_model_is_not_found() {
    let gateway = gateway().await;
    let mut body = ask("hi");
    body["model"] = "gpt-9".into();
    let response = gateway.chat(&body).send().await.expect("a response");
    assert_eq!(response.status(), 404);
    let error = json_of(response).await;
    assert_eq!(error["error"]["code"], "model_not_found");
    assert_eq!(error["error"]["param"], "model");
    assert!(error["error"]["message"].as_str().expect("text").contains("up"), "names what is known");
}

#[tokio::test]
async fn unknown_routes_and_methods_are_refused_in_the_clients_format() {
    let gateway = gateway().await;
    for path in ["/v1/chat", "/v1/chat/completions/", "/V1/chat/completions", "/nope"] {
        let response = gateway.post(path, &ask("hi")).send().await.expect("a response");
        assert_eq!(response.status(), 404, "{path}");
        assert!(json_of(response).await["error"]["message"].is_string());
    }
    for (method, path) in [("GET", "/v1/chat/completions"), ("PUT", "/v1/decision"), ("POST", "/v1/models")] {
        let response = gateway.request(method, path).send().await.expect("a response");
        assert_eq!(response.status(), 405, "{method} {path}");
        assert!(!header(&response, "allow").is_empty());
        assert_eq!(json_of(response).await["error"]["code"], "method_not_allowed");
    }
}

async fn upstream_says(
    status: u16,
    headers: Vec<(&'static str, &'static str)>,
    body: &str,
) -> reqwest::Response {
    let upstream = MockUpstream::start([Reply::Status(status, headers, body.to_owned())]).await;
    let gateway = Gateway::before(&upstream).await;
    gateway.chat(&ask("hi")).send().await.expect("a response")
}

#[tokio::test]
async fn the_upstreams_refusal_of_the_request_is_passed_on() {
    let body =
        r#"{"error": {"message": "too long", "type": "BadRequestError", "param": "messages", "code": 400}}"#;
    let response = upstream_says(400, vec![], body).await;
    assert_eq!(response.status(), 400);
    assert_eq!(json_of(response).await, serde_json::from_str::<Value>(body).expect("JSON"));

    let flat = r#"{"object": "error", "message": "too long", "type": "BadRequestError", "param": null, "code": 400}"#;
    let response = upstream_says(422, vec![], flat).await;
    assert_eq!(response.status(), 422);
    assert_eq!(json_of(response).await["error"]["message"], "too long");
}

#[tokio::test]
async fn a_full_upstream_says_when_to_come_back() {
    let response = upstream_says(429, vec![("retry-after", "7")], "{}").await;
    assert_eq!(response.status(), 429);
    assert_eq!(header(&response, "retry-after"), "7");
}

#[tokio::test]
async fn a_refusal_of_our_key_does_not_look_like_the_clients_fault() {
    for status in [401, 403] {
        let response = upstream_says(status, vec![], r#"{"error": {"message": "bad key sk-123"}}"#).await;
        assert_eq!(response.status(), 502);
        let error = json_of(response).await;
        assert_eq!(error["error"]["code"], "upstream_auth");
        assert!(!error.to_string().contains("sk-123"));
    }
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let trap = MockUpstream::start([whole(json!({"content": "x"}))]).await;
    let url: &'static str = Box::leak(format!("{}/chat/completions", trap.url()).into_boxed_str());
    let response = upstream_says(307, vec![("location", url)], "{}").await;
    assert_eq!(response.status(), 502);
    assert!(trap.bodies().is_empty());
}

#[tokio::test]
async fn nonsense_from_the_upstream_is_a_bad_gateway() {
    for body in ["<html>", "", "{}", r#"{"choices": []}"#, r#"{"error": {"message": "no"}}"#] {
        let response = upstream_says(200, vec![], body).await;
        assert_eq!(response.status(), 502, "{body}");
        assert_eq!(header(&response, "x-should-retry"), "false");
    }
}

#[tokio::test]
async fn an_upstream_that_is_not_there_is_a_bad_gateway() {
    // Bound and dropped: nobody listens there.
    let address =
        tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port").local_addr().expect("bound");
    let gateway = Gateway::start(&format!(
        "[[models]]\nname = \"gone\"\narchitecture = \"dense\"\n\
         upstream = {{ url = \"http://{address}/v1\", dialect = \"vllm\", model_id = \"m\" }}"
    ))
    .await;
    let response = gateway.chat(&ask("hi")).send().await.expect("a response");
    assert_eq!(response.status(), 502);
    assert!(
        !response.headers().contains_key("x-should-retry"),
        "nothing was started, so trying again is right"
    );
    assert_eq!(header(&response, "x-thinkgate-model"), "gone");
    let error = json_of(response).await;
    assert_eq!(error["error"]["code"], "upstream_connect_failed");
    assert!(!error.to_string().contains(&address.to_string()), "addresses are not the client's business");
}

#[tokio::test]
async fn a_silent_upstream_is_a_timeout() {
    let upstream = MockUpstream::start([Reply::Silent]).await;
    let gateway = Gateway::start(&upstream.model_with("up", "timeouts = { total_ms = 200 }")).await;
    let response = gateway.chat(&ask("hi")).send().await.expect("a response");
    assert_eq!(response.status(), 504);
}
