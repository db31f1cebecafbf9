//! Tools as the functions of a chat, and back. Tools whose input is free text become functions of one string, and tools in
//! a namespace get its name before theirs; answers name them as the client knows them.

use serde_json::{Map, Value, json};

use crate::config::HostedTools;
use crate::conversation::BadRequest;

/// How the client knows the functions whose name or kind is another in the chat.
#[derive(Debug, Default)]
pub(super) struct ToolNames {
    known: Vec<ToolName>,
    /// Kinds of tools that only OpenAI's servers run.
    pub(super) left_out: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ToolName {
    /// In the chat.
    chat: String,
    pub(super) name: String,
    pub(super) namespace: Option<String>,
    /// The input is free text.
    pub(super) custom: bool,
}

impl ToolNames {
    /// How the client knows a function of the chat.
    pub(super) fn of_chat(&self, chat: &str) -> ToolName {
        let plain = || ToolName { chat: chat.into(), name: chat.into(), namespace: None, custom: false };
        self.known.iter().find(|tool| tool.chat == chat).cloned().unwrap_or_else(plain)
    }
}

/// The name of a function in the chat.
pub(super) fn chat_name(namespace: Option<&str>, name: &str) -> String {
    namespace.map_or_else(|| name.to_owned(), |namespace| format!("{namespace}__{name}"))
}

/// The chat's functions.
pub(super) fn read_tools(
    tools: Option<Value>,
    hosted: HostedTools,
) -> Result<(Vec<Value>, ToolNames), BadRequest> {
    let tools = match tools {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(tools)) => tools,
        Some(other) => return Err(BadRequest::value("tools", &other, "an array of tools")),
    };
    let mut reader = Reader { hosted, functions: Vec::new(), names: ToolNames::default() };
    for (index, tool) in tools.iter().enumerate() {
        reader.read(&format!("tools[{index}]"), tool, None)?;
    }
    Ok((reader.functions, reader.names))
}

struct Reader {
    hosted: HostedTools,
    functions: Vec<Value>,
    names: ToolNames,
}

impl Reader {
    fn read(&mut self, at: &str, tool: &Value, namespace: Option<&str>) -> Result<(), BadRequest> {
        match tool.get("type").and_then(Value::as_str) {
            // A function may be wrapped as in chat completions.
            Some("function") => self.add(at, tool.get("function").unwrap_or(tool), namespace, false),
            Some("custom") => self.add(at, tool.get("custom").unwrap_or(tool), namespace, true),
            Some("namespace") if namespace.is_none() => {
                let name = name_of(at, tool)?;
                let inner = tool.get("tools").and_then(Value::as_array).into_iter().flatten();
                for (index, tool) in inner.enumerate() {
                    self.read(&format!("{at}.tools[{index}]"), tool, Some(name))?;
                }
                Ok(())
            }
            Some(kind) if self.hosted == HostedTools::Drop => {
                self.names.left_out.push(kind.to_owned());
                Ok(())
            }
            Some(kind) => Err(BadRequest {
                param: Some(format!("{at}.type")),
                message: format!(
                    "{at}.type: {kind:?} runs on OpenAI's servers only; leave it out (Codex: web_search = \"disabled\"), send a \
                     function, or let the operator leave hosted_tools = \"drop\""
                ),
                code: "unsupported_parameter",
            }),
            None => Err(BadRequest::value(&format!("{at}.type"), tool, "a tool with a type")),
        }
    }

    fn add(
        &mut self,
        at: &str,
        tool: &Value,
        namespace: Option<&str>,
        custom: bool,
    ) -> Result<(), BadRequest> {
        let name = name_of(at, tool)?;
        let chat = chat_name(namespace, name);
        let mut function = Map::from_iter([("name".to_owned(), chat.as_str().into())]);
        let present = |key: &str| tool.get(key).filter(|value| !value.is_null());
        if custom {
            function.insert("description".into(), described(tool).into());
            function.insert("parameters".into(), free_text());
        } else {
            for key in ["description", "parameters", "strict"] {
                function.extend(present(key).map(|value| (key.to_owned(), value.clone())));
            }
        }
        self.functions.push(json!({"type": "function", "function": function}));
        if custom || namespace.is_some() {
            let namespace = namespace.map(str::to_owned);
            self.names.known.push(ToolName { chat, name: name.to_owned(), namespace, custom });
        }
        Ok(())
    }
}

fn name_of<'t>(at: &str, tool: &'t Value) -> Result<&'t str, BadRequest> {
    let name = tool.get("name").and_then(Value::as_str).filter(|name| !name.is_empty());
    name.ok_or_else(|| {
        BadRequest::value(&format!("{at}.name"), tool.get("name").unwrap_or(&Value::Null), "a string")
    })
}

fn free_text() -> Value {
    json!({
        "type": "object",
        "properties": {"input": {"type": "string", "description": "The whole input of the tool, as it stands."}},
        "required": ["input"],
        "additionalProperties": false,
    })
}

/// A grammar cannot be enforced on the string inside a call, so the model is told of it.
fn described(tool: &Value) -> String {
    let text = |pointer: &str| tool.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let description = text("/description");
    match text("/format/definition") {
        "" => description.to_owned(),
        grammar => {
            format!("{description}\n\nThe input follows this {} grammar:\n{grammar}", text("/format/syntax"))
        }
    }
}

