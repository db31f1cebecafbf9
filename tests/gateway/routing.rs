use serde_json::json;

use crate::support::{Gateway, MockUpstream, Reply, ask, header, json_of, whole};

const ANSWER: &str = "Paris.";

async fn answering() -> MockUpstream {
    MockUpstream::start([whole(json!({"role": "assistant", "content": ANSWER}))]).await
}

#[tokio::test]
async fn a_client_field_decides_the_mode_and_the_upstream_hears_it() {
    let upstream = answering().await;
    let gateway = Gateway::before(&upstream).await;
    for (on, field) in [(true, json!({"enable_thinking": true})), (false, json!({"enable_thinking": false}))]
    {
        let mut body = ask("What is the capital of France?");
        body["chat_template_kwargs"] = field;
        let response = gateway.chat(&body).send().await.expect("a response");
        assert_eq!(response.status(), 200);
        assert_eq!(header(&response, "x-thinkgate-thinking"), if on { "on" } else { "off" });
        assert_eq!(json_of(response).await["choices"][0]["message"]["content"], ANSWER);
        let sent = upstream.bodies().pop().expect("a request");
        assert_eq!(sent["chat_template_kwargs"], json!({"enable_thinking": on, "thinking": on}));
        assert_eq!(sent["model"], "Qwen/Qwen3-4B");
    }
}

#[tokio::test]
async fn the_header_outranks_the_field() {
    let upstream = answering().await;
    let gateway = Gateway::before(&upstream).await;
    let mut body = ask("hi");
    body["enable_thinking"] = false.into();
    let response = gateway.chat(&body).header("x-thinkgate-thinking", "on").send().await.expect("a response");
    assert_eq!(header(&response, "x-thinkgate-thinking"), "on");
    assert!(header(&response, "x-thinkgate-decision").contains("source=header"));
    assert_eq!(upstream.bodies()[0]["chat_template_kwargs"]["enable_thinking"], true);
}

#[tokio::test]
async fn every_decision_header_is_there_and_the_body_names_the_served_model() {
    let upstream = answering().await;
    let gateway = Gateway::before(&upstream).await;
    let response =
        gateway.chat(&ask("hi")).header("x-request-id", "mine-1").send().await.expect("a response");
    assert_eq!(header(&response, "x-thinkgate-model"), "up");
    assert_eq!(header(&response, "x-thinkgate-architecture"), "dense");
    assert_eq!(header(&response, "x-request-id"), "mine-1");
    assert!(header(&response, "x-thinkgate-score").parse::<f64>().is_ok());
    assert!(header(&response, "x-thinkgate-decision").contains("model=up"));
    let body = json_of(response).await;
    assert_eq!(body["model"], "up");
    assert_eq!(body["object"], "chat.completion");
    assert_eq!(body["usage"]["total_tokens"], 12);
}

#[tokio::test]
async fn the_model_header_chooses_and_must_name_a_model() {
    let (one, two) = (answering().await, answering().await);
    let gateway = Gateway::start(&(one.model("one") + &two.model("two"))).await;
    for (name, upstream) in [("two", &two), ("one", &one)] {
        let response =
            gateway.chat(&ask("hi")).header("x-thinkgate-model", name).send().await.expect("a response");
        assert_eq!(header(&response, "x-thinkgate-model"), name);
        assert_eq!(upstream.bodies().len(), 1);
    }
    let response =
        gateway.chat(&ask("hi")).header("x-thinkgate-model", "three").send().await.expect("a response");
    assert_eq!(response.status(), 404);
    assert_eq!(json_of(response).await["error"]["code"], "model_not_found");
}

#[tokio::test]
async fn reasoning_comes_out_in_one_field_whatever_its_place_upstream() {
    for message in [
        json!({"role": "assistant", "content": "42", "reasoning": "6 times 7"}),
        json!({"role": "assistant", "content": "42", "reasoning_content": "6 times 7"}),
        json!({"role": "assistant", "content": "<think>\n6 times 7\n</think>\n\n42"}),
        json!({"role": "assistant", "content": "6 times 7\n</think>\n\n42"}),
    ] {
        let upstream = MockUpstream::start([whole(message)]).await;
        let gateway = Gateway::before(&upstream).await;
        let mut body = ask("6*7?");
        body["enable_thinking"] = true.into();
        let body = json_of(gateway.chat(&body).send().await.expect("a response")).await;
        let message = &body["choices"][0]["message"];
        assert_eq!(message["content"], "42");
        assert_eq!(message["reasoning_content"], "6 times 7");
        assert!(message.get("reasoning").is_none());
    }
}

