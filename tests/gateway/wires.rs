use std::path::Path;

use aws_smithy_eventstream::frame::write_message_to;
use aws_smithy_types::event_stream::{Header, HeaderValue, Message};
use bytes::Bytes;
use serde_json::{Value, json};

use crate::support::{Events, Gateway, MockUpstream, Reply, ask, chunk, finish, header, json_of, whole};

/// The configuration of a model behind one of these dialects.
fn model(upstream: &MockUpstream, dialect: &str, id: &str) -> String {
    format!(
        "[[models]]\nname = \"up\"\narchitecture = \"dense\"\n[models.upstream]\nurl = \"{}\"\n\
         dialect = \"{dialect}\"\nmodel_id = \"{id}\"\napi_key_env = \"UPSTREAM_KEY\"\n",
        upstream.url()
    )
}

/// A dialect with a wire of its own, and where its requests go.
struct Case {
    dialect: &'static str,
    id: &'static str,
    media_type: &'static str,
    stream: &'static str,
    paths: [&'static str; 2],
    key: (&'static str, &'static str),
}

const CASES: [Case; 4] = [
    Case {
        dialect: "anthropic",
        id: "claude-sonnet-4-6",
        media_type: "text/event-stream; charset=utf-8",
        stream: "anthropic-thinking-and-tools.sse",
        paths: ["/v1/messages", "/v1/messages"],
        key: ("x-api-key", "upstream-key"),
    },
    Case {
        dialect: "gemini",
        id: "gemini-2.5-flash",
        media_type: "text/event-stream",
        stream: "gemini-thoughts-and-call.sse",
        paths: [
            "/v1/models/gemini-2.5-flash:streamGenerateContent?alt=sse",
            "/v1/models/gemini-2.5-flash:generateContent",
        ],
        key: ("x-goog-api-key", "upstream-key"),
    },
    Case {
        dialect: "ollama-native",
        id: "qwen3:4b",
        media_type: "application/x-ndjson",
        stream: "ollama-thinking-and-tools.ndjson",
        paths: ["/v1/api/chat", "/v1/api/chat"],
        key: ("authorization", "Bearer upstream-key"),
    },
    Case {
        dialect: "bedrock",
        id: "anthropic.claude-opus-4-7-v1:0",
        media_type: "application/vnd.amazon.eventstream",
        stream: "bedrock-reasoning-and-tools.jsonl",
        paths: [
            "/v1/model/anthropic.claude-opus-4-7-v1%3A0/converse-stream",
            "/v1/model/anthropic.claude-opus-4-7-v1%3A0/converse",
        ],
        key: ("authorization", "Bearer upstream-key"),
    },
];

fn stream_of(case: &Case) -> Bytes {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/streams").join(case.stream);
    let text = std::fs::read_to_string(path).expect("a file");
    if case.dialect != "bedrock" {
        return text.into();
    }
    let mut bytes = Vec::new();
    for line in text.lines() {
        let event: Value = serde_json::from_str(line).expect("JSON");
        let header =
            |name: &'static str, value: &str| Header::new(name, HeaderValue::String(value.to_owned().into()));
        let message = Message::new(event["data"].to_string().into_bytes())
            .add_header(header(":event-type", event["type"].as_str().expect("a type")))
            .add_header(header(":message-type", "event"));
        write_message_to(&message, &mut bytes).expect("a frame");
    }
    bytes.into()
}

/// The same answer in one piece.
fn whole_of(case: &Case) -> Value {
    match case.dialect {
        "anthropic" => json!({"id": "msg_1", "type": "message", "role": "assistant", "content": [
            {"type": "thinking", "thinking": "I need the weather.", "signature": "c2lnMQ=="},
            {"type": "text", "text": "Looking."},
            {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Bern"}}],
            "stop_reason": "tool_use", "usage": {"input_tokens": 25, "output_tokens": 60}}),
        "gemini" => {
            json!({"candidates": [{"index": 0, "finishReason": "STOP", "content": {"role": "model", "parts": [
            {"text": "I need the weather.", "thought": true},
            {"text": "Looking."},
            {"functionCall": {"name": "weather", "args": {"city": "Bern"}}, "thoughtSignature": "c2lnMQ=="}]}}],
            "usageMetadata": {"promptTokenCount": 25, "candidatesTokenCount": 40, "thoughtsTokenCount": 20}})
        }
        "ollama-native" => {
            json!({"model": "qwen3:4b", "done": true, "done_reason": "stop", "prompt_eval_count": 25,
            "eval_count": 60, "message": {"role": "assistant", "content": "Looking.", "thinking": "I need the weather.",
            "tool_calls": [{"function": {"name": "weather", "arguments": {"city": "Bern"}}}]}})
        }
        _ => json!({"output": {"message": {"role": "assistant", "content": [
            {"reasoningContent": {"reasoningText": {"text": "I need the weather.", "signature": "c2lnMQ=="}}},
            {"text": "Looking."},
            {"toolUse": {"toolUseId": "tooluse_1", "name": "weather", "input": {"city": "Bern"}}}]}},
            "stopReason": "tool_use", "usage": {"inputTokens": 25, "outputTokens": 60, "totalTokens": 85}}),
    }
}

/// A question with a tool, to be thought about.
fn question() -> Value {
    let mut body = ask("How is the weather in Bern?");
    body["enable_thinking"] = true.into();
    body["max_tokens"] = 20_000.into();
    body["tools"] = json!([{"type": "function", "function": {"name": "weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}}]);
    body
}

#[tokio::test]
async fn a_stream_of_every_wire_reaches_the_client_wherever_it_is_cut() {
    for case in &CASES {
        let bytes = stream_of(case);
        for size in [7, 100_000] {
            let pieces = bytes.chunks(size).map(Bytes::copy_from_slice).collect();
            let upstream = MockUpstream::start([Reply::Stream(case.media_type, pieces)]).await;
            let gateway = Gateway::start(&model(&upstream, case.dialect, case.id)).await;
            let mut body = question();
            body["stream"] = true.into();
            body["stream_options"] = json!({"include_usage": true});
            let response = gateway.chat(&body).send().await.expect("a response");
            assert_eq!(response.status(), 200, "{}", case.dialect);
            let events = Events::of(response).await;
            assert!(events.done, "{}", case.dialect);
            assert!(!events.joined("reasoning_content").is_empty(), "{}", case.dialect);
            assert!(
                events.joined("content").starts_with("Look") || events.joined("content").starts_with("Let")
            );
            let calls = events.position("/choices/0/delta/tool_calls");
            let call = &events.events[calls]["choices"][0]["delta"]["tool_calls"][0];
            assert_eq!(call["function"]["name"], "weather", "{}", case.dialect);
            let last = &events.events[events.position("/choices/0/finish_reason")];
            assert_eq!(last["choices"][0]["finish_reason"], "tool_calls", "{}", case.dialect);
            let usage = &events.events.last().expect("an event")["usage"];
            assert!(usage["completion_tokens"].as_u64() > Some(0), "{}", case.dialect);
            assert_eq!(upstream.paths(), [case.paths[0]]);
            assert_eq!(upstream.headers()[case.key.0], case.key.1);
        }
    }
}

#[tokio::test]
async fn an_answer_of_every_wire_reaches_the_client_in_one_piece() {
    for case in &CASES {
        let upstream = MockUpstream::start([Reply::Whole(whole_of(case))]).await;
        let gateway = Gateway::start(&model(&upstream, case.dialect, case.id)).await;
        let response = gateway.chat(&question()).send().await.expect("a response");
        assert_eq!(response.status(), 200, "{}", case.dialect);
        let body = json_of(response).await;
        let choice = &body["choices"][0];
        assert_eq!(choice["finish_reason"], "tool_calls", "{}", case.dialect);
        let message = &choice["message"];
        assert_eq!(message["content"], "Looking.", "{}", case.dialect);
        assert_eq!(message["reasoning_content"], "I need the weather.", "{}", case.dialect);
        let function = &message["tool_calls"][0]["function"];
        assert_eq!(function["name"], "weather", "{}", case.dialect);
        let arguments: Value =
            serde_json::from_str(function["arguments"].as_str().expect("text")).expect("JSON");
        assert_eq!(arguments, json!({"city": "Bern"}), "{}", case.dialect);
        assert_eq!(body["usage"]["prompt_tokens"], 25, "{}", case.dialect);
        assert_eq!(body["usage"]["completion_tokens"], 60, "{}", case.dialect);
        assert_eq!(upstream.paths(), [case.paths[1]]);
    }
}

#[tokio::test]
async fn the_second_turn_of_a_tool_loop_is_what_every_wire_wants() {
    for (case, result, signature) in [
        (&CASES[0], "/messages/2/content/0/tool_use_id", "/messages/1/content/0/signature"),
        (&CASES[1], "/contents/2/parts/0/functionResponse/name", "/contents/1/parts/1/thoughtSignature"),
        (&CASES[2], "/messages/2/tool_name", "/messages/1/thinking"),
        (
            &CASES[3],
            "/messages/2/content/0/toolResult/toolUseId",
            "/messages/1/content/0/reasoningContent/reasoningText/signature",
        ),
    ] {
        let upstream = MockUpstream::start([Reply::Whole(whole_of(case))]).await;
        let gateway = Gateway::start(&model(&upstream, case.dialect, case.id)).await;
        let mut body = question();
        let first = json_of(gateway.chat(&body).send().await.expect("a response")).await;
        let message = first["choices"][0]["message"].clone();
        let id = message["tool_calls"][0]["id"].clone();
        let messages = body["messages"].as_array_mut().expect("a list");
        messages.push(message);
        messages.push(json!({"role": "tool", "tool_call_id": id, "content": "12 degrees"}));
        let response = gateway.chat(&body).send().await.expect("a response");
        assert_eq!(response.status(), 200, "{}", case.dialect);
        let sent = &upstream.bodies()[1];
        assert!(sent.pointer(result).is_some_and(Value::is_string), "{} in {sent}", case.dialect);
        assert!(sent.pointer(signature).is_some_and(Value::is_string), "{} in {sent}", case.dialect);
    }
}

#[tokio::test]
async fn errors_of_every_wire_keep_their_status_and_message() {
    for (case, error) in CASES.iter().zip([
        json!({"type": "error", "error": {"type": "invalid_request_error", "message": "no such thing"}}),
        json!([{"error": {"code": 400, "message": "no such thing", "status": "INVALID_ARGUMENT"}}]),
        json!({"error": "no such thing"}),
        json!({"message": "no such thing"}),
    ]) {
        let reply = Reply::Status(400, Vec::new(), error.to_string());
        let upstream = MockUpstream::start([reply]).await;
        let gateway = Gateway::start(&model(&upstream, case.dialect, case.id)).await;
        let response = gateway.chat(&question()).send().await.expect("a response");
        assert_eq!(response.status(), 400, "{}", case.dialect);
        assert_eq!(json_of(response).await["error"]["message"], "no such thing", "{}", case.dialect);
    }
}

#[tokio::test]
async fn an_overload_told_in_the_stream_before_the_first_token_lets_another_model_answer() {
    let event = json!({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}});
    let told = Reply::Stream("text/event-stream", vec![format!("event: error\ndata: {event}\n\n").into()]);
    let overloaded = MockUpstream::start([told]).await;
    let other =
        MockUpstream::start([Reply::events(&[chunk(json!({"content": "42"})), finish("stop")])]).await;
    let skilled = |config: String, skill: &str| {
        config.replace(
            "architecture",
            &format!("skill = {{ direct = {skill}, thinking = {skill} }}\narchitecture"),
        )
    };
    let config = skilled(model(&overloaded, "anthropic", "claude-sonnet-4-6"), "0.9")
        + &skilled(model(&other, "vllm", "Qwen/Qwen3-4B"), "0.2").replace("\"up\"", "\"other\"");
    let gateway = Gateway::start(&config).await;
    let mut body = ask("6*7?");
    body["model"] = "auto".into();
    body["stream"] = true.into();
    let response = gateway.chat(&body).send().await.expect("a response");
    assert_eq!(response.status(), 200);
    assert_eq!(Events::of(response).await.joined("content"), "42");
    assert!(!overloaded.bodies().is_empty(), "the better model was asked first");
    body["model"] = "up".into();
    let response = gateway.chat(&body).send().await.expect("a response");
    assert!(response.status().is_server_error());
    assert_eq!(json_of(response).await["error"]["message"], "Overloaded");
}

#[tokio::test]
async fn refused_thoughts_of_earlier_turns_are_left_out_once() {
    let refusal = |message: &str| {
        let body = json!({"type": "error", "error": {"type": "invalid_request_error", "message": message}});
        Reply::Status(400, Vec::new(), body.to_string())
    };
    let mut body = question();
    let messages = body["messages"].as_array_mut().expect("a list");
    messages.push(json!({"role": "assistant", "content": "Hm.", "thinking_blocks": [
        {"type": "thinking", "thinking": "from elsewhere", "signature": "Zm9yZWlnbg=="}]}));
    messages.push(json!({"role": "user", "content": "And in Thun?"}));

    let refused = "messages.1.content.0: Invalid `signature` in `thinking` block";
    let upstream = MockUpstream::start([refusal(refused), Reply::Whole(whole_of(&CASES[0]))]).await;
    let gateway = Gateway::start(&model(&upstream, "anthropic", CASES[0].id)).await;
    let response = gateway.chat(&body).send().await.expect("a response");
    assert_eq!(response.status(), 200);
    let sent = upstream.bodies();
    assert_eq!(sent[0]["messages"][1]["content"][0]["type"], "thinking");
    assert_eq!(sent[1]["messages"][1]["content"], json!([{"type": "text", "text": "Hm."}]));

    let upstream = MockUpstream::start([refusal(refused)]).await;
    let gateway = Gateway::start(&model(&upstream, "anthropic", CASES[0].id)).await;
    assert_eq!(gateway.chat(&body).send().await.expect("a response").status(), 400);
    assert_eq!(upstream.bodies().len(), 2, "once is enough");

    let upstream = MockUpstream::start([refusal("max_tokens: too large")]).await;
    let gateway = Gateway::start(&model(&upstream, "anthropic", CASES[0].id)).await;
    assert_eq!(gateway.chat(&body).send().await.expect("a response").status(), 400);
    assert_eq!(upstream.bodies().len(), 1, "another fault is the client's to mend");
}

#[tokio::test]
async fn a_server_that_only_streams_answers_in_one_piece() {
    let call = json!({"tool_calls": [{"index": 0, "id": "c1", "type": "function",
                     "function": {"name": "weather", "arguments": "{\"city\":"}}]});
    let mut logged = chunk(json!({"content": "Look"}));
    logged["choices"][0]["logprobs"] = json!({"content": [{"token": "Look", "logprob": -0.5}]});
    let reply = Reply::events(&[
        chunk(json!({"role": "assistant", "content": "", "reasoning_content": null})),
        chunk(json!({"reasoning_content": "I need "})),
        chunk(json!({"reasoning_content": "the weather."})),
        logged,
        chunk(json!({"content": "ing."})),
        chunk(call),
        chunk(json!({"tool_calls": [{"index": 0, "function": {"arguments": "\"Bern\"}"}}]})),
        finish("tool_calls"),
        json!({"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12}}),
    ]);
    let upstream = MockUpstream::start([reply]).await;
    let gateway = Gateway::start(&model(&upstream, "dashscope", "qwen3-32b")).await;
    let response = gateway.chat(&question()).send().await.expect("a response");
    assert_eq!(response.status(), 200);
    assert!(header(&response, "x-thinkgate-applied").contains("forced_stream"));
    let body = json_of(response).await;
    assert_eq!(upstream.bodies()[0]["stream"], true);
    let choice = &body["choices"][0];
    assert_eq!(
        choice["message"],
        json!({"role": "assistant", "content": "Looking.",
        "reasoning_content": "I need the weather.", "tool_calls": [{"id": "c1", "type": "function",
        "function": {"name": "weather", "arguments": "{\"city\":\"Bern\"}"}}]})
    );
    assert_eq!(choice["logprobs"]["content"][0]["token"], "Look");
    assert_eq!(choice["finish_reason"], "tool_calls");
    assert_eq!(body["usage"]["total_tokens"], 12);
}

#[tokio::test]
async fn a_forced_stream_that_breaks_off_is_no_answer() {
    let begun = Bytes::from(format!("data: {}\n\n", chunk(json!({"content": "It is"}))));
    let upstream = MockUpstream::start([Reply::Pieces(vec![begun])]).await;
    let gateway = Gateway::start(&model(&upstream, "dashscope", "qwen3-32b")).await;
    let response = gateway.chat(&question()).send().await.expect("a response");
    assert_eq!(response.status(), 502);
    assert_eq!(json_of(response).await["error"]["code"], "upstream_disconnected");
}

#[tokio::test]
async fn thoughts_that_a_client_shows_as_tags_do_not_go_back_as_the_answer() {
    let upstream = MockUpstream::start([whole(json!({"role": "assistant", "content": "x"}))]).await;
    let gateway = Gateway::before(&upstream).await;
    let body = json!({"messages": [
        {"role": "user", "content": "6*7?"},
        {"role": "assistant", "content": "<think>\nhalf of 84\n</think>\n42"},
        {"role": "user", "content": "And 6*8?"},
    ]});
    assert_eq!(gateway.chat(&body).send().await.expect("a response").status(), 200);
    assert_eq!(upstream.bodies()[0]["messages"][1], json!({"role": "assistant", "content": "42"}));
}

/// A tool loop whose call was made with these fields about reasoning, thought about at `dialect`: what was sent of the call, and
/// what the client is told.
async fn loop_at(dialect: &str, id: &str, reasoning: Value) -> (Value, String) {
    let upstream = MockUpstream::start([whole(json!({"role": "assistant", "content": "x"}))]).await;
    let gateway = Gateway::start(&model(&upstream, dialect, id)).await;
    let mut call = json!({"role": "assistant", "content": null, "tool_calls": [
        {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}]});
    call.as_object_mut().expect("fields").extend(reasoning.as_object().expect("fields").clone());
    let mut body = question();
    let messages = body["messages"].as_array_mut().expect("a list");
    messages.push(call);
    messages.push(json!({"role": "tool", "tool_call_id": "c1", "content": "12 degrees"}));
    let response = gateway.chat(&body).send().await.expect("a response");
    let applied = header(&response, "x-thinkgate-applied").to_owned();
    assert_eq!(response.status(), 200, "{dialect}");
    (upstream.bodies()[0]["messages"][1].clone(), applied)
}

#[tokio::test]
async fn reasoning_that_a_backend_insists_on_is_filled_in_and_the_client_is_told() {
    let (sent, applied) = loop_at("deepseek", "deepseek-v4-pro", json!({})).await;
    assert_eq!(sent["reasoning_content"], " ");
    assert!(applied.contains("history_backfilled"), "{applied}");
    let (sent, applied) = loop_at("deepseek", "deepseek-v4-pro", json!({"reasoning": "why"})).await;
    assert_eq!((&sent["reasoning_content"], sent.get("reasoning")), (&json!("why"), None));
    assert!(!applied.contains("history"), "{applied}");
}

#[tokio::test]
async fn what_another_maker_signed_is_taken_out_on_a_switch_and_its_text_stays() {
    let signed = json!({"thinking_blocks": [{"type": "thinking", "thinking": "why", "signature": "c2ln"}]});
    let (sent, applied) = loop_at("sglang", "Qwen/Qwen3-4B", signed).await;
    assert_eq!((&sent["reasoning_content"], sent.get("thinking_blocks")), (&json!("why"), None));
    assert!(applied.contains("history_stripped"), "{applied}");
    let details =
        json!({"reasoning_details": [{"type": "reasoning.encrypted", "data": "Z2VoZWlt", "index": 0}]});
    let (sent, applied) = loop_at("openrouter", "openai/gpt-5.1", details.clone()).await;
    assert_eq!(sent["reasoning_details"], details["reasoning_details"]);
    assert!(!applied.contains("history"), "{applied}");
}

#[tokio::test]
async fn a_part_that_a_wire_has_no_place_for_is_refused_before_anything_is_sent() {
    let upstream = MockUpstream::start([Reply::Whole(whole_of(&CASES[2]))]).await;
    let config =
        model(&upstream, "ollama-native", "qwen3:4b").replace("architecture", "vision = true\narchitecture");
    let gateway = Gateway::start(&config).await;
    let mut body = question();
    body["messages"][0]["content"] = json!([{"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}]);
    let response = gateway.chat(&body).send().await.expect("a response");
    assert_eq!(response.status(), 400);
    let error = json_of(response).await;
    assert_eq!(error["error"]["code"], "unsupported_content", "{error}");
    assert!(upstream.bodies().is_empty());
}

#[tokio::test]
async fn several_answers_in_one_piece_are_each_cleaned() {
    let message = |content: &str| json!({"role": "assistant", "content": content, "reasoning_content": null});
    let reply = Reply::Whole(json!({"choices": [
        {"index": 0, "message": message("<think>\na\n</think>\n\n1"), "finish_reason": "stop", "x_vendor": 1},
        {"index": 1, "message": {"role": "assistant", "reasoning_content": "\n", "content": [
            {"type": "thinking", "thinking": [{"type": "text", "text": "b"}]}, {"type": "text", "text": "2"}]},
            "finish_reason": "stop"},
        {"index": 2, "message": message("use `<think>` here"), "finish_reason": "eos_token"},
        {"index": 3, "message": message("3 = 1 + 2\n</think>\n\n3"), "finish_reason": "stop"},
    ], "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 6,
                 "completion_tokens_details": {"reasoning_tokens": 3}}}));
    let upstream = MockUpstream::start([reply]).await;
    let gateway = Gateway::before(&upstream).await;
    let body = json_of(gateway.chat(&ask("1?")).send().await.expect("a response")).await;
    let message = |at: usize| &body["choices"][at]["message"];
    assert_eq!(*message(0), json!({"role": "assistant", "content": "1", "reasoning_content": "a"}));
    assert_eq!(body["choices"][0]["x_vendor"], 1);
    assert_eq!((&message(1)["content"], &message(1)["reasoning_content"]), (&json!("2"), &json!("\nb")));
    assert_eq!(*message(2), json!({"role": "assistant", "content": "use `<think>` here"}));
    assert_eq!(*message(3), json!({"role": "assistant", "content": "3", "reasoning_content": "3 = 1 + 2"}));
    assert_eq!(body["choices"][2]["finish_reason"], "stop");
    assert_eq!(body["usage"]["completion_tokens"], 5, "reasoning counted beside the answer is part of it");
}
