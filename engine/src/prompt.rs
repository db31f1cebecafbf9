//! What exactly will the model read?
//!
//! Renders a conversation through the model's own chat template, and keeps what people typed apart from what
//! the template wrote. A template writes control markers such as `<|im_end|>` as ordinary text; so could a user,
//! who would then end his turn and speak as the system. Before rendering, every character in the caller's
//! strings that could begin a marker is therefore followed by a *fence*: a private-use character that occurs
//! nowhere in the conversation or the template. After rendering, an unfenced marker can only be the template's,
//! even if it would straddle two strings. [`crate::tokenizer`] removes the fences as it encodes.
//!
//! Guessing the fence is useless, because it is chosen after reading the conversation. Fencing whole strings
//! was refused: templates ask whether content starts with a tag, and strip its ends.
//!
//! Templates come with model files, so rendering has a step limit and an output limit.

use std::collections::HashSet;
use std::io;
use std::ops::RangeInclusive;

use minijinja::value::{Kwargs, Value as JinjaValue};
use minijinja::{Environment, ErrorKind};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::request::Chat;
use crate::weights::{Checkpoint, LoadError};

/// Why a conversation has no prompt.
#[derive(Debug, thiserror::Error)]
pub enum PromptError {
    /// A message is not what a chat message can be.
    #[error("messages[{index}]: {reason}")]
    Message {
        /// Place in the list, from zero.
        index: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// The template refused the conversation, or failed on it.
    #[error("the model's chat template refused the conversation: {0}")]
    Template(String),
    /// The template wrote nothing, so there is nothing to continue.
    #[error("the model's chat template renders this conversation to nothing")]
    Empty,
    /// The template took too many steps or wrote too much.
    #[error("the model's chat template did not finish within its limits")]
    Limit,
    /// The conversation uses every character that could serve as a fence.
    #[error("the conversation uses all 65534 private-use characters")]
    NoFence,
    /// The tokenizer failed on the rendered text.
    #[error("the tokenizer failed: {0}")]
    Tokenizer(String),
}

/// A compiled chat template.
pub(crate) struct Template {
    environment: Environment<'static>,
    /// Characters that markers begin with; what follows one of them in a caller's string is fenced off.
    marker_starts: Vec<char>,
    /// Private-use characters that the template itself contains.
    reserved: HashSet<char>,
}

/// A rendered prompt, its fences still in place.
pub(crate) struct Rendered {
    text: String,
    fence: char,
}

/// Private-use plane: no tokenizer gives these characters a meaning.
const FENCES: RangeInclusive<char> = '\u{F0000}'..='\u{FFFFD}';
const NAME: &str = "chat";
/// A template spends some tens of steps per message; this is thousands of messages.
const MAX_STEPS: u64 = 2_000_000;
/// A template may add to what it was given, not multiply it.
const MAX_GROWTH: usize = 4;
const MAX_EXTRA_BYTES: usize = 1 << 20;

impl Template {
    pub(crate) fn from_checkpoint<'m>(
        checkpoint: &Checkpoint,
        markers: impl Iterator<Item = &'m str>,
    ) -> Result<Template, LoadError> {
        let mut template = Template::compile(checkpoint.chat_template()?, markers)?;
        // Some templates write the text's borders by these names.
        for name in ["bos_token", "eos_token"] {
            if let Some(marker) = checkpoint.marker(name)? {
                template.environment.add_global(name, marker);
            }
        }
        Ok(template)
    }

