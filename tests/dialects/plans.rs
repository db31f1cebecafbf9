//! What depends on more than model and intent.

use serde_json::{Map, Value, json};
use thinkgate::backends::dialect::{Auth, outgoing};
use thinkgate::backends::{Applied, Asked, Lossy};
use thinkgate::config::{Dialect, Upstream, Wire};
use thinkgate::conversation::{Asks, Conversation, Mode, Origin, Wish};
use thinkgate::policy::ThinkingAbility;

use crate::support::{Intent, call, upstream};

fn asks(more: Value) -> Value {
    let mut body = json!({"model": "auto", "messages": [{"role": "user", "content": "2+2?"}]});
    let Value::Object(more) = more else { panic!("an object") };
    body.as_object_mut().expect("an object").extend(more);
    body
}

fn sent(upstream: &Upstream, intent: Intent, more: Value) -> (Value, String) {
    let sent = outgoing(&call(asks(more), intent), upstream);
    (sent.body.into(), sent.applied.compact())
}

#[test]
fn a_budget_reaches_vllm_where_the_server_was_started_for_it() {
    let mut upstream = upstream(Dialect::Vllm, "Qwen/Qwen3-4B");
    let (body, applied) = sent(&upstream, Intent::Budget, json!({}));
    assert!(body.get("thinking_token_budget").is_none());
    assert_eq!(applied, "mode=on;lossy=budget_dropped");
    upstream.budget = true;
    let (body, applied) = sent(&upstream, Intent::Budget, json!({}));
    assert_eq!(body["thinking_token_budget"], 700);
    assert_eq!(applied, "mode=on;budget=700");
}

#[test]
fn a_client_s_own_flags_reach_the_template_and_its_mode_does_not() {
    let flags = json!({"chat_template_kwargs": {"enable_thinking": true, "tools_in_user_message": true, "tokenize": false}});
    let (body, _) = sent(&upstream(Dialect::Vllm, "Qwen/Qwen3-4B"), Intent::Off, flags.clone());
    assert_eq!(
        body["chat_template_kwargs"],
        json!({"tools_in_user_message": true, "enable_thinking": false, "thinking": false})
    );
    let (body, _) = sent(&upstream(Dialect::Openai, "gpt-5.2"), Intent::Off, flags);
    assert!(body.get("chat_template_kwargs").is_none());
}

#[test]
fn sampling_follows_the_mode_unless_the_client_set_any() {
    let upstream = upstream(Dialect::Vllm, "Qwen/Qwen3-4B");
    let (body, _) = sent(&upstream, Intent::On, json!({}));
    assert_eq!((&body["temperature"], &body["top_p"]), (&json!(0.6), &json!(0.95)));
    let (body, _) = sent(&upstream, Intent::Off, json!({}));
    assert_eq!((&body["temperature"], &body["top_p"]), (&json!(0.7), &json!(0.8)));
    let (body, _) = sent(&upstream, Intent::Off, json!({"temperature": 0.2, "top_k": null}));
    assert_eq!(body["temperature"], 0.2);
    assert!(body.get("top_p").is_none(), "one field of the client keeps all of ours out");
}

#[test]
fn a_cap_that_the_client_set_is_never_raised() {
    let claude = upstream(Dialect::Anthropic, "claude-sonnet-4-5");
    for (cap, budget, applied) in [
        (5000, Some(2048), "mode=on;budget=2048"),
        (1500, Some(1024), "mode=on;budget=1024;lossy=budget_clamped"),
        (1024, None, "mode=off;lossy=off_for_room"),
    ] {
        let (body, told) = sent(&claude, Intent::On, json!({"max_tokens": cap}));
        assert_eq!((&body["max_tokens"], &*told), (&json!(cap), applied));
        assert_eq!(body["thinking"].get("budget_tokens").and_then(Value::as_u64), budget);
    }
    let (body, _) = sent(&claude, Intent::On, json!({}));
    assert_eq!(body["max_tokens"], 2048 + 8192, "a cap nobody set leaves room for both");
    let silicon = upstream(Dialect::Siliconflow, "Qwen/Qwen3-8B");
    let (body, told) = sent(&silicon, Intent::On, json!({"max_tokens": 300}));
    assert_eq!((&body["max_tokens"], &body["thinking_budget"]), (&json!(300), &json!(2048)));
    assert_eq!(told, "mode=on;budget=2048", "this cap does not count the thought");
}

