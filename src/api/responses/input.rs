//! Items as chat messages. What belongs to one answer (its reasoning, its text, its calls) is one message there.

use serde_json::{Map, Value, json};

use super::super::calls::{chat_call, unsigned};
use super::super::seal;
use super::tools::chat_name;
use crate::conversation::BadRequest;

/// The chat's messages, the instructions first.
pub(super) fn messages(instructions: Option<Value>, input: Value) -> Result<Vec<Value>, BadRequest> {
    let mut chat = Chat::default();
    match instructions {
        None | Some(Value::Null) => {}
        Some(text @ Value::String(_)) => chat.system(text),
        Some(Value::Array(items)) => chat.items("instructions", items)?,
        Some(other) => return Err(BadRequest::value("instructions", &other, "a string")),
    }
    match input {
        text @ Value::String(_) => chat.say("user", text),
        Value::Array(items) => chat.items("input", items)?,
        other => return Err(BadRequest::value("input", &other, "a string or an array of items")),
    }
    chat.settle();
    Ok(chat.messages)
}

/// A chat as its items are read.
#[derive(Default)]
struct Chat {
    messages: Vec<Value>,
    /// The answer whose items are being read.
    answer: Map<String, Value>,
    /// Pictures that tools returned, which follow the results they came with.
    pictures: Vec<Value>,
}

impl Chat {
    fn items(&mut self, field: &str, items: Vec<Value>) -> Result<(), BadRequest> {
        for (index, item) in items.into_iter().enumerate() {
            self.item(&format!("{field}[{index}]"), item)?;
        }
        Ok(())
    }

    fn item(&mut self, at: &str, item: Value) -> Result<(), BadRequest> {
        match item.get("type").and_then(Value::as_str).unwrap_or("message") {
            "message" => self.message(at, &item),
            "reasoning" => {
                self.reasoning(&item);
                Ok(())
            }
            "function_call" => self.call(at, &item, text_at(at, &item, "arguments")?.to_owned()),
            "custom_tool_call" => {
                let input = text_at(at, &item, "input")?;
                self.call(at, &item, json!({"input": input}).to_string())
            }
            "function_call_output" | "custom_tool_call_output" => self.result(at, &item),
            // What OpenAI's servers did for an earlier answer, which no other model can make use of.
            "web_search_call" | "file_search_call" | "code_interpreter_call" | "image_generation_call" => {
                Ok(())
            }
            "item_reference" => Err(refused(at, "this gateway keeps no items; send the item itself")),
            kind => Err(refused(at, &format!("items of type {kind:?} are not supported"))),
        }
    }

    fn message(&mut self, at: &str, item: &Value) -> Result<(), BadRequest> {
        let content = item.get("content").unwrap_or(&Value::Null);
        match item.get("role").and_then(Value::as_str) {
            Some("assistant") => {
                let text = spoken(at, content)?;
                if self.answer.contains_key("content") && !self.calls_pending() {
                    self.settle();
                }
                let known = self.answer.get("content").and_then(Value::as_str).unwrap_or_default();
                let joined = format!("{known}{text}");
                self.answer.insert("content".into(), joined.into());
            }
            Some("user") => {
                let content = content_of(at, content)?;
                self.say("user", content);
            }
            Some("system" | "developer") => {
                let content = content_of(at, content)?;
                self.settle();
                self.system(content);
            }
            role => {
                let found = role.map_or(Value::Null, Value::from);
                return Err(BadRequest::value(
                    &format!("{at}.role"),
                    &found,
                    "one of user, assistant, system, developer",
                ));
            }
        }
        Ok(())
    }

    fn say(&mut self, role: &str, content: Value) {
        self.settle();
        self.messages.push(json!({"role": role, "content": content}));
    }

    /// Templates know one system message, at the start: what is said in its name there is joined.
    fn system(&mut self, content: Value) {
        if let ([Value::Object(first)], Some(more)) = (self.messages.as_mut_slice(), content.as_str())
            && first["role"] == "system"
            && let Some(Value::String(text)) = first.get_mut("content")
        {
            text.push_str("\n\n");
            text.push_str(more);
            return;
        }
        self.messages.push(json!({"role": "system", "content": content}));
    }

    fn reasoning(&mut self, item: &Value) {
        // A second thought belongs to the next answer, unless this one still waits for its tools.
        if self.answer.contains_key("content") && !self.calls_pending() {
            self.settle();
        }
        let texts = |field: &str| -> Vec<&str> {
            let parts = item.get(field).and_then(Value::as_array).into_iter().flatten();
            parts.filter_map(|part| part.get("text")?.as_str()).filter(|text| !text.is_empty()).collect()
        };
        let mut said = texts("content");
        if said.is_empty() {
            said = texts("summary");
        }
        if !said.is_empty() {
            let known = self.answer.get("reasoning_content").and_then(Value::as_str);
            let joined = known.into_iter().chain(said).collect::<Vec<&str>>().join("\n\n");
            self.answer.insert("reasoning_content".into(), joined.into());
        }
        if let Some(content) = item.get("encrypted_content").and_then(Value::as_str) {
            seal::open(content, item.get("id"), &mut self.answer);
        }
    }