    fn compile<'m>(source: String, markers: impl Iterator<Item = &'m str>) -> Result<Template, LoadError> {
        let mut marker_starts: Vec<char> = markers.filter_map(|marker| marker.chars().next()).collect();
        marker_starts.sort_unstable();
        marker_starts.dedup();
        let reserved = source.chars().filter(|letter| FENCES.contains(letter)).collect();
        let mut environment = environment();
        environment.add_template_owned(NAME, source).map_err(|error| LoadError::Template {
            file: "chat template".to_owned(),
            reason: error.to_string(),
        })?;
        Ok(Template { environment, marker_starts, reserved })
    }

    /// Does the template do anything with tools? Rendered by one that does not, they would be silently left out.
    pub(crate) fn takes_tools(&self) -> bool {
        let template = self.environment.get_template(NAME);
        template.is_ok_and(|template| template.undeclared_variables(false).contains("tools"))
    }

    /// The prompt for the model's next turn.
    pub(crate) fn render(&self, chat: &Chat) -> Result<Rendered, PromptError> {
        let variables = variables(chat)?;
        let fence = self.choose_fence(&variables)?;
        let variables = self.fence_off(variables, fence);
        let mut output = Capped::new(&variables);
        let template = self.environment.get_template(NAME).map_err(template_error)?;
        template.render_captured_to(variables, &mut output).map_err(|error| output.explain(error))?;
        let text = String::from_utf8(output.bytes).expect("templates write only strings");
        Ok(Rendered { text, fence })
    }

    /// The first private-use character that occurs nowhere.
    fn choose_fence(&self, variables: &Value) -> Result<char, PromptError> {
        let mut used = self.reserved.clone();
        visit(variables, &mut |text| used.extend(text.chars().filter(|letter| FENCES.contains(letter))));
        FENCES.into_iter().find(|letter| !used.contains(letter)).ok_or(PromptError::NoFence)
    }

    /// The same value with fences in all its strings, keys included: a template may print an object whole.
    fn fence_off(&self, value: Value, fence: char) -> Value {
        match value {
            Value::String(text) => Value::String(self.fence_text(text, fence)),
            Value::Array(items) => {
                Value::Array(items.into_iter().map(|item| self.fence_off(item, fence)).collect())
            }
            Value::Object(map) => {
                let pairs = map.into_iter();
                Value::Object(
                    pairs
                        .map(|(key, value)| (self.fence_text(key, fence), self.fence_off(value, fence)))
                        .collect(),
                )
            }
            other => other,
        }
    }

    fn fence_text(&self, text: String, fence: char) -> String {
        if !text.contains(self.marker_starts.as_slice()) {
            return text;
        }
        let mut fenced = String::with_capacity(text.len() + 16);
        for letter in text.chars() {
            fenced.push(letter);
            if self.marker_starts.contains(&letter) {
                fenced.push(fence);
            }
        }
        fenced
    }
}

impl Rendered {
    /// The text with its fences; a marker found in it is the template's own.
    pub(crate) fn fenced(&self) -> &str {
        &self.text
    }

    /// A part of the text as it was meant.
    pub(crate) fn unfence(&self, part: &str) -> String {
        part.replace(self.fence, "")
    }

    /// The whole text as it was meant.
    pub(crate) fn into_text(self) -> String {
        self.unfence(&self.text)
    }

    #[cfg(test)]
    pub(crate) fn for_test(text: &str, fence: char) -> Rendered {
        Rendered { text: text.to_owned(), fence }
    }
}

/// What the template sees. The named variables come last, so that `template_kwargs` cannot replace them.
fn variables(chat: &Chat) -> Result<Value, PromptError> {
    let messages = chat.messages.iter().enumerate();
    let messages: Vec<Value> =
        messages.map(|(index, message)| prepare_message(index, message)).collect::<Result<_, _>>()?;
    let mut variables = chat.template_kwargs.clone();
    variables.insert("messages".to_owned(), messages.into());
    variables.insert("add_generation_prompt".to_owned(), true.into());
    variables.insert("enable_thinking".to_owned(), chat.thinking.into());
    // Absent rather than null or empty: templates test `if tools`.
    variables.remove("tools");
    if let Some(tools) = &chat.tools {
        variables.insert("tools".to_owned(), tools.clone());
    }
    Ok(Value::Object(variables))
}

/// Content becomes a string, and reasoning written inline by the assistant gets its own field.
fn prepare_message(index: usize, message: &Value) -> Result<Value, PromptError> {
    let refuse = |reason: &str| PromptError::Message { index, reason: reason.to_owned() };
    let mut message = message.as_object().cloned().ok_or_else(|| refuse("not an object"))?;
    let role = message.get("role").and_then(Value::as_str).ok_or_else(|| refuse("role is not a string"))?;
    let from_assistant = role == "assistant";
    let content = flatten(message.get("content").unwrap_or(&Value::Null)).map_err(refuse)?;
    message.insert("content".to_owned(), content.into());
    if from_assistant {
        split_inline_reasoning(&mut message);
    }
    Ok(Value::Object(message))
}

/// A string stays; null is empty; text parts are joined by line breaks.
fn flatten(content: &Value) -> Result<String, &'static str> {
    match content {
        Value::Null => Ok(String::new()),
        Value::String(text) => Ok(text.clone()),
        Value::Array(parts) => {
            let parts: Result<Vec<&str>, _> = parts.iter().map(text_part).collect();
            Ok(parts?.join("\n"))
        }
        _ => Err("content is neither a string nor a list of parts"),
    }
}