#[test]
fn of_two_caps_the_lower_is_sent_by_the_name_that_is_taken() {
    let caps = json!({"max_tokens": 300, "max_completion_tokens": 200});
    let (body, _) = sent(&upstream(Dialect::Openai, "gpt-5.2"), Intent::Off, caps.clone());
    assert_eq!((&body["max_completion_tokens"], body.get("max_tokens")), (&json!(200), None));
    let (body, _) = sent(&upstream(Dialect::Glm, "glm-4.7"), Intent::Off, caps);
    assert_eq!((&body["max_tokens"], body.get("max_completion_tokens")), (&json!(200), None));
}

#[test]
fn a_pair_falls_back_to_the_model_that_does_not_think() {
    let mut pair = upstream(Dialect::Deepseek, "deepseek-chat");
    pair.thinking_model_id = Some("deepseek-reasoner".into());
    assert_eq!(pair.ability(), ThinkingAbility::Hybrid);
    let (body, applied) = sent(&pair, Intent::On, json!({}));
    assert_eq!(
        (&body["model"], &*applied),
        (&json!("deepseek-reasoner"), "mode=on;model=deepseek-reasoner;lossy=budget_dropped,switched_model")
    );
    let (body, applied) = sent(&pair, Intent::On, json!({"tools": [], "tool_choice": "required"}));
    assert_eq!((&body["model"], &*applied), (&json!("deepseek-chat"), "mode=off;lossy=off_for_tools"));
    assert_eq!(body["tool_choice"], "required");
}

#[test]
fn what_the_operator_says_of_a_model_outranks_what_is_known_of_it() {
    let mut upstream = upstream(Dialect::Vllm, "vendor/unlisted");
    assert_eq!(upstream.ability(), ThinkingAbility::Hybrid);
    upstream.thinking = Some(ThinkingAbility::Always);
    let (body, applied) = sent(&upstream, Intent::Off, json!({}));
    assert!(body.get("chat_template_kwargs").is_none());
    assert_eq!(applied, "mode=on;lossy=off_unsupported");
    upstream.thinking = Some(ThinkingAbility::Never);
    assert_eq!(sent(&upstream, Intent::On, json!({})).1, "mode=off;lossy=on_unsupported");
}

#[test]
fn always_thinking_models_with_a_depth_count_as_having_both_modes() {
    for (dialect, model, ability) in [
        (Dialect::Vllm, "openai/gpt-oss-20b", ThinkingAbility::Hybrid),
        (Dialect::Openai, "gpt-5-mini", ThinkingAbility::Hybrid),
        (Dialect::Sglang, "deepseek-ai/DeepSeek-R1", ThinkingAbility::Always),
        (Dialect::Vllm, "Qwen/Qwen3-4B-Instruct-2507", ThinkingAbility::Never),
        (Dialect::Groq, "llama-3.3-70b-versatile", ThinkingAbility::Never),
        (Dialect::Generic, "Qwen/Qwen3-8B", ThinkingAbility::Hybrid),
    ] {
        assert_eq!(upstream(dialect, model).ability(), ability, "{model}");
    }
}

