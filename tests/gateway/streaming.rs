use serde_json::{Value, json};

use crate::support::{Events, Gateway, MockUpstream, Reply, ask_stream, chunk, finish, header};

fn usage() -> Value {
    json!({"id": "x", "choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12,
           "completion_tokens_details": {"reasoning_tokens": 4}}})
}

fn thinking(text: &str) -> Value {
    let mut body = ask_stream(text);
    body["enable_thinking"] = true.into();
    body
}

async fn stream_of(reply: Reply, body: &Value) -> Events {
    let upstream = MockUpstream::start([reply]).await;
    let gateway = Gateway::before(&upstream).await;
    let response = gateway.chat(body).send().await.expect("a response");
    assert_eq!(response.status(), 200);
    Events::of(response).await
}

#[tokio::test]
async fn role_then_reasoning_then_content_then_reason_then_done() {
    let reply = Reply::events(&[
        chunk(json!({"role": "assistant", "content": ""})),
        chunk(json!({"reasoning": "6 times "})),
        chunk(json!({"reasoning": "7"})),
        chunk(json!({"content": "It is "})),
        chunk(json!({"content": "42."})),
        finish("stop"),
        usage(),
    ]);
    let events = stream_of(reply, &thinking("6*7?")).await;
    assert_eq!(events.events[0]["choices"][0]["delta"], json!({"role": "assistant", "content": ""}));
    assert_eq!(events.joined("reasoning_content"), "6 times 7");
    assert_eq!(events.joined("content"), "It is 42.");
    let reasoning = events.position("/choices/0/delta/reasoning_content");
    let content = events.position("/choices/0/delta/content");
    assert!(reasoning < content);
    let last = events.events.last().expect("an event");
    assert_eq!(last["choices"][0]["finish_reason"], "stop", "no usage chunk unless asked for");
    assert_eq!(last["choices"][0]["delta"], json!({}));
    assert!(events.done);
    for event in &events.events {
        assert_eq!(event["model"], "up");
        assert_eq!(event["object"], "chat.completion.chunk");
        assert_eq!(event["id"], events.events[0]["id"]);
    }
}

#[tokio::test]
async fn the_decision_is_in_the_headers_of_a_stream() {
    let upstream =
        MockUpstream::start([Reply::events(&[chunk(json!({"content": "x"})), finish("stop")])]).await;
    let gateway = Gateway::before(&upstream).await;
    let response = gateway.chat(&thinking("hi")).send().await.expect("a response");
    assert_eq!(header(&response, "x-thinkgate-thinking"), "on");
    assert_eq!(header(&response, "x-thinkgate-model"), "up");
    assert_eq!(header(&response, "cache-control"), "no-cache");
    assert_eq!(header(&response, "x-accel-buffering"), "no");
    assert!(!header(&response, "x-request-id").is_empty());
}

#[tokio::test]
async fn the_usage_chunk_comes_when_asked_for() {
    let mut body = thinking("hi");
    body["stream_options"] = json!({"include_usage": true});
    let reply = Reply::events(&[chunk(json!({"content": "x"})), finish("stop"), usage()]);
    let events = stream_of(reply, &body).await;
    let last = events.events.last().expect("an event");
    assert_eq!(last["choices"], json!([]));
    assert_eq!(last["usage"]["completion_tokens_details"]["reasoning_tokens"], 4);
    assert!(events.events[0]["usage"].is_null());
}

#[tokio::test]
async fn inline_reasoning_is_separated_wherever_the_bytes_are_cut() {
    let events = [
        chunk(json!({"role": "assistant", "content": ""})),
        chunk(json!({"content": "<th"})),
        chunk(json!({"content": "ink>\n想一"})),
        chunk(json!({"content": "想 a<b\n</th"})),
        chunk(json!({"content": "ink>\n"})),
        chunk(json!({"content": "\n答案是 42。"})),
        finish("stop"),
    ];
    for size in [1, 2, 3, 7, 64, 100_000] {
        let events = stream_of(Reply::events(&events).cut(size), &thinking("6*7?")).await;
        assert_eq!(events.joined("reasoning_content"), "想一想 a<b", "cut every {size}");
        assert_eq!(events.joined("content"), "答案是 42。", "cut every {size}");
        assert!(events.done);
    }
}

#[tokio::test]
async fn a_closing_tag_alone_ends_reasoning() {
    let reply = Reply::events(&[
        chunk(json!({"content": "6 times 7"})),
        chunk(json!({"content": "</think>\n\n42"})),
        finish("stop"),
    ]);
    let events = stream_of(reply, &thinking("6*7?")).await;
    assert_eq!(events.joined("reasoning_content"), "6 times 7");
    assert_eq!(events.joined("content"), "42");
}