/// The text inside the call of a tool with free input; what is no such object was written as it stands.
pub(super) fn input_of(arguments: &str) -> String {
    let read: Result<Value, _> = serde_json::from_str(arguments);
    let input = read.ok().and_then(|read| read.get("input")?.as_str().map(str::to_owned));
    input.unwrap_or_else(|| arguments.to_owned())
}

/// Writes the functions and which of them may or must be called.
pub(super) fn choose(
    choice: Option<Value>,
    mut functions: Vec<Value>,
    names: &ToolNames,
    chat: &mut Map<String, Value>,
) -> Result<(), BadRequest> {
    if functions.is_empty() {
        return Ok(());
    }
    let choice = choice.filter(|choice| !choice.is_null());
    let wanted = match &choice {
        None => None,
        Some(Value::String(word)) if matches!(word.as_str(), "auto" | "none" | "required") => choice.clone(),
        Some(object) => match object.get("type").and_then(Value::as_str) {
            Some("function" | "custom") => {
                let name = in_chat(object, names);
                Some(json!({"type": "function", "function": {"name": name}}))
            }
            Some("allowed_tools") => {
                let allowed = object.get("tools").and_then(Value::as_array).into_iter().flatten();
                let allowed: Vec<String> = allowed.map(|tool| in_chat(tool, names)).collect();
                functions.retain(|function| {
                    allowed.iter().any(|name| function["function"]["name"] == name.as_str())
                });
                Some(object.get("mode").cloned().unwrap_or_else(|| "auto".into()))
            }
            // A tool that was left out cannot be called.
            Some(kind) if names.left_out.iter().any(|left_out| left_out == kind) => None,
            _ => {
                let accepted = "auto, none, required, a function, a custom tool or allowed_tools";
                return Err(BadRequest::value("tool_choice", object, accepted));
            }
        },
    };
    chat.insert("tools".into(), functions.into());
    chat.extend(wanted.map(|wanted| ("tool_choice".to_owned(), wanted)));
    Ok(())
}

/// What the chat calls a tool that the client names.
fn in_chat(tool: &Value, names: &ToolNames) -> String {
    let text = |key: &str| tool.get(key).and_then(Value::as_str);
    let name = text("name").unwrap_or_default();
    match text("namespace") {
        Some(namespace) => chat_name(Some(namespace), name),
        None => names
            .known
            .iter()
            .find(|tool| tool.name == name)
            .map_or(name.to_owned(), |tool| tool.chat.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tools() -> Value {
        json!([
            {"type": "function", "name": "f", "parameters": {"type": "object"}},
            {"type": "custom", "name": "apply_patch", "description": "Edits.", "format": {
                "type": "grammar", "syntax": "lark", "definition": "start: \"x\""}},
            {"type": "namespace", "name": "mcp", "description": "m", "tools": [
                {"type": "function", "name": "g", "parameters": {}}]}])
    }

    #[test]
    fn every_tool_a_client_runs_becomes_a_function() {
        let (functions, names) = read_tools(Some(tools()), HostedTools::Refuse).expect("accepted");
        let known: Vec<&str> = functions.iter().filter_map(|one| one["function"]["name"].as_str()).collect();
        assert_eq!(known, ["f", "apply_patch", "mcp__g"]);
        let described = functions[1]["function"]["description"].as_str().expect("text");
        assert!(described.starts_with("Edits.") && described.ends_with("start: \"x\""), "{described}");
        assert!(names.of_chat("apply_patch").custom);
        let inner = names.of_chat("mcp__g");
        assert_eq!((inner.name.as_str(), inner.namespace.as_deref()), ("g", Some("mcp")));
        assert_eq!(names.of_chat("f").name, "f");
    }

    #[test]
    fn hosted_tools_are_refused_or_left_out() {
        let hosted = json!([{"type": "web_search"}]);
        let refused = read_tools(Some(hosted.clone()), HostedTools::Refuse).expect_err("refused");
        assert_eq!(refused.param.as_deref(), Some("tools[0].type"));
        assert!(refused.message.contains("web_search"));
        let (functions, names) = read_tools(Some(hosted), HostedTools::Drop).expect("left out");
        assert!(functions.is_empty());
        assert_eq!(names.left_out, ["web_search"]);
    }

    #[test]
    fn choices_name_what_the_chat_knows() {
        for (choice, wanted, left) in [
            (json!("required"), json!("required"), 3),
            (
                json!({"type": "custom", "name": "apply_patch"}),
                json!({"type": "function", "function": {"name": "apply_patch"}}),
                3,
            ),
            (
                json!({"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "g"}]}),
                json!("required"),
                1,
            ),
        ] {
            let (functions, names) = read_tools(Some(tools()), HostedTools::Refuse).expect("accepted");
            let mut chat = Map::new();
            choose(Some(choice), functions, &names, &mut chat).expect("accepted");
            assert_eq!(chat["tool_choice"], wanted);
            assert_eq!(chat["tools"].as_array().map(Vec::len), Some(left));
        }
    }

    #[test]
    fn free_text_is_taken_out_of_its_call() {
        assert_eq!(input_of("{\"input\": \"*** Begin\\n\"}"), "*** Begin\n");
        assert_eq!(input_of("*** Begin"), "*** Begin");
    }
}
