use serde_json::{Value, json};

use crate::support::{Gateway, MockUpstream, Named, Reply, chunk, finish, header, json_of, whole};

fn question() -> Value {
    json!({"model": "up", "input": "What is 6 times 7?", "reasoning": {"effort": "high"}})
}

fn usage() -> Value {
    json!({"id": "x", "choices": [], "usage": {"prompt_tokens": 15, "completion_tokens": 7, "total_tokens": 22,
           "prompt_tokens_details": {"cached_tokens": 10}, "completion_tokens_details": {"reasoning_tokens": 4}}})
}

async fn sent(gateway: &Gateway, body: &Value) -> reqwest::Response {
    gateway.post("/v1/responses", body).send().await.expect("a response")
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
    let named = Named::of(response).await;
    for (number, event) in named.events.iter().enumerate() {
        assert_eq!(event["sequence_number"], number);
    }
    named
}

/// The items without what names them.
fn shape(items: &Value) -> Value {
    let mut items = items.clone();
    for item in items.as_array_mut().expect("a list") {
        let item = item.as_object_mut().expect("an object");
        assert!(item.shift_remove("id").is_some_and(|id| id.is_string()));
    }
    items
}

fn said(text: &str) -> Value {
    json!({"type": "message", "status": "completed", "role": "assistant", "content": [
        {"type": "output_text", "text": text, "annotations": [], "logprobs": []}]})
}

#[tokio::test]
async fn an_answer_is_a_response_with_its_items() {
    let reply = || {
        Reply::Whole(json!({"choices": [{"index": 0, "finish_reason": "stop",
        "message": {"role": "assistant", "reasoning": "6 * 7 = 42.", "content": "It is 42."}}],
        "usage": usage()["usage"]}))
    };
    let mut body = question();
    body["store"] = true.into();
    body["metadata"] = json!({"a": "b"});
    let response = answered(reply(), &body).await;
    assert!(response["id"].as_str().is_some_and(|id| id.starts_with("resp_")));
    assert_eq!(
        json!([
            response["object"],
            response["status"],
            response["model"],
            response["store"],
            response["metadata"]
        ]),
        json!(["response", "completed", "up", false, {"a": "b"}])
    );
    assert!(response["error"].is_null() && response["incomplete_details"].is_null());
    assert_eq!(response["reasoning"]["effort"], "high");
    assert_eq!(
        shape(&response["output"]),
        json!([{"type": "reasoning", "status": "completed", "summary": [],
                "content": [{"type": "reasoning_text", "text": "6 * 7 = 42."}]}, said("It is 42.")])
    );
    assert_eq!(
        response["usage"],
        json!({"input_tokens": 15, "input_tokens_details": {"cached_tokens": 10, "cache_write_tokens": 0},
               "output_tokens": 7, "output_tokens_details": {"reasoning_tokens": 4}, "total_tokens": 22})
    );
    body["reasoning"]["summary"] = "auto".into();
    let response = answered(reply(), &body).await;
    assert_eq!(
        shape(&response["output"])[0],
        json!({"type": "reasoning", "status": "completed", "summary": [
            {"type": "summary_text", "text": "6 * 7 = 42."}]})
    );
    body["include_reasoning"] = false.into();
    assert_eq!(shape(&answered(reply(), &body).await["output"]), json!([said("It is 42.")]));
}

fn thought() -> Reply {
    Reply::events(&[
        chunk(json!({"role": "assistant", "content": ""})),
        chunk(json!({"reasoning": "6 times "})),
        chunk(json!({"reasoning": "7"})),
        chunk(json!({"content": "It is "})),
        chunk(json!({"content": "42."})),
        finish("stop"),
        usage(),
    ])
}

#[tokio::test]
async fn a_stream_has_every_event_in_its_place() {
    let named = streamed(thought(), question()).await;
    assert_eq!(
        named.order(),
        [
            "response.created",
            "response.in_progress",
            "response.output_item.added",
            "response.content_part.added",
            "response.reasoning_text.delta",
            "response.reasoning_text.done",
            "response.content_part.done",
            "response.output_item.done",
            "response.output_item.added",
            "response.content_part.added",
            "response.output_text.delta",
            "response.output_text.done",
            "response.content_part.done",
            "response.output_item.done",
            "response.completed",
        ]
    );
    assert_eq!(named.first("response.created")["response"]["status"], "in_progress");
    let text = named.first("response.output_text.done");
    assert_eq!(
        json!([text["text"], text["output_index"], text["content_index"]]),
        json!(["It is 42.", 1, 0])
    );
    assert_eq!(named.first("response.reasoning_text.done")["text"], "6 times 7");
    let last = &named.last()["response"];
    assert_eq!(last["usage"]["output_tokens_details"]["reasoning_tokens"], 4);
    let done: Vec<&Value> = named
        .events
        .iter()
        .filter(|event| event["type"] == "response.output_item.done")
        .map(|event| &event["item"])
        .collect();
    assert_eq!(json!(done), last["output"], "the end repeats the items as they were ended");
    for event in named.events.iter().filter(|event| event.get("item_id").is_some()) {
        let index = usize::try_from(event["output_index"].as_u64().expect("an index")).expect("small");
        assert_eq!(event["item_id"], done[index]["id"]);
    }
}

