use serde_json::{Value, json};

use crate::support::{Gateway, MockUpstream, header, json_of, whole};

fn question() -> Value {
    json!({"model": "up", "max_tokens": 500, "messages": [{"role": "user", "content": "What is 6 times 7?"}]})
}

#[tokio::test]
async fn tokens_are_counted_by_the_models_own_tokenizer_where_it_is_at_hand() {
    let gateway = Gateway::start("").await;
    let mut body = question();
    body["model"] = "pico-dense".into();
    body["thinking"] = json!({"type": "disabled"});
    let response = gateway.post("/v1/messages/count_tokens", &body).send().await.expect("a response");
    assert_eq!(header(&response, "x-thinkgate-tokens"), "exact");
    let counted = json_of(response).await["input_tokens"].clone();
    body["max_tokens"] = 1.into();
    let answer = json_of(gateway.post("/v1/messages", &body).send().await.expect("a response")).await;
    let usage = &answer["usage"];
    let read = usage["input_tokens"].as_u64().expect("a count")
        + usage["cache_read_input_tokens"].as_u64().unwrap_or(0);
    assert_eq!(counted, read, "{answer}");
}

#[tokio::test]
async fn tokens_of_other_models_are_estimated_without_asking_them() {
    let upstream = MockUpstream::start([whole(json!({"content": "x"}))]).await;
    let gateway = Gateway::before(&upstream).await;
    let response = gateway.post("/v1/messages/count_tokens", &question()).send().await.expect("a response");
    assert_eq!(header(&response, "x-thinkgate-tokens"), "estimated");
    assert!(json_of(response).await["input_tokens"].as_u64().is_some_and(|tokens| (5..30).contains(&tokens)));
    assert!(upstream.bodies().is_empty());
    let refused = gateway.post("/v1/messages/count_tokens", &json!({})).send().await.expect("a response");
    assert_eq!(refused.status(), 400);
    assert_eq!(json_of(refused).await["type"], "error");
}
