use serde_json::json;

use crate::support::{Events, Gateway, ask, ask_stream, header, json_of};

#[tokio::test]
async fn both_modes_of_both_models_answer() {
    let gateway = Gateway::start("").await;
    for model in ["pico-dense", "pico-moe"] {
        for thinking in [true, false] {
            let mut body = ask("What is 17 + 25?");
            body["model"] = model.into();
            body["enable_thinking"] = thinking.into();
            body["seed"] = 1.into();
            let response = gateway.chat(&body).send().await.expect("a response");
            assert_eq!(response.status(), 200);
            assert_eq!(header(&response, "x-thinkgate-model"), model);
            let body = json_of(response).await;
            let message = &body["choices"][0]["message"];
            assert!(!message["content"].as_str().expect("text").contains("<think>"));
            assert_eq!(message.get("reasoning_content").is_some(), thinking, "{model}: {message}");
            let reasoning = &body["usage"]["completion_tokens_details"]["reasoning_tokens"];
            assert_eq!(reasoning.as_u64().is_some_and(|tokens| tokens > 0), thinking);
        }
    }
}

#[tokio::test]
async fn a_stream_carries_reasoning_before_content() {
    let gateway = Gateway::start("").await;
    let mut body = ask_stream("What is 17 + 25?");
    body["enable_thinking"] = true.into();
    body["stream_options"] = json!({"include_usage": true});
    let events = Events::of(gateway.chat(&body).send().await.expect("a response")).await;
    assert!(events.done);
    let reasoning = events.position("/choices/0/delta/reasoning_content");
    let content = events.position("/choices/0/delta/content");
    assert!(reasoning < content);
    assert!(events.events.last().expect("an event")["usage"]["completion_tokens"].as_u64() > Some(0));
}

#[tokio::test]
async fn what_the_engine_does_not_do_is_refused() {
    let gateway = Gateway::start("").await;
    for (field, value) in [
        ("n", json!(2)),
        ("top_logprobs", json!(3)),
        ("tools", json!([{"type": "function", "function": {"name": "f"}}])),
        ("response_format", json!({"type": "json_schema", "json_schema": {"schema": {"type": "bird"}}})),
        ("answer_sampling", json!({"temperature": "cold"})),
    ] {
        let mut body = ask("hi");
        body[field] = value;
        let response = gateway.chat(&body).send().await.expect("a response");
        assert_eq!(response.status(), 400, "{field}");
        assert_eq!(json_of(response).await["error"]["param"], field);
    }
}

#[tokio::test]
async fn an_answer_is_held_to_its_schema_after_free_thinking() {
    let gateway = Gateway::start("").await;
    let mut body = ask("What is 17 + 25?");
    let schema = json!({
        "type": "object", "properties": {"sum": {"type": "integer"}}, "required": ["sum"], "additionalProperties": false
    });
    body["response_format"] =
        json!({"type": "json_schema", "json_schema": {"name": "sum", "schema": schema}});
    body["answer_sampling"] = json!({"temperature": 0});
    for thinking in [true, false] {
        body["enable_thinking"] = thinking.into();
        let answer = json_of(gateway.chat(&body).send().await.expect("a response")).await;
        let choice = &answer["choices"][0];
        assert_eq!(choice["finish_reason"], "stop", "{answer}");
        assert_eq!(choice["message"].get("reasoning_content").is_some(), thinking);
        let content = choice["message"]["content"].as_str().expect("text");
        let object: serde_json::Value = serde_json::from_str(content).expect("JSON");
        assert!(
            object["sum"].is_i64() && object.as_object().is_some_and(|object| object.len() == 1),
            "{content}"
        );
    }
}

#[tokio::test]
async fn log_probabilities_cover_the_answer() {
    let gateway = Gateway::start("").await;
    let mut body = ask_stream("What is 17 + 25?");
    body["logprobs"] = true.into();
    body["top_logprobs"] = 3.into();
    let events = Events::of(gateway.chat(&body).send().await.expect("a response")).await;
    let mut spelt = Vec::new();
    for event in &events.events {
        let tokens = event.pointer("/choices/0/logprobs/content").and_then(serde_json::Value::as_array);
        for token in tokens.into_iter().flatten() {
            assert!(token["logprob"].as_f64().is_some_and(|logprob| logprob <= 0.0), "{token}");
            assert_eq!(token["top_logprobs"].as_array().map(Vec::len), Some(3), "{token}");
            spelt.extend(token["bytes"].as_array().expect("bytes").iter().filter_map(|byte| byte.as_u64()));
        }
    }
    let spelt: Vec<u8> = spelt.into_iter().map(|byte| u8::try_from(byte).expect("a byte")).collect();
    let shown = events.joined("content");
    assert_eq!(String::from_utf8(spelt).expect("text").trim_start(), shown);
}