#[tokio::test]
async fn a_summary_that_was_asked_for_is_streamed_as_one() {
    let mut body = question();
    body["reasoning"]["summary"] = "detailed".into();
    let named = streamed(thought(), body).await;
    assert_eq!(
        named.order()[2..8],
        [
            "response.output_item.added",
            "response.reasoning_summary_part.added",
            "response.reasoning_summary_text.delta",
            "response.reasoning_summary_text.done",
            "response.reasoning_summary_part.done",
            "response.output_item.done",
        ]
    );
    assert_eq!(named.first("response.reasoning_summary_text.done")["summary_index"], 0);
    assert_eq!(named.last()["response"]["output"][0]["summary"][0]["text"], "6 times 7");
}

fn with_tools(mut body: Value) -> Value {
    body["tools"] = json!([
        {"type": "function", "name": "add", "parameters": {"type": "object"}},
        {"type": "custom", "name": "apply_patch", "description": "Edits."}]);
    body
}

#[tokio::test]
async fn calls_become_items_under_the_names_the_client_knows() {
    let call = |id: &str, name: &str, arguments: &str| json!({"id": id, "type": "function", "function": {"name": name, "arguments": arguments}});
    let calls =
        json!([call("c1", "add", "{\"a\": 6}"), call("c2", "apply_patch", "{\"input\": \"*** Begin\"}")]);
    let reply = Reply::Whole(json!({"choices": [{"index": 0, "finish_reason": "tool_calls",
        "message": {"role": "assistant", "content": null, "tool_calls": calls}}]}));
    let expected = json!([
        {"type": "function_call", "status": "completed", "call_id": "c1", "name": "add", "arguments": "{\"a\": 6}"},
        {"type": "custom_tool_call", "status": "completed", "call_id": "c2", "name": "apply_patch", "input": "*** Begin"}]);
    let response = answered(reply, &with_tools(question())).await;
    assert_eq!(shape(&response["output"]), expected);

    let fragment = |call: Value| chunk(json!({"tool_calls": [call]}));
    let events = [
        fragment(json!({"index": 0, "id": "c1", "function": {"name": "add", "arguments": "{\"a\""}})),
        fragment(json!({"index": 0, "function": {"arguments": ": 6}"}})),
        fragment(
            json!({"index": 1, "id": "c2", "function": {"name": "apply_patch", "arguments": "{\"input\": \"*** "}}),
        ),
        fragment(json!({"index": 1, "function": {"arguments": "Begin\"}"}})),
        finish("tool_calls"),
    ];
    for size in [1, 5, 100_000] {
        let named = streamed(Reply::events(&events).cut(size), with_tools(question())).await;
        assert_eq!(
            named.order()[2..],
            [
                "response.output_item.added",
                "response.function_call_arguments.delta",
                "response.function_call_arguments.done",
                "response.output_item.done",
                "response.output_item.added",
                "response.custom_tool_call_input.delta",
                "response.custom_tool_call_input.done",
                "response.output_item.done",
                "response.completed",
            ]
        );
        assert_eq!(shape(&named.last()["response"]["output"]), expected);
        assert_eq!(named.first("response.function_call_arguments.done")["arguments"], "{\"a\": 6}");
    }
}

#[tokio::test]
async fn the_upstream_sees_a_chat_and_nothing_of_the_responses() {
    let upstream = MockUpstream::start([whole(json!({"role": "assistant", "content": "x"}))]).await;
    let gateway = Gateway::before(&upstream).await;
    let mut body = with_tools(question());
    for (field, value) in [
        ("instructions", json!("Be brief.")),
        ("max_output_tokens", json!(90)),
        ("store", json!(false)),
        ("include", json!(["reasoning.encrypted_content"])),
        ("truncation", json!("auto")),
        ("metadata", json!({"a": "b"})),
        ("service_tier", json!("auto")),
        (
            "text",
            json!({"format": {"type": "json_schema", "name": "n", "schema": {"type": "object"}}, "verbosity": "low"}),
        ),
        ("tool_choice", json!({"type": "custom", "name": "apply_patch"})),
    ] {
        body[field] = value;
    }
    assert_eq!(sent(&gateway, &body).await.status(), 200);
    let seen = &upstream.bodies()[0];
    let Value::Object(fields) = seen else { panic!("an object") };
    for foreign in [
        "input",
        "instructions",
        "max_output_tokens",
        "store",
        "include",
        "truncation",
        "metadata",
        "text",
        "reasoning",
    ] {
        assert!(!fields.contains_key(foreign), "{foreign} in {seen}");
    }
    assert_eq!(seen["max_tokens"], 90);
    assert_eq!(seen["response_format"]["json_schema"]["name"], "n");
    assert_eq!(seen["tool_choice"], json!({"type": "function", "function": {"name": "apply_patch"}}));
    assert_eq!(seen["messages"][0], json!({"role": "system", "content": "Be brief."}));
}

