use serde_json::{Value, json};

use crate::support::{Gateway, MockUpstream, Named, Reply, chunk, finish, json_of, whole};

fn usage() -> Value {
    json!({"id": "x", "choices": [], "usage": {"prompt_tokens": 15, "completion_tokens": 7, "total_tokens": 22}})
}

/// A request as Claude Code sends it, with everything that makes its requests unlike others.
fn claude_code() -> Value {
    let text = include_str!("clients/claude-code.json");
    serde_json::from_str(text).expect("JSON")
}

#[tokio::test]
async fn claude_codes_request_passes_unharmed() {
    let upstream = MockUpstream::start([Reply::events(&[
        chunk(json!({"reasoning": "Look first."})),
        chunk(json!({"content": "Reading it."})),
        chunk(json!({"tool_calls": [{"index": 0, "id": "c9", "type": "function",
                                     "function": {"name": "Read", "arguments": "{\"file_path\":\"/a\"}"}}]})),
        finish("tool_calls"),
        usage(),
    ])])
    .await;
    let gateway = Gateway::before_unknown(&upstream).await;
    let request =
        gateway.post("/v1/messages?beta=true", &claude_code()).header("anthropic-version", "2023-06-01");
    let request = request
        .header("anthropic-beta", "claude-code-20250219,interleaved-thinking-2025-05-14,effort-2025-11-24")
        .header("x-app", "cli")
        .header("x-stainless-lang", "js");
    let response = request.send().await.expect("a response");
    assert_eq!(response.status(), 200);
    let named = Named::of(response).await;
    let kinds: Vec<&str> =
        named.events.iter().filter_map(|event| event.pointer("/content_block/type")?.as_str()).collect();
    assert_eq!(kinds, ["thinking", "text", "tool_use"]);
    let seen = &upstream.bodies()[0];
    let messages = seen["messages"].as_array().expect("a list");
    assert_eq!(messages[0]["content"][0]["cache_control"], json!({"type": "ephemeral"}));
    let answer = messages.iter().find(|message| message["role"] == "assistant").expect("an earlier answer");
    assert_eq!(answer["thinking_blocks"][0]["signature"], "ErUBCkYIBxgCIkA");
    assert_eq!(seen["tools"].as_array().map(Vec::len), claude_code()["tools"].as_array().map(Vec::len));
    assert!(seen.get("output_config").is_none() && seen.get("context_management").is_none());
}

#[tokio::test]
async fn codexs_request_passes_unharmed() {
    let body: Value = serde_json::from_str(include_str!("clients/codex.json")).expect("JSON");
    let reply = Reply::events(&[
        chunk(json!({"reasoning": "Look first."})),
        chunk(json!({"tool_calls": [{"index": 0, "id": "c9", "type": "function",
                                     "function": {"name": "shell", "arguments": "{\"command\":[\"ls\"]}"}}]})),
        finish("tool_calls"),
        usage(),
    ]);
    let upstream = MockUpstream::start([reply]).await;
    let gateway = Gateway::before_unknown(&upstream).await;
    let request = gateway.post("/v1/responses", &body).header("originator", "codex_cli_rs");
    let request = request.header("session_id", "9b2d").header("openai-beta", "responses=experimental");
    let response = request.header("accept", "text/event-stream").send().await.expect("a response");
    assert_eq!(response.status(), 200);
    let named = Named::of(response).await;
    let kinds: Vec<&str> = named.last()["response"]["output"]
        .as_array()
        .expect("items")
        .iter()
        .filter_map(|item| item["type"].as_str())
        .collect();
    assert_eq!(kinds, ["reasoning", "function_call"]);
    assert!(named.order().contains(&"response.reasoning_summary_text.delta"));
    let seen = &upstream.bodies()[0];
    let messages = seen["messages"].as_array().expect("a list");
    let roles: Vec<&str> = messages.iter().filter_map(|message| message["role"].as_str()).collect();
    assert_eq!(roles, ["system", "user", "user", "assistant", "tool"]);
    assert_eq!(messages[3]["reasoning_details"][0]["data"], "gAAAAABpQ");
    assert_eq!(messages[3]["tool_calls"][0]["function"]["name"], "shell");
    let names: Vec<&str> = seen["tools"]
        .as_array()
        .expect("tools")
        .iter()
        .filter_map(|tool| tool["function"]["name"].as_str())
        .collect();
    assert_eq!(names, ["shell", "update_plan", "apply_patch"]);
    assert_eq!(seen["prompt_cache_key"], body["prompt_cache_key"]);
}

#[tokio::test]
async fn a_request_is_judged_alike_in_every_form() {
    let upstream = MockUpstream::start([whole(json!({"content": "x"}))]).await;
    let gateway = Gateway::before(&upstream).await;
    let decided = async |body: Value| {
        let response = gateway.post("/v1/decision", &body).send().await.expect("a response");
        assert_eq!(response.status(), 200, "{body}");
        json_of(response).await
    };
    let text = "已知x²+2x+1=0，求x的值";
    let tools = json!([{"name": "ls", "input_schema": {"type": "object"}}]);
    let chat = decided(
        json!({"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": text}]}),
    )
    .await;
    for body in [
        json!({"system": "Be brief.", "messages": [{"role": "user", "content": [{"type": "text", "text": text}]}]}),
        json!({"instructions": "Be brief.", "input": text}),
        json!({"input": [{"role": "system", "content": "Be brief."},
                         {"role": "user", "content": [{"type": "input_text", "text": text}]}]}),
    ] {
        let other = decided(body.clone()).await;
        for field in ["score", "thinking", "task", "ask"] {
            assert_eq!(other[field], chat[field], "{field} of {body}");
        }
    }
    let with_tools = decided(json!({"tools": tools, "messages": [{"role": "user", "content": text}]})).await;
    assert_eq!(with_tools["thinking"]["mode"], "on");
    assert_eq!(decided(json!({"prompt": text})).await["thinking"]["mode"], "on");
    let claude_code = decided(claude_code()).await;
    assert_eq!(claude_code["wishes"], json!([]), "adaptive thinking and an effort are no wish to think");
}