    fn call(&mut self, at: &str, item: &Value, arguments: String) -> Result<(), BadRequest> {
        let name = chat_name(item.get("namespace").and_then(Value::as_str), text_at(at, item, "name")?);
        let call = chat_call(text_at(at, item, "call_id")?, &name, arguments);
        match self.answer.entry("tool_calls").or_insert_with(|| json!([])) {
            Value::Array(calls) => calls.push(call),
            other => *other = json!([call]),
        }
        Ok(())
    }

    fn result(&mut self, at: &str, item: &Value) -> Result<(), BadRequest> {
        let (id, _) = unsigned(text_at(at, item, "call_id")?);
        self.end_answer();
        let mut texts = Vec::new();
        match item.get("output") {
            Some(Value::String(text)) => texts.push(text.clone()),
            Some(Value::Array(parts)) => {
                let before = self.pictures.len();
                for (index, part) in parts.iter().enumerate() {
                    let part = part_of(&format!("{at}.output[{index}]"), part)?;
                    match part.get("text").and_then(Value::as_str) {
                        Some(text) => texts.push(text.to_owned()),
                        None => self.pictures.push(part),
                    }
                }
                if self.pictures.len() > before {
                    let whose = format!("Returned by the tool call {id}:");
                    self.pictures.insert(before, json!({"type": "text", "text": whose}));
                }
            }
            None | Some(Value::Null) => {}
            Some(other) => texts.push(other.to_string()),
        }
        self.messages.push(json!({"role": "tool", "tool_call_id": id, "content": texts.join("\n")}));
        Ok(())
    }

    fn calls_pending(&self) -> bool {
        self.answer.contains_key("tool_calls")
    }

    /// The answer being read is complete.
    fn end_answer(&mut self) {
        if self.answer.is_empty() {
            return;
        }
        self.show_pictures();
        let mut answer = std::mem::take(&mut self.answer);
        let absent = if answer.contains_key("tool_calls") { Value::Null } else { "".into() };
        let content = answer.shift_remove("content").unwrap_or(absent);
        let mut message =
            Map::from_iter([("role".to_owned(), "assistant".into()), ("content".to_owned(), content)]);
        message.extend(answer);
        self.messages.push(message.into());
    }

    fn show_pictures(&mut self) {
        if !self.pictures.is_empty() {
            let parts = std::mem::take(&mut self.pictures);
            self.messages.push(json!({"role": "user", "content": parts}));
        }
    }

    /// Whatever was being read is complete.
    fn settle(&mut self) {
        self.end_answer();
        self.show_pictures();
    }
}

fn refused(at: &str, what: &str) -> BadRequest {
    BadRequest { param: Some(at.to_owned()), message: format!("{at}: {what}"), code: "unsupported_parameter" }
}

fn text_at<'i>(at: &str, item: &'i Value, key: &str) -> Result<&'i str, BadRequest> {
    let value = item.get(key).unwrap_or(&Value::Null);
    value.as_str().ok_or_else(|| BadRequest::value(&format!("{at}.{key}"), value, "a string"))
}

/// The text of an earlier answer.
fn spoken(at: &str, content: &Value) -> Result<String, BadRequest> {
    match content {
        Value::String(text) => Ok(text.clone()),
        Value::Null => Ok(String::new()),
        Value::Array(parts) => {
            let text = |part: &Value| {
                let text = part.get("text").or_else(|| part.get("refusal"));
                text.and_then(Value::as_str).map(str::to_owned)
            };
            Ok(parts.iter().filter_map(text).collect())
        }
        other => Err(BadRequest::value(&format!("{at}.content"), other, "a string or an array of parts")),
    }
}

/// Content of a user or system message; one text alone needs no part around it.
fn content_of(at: &str, content: &Value) -> Result<Value, BadRequest> {
    match content {
        Value::String(_) => Ok(content.clone()),
        Value::Array(parts) => {
            let read = |(index, part)| part_of(&format!("{at}.content[{index}]"), part);
            let mut parts: Vec<Value> = parts.iter().enumerate().map(read).collect::<Result<_, _>>()?;
            match parts.as_mut_slice() {
                [one] if one["type"] == "text" => Ok(one["text"].take()),
                _ => Ok(parts.into()),
            }
        }
        other => Err(BadRequest::value(&format!("{at}.content"), other, "a string or an array of parts")),
    }
}

