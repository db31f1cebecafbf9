use super::super::super::capability;
use super::*;

/// A question answered, and a tool loop under way: (reasoning of the old answer, of the call).
fn conversation(old: &Value, call: &Value) -> Map<String, Value> {
    let merged = |mut message: Value, more: &Value| {
        for (name, value) in more.as_object().expect("fields") {
            message[name] = value.clone();
        }
        message
    };
    let calls = json!([{"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]);
    let Value::Object(chat) = json!({"tools": [{"type": "function", "function": {"name": "f"}}], "messages": [
        {"role": "user", "content": "a?"},
        merged(json!({"role": "assistant", "content": "A."}), old),
        {"role": "user", "content": "b?"},
        merged(json!({"role": "assistant", "content": null, "tool_calls": calls}), call),
        {"role": "tool", "tool_call_id": "c1", "content": "r"},
    ]}) else {
        panic!("an object")
    };
    chat
}

/// What is left of the fields about reasoning in the two messages, and the codes.
fn settled(
    history: History,
    dialect: Dialect,
    wire: Wire,
    old: Value,
    call: Value,
) -> (Value, Value, String) {
    let mut capability = capability::find(dialect, "some-model").clone();
    capability.history = history;
    let rule = Rule { capability: &capability, dialect, wire, thinking: true };
    let mut chat = conversation(&old, &call);
    let codes: Vec<String> = settle(&mut chat, &rule).iter().map(Lossy::to_string).collect();
    let left = |at: usize| {
        let mut message = chat["messages"][at].clone();
        let fields = message.as_object_mut().expect("fields");
        fields.retain(|name, value| {
            name != "role" && name != "tool_calls" && *value != "A." && !value.is_null()
        });
        message
    };
    (left(1), left(3), codes.join(","))
}

fn text(text: &str) -> Value {
    json!({ "reasoning_content": text })
}

#[test]
fn text_is_kept_where_it_is_wanted_and_filled_in_where_it_is_demanded() {
    let both = |history, dialect| settled(history, dialect, Wire::Chat, text("x"), text("y"));
    let none = json!({});
    assert_eq!(both(History::Ignored, Dialect::Siliconflow), (none.clone(), none.clone(), String::new()));
    assert_eq!(
        both(History::Forbidden, Dialect::Openai),
        (none.clone(), none.clone(), "history_stripped".into())
    );
    assert_eq!(both(History::CurrentLoop, Dialect::Sglang), (none.clone(), text("y"), String::new()));
    assert_eq!(both(History::Required, Dialect::Deepseek), (text("x"), text("y"), String::new()));
    let missing = |dialect| settled(History::Required, dialect, Wire::Chat, json!({}), json!({}));
    assert_eq!(missing(Dialect::Deepseek), (text(" "), text(" "), "history_backfilled".into()));
    assert_eq!(missing(Dialect::Kimi), (none, text(" "), "history_backfilled".into()));
}

#[test]
fn the_field_is_named_as_the_server_reads_it() {
    let (_, kept, _) =
        settled(History::CurrentLoop, Dialect::Vllm, Wire::Chat, json!({}), json!({"reasoning": "y"}));
    assert_eq!(kept, json!({"reasoning_content": "y", "reasoning": "y"}));
    let (_, kept, _) = settled(History::Required, Dialect::Minimax, Wire::Chat, json!({}), text("y"));
    assert_eq!(kept, json!({"content": "<think>\ny\n</think>\n\n"}));
}

#[test]
fn tags_and_blocks_that_clients_put_into_the_content_are_taken_out() {
    let inline = json!({"content": "<think>\ny\n</think>\nB."});
    let (_, kept, _) = settled(History::CurrentLoop, Dialect::Sglang, Wire::Chat, json!({}), inline);
    assert_eq!(kept, json!({"content": "B.", "reasoning_content": "y"}));
    let blocks = json!({"content": [{"type": "thinking", "thinking": "y", "signature": "s"}, {"type": "text", "text": "B."}]});
    let (_, kept, codes) =
        settled(History::CurrentLoop, Dialect::Sglang, Wire::Chat, json!({}), blocks.clone());
    assert_eq!(kept, json!({"content": [{"type": "text", "text": "B."}], "reasoning_content": "y"}));
    assert_eq!(codes, "history_stripped", "the signature is lost on another maker's model");
    let (_, kept, codes) = settled(History::Signed, Dialect::Anthropic, Wire::Anthropic, json!({}), blocks);
    assert_eq!(kept["thinking_blocks"], json!([{"type": "thinking", "thinking": "y", "signature": "s"}]));
    assert_eq!(codes, "");
}

#[test]
fn signed_thoughts_go_back_to_their_maker_alone() {
    let unsigned = json!({"reasoning_content": "y", "thinking_blocks": [{"type": "thinking", "thinking": "y", "signature": ""}]});
    let (_, kept, codes) = settled(History::Signed, Dialect::Anthropic, Wire::Anthropic, json!({}), unsigned);
    assert_eq!((kept, codes.as_str()), (json!({}), "history_stripped"));
    let details = json!({"reasoning_details": [
        {"type": "reasoning.text", "text": "y", "signature": "s", "format": "anthropic-claude-v1", "index": 0}]});
    let (_, kept, _) =
        settled(History::Signed, Dialect::Anthropic, Wire::Anthropic, json!({}), details.clone());
    assert_eq!(kept, json!({"thinking_blocks": [{"type": "thinking", "thinking": "y", "signature": "s"}]}));
    let (_, kept, codes) =
        settled(History::CurrentLoop, Dialect::Openrouter, Wire::Chat, json!({}), details.clone());
    assert_eq!((&kept["reasoning_details"], codes.as_str()), (&details["reasoning_details"], ""));
}

#[test]
fn a_call_that_another_model_made_gets_googles_word_for_it() {
    let settled_at = |id: &str, wire: Wire| {
        let capability = capability::find(Dialect::Gemini, id);
        let mut chat = conversation(&json!({}), &json!({}));
        let lost = settle(&mut chat, &Rule { capability, dialect: Dialect::Gemini, wire, thinking: true });
        (chat, lost)
    };
    let signature = "/messages/3/tool_calls/0/extra_content/google/thought_signature";
    for wire in [Wire::Gemini, Wire::Chat] {
        let (chat, lost) = settled_at("gemini-3-pro-preview", wire);
        assert_eq!(lost, [Lossy::HistoryBackfilled]);
        assert_eq!(Value::from(chat).pointer(signature), Some(&json!(UNSIGNED)));
    }
    let (chat, lost) = settled_at("gemini-2.5-flash", Wire::Gemini);
    assert_eq!((Value::from(chat).pointer(signature), lost), (None, Vec::new()), "it does not know the word");
    let (mut chat, _) = settled_at("gemini-3-pro-preview", Wire::Gemini);
    let openai = capability::find(Dialect::Openai, "gpt-5");
    settle(
        &mut chat,
        &Rule { capability: openai, dialect: Dialect::Openai, wire: Wire::Chat, thinking: true },
    );
    assert_eq!(Value::from(chat).pointer(signature), None);
}

#[test]
fn a_history_without_reasoning_is_left_alone() {
    let before = conversation(&json!({}), &json!({}));
    let mut after = before.clone();
    let capability = capability::find(Dialect::Vllm, "Qwen/Qwen3-4B");
    let rule = Rule { capability, dialect: Dialect::Vllm, wire: Wire::Chat, thinking: true };
    assert_eq!(settle(&mut after, &rule), []);
    assert_eq!(after, before);
}

#[test]
fn a_loop_that_begins_without_a_signed_thought_is_known() {
    let signed = json!({"thinking_blocks": [{"type": "thinking", "thinking": "y", "signature": "s"}]});
    let parts =
        json!({"content": [{"type": "redacted_thinking", "data": "d"}, {"type": "text", "text": "B."}]});
    for (call, unthought) in [(json!({}), true), (text("y"), true), (signed.clone(), false), (parts, false)] {
        assert_eq!(begins_unthought(&conversation(&json!({}), &call)), unthought, "{call}");
    }
    let mut chat = conversation(&json!({}), &json!({}));
    chat["messages"].as_array_mut().expect("messages").truncate(3);
    assert!(!begins_unthought(&chat), "no loop is under way: the question is new");
}
