//! The conversation of `tests/wires/` in every wire's words, and what no wire of its own takes.

use std::fs;
use std::path::Path;

use serde_json::json;

use super::*;

fn read(name: &str) -> Map<String, Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/wires").join(name);
    serde_json::from_slice(&fs::read(path).expect("a file")).expect("an object")
}

#[test]
fn one_conversation_is_framed_for_every_wire() {
    for (wire, name) in [
        (Wire::Anthropic, "anthropic.json"),
        (Wire::Gemini, "gemini.json"),
        (Wire::OllamaNative, "ollama-native.json"),
        (Wire::Bedrock, "bedrock.json"),
    ] {
        let body = framed(wire, read("conversation.json"));
        assert_eq!(Value::from(body), Value::from(read(name)), "{name}");
    }
}

#[test]
fn what_a_wire_has_no_place_for_is_refused() {
    let link = json!({"type": "image_url", "image_url": {"url": "https://example.com/a.png"}});
    let image = json!({"type": "image_url", "image_url": {"url": "data:image/png;base64,aWlp"}});
    let audio = json!({"type": "input_audio", "input_audio": {"data": "YQ==", "format": "mp3"}});
    let strange = json!({"type": "hologram"});
    for (wire, taken, refused) in [
        (Wire::Chat, vec![&link, &image, &audio, &strange], vec![]),
        (Wire::Anthropic, vec![&link, &image], vec![&audio, &strange]),
        (Wire::Gemini, vec![&link, &image, &audio], vec![&strange]),
        (Wire::OllamaNative, vec![&image], vec![&link, &audio, &strange]),
        (Wire::Bedrock, vec![&image], vec![&link, &audio, &strange]),
    ] {
        let chat = |part: &Value| {
            let Value::Object(chat) = json!({"messages": [{"role": "user", "content": [part]}]}) else {
                panic!()
            };
            chat
        };
        for part in taken {
            assert!(refuse(wire, &chat(part)).is_ok(), "{wire:?} {part}");
        }
        for part in refused {
            let error = refuse(wire, &chat(part)).expect_err("refused");
            assert!(matches!(error, BackendError::Refused { .. }), "{wire:?} {part}");
        }
    }
}

#[test]
fn several_answers_are_refused_where_only_one_is_given() {
    let Value::Object(chat) = json!({"messages": [{"role": "user", "content": "x"}], "n": 2}) else {
        panic!()
    };
    for (wire, refused) in [
        (Wire::Chat, false),
        (Wire::Gemini, false),
        (Wire::Anthropic, true),
        (Wire::OllamaNative, true),
        (Wire::Bedrock, true),
    ] {
        assert_eq!(refuse(wire, &chat).is_err(), refused, "{wire:?}");
    }
}

#[test]
fn ids_of_other_makers_still_pair_calls_with_results() {
    let Value::Object(chat) = json!({"messages": [
        {"role": "user", "content": "x"},
        {"role": "assistant", "content": "  ", "tool_calls": [
            {"id": "functions.f:0", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
        {"role": "tool", "tool_call_id": "functions.f:0", "content": "r"},
    ]}) else {
        panic!()
    };
    let body = Value::from(framed(Wire::Anthropic, chat.clone()));
    assert_eq!(body["messages"][1]["content"].as_array().map(Vec::len), Some(1), "white space is no block");
    assert_eq!(body["messages"][1]["content"][0]["id"], "functions_f_0");
    assert_eq!(body["messages"][2]["content"][0]["tool_use_id"], "functions_f_0");
    let body = Value::from(framed(Wire::Bedrock, chat));
    assert_eq!(body["messages"][1]["content"][0]["toolUse"]["toolUseId"], "functions_f_0");
    assert_eq!(body["messages"][2]["content"][0]["toolResult"]["toolUseId"], "functions_f_0");
}

#[test]
fn an_image_may_come_in_one_event_where_images_are_made() {
    let event = format!("data: \"{}\"\n\n", "x".repeat(2 << 20));
    assert_eq!(frames(Wire::Gemini).push(event.as_bytes()).map(|events| events.len()).ok(), Some(1));
    assert!(frames(Wire::Chat).push(event.as_bytes()).is_err());
}

#[test]
fn errors_of_every_shape_become_one() {
    for body in [
        json!({"error": {"message": "no"}}),
        json!({"type": "error", "error": {"type": "invalid_request_error", "message": "no"}}),
        json!([{"error": {"code": 400, "message": "no", "status": "INVALID_ARGUMENT"}}]),
        json!({"error": "no"}),
        json!({"message": "no"}),
        json!({"Message": "no"}),
        json!({"detail": "no"}),
    ] {
        let shown = error_body(body.clone());
        let message = shown.pointer("/error/message").or_else(|| shown.get("message"));
        assert_eq!(message, Some(&json!("no")), "{body}");
    }
}