#[tokio::test]
async fn what_a_backend_wants_back_makes_the_round() {
    let block = json!({"type": "thinking", "thinking": "Hm.", "signature": "c2ln"});
    let call = json!({"index": 0, "id": "c1", "type": "function", "function": {"name": "add", "arguments": "{}"},
                      "extra_content": {"google": {"thought_signature": "R2Vt"}}});
    let reply = Reply::events(&[
        chunk(json!({"reasoning": "Hm."})),
        chunk(json!({"thinking_blocks": [block.clone()]})),
        chunk(json!({"tool_calls": [call]})),
        finish("tool_calls"),
    ]);
    let upstream = MockUpstream::start([reply]).await;
    let gateway = Gateway::before_unknown(&upstream).await;
    let mut body = with_tools(question());
    body["stream"] = true.into();
    let named = Named::of(sent(&gateway, &body).await).await;
    let output = named.last()["response"]["output"].as_array().expect("items").clone();
    assert!(output[0]["encrypted_content"].is_string());
    let mut input = vec![json!({"role": "user", "content": "Add."})];
    input.extend(output.iter().cloned());
    input.push(json!({"type": "function_call_output", "call_id": output[1]["call_id"], "output": "42"}));
    body["input"] = input.into();
    Named::of(sent(&gateway, &body).await).await;
    let seen = &upstream.bodies()[1]["messages"];
    assert_eq!(seen[1]["thinking_blocks"], json!([block]));
    assert_eq!(seen[1]["tool_calls"][0]["id"], "c1");
    assert_eq!(seen[1]["tool_calls"][0]["extra_content"]["google"]["thought_signature"], "R2Vt");
    assert_eq!(seen[2]["tool_call_id"], "c1");
}

#[tokio::test]
async fn an_answer_cut_short_is_incomplete() {
    for (reason, why) in [("length", "max_output_tokens"), ("content_filter", "content_filter")] {
        let message = json!({"role": "assistant", "content": "It"});
        let reply =
            Reply::Whole(json!({"choices": [{"index": 0, "message": message, "finish_reason": reason}]}));
        let response = answered(reply, &question()).await;
        assert_eq!(
            json!([response["status"], response["incomplete_details"]]),
            json!(["incomplete", {"reason": why}])
        );
        assert_eq!(response["output"][0]["status"], "incomplete");
        let named =
            streamed(Reply::events(&[chunk(json!({"content": "It"})), finish(reason)]), question()).await;
        assert_eq!(named.last()["type"], "response.incomplete");
        assert_eq!(named.last()["response"]["incomplete_details"]["reason"], why);
        assert_eq!(named.last()["response"]["output"][0]["status"], "incomplete");
    }
}

#[tokio::test]
async fn a_failure_in_the_middle_is_a_failed_response() {
    let pieces = vec![format!("data: {}\n\n", chunk(json!({"reasoning": "It is "}))).into()];
    let named = streamed(Reply::Pieces(pieces), question()).await;
    let last = named.last();
    assert_eq!(json!([last["type"], last["response"]["status"]]), json!(["response.failed", "failed"]));
    assert_eq!(last["response"]["error"]["code"], "upstream_disconnected");
    assert!(last["response"]["error"]["message"].is_string());
}

#[tokio::test]
async fn refusals_are_parts_of_their_own() {
    let events = [chunk(json!({"refusal": "I will "})), chunk(json!({"refusal": "not."})), finish("stop")];
    let named = streamed(Reply::events(&events), question()).await;
    assert_eq!(named.first("response.refusal.done")["refusal"], "I will not.");
    let part = json!([{"type": "refusal", "refusal": "I will not."}]);
    assert_eq!(named.last()["response"]["output"][0]["content"], part);
    let reply = whole(json!({"role": "assistant", "content": null, "refusal": "I will not."}));
    assert_eq!(answered(reply, &question()).await["output"][0]["content"], part);
}

