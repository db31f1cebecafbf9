//! "How do words become tokens, and tokens words?" Chat template, encoding, streaming decoding.
//!
//! Text a person wrote never becomes a control token: where it spells one, a character that no text may hold is
//! put inside before the template runs, and the rendered prompt is encoded in pieces split at it.

use std::collections::HashMap;

use minijinja::value::{Kwargs, Value as JinjaValue};
use minijinja::{Environment, Error as JinjaError, ErrorKind};
use serde_json::{Map, Value};
use tokenizers::Tokenizer as HfTokenizer;

use crate::error::{LoadError, PromptError};

/// A conversation in OpenAI's shape, with what its template may know.
#[derive(Debug, Clone, Default)]
pub struct Chat {
    /// Message objects: role, content, and what else the template reads.
    pub messages: Vec<Value>,
    /// Tool definitions.
    pub tools: Option<Value>,
    /// The hard switch.
    pub thinking: bool,
    /// Further variables for the template.
    pub template_kwargs: Map<String, Value>,
}

/// A Unicode noncharacter: never part of text that people exchange.
const SPLIT: char = '\u{fdd0}';
/// Steps a template may take, and bytes it may write: templates come with the weights and are not trusted.
const FUEL: u64 = 5_000_000;
const LONGEST_PROMPT: usize = 64 << 20;

/// Template and vocabulary of one model.
#[derive(Debug)]
pub(crate) struct Tokenizer {
    inner: HfTokenizer,
    template: Environment<'static>,
    /// Texts of all added tokens, and of those that are control tokens in any role.
    markers: Vec<String>,
    control: Vec<String>,
    pub(crate) think: Option<Think>,
}

/// The tokens that open and close thinking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Think {
    pub(crate) open: u32,
    pub(crate) close: u32,
}

impl Tokenizer {
    pub(crate) fn load(tokenizer: &[u8], config: &[u8], template: Option<&[u8]>) -> Result<Self, LoadError> {
        let fault = |file: &str, reason: String| LoadError::File { file: file.to_owned(), reason };
        let inner =
            HfTokenizer::from_bytes(tokenizer).map_err(|error| fault("tokenizer.json", error.to_string()))?;
        let config: Value = serde_json::from_slice(config)
            .map_err(|error| fault("tokenizer_config.json", format!("not JSON: {error}")))?;
        let text = match template {
            Some(bytes) => String::from_utf8(bytes.to_vec())
                .map_err(|error| fault("chat_template.jinja", error.to_string()))?,
            None => chat_template(&config)
                .ok_or_else(|| fault("tokenizer_config.json", "chat_template: missing".to_owned()))?,
        };
        let template = environment(text).map_err(|error| fault("chat template", error.to_string()))?;
        let added: HashMap<u32, tokenizers::AddedToken> =
            inner.get_added_tokens_decoder().into_iter().collect();
        let id = |text: &str| inner.token_to_id(text);
        let think = id("<think>").zip(id("</think>")).map(|(open, close)| Think { open, close });
        Ok(Tokenizer {
            markers: added.values().map(|token| token.content.clone()).collect(),
            control: added
                .values()
                .filter(|token| token.special)
                .map(|token| token.content.clone())
                .collect(),
            template,
            think,
            inner,
        })
    }

