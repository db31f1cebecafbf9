use serde_json::json;

use crate::support::{Gateway, MockUpstream, Reply, ask, ask_stream, chunk, whole};

const CANCELLED: &str = "thinkgate_requests_total{outcome=\"cancelled\",route=\"chat\"} 1";

/// The upstream is told, the request is recorded, and the gateway goes on.
async fn is_cancelled(upstream: &MockUpstream, gateway: &Gateway) {
    upstream.dropped().await;
    gateway.metric(CANCELLED).await;
    gateway.metric("thinkgate_in_flight 0").await;
    assert_eq!(gateway.get("/healthz").send().await.expect("alive").status(), 200);
}

#[tokio::test]
async fn before_an_answer_in_one_piece() {
    let upstream = MockUpstream::start([Reply::Silent]).await;
    let gateway = Gateway::before(&upstream).await;
    let request = tokio::spawn(gateway.chat(&ask("hi")).send());
    upstream.arrived().await;
    request.abort();
    is_cancelled(&upstream, &gateway).await;
}

#[tokio::test]
async fn before_the_first_token_of_a_stream() {
    let upstream = MockUpstream::start([Reply::Stalled(vec![])]).await;
    let gateway = Gateway::before(&upstream).await;
    let request = tokio::spawn(gateway.chat(&ask_stream("hi")).send());
    upstream.arrived().await;
    request.abort();
    is_cancelled(&upstream, &gateway).await;
}

#[tokio::test]
async fn before_the_first_token_of_a_stream_that_has_begun_to_ping() {
    let upstream = MockUpstream::start([Reply::Stalled(vec![])]).await;
    let gateway = Gateway::start(&(upstream.model("up") + "[limits]\nping_ms = 20\n")).await;
    let response = gateway.chat(&ask_stream("hi")).send().await.expect("a response");
    drop(response);
    is_cancelled(&upstream, &gateway).await;
}

#[tokio::test]
async fn in_the_middle_of_a_stream() {
    let begun = format!("data: {}\n\n", chunk(json!({"content": "It is"})));
    let upstream = MockUpstream::start([Reply::Stalled(vec![begun.into()])]).await;
    let gateway = Gateway::before(&upstream).await;
    let mut response = gateway.chat(&ask_stream("hi")).send().await.expect("a response");
    let first = response.chunk().await.expect("a chunk").expect("more to come");
    assert!(first.starts_with(b"data: "));
    drop(response);
    is_cancelled(&upstream, &gateway).await;
}

#[tokio::test]
async fn others_are_not_disturbed() {
    let upstream =
        MockUpstream::start([Reply::Silent, whole(json!({"role": "assistant", "content": "42"}))]).await;
    let gateway = Gateway::before(&upstream).await;
    let request = tokio::spawn(gateway.chat(&ask("hi")).send());
    upstream.arrived().await;
    request.abort();
    let response = gateway.chat(&ask("hi")).send().await.expect("a response");
    assert_eq!(response.status(), 200);
    is_cancelled(&upstream, &gateway).await;
}