#[tokio::test]
async fn log_probabilities_come_with_the_text() {
    let token = json!({"token": "42", "logprob": -0.5, "bytes": [52, 50], "top_logprobs": []});
    let piece = json!({"id": "x", "choices": [{"index": 0, "delta": {"content": "42"}, "logprobs": {"content": [token]}}]});
    let upstream = MockUpstream::start([Reply::events(&[piece, finish("stop")])]).await;
    let gateway = Gateway::before(&upstream).await;
    let mut body = question();
    body["stream"] = true.into();
    body["top_logprobs"] = 2.into();
    let named = Named::of(sent(&gateway, &body).await).await;
    assert_eq!(named.first("response.output_text.done")["logprobs"], json!([token]));
    assert_eq!(named.last()["response"]["output"][0]["content"][0]["logprobs"], json!([token]));
    assert_eq!(
        json!([upstream.bodies()[0]["logprobs"], upstream.bodies()[0]["top_logprobs"]]),
        json!([true, 2])
    );
}

#[tokio::test]
async fn errors_have_the_apis_own_form() {
    let upstream = MockUpstream::start([Reply::Status(429, vec![("retry-after", "7")], "{}".into())]).await;
    let gateway = Gateway::before(&upstream).await;
    let mut remembered = question();
    remembered["previous_response_id"] = "resp_1".into();
    let mut hosted = question();
    hosted["tools"] = json!([{"type": "web_search"}]);
    let mut unknown = question();
    unknown["model"] = "gpt-9".into();
    for (body, status, param) in [
        (json!({"model": "up"}), 400, json!("input")),
        (json!({"input": [{"role": "robot", "content": "x"}]}), 400, json!("input[0].role")),
        (json!({"input": "x", "max_output_tokens": 0}), 400, json!("max_output_tokens")),
        (remembered, 400, json!("previous_response_id")),
        (hosted, 400, json!("tools[0].type")),
        (unknown, 404, json!("model")),
        (question(), 429, Value::Null),
    ] {
        let response = sent(&gateway, &body).await;
        assert_eq!(response.status(), status, "{body}");
        let error = json_of(response).await;
        assert_eq!(error["error"]["param"], param, "{error}");
        assert!(error["error"]["message"].as_str().is_some_and(|text| !text.is_empty()));
    }
}

#[tokio::test]
async fn hosted_tools_may_be_left_out_by_configuration() {
    let upstream = MockUpstream::start([whole(json!({"role": "assistant", "content": "x"}))]).await;
    let gateway =
        Gateway::start(&("[server]\nhosted_tools = \"drop\"\n".to_owned() + &upstream.model("up"))).await;
    let mut body = question();
    body["tools"] = json!([{"type": "web_search"}, {"type": "function", "name": "f"}]);
    assert_eq!(sent(&gateway, &body).await.status(), 200);
    assert_eq!(upstream.bodies()[0]["tools"].as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn a_silent_upstream_is_bridged_by_comments() {
    let upstream = MockUpstream::start([Reply::Stalled(vec![])]).await;
    let config =
        upstream.model_with("up", "timeouts = { first_token_ms = 400 }") + "[limits]\nping_ms = 50\n";
    let gateway = Gateway::start(&config).await;
    let mut body = question();
    body["stream"] = true.into();
    let response = sent(&gateway, &body).await;
    assert_eq!(header(&response, "x-thinkgate-model"), "up");
    let named = Named::of(response).await;
    assert!(named.pings >= 2, "{}", named.pings);
    assert_eq!(named.order(), ["response.created", "response.in_progress", "response.failed"]);
}

#[tokio::test]
async fn the_embedded_models_answer() {
    let gateway = Gateway::start("").await;
    for model in ["pico-dense", "pico-moe"] {
        for effort in ["low", "none"] {
            let mut body = question();
            body["model"] = model.into();
            body["reasoning"] = json!({"effort": effort});
            let kind = if effort == "low" { "reasoning" } else { "message" };
            let response = json_of(sent(&gateway, &body).await).await;
            assert_eq!(response["output"][0]["type"], kind, "{response}");
            body["stream"] = true.into();
            let named = Named::of(sent(&gateway, &body).await).await;
            let last = &named.last()["response"];
            assert_eq!(last["output"][0]["type"], kind);
            assert!(!last["output"].to_string().contains("<think>"));
            assert!(last["usage"]["output_tokens"].as_u64() > Some(0));
        }
    }
}

#[tokio::test]
async fn an_answer_is_held_to_its_schema() {
    let gateway = Gateway::start("").await;
    let schema = json!({"type": "object", "properties": {"sum": {"type": "integer"}}, "required": ["sum"],
                        "additionalProperties": false});
    let body = json!({"model": "pico-dense", "input": "What is 17 + 25?", "reasoning": {"effort": "none"},
        "text": {"format": {"type": "json_schema", "name": "sum", "schema": schema, "strict": true}}});
    let response = json_of(sent(&gateway, &body).await).await;
    let text = response["output"][0]["content"][0]["text"].as_str().expect("text");
    let object: Value = serde_json::from_str(text).expect("JSON");
    assert!(object["sum"].is_i64(), "{text}");
}
