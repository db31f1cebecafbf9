use serde_json::{Value, json};
use thinkgate::config::{Dialect, Wire};

use crate::support::{Gateway, MockUpstream, Reply, ask, header, json_of, whole};

/// Says something about thinking in the words of many dialects.
fn loud() -> Value {
    let mut body = ask("Prove that the square root of 2 is irrational.");
    for (field, value) in [
        ("thinking", json!({"type": "enabled", "budget_tokens": 900})),
        ("enable_thinking", json!(true)),
        ("think", json!("high")),
        ("reasoning", json!({"effort": "high"})),
        ("reasoning_effort", json!("high")),
        ("include_reasoning", json!(true)),
        ("thinking_budget", json!(900)),
        ("thinking_token_budget", json!(900)),
        ("chat_template_kwargs", json!({"enable_thinking": true, "thinking": true})),
        ("reasoning_format", json!("raw")),
        ("separate_reasoning", json!(true)),
        ("output_config", json!({"effort": "high"})),
    ] {
        body[field] = value;
    }
    body
}

fn config(upstream: &MockUpstream, dialect: Dialect) -> String {
    let thinking = if dialect == Dialect::Generic { "thinking = \"always\"\n" } else { "" };
    format!(
        "[[models]]\nname = \"up\"\narchitecture = \"dense\"\n{thinking}[models.upstream]\nurl = \"{}\"\n\
         dialect = \"{}\"\nmodel_id = \"vendor/unlisted\"\n",
        upstream.url(),
        dialect.as_str()
    )
}

#[tokio::test]
async fn no_strict_server_refuses_what_a_client_of_another_dialect_said() {
    let answer = json!({"choices": [{"index": 0, "message": {"content": "ok"}, "finish_reason": "stop"}]});
    for dialect in Dialect::ALL.iter().filter(|dialect| dialect.wire() == Wire::Chat) {
        // DashScope's thinking comes as a stream, which is put together elsewhere.
        if *dialect == Dialect::Dashscope {
            continue;
        }
        let upstream = MockUpstream::start([Reply::Strict(dialect.as_str(), answer.clone())]).await;
        let gateway = Gateway::start(&config(&upstream, *dialect)).await;
        for mode in ["off", "on", "budget=700", "xhigh"] {
            let response =
                gateway.chat(&loud()).header("x-thinkgate-thinking", mode).send().await.expect("an answer");
            let status = response.status();
            let applied = header(&response, "x-thinkgate-applied").to_owned();
            assert!(applied.starts_with("mode="), "{applied}");
            let body = json_of(response).await;
            assert_eq!(status, 200, "{} {mode}: {body}", dialect.as_str());
        }
        // A lax server would have hidden it.
        for body in upstream.bodies() {
            let faults = crate::strict::faults(dialect.as_str(), body.as_object().expect("an object"));
            assert!(faults.is_empty(), "{}: {faults:?}", dialect.as_str());
        }
    }
}

#[tokio::test]
async fn what_was_lost_is_told_in_header_notes_and_log() {
    let upstream = MockUpstream::start([whole(json!({"content": "ok"}))]).await;
    let log = tempfile::NamedTempFile::new().expect("a file");
    let logged = format!("[log]\ndecisions = \"{}\"\n{}", log.path().display(), upstream.model("up"));
    let gateway = Gateway::start(&logged).await;
    let body = json!({"messages": [{"role": "user", "content": "hi"}], "thinking": {"type": "enabled", "budget_tokens": 900}});
    let response = gateway.chat(&body).send().await.expect("an answer");
    assert_eq!(header(&response, "x-thinkgate-applied"), "mode=on;lossy=budget_dropped");
    assert_eq!(response.status(), 200);
    let decision = json_of(gateway.post("/v1/decision", &body).send().await.expect("a decision")).await;
    assert_eq!(decision["applied"], json!({"mode": "on", "lossy": ["budget_dropped"]}));
    let notes = decision["notes"].to_string();
    assert!(notes.contains("applied budget_dropped: the backend enforces no budget"), "{notes}");
    drop(gateway);
    let text = std::fs::read_to_string(log.path()).expect("a log");
    let line: Value = serde_json::from_str(text.lines().next().expect("a line")).expect("JSON");
    assert_eq!(line["decision"]["applied"]["lossy"], json!(["budget_dropped"]));
}

#[tokio::test]
async fn two_models_for_two_modes_are_one_model() {
    let upstream = MockUpstream::start([whole(json!({"content": "ok"}))]).await;
    let config = format!(
        "[[models]]\nname = \"pair\"\narchitecture = \"dense\"\n[models.upstream]\nurl = \"{}\"\ndialect = \"vllm\"\n\
         model_id = \"Qwen/Qwen3-4B-Instruct-2507\"\nthinking_model_id = \"Qwen/Qwen3-4B-Thinking-2507\"\n",
        upstream.url()
    );
    let gateway = Gateway::start(&config).await;
    for (mode, id, applied) in [
        ("off", "Qwen/Qwen3-4B-Instruct-2507", "mode=off"),
        (
            "on",
            "Qwen/Qwen3-4B-Thinking-2507",
            "mode=on;model=Qwen/Qwen3-4B-Thinking-2507;lossy=budget_dropped,switched_model",
        ),
    ] {
        let sent =
            gateway.chat(&ask("hi")).header("x-thinkgate-thinking", mode).send().await.expect("an answer");
        assert_eq!(header(&sent, "x-thinkgate-applied"), applied);
        assert_eq!(header(&sent, "x-thinkgate-thinking"), mode);
        let body = upstream.bodies().pop().expect("asked");
        assert_eq!(body["model"], id);
        assert!(body.get("chat_template_kwargs").is_none(), "neither reads a flag: {body}");
    }
}

#[tokio::test]
async fn a_key_is_shown_as_the_vendor_wants_it() {
    let upstream = MockUpstream::start([whole(json!({"content": "ok"}))]).await;
    let more = "api_key_env = \"UPSTREAM_KEY\"\napi_version = \"2025-04-01-preview\"\n";
    let config = format!("{}{more}", config(&upstream, Dialect::Azure));
    let gateway = Gateway::start(&config).await;
    assert_eq!(gateway.chat(&ask("hi")).send().await.expect("an answer").status(), 200);
    let headers = upstream.headers();
    assert_eq!(headers.get("api-key").expect("a key"), "upstream-key");
    assert!(headers.get("authorization").is_none());
}

#[tokio::test]
async fn a_model_that_always_thinks_is_asked_for_as_little_as_it_can() {
    let upstream = MockUpstream::start([whole(json!({"content": "ok"}))]).await;
    let config = format!(
        "[[models]]\nname = \"oss\"\narchitecture = \"moe\"\n[models.upstream]\nurl = \"{}\"\ndialect = \"vllm\"\n\
         model_id = \"openai/gpt-oss-20b\"\n",
        upstream.url()
    );
    let gateway = Gateway::start(&config).await;
    let sent =
        gateway.chat(&ask("hi")).header("x-thinkgate-thinking", "off").send().await.expect("an answer");
    assert_eq!(header(&sent, "x-thinkgate-applied"), "mode=on;effort=low;lossy=off_unsupported>min_effort");
    assert_eq!(upstream.bodies()[0]["reasoning_effort"], "low");
}
