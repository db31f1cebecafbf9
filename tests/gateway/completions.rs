use serde_json::{Value, json};

use crate::support::{Events, Gateway, MockUpstream, Reply, header, json_of};

fn prompt(stream: bool) -> Value {
    json!({"model": "auto", "prompt": "def add(a, b):", "max_tokens": 20, "echo": false, "suffix": "\n",
           "enable_thinking": true, "vendor_field": [1], "stream": stream})
}

fn piece(text: &str, reason: Value) -> Value {
    json!({"id": "x", "object": "text_completion", "choices": [
        {"index": 0, "text": text, "logprobs": null, "finish_reason": reason}]})
}

#[tokio::test]
async fn a_text_is_continued_by_the_upstream() {
    let choices = json!([{"index": 0, "text": " return a + b <think>x</think>", "finish_reason": "stop", "logprobs": null}]);
    let upstream = MockUpstream::start([Reply::Whole(json!({"id": "x", "choices": choices,
        "usage": {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12}}))])
    .await;
    let gateway = Gateway::before(&upstream).await;
    let response = gateway.post("/v1/completions", &prompt(false)).send().await.expect("a response");
    assert_eq!(header(&response, "x-thinkgate-model"), "up");
    let answer = json_of(response).await;
    assert_eq!((&answer["object"], &answer["model"]), (&json!("text_completion"), &json!("up")));
    assert_eq!(answer["choices"], choices, "nothing is taken out of a continued text");
    assert_eq!(answer["usage"]["total_tokens"], 12);
    let seen = &upstream.bodies()[0];
    assert_eq!(
        json!([seen["prompt"], seen["vendor_field"], seen["suffix"]]),
        json!(["def add(a, b):", [1], "\n"])
    );
    assert!(seen.get("enable_thinking").is_none() && seen.get("chat_template_kwargs").is_none());
}

#[tokio::test]
async fn a_text_is_continued_piece_by_piece() {
    let reply = Reply::events(&[
        piece(" return", Value::Null),
        piece(" a <think>", Value::Null),
        piece("", json!("length")),
    ]);
    let upstream = MockUpstream::start([reply]).await;
    let gateway = Gateway::before(&upstream).await;
    let response = gateway.post("/v1/completions", &prompt(true)).send().await.expect("a response");
    let events = Events::of(response).await;
    let text: String =
        events.events.iter().filter_map(|event| event["choices"][0]["text"].as_str()).collect();
    assert_eq!(text, " return a <think>");
    let last = events.events.last().expect("an event");
    assert_eq!(last["choices"][0]["finish_reason"], "length");
    assert!(events.done);
}

#[tokio::test]
async fn the_built_in_engine_continues_no_text() {
    let gateway = Gateway::start("").await;
    let response = gateway.post("/v1/completions", &prompt(false)).send().await.expect("a response");
    assert_eq!(response.status(), 400);
    let error = json_of(response).await;
    assert_eq!(error["error"]["param"], "prompt");
    assert!(error["error"]["message"].as_str().is_some_and(|text| text.contains("/v1/chat/completions")));
}

#[tokio::test]
async fn beside_an_upstream_the_built_in_models_are_not_chosen() {
    let upstream = MockUpstream::start([Reply::Whole(
        json!({"choices": [{"index": 0, "text": "x", "finish_reason": "stop"}]}),
    )])
    .await;
    let gateway = Gateway::start(&format!(
        "[[models]]\nname = \"tiny\"\ncatalogue = \"pico-dense\"\n{}",
        upstream.model("up")
    ))
    .await;
    let response = gateway.post("/v1/completions", &prompt(false)).send().await.expect("a response");
    assert_eq!(header(&response, "x-thinkgate-model"), "up");
}

#[tokio::test]
async fn what_is_refused_is_named() {
    let upstream = MockUpstream::start([Reply::Status(
        404,
        vec![],
        r#"{"error": {"message": "no such route"}}"#.into(),
    )])
    .await;
    let gateway = Gateway::before(&upstream).await;
    for (body, status, param) in [
        (json!({"model": "up"}), 400, json!("prompt")),
        (json!({"model": "up", "prompt": 3}), 400, json!("prompt")),
        (json!({"model": "up", "prompt": "x", "temperature": 9}), 400, json!("temperature")),
        (json!({"model": "up", "prompt": "x"}), 404, Value::Null),
    ] {
        let response = gateway.post("/v1/completions", &body).send().await.expect("a response");
        assert_eq!(response.status(), status, "{body}");
        assert_eq!(json_of(response).await["error"]["param"], param);
    }
    let chat = gateway.chat(&json!({"model": "up", "prompt": "x"})).send().await.expect("a response");
    assert_eq!(json_of(chat).await["error"]["param"], "messages", "a chat needs messages");
}
