//! Messages made of blocks as chat messages: results of tools become messages of their own, calls and thinking go beside
//! the text.

use serde_json::{Map, Value, json};

use super::super::calls::{chat_call, unsigned};
use super::super::seal;
use crate::conversation::BadRequest;

/// The chat's messages, the system prompt first.
pub(super) fn messages(system: Option<Value>, messages: Value) -> Result<Vec<Value>, BadRequest> {
    let Value::Array(list) = messages else {
        return Err(BadRequest::value("messages", &messages, "an array of messages"));
    };
    let mut out = Vec::new();
    if let Some(system) = system.filter(|system| !system.is_null()) {
        out.push(json!({"role": "system", "content": system_content(system)?}));
    }
    for (index, message) in list.into_iter().enumerate() {
        let at = format!("messages[{index}]");
        let Value::Object(mut message) = message else {
            return Err(BadRequest::value(&at, &message, "an object with role and content"));
        };
        let content = message.shift_remove("content").unwrap_or_default();
        match message.get("role").and_then(Value::as_str) {
            Some("assistant") => out.push(assistant(&at, content)?),
            Some("user") => user(&at, content, &mut out)?,
            Some("system") => out.push(json!({"role": "system", "content": system_content(content)?})),
            _ => {
                let role = message.get("role").unwrap_or(&Value::Null);
                return Err(BadRequest::value(&format!("{at}.role"), role, "user, assistant or system"));
            }
        }
    }
    Ok(out)
}

fn system_content(system: Value) -> Result<Value, BadRequest> {
    match system {
        text @ Value::String(_) => Ok(text),
        Value::Array(blocks) => {
            let parts: Result<Vec<Value>, BadRequest> = blocks
                .iter()
                .enumerate()
                .map(|(index, block)| text_part(&format!("system[{index}]"), block))
                .collect();
            Ok(lean(parts?))
        }
        other => Err(BadRequest::value("system", &other, "a string or an array of text blocks")),
    }
}

/// One text that nobody marked needs no parts around it, which some servers cannot read.
fn lean(mut parts: Vec<Value>) -> Value {
    let plain = |part: &Value| part.as_object().is_some_and(|part| part.len() == 2) && part["type"] == "text";
    match parts.as_mut_slice() {
        [one] if plain(one) => one["text"].take(),
        _ => parts.into(),
    }
}

/// A text block as a text part, with the mark that says how far a prompt is worth keeping.
fn text_part(at: &str, block: &Value) -> Result<Value, BadRequest> {
    let text = block.get("text").filter(|text| text.is_string());
    let text = text.ok_or_else(|| BadRequest::value(at, block, "a block of type text"))?;
    Ok(marked(json!({"type": "text", "text": text}), block))
}

fn marked(mut part: Value, block: &Value) -> Value {
    if let Some(mark) = block.get("cache_control").filter(|mark| !mark.is_null()) {
        part["cache_control"] = mark.clone();
    }
    part
}

/// Results first, each a message of its own, as the calls before them demand; then what the user says.
fn user(at: &str, content: Value, out: &mut Vec<Value>) -> Result<(), BadRequest> {
    let blocks = match content {
        Value::Array(blocks) => blocks,
        text => {
            out.push(json!({"role": "user", "content": text}));
            return Ok(());
        }
    };
    let (mut pictures, mut parts) = (Vec::new(), Vec::new());
    let only_results = !blocks.is_empty() && blocks.iter().all(|block| block["type"] == "tool_result");
    for (index, block) in blocks.iter().enumerate() {
        let at = format!("{at}.content[{index}]");
        if block["type"] == "tool_result" {
            out.push(result(&at, block, &mut pictures)?);
        } else {
            parts.extend(part(&at, block)?);
        }
    }
    pictures.append(&mut parts);
    if !pictures.is_empty() || !only_results {
        out.push(json!({"role": "user", "content": lean(pictures)}));
    }
    Ok(())
}

