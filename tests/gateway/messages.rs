use serde_json::{Value, json};

use crate::support::{Gateway, MockUpstream, Named, Reply, chunk, finish, header, json_of, whole};

fn question() -> Value {
    json!({"model": "up", "max_tokens": 500, "messages": [{"role": "user", "content": "What is 6 times 7?"}]})
}

fn thinking(mut body: Value) -> Value {
    body["thinking"] = json!({"type": "enabled", "budget_tokens": 2048});
    body
}

fn usage() -> Value {
    json!({"id": "x", "choices": [], "usage": {"prompt_tokens": 15, "completion_tokens": 7, "total_tokens": 22,
           "prompt_tokens_details": {"cached_tokens": 10}, "completion_tokens_details": {"reasoning_tokens": 4}}})
}

async fn sent(gateway: &Gateway, body: &Value) -> reqwest::Response {
    let request = gateway.post("/v1/messages", body).header("anthropic-version", "2023-06-01");
    request.send().await.expect("a response")
}

async fn answered(reply: Reply, body: &Value) -> Value {
    let upstream = MockUpstream::start([reply]).await;
    let gateway = Gateway::before(&upstream).await;
    let response = sent(&gateway, body).await;
    assert_eq!(response.status(), 200);
    json_of(response).await
}

async fn streamed(reply: Reply, mut body: Value) -> Named {
    body["stream"] = true.into();
    let upstream = MockUpstream::start([reply]).await;
    let gateway = Gateway::before(&upstream).await;
    let response = sent(&gateway, &body).await;
    assert_eq!(response.status(), 200);
    Named::of(response).await
}

#[tokio::test]
async fn an_answer_is_a_message_with_its_thinking_first() {
    let reply = Reply::Whole(json!({"choices": [{"index": 0, "finish_reason": "stop",
        "message": {"role": "assistant", "reasoning": "6 * 7 = 42.", "content": "It is 42."}}],
        "usage": usage()["usage"]}));
    let message = answered(reply, &thinking(question())).await;
    assert!(message["id"].as_str().is_some_and(|id| id.starts_with("msg_")));
    assert_eq!(
        json!([
            message["type"],
            message["role"],
            message["model"],
            message["stop_reason"],
            message["stop_sequence"]
        ]),
        json!(["message", "assistant", "up", "end_turn", null])
    );
    assert_eq!(
        message["content"],
        json!([{"type": "thinking", "thinking": "6 * 7 = 42.", "signature": ""},
               {"type": "text", "text": "It is 42."}])
    );
    assert_eq!(
        message["usage"],
        json!({"input_tokens": 5, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 10,
               "output_tokens": 7, "output_tokens_details": {"thinking_tokens": 4}})
    );
}

#[tokio::test]
async fn the_decision_is_in_the_headers() {
    let upstream = MockUpstream::start([whole(json!({"role": "assistant", "content": "x"}))]).await;
    let gateway = Gateway::before(&upstream).await;
    let response = sent(&gateway, &thinking(question())).await;
    assert_eq!(header(&response, "x-thinkgate-thinking"), "on");
    assert!(header(&response, "x-thinkgate-decision").contains("source=field"));
    assert_eq!(header(&response, "request-id"), header(&response, "x-request-id"));
    let mut off = question();
    off["thinking"] = json!({"type": "disabled"});
    let response = sent(&gateway, &off).await;
    assert_eq!(header(&response, "x-thinkgate-thinking"), "off");
    assert_eq!(json_of(response).await["content"], json!([{"type": "text", "text": "x"}]), "no empty block");
}