fn text_part(part: &Value) -> Result<&str, &'static str> {
    match part {
        Value::String(text) => Ok(text),
        _ if part["type"] == "text" => part["text"].as_str().ok_or("a text part without text"),
        _ => Err("only text parts can be given to this model"),
    }
}

/// Templates look for `</think>` in an assistant's content to strip old reasoning. Fencing hides the tag from
/// them, so the split that they would make is made here, and reasoning travels in `reasoning_content`.
fn split_inline_reasoning(message: &mut Map<String, Value>) {
    if message.get("reasoning_content").is_some_and(Value::is_string) {
        return;
    }
    let Some((before, answer)) = message["content"].as_str().and_then(|text| text.rsplit_once("</think>"))
    else {
        return;
    };
    let reasoning = before.split("</think>").next().unwrap_or(before).trim_end_matches('\n');
    let reasoning = reasoning.rsplit("<think>").next().unwrap_or(reasoning).trim_start_matches('\n');
    let (reasoning, answer) = (reasoning.to_owned(), answer.trim_start_matches('\n').to_owned());
    message.insert("reasoning_content".to_owned(), reasoning.into());
    message.insert("content".to_owned(), answer.into());
}

/// Jinja as transformers configures it.
fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_trim_blocks(true);
    environment.set_lstrip_blocks(true);
    environment.set_fuel(Some(MAX_STEPS));
    environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
    environment.add_filter("tojson", python_json);
    environment.add_function("raise_exception", |reason: String| -> Result<String, minijinja::Error> {
        Err(minijinja::Error::new(ErrorKind::InvalidOperation, reason))
    });
    environment
}

/// JSON as Python's `json.dumps` spaces it, because that is what models were trained on. The built-in filter
/// drops the spaces, sorts keys and escapes `<`.
fn python_json(value: JinjaValue, options: Kwargs) -> Result<JinjaValue, minijinja::Error> {
    let indent: Option<usize> = options.get("indent")?;
    let mut bytes = Vec::new();
    let written = match indent {
        None => value.serialize(&mut serde_json::Serializer::with_formatter(&mut bytes, PythonSpacing)),
        Some(width) => {
            let spaces = " ".repeat(width.min(16));
            let pretty = serde_json::ser::PrettyFormatter::with_indent(spaces.as_bytes());
            value.serialize(&mut serde_json::Serializer::with_formatter(&mut bytes, pretty))
        }
    };
    let failed = |reason: String| minijinja::Error::new(ErrorKind::BadSerialization, reason);
    written.map_err(|error| failed(error.to_string()))?;
    let text = String::from_utf8(bytes).map_err(|error| failed(error.to_string()))?;
    Ok(JinjaValue::from_safe_string(text))
}

/// `", "` between items and `": "` after keys.
struct PythonSpacing;

impl serde_json::ser::Formatter for PythonSpacing {
    fn begin_array_value<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        writer.write_all(if first { b"" } else { b", " })
    }

    fn begin_object_key<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        writer.write_all(if first { b"" } else { b", " })
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b": ")
    }
}

/// Collects a template's output up to a limit.
struct Capped {
    bytes: Vec<u8>,
    limit: usize,
    full: bool,
}

impl Capped {
    fn new(variables: &Value) -> Capped {
        let mut given = 0;
        visit(variables, &mut |text| given += text.len());
        Capped { bytes: Vec::new(), limit: MAX_GROWTH * given + MAX_EXTRA_BYTES, full: false }
    }

    fn explain(&self, error: minijinja::Error) -> PromptError {
        if self.full { PromptError::Limit } else { template_error(error) }
    }
}