    pub(crate) fn vocab(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    /// The prompt as text, for reading and tests.
    pub(crate) fn render(&self, chat: &Chat) -> Result<String, PromptError> {
        Ok(self.rendered(chat)?.replace(SPLIT, ""))
    }

    /// The prompt as tokens.
    pub(crate) fn encode_chat(&self, chat: &Chat) -> Result<Vec<u32>, PromptError> {
        let mut ids = Vec::new();
        for piece in self.rendered(chat)?.split(SPLIT) {
            ids.extend(self.encode(piece)?);
        }
        Ok(ids)
    }

    /// Tokens of a text we wrote ourselves.
    pub(crate) fn encode(&self, text: &str) -> Result<Vec<u32>, PromptError> {
        let encoding =
            self.inner.encode(text, false).map_err(|error| PromptError::Tokenizer(error.to_string()))?;
        Ok(encoding.get_ids().to_vec())
    }

    pub(crate) fn decode(&self, ids: &[u32]) -> String {
        // Control tokens are skipped; a text that cannot be decoded shows nothing rather than ends the answer.
        self.inner.decode(ids, true).unwrap_or_default()
    }

    fn rendered(&self, chat: &Chat) -> Result<String, PromptError> {
        let fault = |error: JinjaError| PromptError::Template(error.to_string());
        let messages: Vec<Value> = chat.messages.iter().map(|message| self.guarded(message)).collect();
        let mut variables = chat.template_kwargs.clone();
        variables.insert("messages".into(), Value::Array(messages));
        if let Some(tools) = &chat.tools {
            let mut tools = tools.clone();
            self.guard(&mut tools, &self.markers);
            variables.insert("tools".into(), tools);
        }
        variables.insert("enable_thinking".into(), Value::Bool(chat.thinking));
        variables.insert("add_generation_prompt".into(), Value::Bool(true));
        let template = self.template.get_template("chat").map_err(fault)?;
        let mut out = Capped { bytes: Vec::new() };
        template.render_captured_to(JinjaValue::from_serialize(&variables), &mut out).map_err(fault)?;
        String::from_utf8(out.bytes).map_err(|error| PromptError::Template(error.to_string()))
    }

    /// Content as one string, as templates expect it, with control tokens in it defused.
    fn guarded(&self, message: &Value) -> Value {
        let mut message = message.clone();
        if let Some(content) = message.get_mut("content") {
            *content = match content.take() {
                Value::Array(parts) => {
                    let texts: Vec<&str> =
                        parts.iter().filter_map(|part| part.get("text")?.as_str()).collect();
                    Value::String(texts.join("\n"))
                }
                Value::Null => Value::String(String::new()),
                other => other,
            };
        }
        let assistant = message.get("role").and_then(Value::as_str) == Some("assistant");
        // An assistant message may carry its own think block, which the template strips.
        self.guard(&mut message, if assistant { &self.control } else { &self.markers });
        message
    }

    fn guard(&self, value: &mut Value, markers: &[String]) {
        match value {
            Value::String(text) => {
                if text.contains(SPLIT) {
                    *text = text.replace(SPLIT, "\u{fffd}");
                }
                for marker in markers.iter().filter(|marker| !marker.is_empty()) {
                    if text.contains(marker.as_str()) {
                        let first = marker.chars().next().map_or(0, char::len_utf8);
                        *text = text.replace(
                            marker.as_str(),
                            &format!("{}{SPLIT}{}", &marker[..first], &marker[first..]),
                        );
                    }
                }
            }
            Value::Array(list) => list.iter_mut().for_each(|value| self.guard(value, markers)),
            Value::Object(map) => map.values_mut().for_each(|value| self.guard(value, markers)),
            _ => {}
        }
    }
}

/// A string, or a list of named templates of which `default` is the one for chat.
fn chat_template(config: &Value) -> Option<String> {
    match config.get("chat_template")? {
        Value::String(text) => Some(text.clone()),
        Value::Array(list) => list
            .iter()
            .find(|entry| entry.get("name").and_then(Value::as_str) == Some("default"))
            .and_then(|entry| entry.get("template")?.as_str().map(str::to_owned)),
        _ => None,
    }
}

fn environment(template: String) -> Result<Environment<'static>, JinjaError> {
    let mut environment = Environment::new();
    environment.set_trim_blocks(true);
    environment.set_lstrip_blocks(true);
    environment.set_fuel(Some(FUEL));
    environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
    environment.add_filter("tojson", python_json);
    environment.add_function("raise_exception", |message: String| -> Result<JinjaValue, JinjaError> {
        Err(JinjaError::new(ErrorKind::InvalidOperation, message))
    });
    environment.add_template_owned("chat", template)?;
    Ok(environment)
}

/// `json.dumps(…, ensure_ascii=False)`: keys in their order, a space after `,` and `:`, nothing escaped for HTML.
/// The built-in filter differs in all three, and models were trained on Python's form.
fn python_json(value: &JinjaValue, options: Kwargs) -> Result<String, JinjaError> {
    let indent: Option<usize> = options.get("indent").ok();
    let value = serde_json::to_value(value)
        .map_err(|error| JinjaError::new(ErrorKind::BadSerialization, error.to_string()))?;
    if indent.is_some() {
        return serde_json::to_string_pretty(&value)
            .map_err(|error| JinjaError::new(ErrorKind::BadSerialization, error.to_string()));
    }
    let mut out = String::new();
    write_python_json(&value, &mut out);
    Ok(out)
}

fn write_python_json(value: &Value, out: &mut String) {
    match value {
        Value::Array(list) => {
            out.push('[');
            for (at, value) in list.iter().enumerate() {
                out.push_str(if at > 0 { ", " } else { "" });
                write_python_json(value, out);
            }
            out.push(']');
        }
        Value::Object(map) => {
            out.push('{');
            for (at, (key, value)) in map.iter().enumerate() {
                out.push_str(if at > 0 { ", " } else { "" });
                out.push_str(&Value::String(key.clone()).to_string());
                out.push_str(": ");
                write_python_json(value, out);
            }
            out.push('}');
        }
        other => out.push_str(&other.to_string()),
    }
}

struct Capped {
    bytes: Vec<u8>,
}

impl std::io::Write for Capped {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.bytes.len() + bytes.len() > LONGEST_PROMPT {
            return Err(std::io::Error::other("the chat template wrote too much"));
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Decodes a growing answer without ever giving out half a character.
#[derive(Debug, Default)]
pub(crate) struct Detokenizer {
    held: Vec<u32>,
}

/// A character has at most four bytes; more tokens than this without a whole one is not text.
const LONGEST_CHARACTER: usize = 6;

impl Detokenizer {
    /// The text that `token` completes, which may be none.
    pub(crate) fn push(&mut self, tokenizer: &Tokenizer, token: u32) -> String {
        self.held.push(token);
        let text = tokenizer.decode(&self.held);
        if text.ends_with('\u{fffd}') && self.held.len() < LONGEST_CHARACTER {
            return String::new();
        }
        self.held.clear();
        text
    }

    /// What is left when the answer ends.
    pub(crate) fn finish(&mut self, tokenizer: &Tokenizer) -> String {
        if self.held.is_empty() {
            return String::new();
        }
        tokenizer.decode(&std::mem::take(&mut self.held))
    }
}