/// A model whose chat template renders tools, as Qwen3's does.
fn folder_with_tools() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let shipped = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("models/pico-moe");
    for file in shipped.read_dir().expect("the shipped model") {
        let file = file.expect("a file");
        std::fs::copy(file.path(), folder.path().join(file.file_name())).expect("copied");
    }
    let template = "{%- if tools %}{{- '<|im_start|>system\n' }}{% for tool in tools %}{{ tool | tojson }}{% endfor %}\
        {{- '<|im_end|>\n' }}{% endif %}{% for message in messages %}{{- '<|im_start|>' + message.role + '\n' }}\
        {{- message.content }}{{- '<|im_end|>\n' }}{% endfor %}{{- '<|im_start|>assistant\n' }}\
        {%- if not enable_thinking %}{{- '<think>\n\n</think>\n\n' }}{% endif %}";
    std::fs::write(folder.path().join("chat_template.jinja"), template).expect("written");
    folder
}

#[tokio::test]
async fn a_required_tool_is_called_with_arguments_that_fit() {
    let folder = folder_with_tools();
    let config = format!("[[models]]\nname = \"own\"\npath = {:?}\n", folder.path().display().to_string());
    let gateway = Gateway::start(&config).await;
    let parameters = json!({
        "type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
        "required": ["a", "b"], "additionalProperties": false
    });
    let mut body = ask("What is 17 + 25?");
    body["tools"] = json!([{"type": "function", "function": {"name": "add", "parameters": parameters}}]);
    body["tool_choice"] = "required".into();
    let answer = json_of(gateway.chat(&body).send().await.expect("a response")).await;
    let choice = &answer["choices"][0];
    assert_eq!(choice["finish_reason"], "tool_calls", "{answer}");
    assert!(choice["message"]["content"].is_null());
    let call = &choice["message"]["tool_calls"][0];
    assert_eq!(call["function"]["name"], "add");
    assert!(call["id"].as_str().is_some_and(|id| id.starts_with("call_")) && call.get("index").is_none());
    let arguments = call["function"]["arguments"].as_str().expect("text");
    let arguments: serde_json::Value = serde_json::from_str(arguments).expect("JSON");
    assert!(arguments["a"].is_i64() && arguments["b"].is_i64(), "{arguments}");

    body["stream"] = true.into();
    let events = Events::of(gateway.chat(&body).send().await.expect("a response")).await;
    let calls: Vec<_> =
        events.events.iter().filter_map(|event| event.pointer("/choices/0/delta/tool_calls/0")).collect();
    assert_eq!((calls.len(), &calls[0]["index"], &calls[0]["type"]), (1, &json!(0), &json!("function")));

    let mut impossible = body.clone();
    impossible["tools"][0]["function"]["parameters"] = json!({"type": "bird"});
    let refused = json_of(gateway.chat(&impossible).send().await.expect("a response")).await;
    assert_eq!(refused["error"]["param"], "tools", "{refused}");

    body["tool_choice"] = "none".into();
    body["stream"] = false.into();
    let answer = json_of(gateway.chat(&body).send().await.expect("a response")).await;
    assert!(answer["choices"][0]["message"].get("tool_calls").is_none(), "{answer}");
}

#[tokio::test]
async fn a_prompt_that_fits_no_model_is_refused_with_its_size() {
    let gateway = Gateway::start("").await;
    let mut body = ask(&"many words ".repeat(4000));
    body["model"] = "pico-dense".into();
    let response = gateway.chat(&body).send().await.expect("a response");
    assert_eq!(response.status(), 400);
    let error = json_of(response).await;
    assert_eq!(error["error"]["code"], "context_length_exceeded");
    assert!(error["error"]["message"].as_str().expect("text").contains("1024"), "{error}");
}

#[tokio::test]
async fn the_limit_on_tokens_is_kept_even_where_thinking_does_not_fit() {
    let gateway = Gateway::start("").await;
    let mut body = ask("37*48=?");
    body["enable_thinking"] = true.into();
    body["max_tokens"] = 6.into();
    let body = json_of(gateway.chat(&body).send().await.expect("a response")).await;
    assert!(body["usage"]["completion_tokens"].as_u64().is_some_and(|tokens| tokens <= 6), "{body}");
}