fn part_of(at: &str, part: &Value) -> Result<Value, BadRequest> {
    let text = |key: &str| part.get(key).and_then(Value::as_str);
    match text("type") {
        Some("input_text" | "output_text" | "text" | "summary_text") => {
            Ok(json!({"type": "text", "text": text_at(at, part, "text")?}))
        }
        Some("refusal") => Ok(json!({"type": "text", "text": text_at(at, part, "refusal")?})),
        Some("input_image") => {
            let url = text("image_url").ok_or_else(|| {
                refused(at, "an image needs an image_url, which may be a data URL; files are not kept here")
            })?;
            let mut image = json!({"url": url});
            if let Some(detail) = text("detail") {
                image["detail"] = detail.into();
            }
            Ok(json!({"type": "image_url", "image_url": image}))
        }
        Some("input_file") => {
            let data = text("file_data").ok_or_else(|| {
                refused(at, "a file needs its file_data; files are neither kept nor fetched here")
            })?;
            let file = json!({"filename": text("filename").unwrap_or("file"), "file_data": data});
            Ok(json!({"type": "file", "file": file}))
        }
        Some("input_audio") => Ok(part.clone()),
        Some(kind) => Err(refused(at, &format!("parts of type {kind:?} are not supported here"))),
        None => Err(BadRequest::value(&format!("{at}.type"), part, "a part with a type")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(input: Value) -> Value {
        messages(Some(json!("I")), input).expect("accepted").into()
    }

    #[test]
    fn the_items_of_one_answer_are_one_message() {
        let input = json!([
            {"role": "developer", "content": "D"},
            {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "List."}]},
            {"type": "reasoning", "id": "rs_1", "summary": [], "content": [{"type": "reasoning_text", "text": "Hm."}],
             "encrypted_content": "gAAAA"},
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Looking."}]},
            {"type": "function_call", "call_id": "c1", "name": "ls", "arguments": "{}"},
            {"type": "function_call", "call_id": "c2", "name": "pwd", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c1", "output": "a b"},
            {"type": "function_call_output", "call_id": "c2", "output": [
                {"type": "input_text", "text": "/"}, {"type": "input_image", "image_url": "data:x"}]},
            {"type": "message", "role": "assistant", "content": "Done."},
            {"role": "user", "content": "Thanks."}]);
        let call = |id: &str, name: &str| json!({"id": id, "type": "function", "function": {"name": name, "arguments": "{}"}});
        assert_eq!(
            read(input),
            json!([
                {"role": "system", "content": "I\n\nD"},
                {"role": "user", "content": "List."},
                {"role": "assistant", "content": "Looking.", "reasoning_content": "Hm.",
                 "reasoning_details": [{"type": "reasoning.encrypted", "data": "gAAAA", "id": "rs_1",
                                        "format": "openai-responses-v1"}],
                 "tool_calls": [call("c1", "ls"), call("c2", "pwd")]},
                {"role": "tool", "tool_call_id": "c1", "content": "a b"},
                {"role": "tool", "tool_call_id": "c2", "content": "/"},
                {"role": "user", "content": [{"type": "text", "text": "Returned by the tool call c2:"},
                                             {"type": "image_url", "image_url": {"url": "data:x"}}]},
                {"role": "assistant", "content": "Done."},
                {"role": "user", "content": "Thanks."}])
        );
    }

    #[test]
    fn calls_with_thoughts_between_them_stay_one_answer() {
        let input = json!([
            {"type": "reasoning", "summary": [{"type": "summary_text", "text": "One."}]},
            {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"},
            {"type": "reasoning", "summary": [{"type": "summary_text", "text": "Two."}]},
            {"type": "custom_tool_call", "call_id": "c2", "name": "g", "input": "x"},
            {"type": "function_call_output", "call_id": "c1", "output": "1"},
            {"type": "custom_tool_call_output", "call_id": "c2", "output": "2"}]);
        let read = read(input);
        assert_eq!(read[1]["reasoning_content"], "One.\n\nTwo.");
        assert_eq!(read[1]["tool_calls"].as_array().map(Vec::len), Some(2));
        assert_eq!(read[1]["tool_calls"][1]["function"]["arguments"], "{\"input\":\"x\"}");
        assert_eq!((&read[2]["content"], &read[3]["content"]), (&json!("1"), &json!("2")));
    }

    #[test]
    fn what_cannot_be_carried_over_is_refused_by_place() {
        for (item, at) in [
            (json!({"type": "item_reference", "id": "x"}), "input[0]"),
            (json!({"type": "computer_call"}), "input[0]"),
            (json!({"role": "robot", "content": "x"}), "input[0].role"),
            (
                json!({"role": "user", "content": [{"type": "input_image", "file_id": "f"}]}),
                "input[0].content[0]",
            ),
            (json!({"type": "function_call", "call_id": "c", "name": "f"}), "input[0].arguments"),
        ] {
            let refused = messages(None, json!([item])).expect_err("refused");
            assert_eq!(refused.param.as_deref(), Some(at));
        }
    }
}
