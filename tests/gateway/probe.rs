use std::io::Write;
use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::support::{MockUpstream, Reply, whole};

const THOUGHT: &str =
    "The primes after 20 are 23, 29, 31, 37, 41, 43, 47, 53 and 59. Counting them one by one, that is nine.";

fn thinking(tokens: u64) -> Reply {
    let thought = THOUGHT.repeat(usize::try_from(tokens / 40 + 1).expect("small"));
    Reply::Whole(json!({
        "choices": [{"index": 0, "message": {"content": "9", "reasoning": thought}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 20, "completion_tokens": tokens + 2, "total_tokens": tokens + 22,
                  "completion_tokens_details": {"reasoning_tokens": tokens}},
    }))
}

async fn probe(config: &str, json: bool) -> (Output, String) {
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(config.as_bytes()).expect("written");
    let output = tokio::task::spawn_blocking(move || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_thinkgate"));
        command.args(["models", "--probe", "--config"]).arg(file.path());
        if json {
            command.arg("--json");
        }
        command.output().expect("the binary runs")
    })
    .await
    .expect("ends");
    let text = String::from_utf8(output.stdout.clone()).expect("UTF-8");
    (output, text)
}

#[tokio::test]
async fn a_switch_that_works_and_a_budget_that_is_refused() {
    let refusal =
        json!({"error": {"message": "thinking_token_budget is set but reasoning_config is not configured"}});
    let refused = Reply::Status(400, vec![], refusal.to_string());
    let upstream = MockUpstream::start([whole(json!({"content": "9"})), thinking(400), refused]).await;
    let (output, text) = probe(&upstream.model("up"), true).await;
    assert_eq!(output.status.code(), Some(0), "{text}");
    let report: Value = serde_json::from_str(&text).expect("JSON");
    let probe = &report["probes"][0];
    assert_eq!(probe["switch"], "obeyed");
    assert_eq!(probe["reasoning_in"], "reasoning");
    assert_eq!(probe["usage"], "counted, within the generated");
    assert!(
        probe["budget"].as_str().expect("told").starts_with("refused: 400: thinking_token_budget"),
        "{probe}"
    );
    let bodies = upstream.bodies();
    let flags: Vec<&Value> =
        bodies.iter().map(|body| &body["chat_template_kwargs"]["enable_thinking"]).collect();
    assert_eq!(flags, [false, true, true]);
    assert!(bodies[1].get("thinking_token_budget").is_none(), "only the last one tries a budget");
    assert_eq!(bodies[2]["thinking_token_budget"], 64);
}

#[tokio::test]
async fn a_server_that_ignores_the_switch_is_found_out() {
    let upstream = MockUpstream::start([thinking(400)]).await;
    let (output, text) = probe(&upstream.model("up"), false).await;
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(text.contains("no effect: thinks when told not to"), "{text}");
    assert!(text.contains("ignored: 400 instead of 64 tokens"), "{text}");
    let silent = MockUpstream::start([whole(json!({"content": "9"}))]).await;
    let (_, text) = probe(&silent.model("up"), false).await;
    assert!(text.contains("no effect: does not think when told to"), "{text}");
}

#[tokio::test]
async fn a_budget_that_is_kept() {
    let upstream = MockUpstream::start([whole(json!({"content": "9"})), thinking(400), thinking(60)]).await;
    let (_, text) = probe(&upstream.model("up"), false).await;
    assert!(text.contains("kept: 60 of 64 tokens"), "{text}");
}

#[tokio::test]
async fn a_model_that_cannot_be_reached_fails_the_command_after_the_others_were_asked() {
    let upstream = MockUpstream::start([whole(json!({"content": "9"})), thinking(400)]).await;
    let gone = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("bound");
    let config = format!(
        "[[models]]\nname = \"gone\"\narchitecture = \"dense\"\n\
         upstream = {{ url = \"http://{gone}/v1\", dialect = \"vllm\", model_id = \"m\" }}\n{}",
        upstream.model("up")
    );
    let (output, text) = probe(&config, false).await;
    assert_eq!(output.status.code(), Some(3), "{text}");
    assert!(text.contains("no connection") && text.contains("obeyed"), "{text}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("not reached: gone"));
}

#[tokio::test]
async fn a_wrong_key_is_not_taken_for_an_answer() {
    let refused = Reply::Status(401, vec![], json!({"error": {"message": "bad key"}}).to_string());
    let upstream = MockUpstream::start([refused]).await;
    let (output, text) = probe(&upstream.model("up"), false).await;
    assert_eq!(output.status.code(), Some(3));
    assert!(text.contains("status 401: bad key"), "{text}");
}