#[tokio::test]
async fn the_same_seed_gives_the_same_answer() {
    let gateway = Gateway::start("").await;
    let mut body = ask("37*48=?");
    body["enable_thinking"] = true.into();
    body["seed"] = 7.into();
    let mut answers = Vec::new();
    for _ in 0..2 {
        let answer = json_of(gateway.chat(&body).send().await.expect("a response")).await;
        answers.push(answer["choices"].clone());
    }
    assert_eq!(answers[0], answers[1]);
}

#[tokio::test]
async fn the_experts_of_an_answer_are_told_to_those_who_ask() {
    let gateway = Gateway::start("").await;
    let mut body = ask("What is 17 + 25?");
    body["model"] = "pico-moe".into();
    let silent = json_of(gateway.chat(&body).send().await.expect("a response")).await;
    assert!(silent.get("thinkgate").is_none());

    let asked = |detail: &'static str, body: &serde_json::Value| {
        gateway.chat(body).header("x-thinkgate-experts", detail).send()
    };
    let whole = json_of(asked("summary", &body).await.expect("a response")).await;
    let experts = &whole["thinkgate"]["experts"];
    let layers = experts["layers"].as_array().expect("layers");
    assert_eq!(layers.len(), 4);
    for layer in layers {
        let shares: Vec<f64> =
            layer["share"].as_array().expect("shares").iter().filter_map(serde_json::Value::as_f64).collect();
        // Eight shares, each rounded to four decimals.
        assert!(shares.len() == 8 && (shares.iter().sum::<f64>() - 1.0).abs() < 8.0 * 5e-5, "{layer}");
        assert!(layer["entropy"].as_f64().is_some_and(|bits| bits > 0.0 && bits <= 3.0), "{layer}");
    }
    let usage = &whole["usage"];
    // The whole prompt, though it was read for the request before; the last token was sampled and never read.
    assert_eq!(experts["tokens"].as_u64(), usage["total_tokens"].as_u64().map(|tokens| tokens - 1));
    assert_eq!(usage["prompt_tokens_details"]["cached_tokens"], 0);
    assert!(experts.get("trace").is_none());

    let traced = json_of(asked("tokens", &body).await.expect("a response")).await;
    let trace = traced["thinkgate"]["experts"]["trace"].as_array().expect("a trace").clone();
    assert_eq!(trace[0]["text"], "<|im_start|>");
    assert!(trace.iter().all(|token| token["experts"].as_array().is_some_and(|layers| layers.len() == 4)));

    body["stream"] = true.into();
    let events = Events::of(asked("summary", &body).await.expect("a response")).await;
    let telling: Vec<_> = events.events.iter().filter(|event| event.get("thinkgate").is_some()).collect();
    assert_eq!(telling.len(), 1, "once, with the end of the choice");
    assert!(telling[0]["choices"][0]["finish_reason"].is_string());
    assert_eq!(telling[0]["thinkgate"]["experts"]["layers"].as_array().map(Vec::len), Some(4));

    body["stream"] = false.into();
    body["model"] = "pico-dense".into();
    let dense = json_of(asked("summary", &body).await.expect("a response")).await;
    assert!(dense["thinkgate"]["experts"].is_null() && dense["thinkgate"].is_object(), "{dense}");

    let wrong = asked("all", &body).await.expect("a response");
    assert_eq!(wrong.status(), 400);
    assert_eq!(json_of(wrong).await["error"]["param"], "x-thinkgate-experts");
}

#[tokio::test]
async fn a_loop_is_told_to_the_client() {
    let gateway = Gateway::start("").await;
    let mut body = ask("Sing.");
    body["enable_thinking"] = false.into();
    body["temperature"] = 0.into();
    body["max_tokens"] = 300.into();
    let answer = json_of(gateway.chat(&body).send().await.expect("a response")).await;
    assert!(answer.get("thinkgate").is_none(), "nothing to tell: {answer}");

    body["response_format"] = json!({"type": "grammar", "grammar": "start: /(la ){100,}/"});
    let answer = json_of(gateway.chat(&body).send().await.expect("a response")).await;
    let told = answer["thinkgate"]["repetition"].clone();
    assert!(told["tokens"].as_u64() > Some(48) && told["period"].as_u64() >= Some(1), "{answer}");
    assert_eq!((&told["cut"], &answer["choices"][0]["finish_reason"]), (&json!(false), &json!("length")));

    body["stream"] = true.into();
    let events = Events::of(gateway.chat(&body).send().await.expect("a response")).await;
    let telling: Vec<_> = events.events.iter().filter(|event| event.get("thinkgate").is_some()).collect();
    assert_eq!(telling.len(), 1);
    assert_eq!(telling[0]["thinkgate"]["repetition"], told);
    assert_eq!(telling[0]["choices"][0]["finish_reason"], "length");
}