#[tokio::test]
async fn a_stream_has_every_event_in_its_place() {
    let reply = Reply::events(&[
        chunk(json!({"role": "assistant", "content": ""})),
        chunk(json!({"reasoning": "6 times "})),
        chunk(json!({"reasoning": "7"})),
        chunk(json!({"content": "It is "})),
        chunk(json!({"content": "42."})),
        finish("stop"),
        usage(),
    ]);
    let named = streamed(reply, thinking(question())).await;
    let events = &named.events;
    assert_eq!(events[0]["type"], "message_start");
    assert_eq!(events[0]["message"]["content"], json!([]));
    assert!(events[0]["message"]["stop_reason"].is_null());
    assert_eq!(
        events[1..],
        [
            json!({"type": "content_block_start", "index": 0,
                   "content_block": {"type": "thinking", "thinking": "", "signature": ""}}),
            json!({"type": "content_block_delta", "index": 0,
                   "delta": {"type": "thinking_delta", "thinking": "6 times "}}),
            json!({"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "7"}}),
            json!({"type": "content_block_stop", "index": 0}),
            json!({"type": "content_block_start", "index": 1, "content_block": {"type": "text", "text": ""}}),
            json!({"type": "content_block_delta", "index": 1, "delta": {"type": "text_delta", "text": "It is "}}),
            json!({"type": "content_block_delta", "index": 1, "delta": {"type": "text_delta", "text": "42."}}),
            json!({"type": "content_block_stop", "index": 1}),
            json!({"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": null},
                   "usage": {"input_tokens": 5, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 10,
                             "output_tokens": 7, "output_tokens_details": {"thinking_tokens": 4}}}),
            json!({"type": "message_stop"}),
        ]
    );
}

#[tokio::test]
async fn a_signature_comes_as_the_backend_wrote_it() {
    let signed = json!({"type": "thinking", "thinking": "Hm.", "signature": "c2ln+/="});
    let hidden = json!({"type": "redacted_thinking", "data": "b3BhcXVl"});
    let stream = || {
        Reply::events(&[
            chunk(json!({"reasoning": "Hm."})),
            chunk(json!({"thinking_blocks": [signed.clone()]})),
            chunk(json!({"thinking_blocks": [hidden.clone()]})),
            chunk(json!({"content": "42"})),
            finish("stop"),
        ])
    };
    let named = streamed(stream(), thinking(question())).await;
    let blocks: Vec<&Value> = named.events.iter().filter_map(|event| event.get("content_block")).collect();
    assert_eq!(blocks.len(), 3);
    assert_eq!(blocks[1], &hidden, "whole in its start");
    assert_eq!(named.joined("/delta/signature"), "c2ln+/=");
    assert_eq!(named.joined("/delta/thinking"), "Hm.", "the block's own text is no second one");

    let mut omitted = thinking(question());
    omitted["thinking"]["display"] = "omitted".into();
    let named = streamed(stream(), omitted.clone()).await;
    assert_eq!(named.joined("/delta/thinking"), "");
    assert_eq!(named.joined("/delta/signature"), "c2ln+/=");

    let reply = || {
        whole(json!({"role": "assistant", "content": "42", "reasoning": "Hm.",
                                "thinking_blocks": [signed.clone(), hidden.clone()]}))
    };
    let message = answered(reply(), &thinking(question())).await;
    assert_eq!(message["content"], json!([signed, hidden, {"type": "text", "text": "42"}]));
    let message = answered(reply(), &omitted).await;
    assert_eq!(
        message["content"],
        json!([{"type": "thinking", "thinking": "", "signature": "c2ln+/="}, hidden, {"type": "text", "text": "42"}])
    );
}

#[tokio::test]
async fn unsigned_thinking_that_is_not_to_be_shown_leaves_no_block() {
    let mut body = thinking(question());
    body["thinking"]["display"] = "omitted".into();
    let events = [chunk(json!({"reasoning": "Hm."})), chunk(json!({"content": "42"})), finish("stop")];
    let named = streamed(Reply::events(&events), body.clone()).await;
    assert_eq!(named.first("content_block_start")["content_block"]["type"], "text");
    let message = answered(whole(json!({"content": "42", "reasoning": "Hm."})), &body).await;
    assert_eq!(message["content"], json!([{"type": "text", "text": "42"}]));
}

fn with_tools(mut body: Value) -> Value {
    body["tools"] =
        json!([{"name": "add", "input_schema": {"type": "object"}}, {"name": "ls", "input_schema": {}}]);
    body
}

#[tokio::test]
async fn tool_calls_become_blocks_of_their_own() {
    let call = |id: &str, name: &str, arguments: &str| json!({"id": id, "type": "function", "function": {"name": name, "arguments": arguments}});
    let reply = Reply::Whole(json!({"choices": [{"index": 0, "finish_reason": "tool_calls", "message": {
        "role": "assistant", "content": null,
        "tool_calls": [call("c1", "add", "{\"a\": 6}"), call("c2", "ls", "")]}}]}));
    let message = answered(reply, &with_tools(question())).await;
    assert_eq!(message["stop_reason"], "tool_use");
    assert_eq!(
        message["content"],
        json!([{"type": "tool_use", "id": "c1", "name": "add", "input": {"a": 6}},
               {"type": "tool_use", "id": "c2", "name": "ls", "input": {}}])
    );
}

#[tokio::test]
async fn the_fragments_of_calls_arrive_in_order_wherever_the_bytes_are_cut() {
    let fragment = |index: u64, more: Value| {
        let mut call = json!({"index": index});
        for (key, value) in more.as_object().expect("an object") {
            call[key] = value.clone();
        }
        chunk(json!({"tool_calls": [call]}))
    };
    let events = [
        chunk(json!({"content": "Rechne: "})),
        fragment(0, json!({"id": "c1", "type": "function", "function": {"name": "add", "arguments": ""}})),
        fragment(0, json!({"function": {"arguments": "{\"ort\": \"Mün"}})),
        fragment(1, json!({"id": "c2", "type": "function", "function": {"name": "ls", "arguments": "{}"}})),
        fragment(0, json!({"function": {"arguments": "chen 🏔\"}"}})),
        finish("tool_calls"),
    ];
    for size in [1, 3, 7, 100_000] {
        let named = streamed(Reply::events(&events).cut(size), with_tools(question())).await;
        assert_eq!(
            named.order(),
            [
                "message_start",
                "content_block_start",
                "content_block_delta",
                "content_block_stop",
                "content_block_start",
                "content_block_delta",
                "content_block_stop",
                "content_block_start",
                "content_block_delta",
                "content_block_stop",
                "message_delta",
                "message_stop"
            ],
            "cut every {size}"
        );
        let input = |index: u64| -> String {
            let of = |event: &&Value| event["index"] == index;
            let parts = named
                .events
                .iter()
                .filter(of)
                .filter_map(|event| event.pointer("/delta/partial_json")?.as_str());
            parts.collect()
        };
        assert_eq!((input(1), input(2)), ("{\"ort\": \"München 🏔\"}".to_owned(), "{}".to_owned()));
        assert_eq!(named.first("message_delta")["delta"]["stop_reason"], "tool_use");
    }
}

#[tokio::test]
async fn the_upstream_sees_a_chat_and_nothing_of_anthropics() {
    let upstream = MockUpstream::start([whole(json!({"role": "assistant", "content": "x"}))]).await;
    let gateway = Gateway::before(&upstream).await;
    let body = json!({
        "model": "up", "max_tokens": 500, "top_k": 7, "stop_sequences": ["END"],
        "system": [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}],
        "thinking": {"type": "adaptive", "display": "summarized"}, "output_config": {"effort": "high"},
        "metadata": {"user_id": "u"}, "service_tier": "auto", "context_management": {"edits": []}, "betas": ["x"],
        "tools": [{"name": "ls", "description": "Lists.", "input_schema": {"type": "object"}}],
        "tool_choice": {"type": "auto", "disable_parallel_tool_use": true},
        "messages": [
            {"role": "user", "content": "List."},
            {"role": "assistant", "content": [
                {"type": "thinking", "thinking": "Hm.", "signature": "s"},
                {"type": "tool_use", "id": "t1", "name": "ls", "input": {}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": "a"}]}]});
    assert_eq!(sent(&gateway, &body).await.status(), 200);
    let seen = &upstream.bodies()[0];
    let Value::Object(fields) = seen else { panic!("an object") };
    for foreign in [
        "system",
        "stop_sequences",
        "thinking",
        "output_config",
        "metadata",
        "service_tier",
        "context_management",
        "betas",
    ] {
        assert!(!fields.contains_key(foreign), "{foreign} in {seen}");
    }
    assert_eq!(
        json!([seen["stop"], seen["top_k"], seen["max_tokens"], seen["user"]]),
        json!([["END"], 7, 500, "u"])
    );
    assert_eq!(seen["parallel_tool_calls"], false);
    assert_eq!(seen["tools"][0]["function"]["parameters"], json!({"type": "object"}));
    let roles: Vec<&str> =
        seen["messages"].as_array().expect("a list").iter().filter_map(|m| m["role"].as_str()).collect();
    assert_eq!(roles, ["system", "user", "assistant", "tool"]);
}

#[tokio::test]
async fn why_an_answer_ended_is_told_in_the_apis_own_words() {
    for (reason, beside, expected, sequence) in [
        ("stop", Value::Null, "end_turn", Value::Null),
        ("stop", json!("END"), "stop_sequence", json!("END")),
        ("stop", json!("other"), "end_turn", Value::Null),
        ("length", Value::Null, "max_tokens", Value::Null),
        ("content_filter", Value::Null, "refusal", Value::Null),
    ] {
        let mut body = question();
        body["stop_sequences"] = json!(["END"]);
        let message = json!({"role": "assistant", "content": "x"});
        let reply = Reply::Whole(json!({"choices": [
            {"index": 0, "message": message, "finish_reason": reason, "stop_reason": beside}]}));
        let told = answered(reply, &body).await;
        assert_eq!(json!([told["stop_reason"], told["stop_sequence"]]), json!([expected, sequence]));
        let end = json!({"id": "x", "choices": [{"index": 0, "delta": {}, "finish_reason": reason, "stop_reason": beside}]});
        let named = streamed(Reply::events(&[chunk(json!({"content": "x"})), end]), body).await;
        let told = &named.first("message_delta")["delta"];
        assert_eq!(json!([told["stop_reason"], told["stop_sequence"]]), json!([expected, sequence]));
    }
}

#[tokio::test]
async fn errors_have_the_apis_own_form() {
    let upstream = MockUpstream::start([Reply::Status(429, vec![("retry-after", "7")], "{}".into())]).await;
    let gateway = Gateway::before(&upstream).await;
    let mut unknown = question();
    unknown["model"] = "claude-opus-9".into();
    let mut hosted = question();
    hosted["tools"] = json!([{"type": "web_search_20250305", "name": "web_search"}]);
    for (body, status, kind, says) in [
        (json!({"model": "up"}), 400, "invalid_request_error", "messages"),
        (unknown, 404, "not_found_error", "claude-opus-9"),
        (hosted, 400, "invalid_request_error", "web_search_20250305"),
        (question(), 429, "rate_limit_error", "429"),
    ] {
        let response = sent(&gateway, &body).await;
        assert_eq!(response.status(), status, "{body}");
        let id = header(&response, "request-id").to_owned();
        let error = json_of(response).await;
        assert_eq!((&error["type"], &error["error"]["type"]), (&json!("error"), &json!(kind)));
        assert_eq!(error["request_id"], id);
        assert!(error["error"]["message"].as_str().is_some_and(|text| text.contains(says)), "{error}");
    }
    let response = gateway.get("/v1/messages").send().await.expect("a response");
    assert_eq!(response.status(), 405);
    assert_eq!(json_of(response).await["type"], "error");
}

#[tokio::test]
async fn an_upstreams_own_words_are_passed_on() {
    let body = r#"{"error": {"message": "max_tokens is too large", "type": "BadRequestError", "code": 400}}"#;
    let upstream = MockUpstream::start([Reply::Status(400, vec![], body.into())]).await;
    let gateway = Gateway::before(&upstream).await;
    let error = json_of(sent(&gateway, &question()).await).await;
    assert_eq!(
        error["error"],
        json!({"type": "invalid_request_error", "message": "max_tokens is too large"})
    );
}

#[tokio::test]
async fn a_failure_in_the_middle_is_an_error_event_and_no_end() {
    let pieces = vec![format!("data: {}\n\n", chunk(json!({"content": "It is "}))).into()];
    let named = streamed(Reply::Pieces(pieces), question()).await;
    let last = named.last();
    assert_eq!((&last["type"], &last["error"]["type"]), (&json!("error"), &json!("api_error")));
    assert!(!named.order().contains(&"message_stop"));
}

#[tokio::test]
async fn a_silent_upstream_is_bridged_by_pings_of_the_apis_own() {
    let upstream = MockUpstream::start([Reply::Stalled(vec![])]).await;
    let config =
        upstream.model_with("up", "timeouts = { first_token_ms = 400 }") + "[limits]\nping_ms = 50\n";
    let gateway = Gateway::start(&config).await;
    let mut body = question();
    body["stream"] = true.into();
    let named = Named::of(sent(&gateway, &body).await).await;
    assert!(named.pings >= 2, "{}", named.pings);
    assert_eq!(named.order(), ["message_start", "error"]);
    assert_eq!(named.last()["error"]["type"], "timeout_error");
}

#[tokio::test]
async fn keys_are_taken_from_either_header() {
    let upstream = MockUpstream::start([whole(json!({"role": "assistant", "content": "x"}))]).await;
    let gateway = Gateway::start(&(upstream.model("up") + "[[keys]]\nkey_env = \"CLIENT_KEY\"\n")).await;
    let request = || gateway.post("/v1/messages", &question());
    for (name, value, status) in [
        ("x-api-key", "client-key", 200),
        ("authorization", "Bearer client-key", 200),
        ("x-api-key", "wrong", 401),
        ("x-other", "client-key", 401),
    ] {
        let response = request().header(name, value).send().await.expect("a response");
        assert_eq!(response.status(), status, "{name}: {value}");
        if status == 401 {
            assert_eq!(json_of(response).await["error"]["type"], "authentication_error");
        }
    }
}

#[tokio::test]
async fn the_embedded_models_answer() {
    let gateway = Gateway::start("").await;
    for model in ["pico-dense", "pico-moe"] {
        for kind in ["enabled", "disabled"] {
            let mut body = question();
            body["model"] = model.into();
            body["thinking"] = json!({"type": kind});
            let message = json_of(sent(&gateway, &body).await).await;
            let first = &message["content"][0]["type"];
            assert_eq!(first, if kind == "enabled" { "thinking" } else { "text" }, "{message}");
            body["stream"] = true.into();
            let named = Named::of(sent(&gateway, &body).await).await;
            assert_eq!(&named.first("content_block_start")["content_block"]["type"], first);
            assert!(!named.joined("/delta/text").contains("<think>"));
            assert_eq!(named.last()["type"], "message_stop");
        }
    }
}

#[tokio::test]
async fn what_a_backend_wants_back_makes_the_round() {
    let details = |piece: &str, signature: Value| json!([{"type": "reasoning.text", "text": piece, "signature": signature, "format": "anthropic-claude-v1", "index": 0}]);
    let secret = json!([{"type": "reasoning.encrypted", "data": "b3BhcXVl", "id": "r", "index": 1}]);
    let reply = Reply::events(&[
        chunk(json!({"reasoning": "Let ", "reasoning_details": details("Let ", Value::Null)})),
        chunk(json!({"reasoning": "me.", "reasoning_details": details("me.", json!("c2ln"))})),
        chunk(json!({"reasoning_details": secret})),
        chunk(json!({"tool_calls": [{"index": 0, "id": "c1", "type": "function",
            "function": {"name": "ls", "arguments": "{}"},
            "extra_content": {"google": {"thought_signature": "R2Vt"}}}]})),
        finish("tool_calls"),
    ]);
    let upstream = MockUpstream::start([reply]).await;
    let gateway = Gateway::before_unknown(&upstream).await;
    let mut body = with_tools(thinking(question()));
    body["stream"] = true.into();
    let named = Named::of(sent(&gateway, &body).await).await;
    let started: Vec<&Value> = named.events.iter().filter_map(|event| event.get("content_block")).collect();
    assert_eq!(started.len(), 3, "{started:?}");
    let mut thought = started[0].clone();
    thought["thinking"] = named.joined("/delta/thinking").into();
    thought["signature"] = named.joined("/delta/signature").into();
    assert_eq!(thought, json!({"type": "thinking", "thinking": "Let me.", "signature": "c2ln"}));
    body["messages"] = json!([
        {"role": "user", "content": "List."},
        {"role": "assistant", "content": [thought, started[1], started[2]]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": started[2]["id"], "content": "a"}]}]);
    Named::of(sent(&gateway, &body).await).await;
    let answer = &upstream.bodies()[1]["messages"][1];
    let mut whole = details("Let me.", json!("c2ln"));
    whole.as_array_mut().expect("a list").extend(secret.as_array().expect("a list").clone());
    assert_eq!(answer["reasoning_details"], whole);
    assert_eq!(answer["thinking_blocks"], json!([thought]));
    assert_eq!(answer["tool_calls"][0]["id"], "c1");
    assert_eq!(answer["tool_calls"][0]["extra_content"]["google"]["thought_signature"], "R2Vt");
}
