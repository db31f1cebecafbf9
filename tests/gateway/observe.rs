use serde_json::{Value, json};

use crate::support::{Gateway, MockUpstream, ask, header, json_of, whole};

#[tokio::test]
async fn deciding_calls_nothing() {
    let upstream = MockUpstream::start([whole(json!({"content": "x"}))]).await;
    let gateway = Gateway::before(&upstream).await;
    let request = gateway.post("/v1/decision", &ask("What is the capital of France?"));
    let response = request.header("x-thinkgate-thinking", "budget=300").send().await.expect("a response");
    assert_eq!(header(&response, "x-thinkgate-thinking"), "on");
    let decision = json_of(response).await;
    assert_eq!(decision["thinking"]["mode"], "on");
    assert_eq!(decision["thinking"]["source"], "header");
    assert_eq!(decision["model"], "up");
    assert!(decision["arms"].as_array().is_some_and(|arms| !arms.is_empty()));
    assert!(upstream.bodies().is_empty());
}

#[tokio::test]
async fn metrics_count_what_happened() {
    let upstream = MockUpstream::start([whole(json!({"role": "assistant", "content": "x"}))]).await;
    let gateway = Gateway::before(&upstream).await;
    gateway.chat(&ask("hi")).send().await.expect("a response").text().await.expect("a body");
    gateway.chat(&json!({})).send().await.expect("a response");
    gateway.metric("thinkgate_requests_total{outcome=\"answered\",route=\"chat\"} 1").await;
    gateway.metric("thinkgate_requests_total{outcome=\"refused\",route=\"chat\"} 1").await;
    let response = gateway.get("/metrics").send().await.expect("a response");
    assert!(header(&response, "content-type").starts_with("text/plain"));
    let text = response.text().await.expect("a body");
    assert!(text.contains("thinkgate_decision_seconds_count 1"), "{text}");
    assert!(text.contains("thinkgate_tokens_total{kind=\"prompt\",model=\"up\"} 5"), "{text}");
    assert!(text.contains("thinkgate_decisions_total{"), "{text}");
}

#[tokio::test]
async fn the_decision_log_has_a_line_per_decided_request_and_no_prompt() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("decisions.jsonl");
    let upstream = MockUpstream::start([whole(json!({"role": "assistant", "content": "the answer"}))]).await;
    let config = format!("{}[log]\ndecisions = \"{}\"\n", upstream.model("up"), path.display());
    let mut gateway = Gateway::start(&config).await;
    let request = gateway.chat(&ask("my secret question")).header("x-request-id", "r-1");
    request.send().await.expect("a response").text().await.expect("a body");
    gateway.stop();
    gateway.ended().await;
    drop(gateway);
    let line = async {
        loop {
            let text = std::fs::read_to_string(&path).expect("the log");
            if text.ends_with('\n') {
                return text;
            }
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    let text = tokio::time::timeout(crate::support::PATIENCE, line).await.expect("a line");
    let line: Value = serde_json::from_str(text.trim()).expect("one JSON line");
    assert_eq!(line["request_id"], "r-1");
    assert_eq!(line["outcome"], "answered");
    assert_eq!(line["decision"]["model"], "up");
    assert_eq!(line["usage"]["completion_tokens"], 7);
    assert!(!text.contains("secret") && !text.contains("the answer"), "{text}");
}

#[tokio::test]
async fn the_front_page_says_what_runs() {
    let gateway = Gateway::start("").await;
    let text = gateway.get("/").send().await.expect("a response").text().await.expect("a body");
    assert!(text.contains("pico-moe (moe)") && text.contains("/v1/chat/completions"), "{text}");
}