#[test]
fn the_soft_switch_ends_what_the_person_said_last() {
    let qwen = upstream(Dialect::Generic, "Qwen/Qwen3-8B");
    let messages = json!([{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"},
                          {"role": "user", "content": [{"type": "text", "text": "2+2?"}]}, {"role": "tool", "content": "4"}]);
    let (body, applied) = sent(&qwen, Intent::Off, json!({"messages": messages}));
    assert_eq!(body["messages"][0]["content"], "hi");
    assert_eq!(body["messages"][2]["content"][1], json!({"type": "text", "text": "/no_think"}));
    assert_eq!(applied, "mode=off;lossy=soft_switch_used");
    let (body, _) = sent(&qwen, Intent::On, json!({}));
    assert_eq!(body["messages"][0]["content"], "2+2? /think");
    let (body, _) = sent(&upstream(Dialect::Generic, "vendor/unlisted"), Intent::On, json!({}));
    assert_eq!(body["messages"][0]["content"], "2+2?");
}

#[test]
fn gemini_s_chat_completions_take_its_words_in_a_field_of_their_own() {
    let mut gemini = upstream(Dialect::Gemini, "gemini-2.5-flash");
    gemini.wire = Wire::Chat;
    let (body, _) = sent(&gemini, Intent::Budget, json!({}));
    assert_eq!(
        body["extra_body"],
        json!({"google": {"thinking_config": {"thinking_budget": 700, "include_thoughts": true}}})
    );
    let mut gemini = upstream(Dialect::Gemini, "gemini-3-flash-preview");
    gemini.wire = Wire::Chat;
    let said = json!({"extra_body": {"google": {"thinking_config": {"thinking_budget": 5}}}});
    let (body, _) = sent(&gemini, Intent::Effort, said);
    assert_eq!((&body["reasoning_effort"], body.get("extra_body")), (&json!("high"), None));
}

#[test]
fn usage_is_asked_for_on_streams_and_streams_are_asked_for_where_thinking_needs_one() {
    let options = json!({"stream_options": {"include_obfuscation": false}});
    let mut streamed = call(asks(options), Intent::Off);
    streamed.stream = true;
    let body = Value::from(outgoing(&streamed, &upstream(Dialect::Vllm, "m")).body);
    assert_eq!(body["stream_options"], json!({"include_obfuscation": false, "include_usage": true}));
    let qwen = upstream(Dialect::Dashscope, "qwen3-32b");
    let forced = outgoing(&call(asks(json!({})), Intent::On), &qwen);
    assert!(forced.force_stream && forced.body["stream"] == true);
    assert!(forced.applied.lossy.contains(&Lossy::ForcedStream));
    let plain = outgoing(&call(asks(json!({})), Intent::Off), &qwen);
    assert!(!plain.force_stream && plain.body["stream"] == false);
}

#[test]
fn addresses_and_keys_are_the_vendors_own() {
    let endpoint = |upstream: &Upstream, stream: bool| {
        let mut call = call(asks(json!({})), Intent::Off);
        call.stream = stream;
        outgoing(&call, upstream).endpoint
    };
    let base = "http://127.0.0.1:9000/v1";
    let gemini = endpoint(&upstream(Dialect::Gemini, "gemini-2.5-flash"), true);
    assert_eq!(gemini.url, format!("{base}/models/gemini-2.5-flash:streamGenerateContent?alt=sse"));
    assert_eq!(gemini.auth, Auth::Header("x-goog-api-key"));
    let claude = endpoint(&upstream(Dialect::Anthropic, "claude-opus-4-7"), false);
    assert_eq!((claude.url, claude.auth), (format!("{base}/messages"), Auth::Header("x-api-key")));
    assert_eq!(claude.headers, [("anthropic-version", "2023-06-01")]);
    let bedrock = endpoint(&upstream(Dialect::Bedrock, "us.deepseek.r1-v1:0"), true);
    assert_eq!(bedrock.url, format!("{base}/model/us.deepseek.r1-v1%3A0/converse-stream"));
    let mut azure = upstream(Dialect::Azure, "gpt-5.2");
    azure.api_version = Some("2025-04-01-preview".into());
    let azure = endpoint(&azure, false);
    assert_eq!(azure.url, format!("{base}/chat/completions?api-version=2025-04-01-preview"));
    assert_eq!(azure.auth, Auth::Header("api-key"));
}

#[test]
fn what_was_applied_reads_in_one_line_and_in_notes() {
    let mut applied =
        Applied { mode: Mode::On, effort: None, budget: Some(128), model: None, lossy: Vec::new() };
    applied.lost(Lossy::OffToMinBudget);
    applied.lost(Lossy::OffToMinBudget);
    assert_eq!(applied.compact(), "mode=on;budget=128;lossy=off_unsupported>min_budget");
    let notes: Vec<String> = applied.notes().collect();
    assert_eq!(
        notes,
        ["applied off_unsupported>min_budget: the model always thinks, so it got its smallest budget"]
    );
}

#[test]
fn a_client_s_own_terms_are_told_apart() {
    let decided = |by: &str, body: Value| {
        let Value::Object(body) = body else { panic!("an object") };
        let request = Value::from(Map::from_iter(
            body.clone()
                .into_iter()
                .chain([("messages".to_owned(), json!([{"role": "user", "content": "hi"}]))]),
        ));
        let snapshot = thinkgate::decide::Snapshot {
            rules: thinkgate::rules::RuleSet::builtin().unwrap_or_else(|faults| panic!("{faults:#?}")),
            classifier: None,
            policy: thinkgate::config::Config::default().policy(),
        };
        let mut conversation = Conversation::from_body(&request, &snapshot.policy).expect("valid");
        // A wish about the model says nothing of the depth, whatever its rank.
        let model = Asks::Model("pico-dense".into());
        conversation.wishes.insert(0, Wish::outside_text(Origin::Header, "x-thinkgate-model", model));
        let decision = thinkgate::decide::decide(&conversation, &snapshot);
        assert!(by.is_empty() || decision.wishes.iter().any(|wish| wish.by == by), "{by}");
        Asked::of(&decision, &body)
    };
    assert_eq!(decided("", json!({})), Asked::Nothing);
    assert_eq!(decided("reasoning_effort", json!({"reasoning_effort": "low"})), Asked::Effort);
    assert_eq!(
        decided("thinking", json!({"thinking": {"type": "enabled", "budget_tokens": 1024}})),
        Asked::Budget
    );
    assert_eq!(decided("reasoning", json!({"reasoning": {"max_tokens": 777}})), Asked::Budget);
    assert_eq!(decided("", json!({"thinking_budget": 900})), Asked::Budget);
    assert_eq!(decided("enable_thinking", json!({"enable_thinking": true})), Asked::Nothing);
}

#[test]
fn a_loop_without_its_thought_is_not_thought_about_further_where_that_is_refused() {
    let calling = |more: Value| {
        let mut message = json!({"role": "assistant", "content": null,
            "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]});
        message.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        let result = json!({"role": "tool", "tool_call_id": "c", "content": "r"});
        json!({"messages": [{"role": "user", "content": "2+2?"}, message, result],
               "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]})
    };
    let claude = upstream(Dialect::Anthropic, "claude-sonnet-4-5");
    let (body, told) = sent(&claude, Intent::On, calling(json!({"reasoning_content": "another's"})));
    assert_eq!(body["thinking"], json!({"type": "disabled"}));
    assert!(told.starts_with("mode=off;lossy=") && told.contains("off_for_history"), "{told}");
    let signed = json!({"thinking_blocks": [{"type": "thinking", "thinking": "t", "signature": "s"}]});
    let (body, told) = sent(&claude, Intent::On, calling(signed));
    assert_eq!((&body["thinking"]["type"], &*told), (&json!("enabled"), "mode=on;budget=2048"));
    // The later way of thinking does not mind.
    let later = upstream(Dialect::Anthropic, "claude-opus-4-7");
    let (body, _) = sent(&later, Intent::On, calling(json!({})));
    assert_eq!(body["thinking"]["type"], "adaptive");
}