#[tokio::test]
async fn tool_calls_and_log_probabilities_pass_untouched() {
    let call = json!({"tool_calls": [{"index": 0, "id": "c1", "type": "function",
                     "function": {"name": "f", "arguments": "{\"a\":"}}]});
    let reply = Reply::events(&[
        chunk(call.clone()),
        chunk(json!({"tool_calls": [{"index": 0, "function": {"arguments": "1}"}}]})),
        finish("tool_calls"),
    ]);
    let events = stream_of(reply, &ask_stream("call f")).await;
    let at = events.position("/choices/0/delta/tool_calls");
    assert_eq!(events.events[at]["choices"][0]["delta"], call);
    assert_eq!(events.events.last().expect("an event")["choices"][0]["finish_reason"], "tool_calls");
}

#[tokio::test]
async fn a_stream_that_ends_before_its_answer_is_never_a_success() {
    let begun = bytes::Bytes::from(format!("data: {}\n\n", chunk(json!({"content": "It is"}))));
    for reply in [Reply::Pieces(vec![begun.clone()]), Reply::Broken(vec![begun])] {
        let upstream = MockUpstream::start([reply]).await;
        let gateway = Gateway::before(&upstream).await;
        let response = gateway.chat(&ask_stream("hi")).send().await.expect("a response");
        let events = Events::of(response).await;
        assert!(!events.done);
        assert_eq!(events.error()["code"], "upstream_disconnected");
        gateway.metric("thinkgate_requests_total{outcome=\"truncated\",route=\"chat\"} 1").await;
    }
}

#[tokio::test]
async fn a_finished_choice_without_done_is_a_success() {
    let pieces = [chunk(json!({"content": "42"})), finish("stop")];
    let reply = Reply::Pieces(pieces.iter().map(|event| format!("data: {event}\n\n").into()).collect());
    let events = stream_of(reply, &ask_stream("hi")).await;
    assert_eq!(events.joined("content"), "42");
    assert!(events.done);
}

#[tokio::test]
async fn an_error_in_the_middle_reaches_the_client() {
    let reply = Reply::events(&[
        chunk(json!({"content": "It"})),
        json!({"error": {"message": "out of memory", "type": "server_error"}}),
    ]);
    let events = stream_of(reply, &ask_stream("hi")).await;
    assert!(!events.done);
    assert!(events.error()["message"].as_str().expect("text").contains("out of memory"));
}

#[tokio::test]
async fn an_error_before_the_first_token_has_a_status() {
    let upstream = MockUpstream::start([Reply::events(&[json!({"error": {"message": "no"}})])]).await;
    let gateway = Gateway::before(&upstream).await;
    let response = gateway.chat(&ask_stream("hi")).send().await.expect("a response");
    assert_eq!(response.status(), 502);
}

#[tokio::test]
async fn a_stall_ends_the_stream_with_an_error_and_pings_come_meanwhile() {
    let begun = bytes::Bytes::from(format!("data: {}\n\n", chunk(json!({"content": "It is"}))));
    let upstream = MockUpstream::start([Reply::Stalled(vec![begun])]).await;
    let config = upstream.model_with("up", "timeouts = { idle_ms = 400 }") + "[limits]\nping_ms = 20\n";
    let gateway = Gateway::start(&config).await;
    let response = gateway.chat(&ask_stream("hi")).send().await.expect("a response");
    let events = Events::of(response).await;
    assert!(!events.done);
    assert!(events.pings > 0);
    assert_eq!(events.error()["code"], "upstream_timeout");
}

#[tokio::test]
async fn pings_begin_before_the_first_token() {
    let upstream = MockUpstream::start([Reply::Silent]).await;
    let config =
        upstream.model_with("up", "timeouts = { first_token_ms = 400 }") + "[limits]\nping_ms = 20\n";
    let gateway = Gateway::start(&config).await;
    let response = gateway.chat(&ask_stream("hi")).send().await.expect("a response");
    assert_eq!(response.status(), 200);
    let events = Events::of(response).await;
    assert!(events.pings > 0);
    assert_eq!(events.error()["code"], "upstream_timeout");
}

#[tokio::test]
async fn an_endless_event_is_refused() {
    let line = bytes::Bytes::from(format!("data: {}", "x".repeat(2 << 20)));
    let upstream = MockUpstream::start([Reply::Pieces(vec![line])]).await;
    let gateway = Gateway::before(&upstream).await;
    let response = gateway.chat(&ask_stream("hi")).send().await.expect("a response");
    assert_eq!(response.status(), 502);
}

#[tokio::test]
async fn usage_is_always_asked_of_the_upstream() {
    let upstream =
        MockUpstream::start([Reply::events(&[chunk(json!({"content": "x"})), finish("stop"), usage()])])
            .await;
    let gateway = Gateway::before(&upstream).await;
    gateway.chat(&ask_stream("hi")).send().await.expect("a response").text().await.expect("a body");
    assert_eq!(upstream.bodies()[0]["stream_options"], json!({"include_usage": true}));
    gateway.metric("thinkgate_tokens_total{kind=\"reasoning\",model=\"up\"} 4").await;
}