/// What a tool returned. Chat has no place for pictures in it, so they follow in the user's message.
fn result(at: &str, block: &Value, pictures: &mut Vec<Value>) -> Result<Value, BadRequest> {
    let id = block.get("tool_use_id").and_then(Value::as_str);
    let id = id.ok_or_else(|| BadRequest::value(&format!("{at}.tool_use_id"), block, "a string"))?;
    let (id, _) = unsigned(id);
    let mut texts = Vec::new();
    match block.get("content") {
        None | Some(Value::Null) => {}
        Some(Value::String(text)) => texts.push(text.clone()),
        Some(Value::Array(blocks)) => {
            let before = pictures.len();
            for (index, block) in blocks.iter().enumerate() {
                for part in part(&format!("{at}.content[{index}]"), block)? {
                    match part.get("text").and_then(Value::as_str) {
                        Some(text) => texts.push(text.to_owned()),
                        None => pictures.push(part),
                    }
                }
            }
            if pictures.len() > before {
                pictures.insert(
                    before,
                    json!({"type": "text", "text": format!("Returned by the tool call {id}:")}),
                );
            }
        }
        Some(other) => {
            return Err(BadRequest::value(&format!("{at}.content"), other, "a string or an array of blocks"));
        }
    }
    // A chat's tool message cannot say that the tool failed, except in words.
    let failed = block.get("is_error") == Some(&Value::Bool(true));
    if failed {
        texts.insert(0, "Error:".to_owned());
    }
    let mut result = json!({"role": "tool", "tool_call_id": id, "content": texts.join("\n")});
    if failed {
        result["is_error"] = true.into();
    }
    Ok(marked(result, block))
}

/// A block of the user's, or inside a tool's result, as parts of a chat message.
fn part(at: &str, block: &Value) -> Result<Vec<Value>, BadRequest> {
    let one = |part: Value| Ok(vec![marked(part, block)]);
    match block.get("type").and_then(Value::as_str) {
        Some("text") => text_part(at, block).map(|part| vec![part]),
        Some("image") => one(json!({"type": "image_url", "image_url": {"url": address(at, block)?}})),
        Some("document") => document(at, block).and_then(one),
        Some("search_result") => one(json!({"type": "text", "text": search_result(block)})),
        // Where a tool was found, not what it said.
        Some("tool_reference") => Ok(Vec::new()),
        Some(kind) => {
            Err(BadRequest::new(at, format!("{at}.type: blocks of type {kind:?} are not supported here")))
        }
        None => Err(BadRequest::value(&format!("{at}.type"), block, "a block with a type")),
    }
}

fn address(at: &str, block: &Value) -> Result<String, BadRequest> {
    let source = |key: &str| block.pointer(&format!("/source/{key}")).and_then(Value::as_str);
    match (source("type"), source("media_type"), source("data"), source("url")) {
        (Some("base64"), Some(kind), Some(data), _) => Ok(format!("data:{kind};base64,{data}")),
        (Some("url"), _, _, Some(url)) => Ok(url.to_owned()),
        _ => Err(BadRequest::new(
            at,
            format!(
                "{at}.source: expected base64 with media_type and data, or a url; files are not kept here"
            ),
        )),
    }
}

fn document(at: &str, block: &Value) -> Result<Value, BadRequest> {
    let title = block.get("title").and_then(Value::as_str);
    let source = block.get("source").unwrap_or(&Value::Null);
    let text = match source.get("type").and_then(Value::as_str) {
        Some("text") => source.get("data").and_then(Value::as_str).unwrap_or_default().to_owned(),
        Some("content") => match source.get("content") {
            Some(Value::String(text)) => text.clone(),
            Some(Value::Array(blocks)) => texts_of(blocks),
            _ => String::new(),
        },
        _ => {
            let file = json!({"filename": title.unwrap_or("document.pdf"), "file_data": address(at, block)?});
            return Ok(json!({"type": "file", "file": file}));
        }
    };
    let text = title.map_or_else(|| text.clone(), |title| format!("{title}\n\n{text}"));
    Ok(json!({"type": "text", "text": text}))
}

fn search_result(block: &Value) -> String {
    let text = |key: &str| block.get(key).and_then(Value::as_str).unwrap_or_default();
    let content =
        block.get("content").and_then(Value::as_array).map_or_else(String::new, |blocks| texts_of(blocks));
    format!("{}\n{}\n\n{content}", text("title"), text("source"))
}

fn texts_of(blocks: &[Value]) -> String {
    let texts: Vec<&str> = blocks.iter().filter_map(|block| block.get("text")?.as_str()).collect();
    texts.join("\n")
}

