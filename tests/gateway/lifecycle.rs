use serde_json::json;
use thinkgate::server::Ended;

use crate::support::{Events, Gateway, MockUpstream, Reply, ask, ask_stream, chunk, finish};

#[tokio::test]
async fn stopping_lets_a_stream_finish() {
    // Slow enough to be running when the signal comes, because the client has read only its beginning.
    let mut pieces = vec![format!("data: {}\n\n", chunk(json!({"content": "a"}))).into()];
    pieces.extend((0..200).map(|_| format!("data: {}\n\n", chunk(json!({"content": "b"}))).into()));
    pieces.push(format!("data: {}\n\ndata: [DONE]\n\n", finish("stop")).into());
    let upstream = MockUpstream::start([Reply::Pieces(pieces)]).await;
    let mut gateway = Gateway::before(&upstream).await;
    let response = gateway.chat(&ask_stream("hi")).send().await.expect("a response");
    gateway.stop();
    let events = Events::of(response).await;
    assert_eq!(events.joined("content").len(), 201);
    assert!(events.done);
    assert_eq!(gateway.ended().await, Ended::Drained);
}

#[tokio::test]
async fn stopping_closes_idle_connections_and_refuses_new_ones() {
    let mut gateway = Gateway::start("").await;
    assert_eq!(gateway.get("/readyz").send().await.expect("a response").status(), 200);
    let app = gateway.app.clone();
    gateway.stop();
    assert_eq!(gateway.ended().await, Ended::Drained);
    assert!(!app.is_ready());
    assert!(gateway.get("/healthz").send().await.is_err());
}

#[tokio::test]
async fn what_does_not_finish_in_time_is_cut_off_with_a_last_word() {
    let begun = format!("data: {}\n\n", chunk(json!({"content": "It is"})));
    let upstream = MockUpstream::start([Reply::Stalled(vec![begun.into()])]).await;
    let mut gateway = Gateway::start(&(upstream.model("up") + "[limits]\ndrain_ms = 50\n")).await;
    let response = gateway.chat(&ask_stream("hi")).send().await.expect("a response");
    gateway.stop();
    let events = Events::of(response).await;
    assert!(!events.done, "a cut stream does not look finished");
    assert_eq!(events.error()["code"], "server_shutdown");
    assert_eq!(gateway.ended().await, Ended::CutOff(1));
    upstream.dropped().await;
    gateway.metric("thinkgate_requests_total{outcome=\"truncated\",route=\"chat\"} 1").await;
}

#[tokio::test]
async fn a_request_without_a_stream_is_cut_off_and_recorded() {
    let upstream = MockUpstream::start([Reply::Silent]).await;
    let mut gateway = Gateway::start(&(upstream.model("up") + "[limits]\ndrain_ms = 50\n")).await;
    let request = tokio::spawn(gateway.chat(&ask("hi")).send());
    upstream.arrived().await;
    gateway.stop();
    assert_eq!(gateway.ended().await, Ended::CutOff(1));
    assert!(request.await.expect("no panic").is_err());
    upstream.dropped().await;
    gateway.metric("thinkgate_requests_total{outcome=\"cancelled\",route=\"chat\"} 1").await;
}