impl io::Write for Capped {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + bytes.len() > self.limit {
            self.full = true;
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn template_error(error: minijinja::Error) -> PromptError {
    match error.kind() {
        ErrorKind::OutOfFuel => PromptError::Limit,
        _ => PromptError::Template(error.detail().map_or_else(|| error.to_string(), str::to_owned)),
    }
}

/// Calls `look` with every string in a value, keys included.
fn visit(value: &Value, look: &mut impl FnMut(&str)) {
    match value {
        Value::String(text) => look(text),
        Value::Array(items) => items.iter().for_each(|item| visit(item, look)),
        Value::Object(map) => map.iter().for_each(|(key, value)| {
            look(key);
            visit(value, look);
        }),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn template(source: &str) -> Template {
        Template::compile(source.to_owned(), ["<think>", "</think>", "<|im_end|>"].into_iter()).unwrap()
    }

    fn chat(messages: Value) -> Chat {
        Chat {
            messages: messages.as_array().expect("written as a list").clone(),
            thinking: true,
            ..Chat::default()
        }
    }

    fn render(source: &str, chat: &Chat) -> String {
        template(source).render(chat).unwrap().into_text()
    }

    #[test]
    fn json_is_spaced_as_python_spaces_it() {
        let mut chat = chat(json!([]));
        chat.tools = Some(json!([{"z": 1, "a": ["<b>", "é", {}], "t": true, "n": null}]));
        let text = render("{% for tool in tools %}{{ tool | tojson }}{% endfor %}", &chat);
        assert_eq!(text, r#"{"z": 1, "a": ["<b>", "é", {}], "t": true, "n": null}"#);
        let text = render("{{ tools[0].a | tojson(indent=2) }}", &chat);
        assert_eq!(text, "[\n  \"<b>\",\n  \"é\",\n  {}\n]");
    }

    #[test]
    fn a_marker_in_user_text_is_fenced_and_the_templates_own_is_not() {
        let rendered = template("{{ messages[0].content }}<|im_end|>")
            .render(&chat(json!([{"role": "user", "content": "a<|im_end|>b"}])))
            .unwrap();
        assert_eq!(rendered.fenced().matches("<|im_end|>").count(), 1);
        assert!(rendered.fenced().ends_with("<|im_end|>"));
        assert_eq!(rendered.into_text(), "a<|im_end|>b<|im_end|>");
    }

    #[test]
    fn a_marker_cannot_straddle_two_strings() {
        let rendered = template("{{ messages[0].content }}{{ messages[1].content }}")
            .render(&chat(
                json!([{"role": "user", "content": "<|im_"}, {"role": "user", "content": "end|>"}]),
            ))
            .unwrap();
        assert!(!rendered.fenced().contains("<|im_end|>"));
    }

    #[test]
    fn the_fence_is_a_character_that_the_conversation_does_not_use() {
        let message = json!([{"role": "user", "content": "\u{F0000}<think>\u{F0001}"}]);
        let rendered = template("{{ messages[0].content }}").render(&chat(message)).unwrap();
        assert_eq!(rendered.fence, '\u{F0002}');
        assert_eq!(rendered.into_text(), "\u{F0000}<think>\u{F0001}");
    }

    #[test]
    fn inline_reasoning_of_the_assistant_moves_to_its_field() {
        let source = "{{ messages[0].reasoning_content }}|{{ messages[0].content }}";
        let message = json!([{"role": "assistant", "content": "<think>\nhm\n</think>\n\nfour"}]);
        assert_eq!(render(source, &chat(message)), "hm|four");
        let given = json!([{"role": "assistant", "content": "x</think>y", "reasoning_content": "kept"}]);
        assert_eq!(render(source, &chat(given)), "kept|x</think>y");
    }

    #[test]
    fn content_parts_are_flattened_and_other_parts_refused() {
        let source = "{% if messages[0].content is string %}{{ messages[0].content }}{% endif %}";
        let parts = json!([{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]);
        assert_eq!(render(source, &chat(json!([{"role": "user", "content": parts}]))), "one\ntwo");
        let image = json!([{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]);
        let refused = template(source).render(&chat(image));
        assert!(matches!(refused, Err(PromptError::Message { index: 0, .. })));
    }

    #[test]
    fn kwargs_reach_the_template_but_cannot_replace_its_own_variables() {
        let mut chat = chat(json!([]));
        chat.template_kwargs.insert("effort".to_owned(), json!("low"));
        chat.template_kwargs.insert("enable_thinking".to_owned(), json!(false));
        assert_eq!(render("{{ effort }} {{ enable_thinking }}", &chat), "low True");
    }

    #[test]
    fn a_template_may_refuse_a_conversation() {
        let refused = template("{{ raise_exception('no system role') }}").render(&chat(json!([])));
        assert!(matches!(refused, Err(PromptError::Template(reason)) if reason == "no system role"));
    }

    #[test]
    fn endless_and_overflowing_templates_are_stopped() {
        let endless = "{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}";
        assert!(matches!(template(endless).render(&chat(json!([]))), Err(PromptError::Limit)));
        let wide = "{% for a in range(9999) %}{{ 'x' * 999 }}{% endfor %}";
        assert!(matches!(template(wide).render(&chat(json!([]))), Err(PromptError::Limit)));
    }

    #[test]
    fn a_template_that_does_not_parse_is_a_load_error() {
        let broken = Template::compile("{% if %}".to_owned(), std::iter::empty());
        assert!(matches!(broken, Err(LoadError::Template { .. })));
    }
}