/// An earlier answer. Its thinking goes beside it twice: as it came, for whoever checks signatures, and as text.
fn assistant(at: &str, content: Value) -> Result<Value, BadRequest> {
    let blocks = match content {
        Value::Array(blocks) => blocks,
        text => return Ok(json!({"role": "assistant", "content": text})),
    };
    let (mut parts, mut calls, mut thinking) = (Vec::new(), Vec::new(), Vec::new());
    let mut thoughts: Vec<String> = Vec::new();
    let mut message = Map::from_iter([("role".to_owned(), "assistant".into())]);
    for (index, block) in blocks.into_iter().enumerate() {
        let at = format!("{at}.content[{index}]");
        match block.get("type").and_then(Value::as_str) {
            Some("text") => parts.push(text_part(&at, &block)?),
            Some("tool_use") => calls.push(call(&at, &block)?),
            Some("thinking" | "redacted_thinking") => {
                if let Some(sealed) = seal::of_block(&block) {
                    seal::open(sealed, None, &mut message);
                    continue;
                }
                let text = block.get("thinking").and_then(Value::as_str).filter(|text| !text.is_empty());
                thoughts.extend(text.map(str::to_owned));
                thinking.push(block);
            }
            // What Anthropic's servers did for an earlier answer, which no other model can make use of.
            Some(_) => {}
            None => return Err(BadRequest::value(&format!("{at}.type"), &block, "a block with a type")),
        }
    }
    let silent = parts.is_empty() && !calls.is_empty();
    message.insert("content".into(), if silent { Value::Null } else { joined(parts) });
    if !thoughts.is_empty() {
        message.insert("reasoning_content".into(), thoughts.join("\n\n").into());
    }
    if !thinking.is_empty() {
        message.insert("thinking_blocks".into(), thinking.into());
    }
    if !calls.is_empty() {
        message.insert("tool_calls".into(), calls.into());
    }
    Ok(message.into())
}

/// The texts of an answer as one, unless one of them is marked.
fn joined(parts: Vec<Value>) -> Value {
    if parts.iter().any(|part| part.get("cache_control").is_some()) {
        parts.into()
    } else {
        texts_of(&parts).into()
    }
}

fn call(at: &str, block: &Value) -> Result<Value, BadRequest> {
    let text = |key: &str| {
        let value = block.get(key).and_then(Value::as_str);
        value.ok_or_else(|| BadRequest::value(&format!("{at}.{key}"), block, "a string"))
    };
    let input = block.get("input").map_or_else(|| "{}".to_owned(), Value::to_string);
    Ok(chat_call(text("id")?, text("name")?, input))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_stand_before_what_the_user_says() {
        let system = json!([{"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}},
                            {"type": "text", "text": "b"}]);
        let list = json!([
            {"role": "user", "content": [{"type": "text", "text": "List them."}]},
            {"role": "assistant", "content": [
                {"type": "thinking", "thinking": "I will look.", "signature": "s1"},
                {"type": "redacted_thinking", "data": "r1"},
                {"type": "text", "text": "Looking."},
                {"type": "tool_use", "id": "t1", "name": "ls", "input": {"path": "/"}}]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "t1", "is_error": true, "content": [
                    {"type": "text", "text": "denied"},
                    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AA=="}}]},
                {"type": "text", "text": "Try again."}]}]);
        let expected = json!([
            {"role": "system", "content": [
                {"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}, {"type": "text", "text": "b"}]},
            {"role": "user", "content": "List them."},
            {"role": "assistant", "content": "Looking.", "reasoning_content": "I will look.",
             "thinking_blocks": [{"type": "thinking", "thinking": "I will look.", "signature": "s1"},
                                 {"type": "redacted_thinking", "data": "r1"}],
             "tool_calls": [{"id": "t1", "type": "function",
                             "function": {"name": "ls", "arguments": "{\"path\":\"/\"}"}}]},
            {"role": "tool", "tool_call_id": "t1", "content": "Error:\ndenied", "is_error": true},
            {"role": "user", "content": [
                {"type": "text", "text": "Returned by the tool call t1:"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}},
                {"type": "text", "text": "Try again."}]}]);
        assert_eq!(Value::from(messages(Some(system), list).expect("accepted")), expected);
    }

    #[test]
    fn results_alone_need_no_message_of_the_user() {
        let list = json!([{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": "x"}]}]);
        let read = messages(None, list).expect("accepted");
        assert_eq!(Value::from(read), json!([{"role": "tool", "tool_call_id": "t", "content": "x"}]));
    }

    #[test]
    fn what_cannot_be_carried_over_is_refused_by_place() {
        for (content, at) in [
            (
                json!([{"type": "image", "source": {"type": "file", "file_id": "f"}}]),
                "messages[0].content[0]",
            ),
            (json!([{"type": "container_upload", "file_id": "f"}]), "messages[0].content[0]"),
            (json!([{"type": "tool_result", "content": "x"}]), "messages[0].content[0].tool_use_id"),
            (json!([{"text": "x"}]), "messages[0].content[0].type"),
        ] {
            let refused = messages(None, json!([{"role": "user", "content": content}])).expect_err("refused");
            assert_eq!(refused.param.as_deref(), Some(at));
        }
    }
}