#[tokio::test]
async fn no_empty_reasoning_comes_out() {
    let upstream = MockUpstream::start([whole(
        json!({"role": "assistant", "content": "<think>\n\n</think>\n\n42", "reasoning": ""}),
    )])
    .await;
    let gateway = Gateway::before(&upstream).await;
    let body = json_of(gateway.chat(&ask("6*7?")).send().await.expect("a response")).await;
    assert_eq!(body["choices"][0]["message"], json!({"role": "assistant", "content": "42"}));
}

#[tokio::test]
async fn another_model_answers_when_the_chosen_one_has_not_begun() {
    let full = MockUpstream::start([Reply::Status(503, vec![], "{}".into())]).await;
    let (busy, spare) = (full, answering().await);
    let gateway = Gateway::start(&(busy.model("busy") + &spare.model("spare"))).await;
    let first =
        gateway.chat(&ask("hi")).header("x-thinkgate-thinking", "off").send().await.expect("a response");
    assert_eq!(first.status(), 200);
    assert_eq!(header(&first, "x-thinkgate-model"), "spare");
    assert_eq!(json_of(first).await["model"], "spare");
    assert_eq!(busy.bodies().len(), 1, "one try each");
    gateway.metric("thinkgate_fallbacks_total 1").await;
}

#[tokio::test]
async fn a_model_the_client_named_is_not_replaced() {
    let busy = MockUpstream::start([Reply::Status(503, vec![], "{}".into())]).await;
    let spare = answering().await;
    let gateway = Gateway::start(&(busy.model("busy") + &spare.model("spare"))).await;
    let mut body = ask("hi");
    body["model"] = "busy".into();
    let response = gateway.chat(&body).send().await.expect("a response");
    assert_eq!(response.status(), 503);
    assert!(spare.bodies().is_empty());
}

#[tokio::test]
async fn a_request_that_may_be_running_is_not_started_again() {
    let broken = MockUpstream::start([Reply::Status(500, vec![], "{}".into())]).await;
    let spare = answering().await;
    let gateway = Gateway::start(&(broken.model("broken") + &spare.model("spare"))).await;
    let response = gateway.chat(&ask("hi")).send().await.expect("a response");
    assert_eq!(response.status(), 502);
    assert_eq!(header(&response, "x-should-retry"), "false");
    assert!(spare.bodies().is_empty());
}

#[tokio::test]
async fn a_model_that_keeps_failing_is_left_out() {
    let broken = MockUpstream::start([Reply::Status(500, vec![], "{}".into())]).await;
    let spare = answering().await;
    let gateway = Gateway::start(&(broken.model("broken") + &spare.model("spare"))).await;
    for _ in 0..5 {
        let response = gateway.chat(&ask("hi")).send().await.expect("a response");
        assert_eq!(response.status(), 502);
    }
    let response = gateway.chat(&ask("hi")).send().await.expect("a response");
    assert_eq!(response.status(), 200);
    assert_eq!(header(&response, "x-thinkgate-model"), "spare");
    assert_eq!(broken.bodies().len(), 5);
}

#[tokio::test]
async fn only_our_own_headers_and_key_go_upstream() {
    let upstream = answering().await;
    let config = upstream.model_with("up", "api_key_env = \"UPSTREAM_KEY\"");
    let gateway = Gateway::start(&config).await;
    let request = gateway
        .chat(&ask("hi"))
        .header("authorization", "Bearer client-secret")
        .header("cookie", "a=b")
        .header("x-forwarded-for", "1.2.3.4")
        .header("x-thinkgate-thinking", "off");
    assert_eq!(request.send().await.expect("a response").status(), 200);
    let headers = upstream.headers();
    assert_eq!(headers["authorization"], "Bearer upstream-key");
    assert_eq!(headers["accept-encoding"], "identity");
    for absent in ["cookie", "x-forwarded-for", "x-thinkgate-thinking", "referer"] {
        assert!(!headers.contains_key(absent), "{absent}");
    }
}

#[tokio::test]
async fn unknown_fields_reach_the_upstream_as_they_came() {
    let upstream = answering().await;
    let gateway = Gateway::before(&upstream).await;
    let mut body = ask("hi");
    body["guided_choice"] = json!(["a", "b"]);
    body["metadata"] = json!({"user": "x", "nested": {"deep": [1, 2.5, null]}});
    body["n"] = 2.into();
    gateway.chat(&body).send().await.expect("a response");
    let sent = &upstream.bodies()[0];
    for field in ["guided_choice", "metadata", "n", "messages"] {
        assert_eq!(sent[field], body[field], "{field}");
    }
}
