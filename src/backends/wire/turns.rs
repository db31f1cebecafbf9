//! "What was said so far?" The messages of a chat-completions body, read once for the wires that frame them as turns of
//! blocks.
//!
//! Reading is lenient: what is not understood is left out here and refused, where it matters, by [`super::refuse`].

use serde_json::{Map, Value};

/// A conversation: what the system says, and turns that alternate between the two speakers.
#[derive(Debug, Default)]
pub(super) struct Turns<'a> {
    pub(super) system: Vec<Text<'a>>,
    pub(super) turns: Vec<Turn<'a>>,
}

/// Everything one speaker said before the other did.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    pub(super) speaker: Speaker,
    pub(super) said: Vec<Said<'a>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Speaker {
    /// The person, or a tool that answers.
    User,
    Assistant,
}

#[derive(Debug)]
pub(super) enum Said<'a> {
    Text(Text<'a>),
    Media(Media<'a>),
    /// A thinking block in Anthropic's shape, verbatim.
    Thought(&'a Value),
    Call(Call<'a>),
    Result(ToolResult<'a>),
}

/// A piece of text; never empty.
#[derive(Debug, Clone, Copy)]
pub(super) struct Text<'a> {
    pub(super) text: &'a str,
    /// The client marked the end of a cached prefix here.
    pub(super) cache: Option<&'a Value>,
    /// What only Google's wire knows of it.
    pub(super) signature: Option<&'a str>,
}

/// An image, a document or another part that is not text.
#[derive(Debug, Clone, Copy)]
pub(super) struct Media<'a> {
    pub(super) kind: MediaKind,
    pub(super) source: Source<'a>,
    pub(super) name: Option<&'a str>,
    pub(super) cache: Option<&'a Value>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MediaKind {
    Image,
    File,
    Audio,
    Video,
    /// A part of a type that chat completions does not know; its content is nobody's guess.
    Unknown,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Source<'a> {
    Data {
        media_type: &'a str,
        base64: &'a str,
    },
    Link(&'a str),
    /// A file uploaded earlier.
    Id(&'a str),
    Missing,
}

impl Media<'_> {
    /// For a person who must be told that it is not taken.
    pub(super) fn describe(&self) -> String {
        let what = match self.kind {
            MediaKind::Image => "image",
            MediaKind::File => "file",
            MediaKind::Audio => "audio",
            MediaKind::Video => "video",
            MediaKind::Unknown => return "content part of this type".into(),
        };
        match self.source {
            Source::Data { media_type, .. } => format!("{what} of type {media_type:?} in messages"),
            Source::Link(_) => format!("{what} by its address, only as a data: URL"),
            Source::Id(_) => format!("{what} by its id, only as a data: URL"),
            Source::Missing => format!("{what} without its content"),
        }
    }
}

/// A call of a tool.
#[derive(Debug)]
pub(super) struct Call<'a> {
    pub(super) id: &'a str,
    pub(super) name: &'a str,
    pub(super) arguments: Value,
    /// Google's signature of the thoughts behind it.
    pub(super) signature: Option<&'a str>,
}

/// What a tool answered.
#[derive(Debug)]
pub(super) struct ToolResult<'a> {
    pub(super) id: &'a str,
    /// The tool's name, where the call is part of the conversation.
    pub(super) name: Option<&'a str>,
    pub(super) said: Vec<Said<'a>>,
    pub(super) failed: bool,
    pub(super) cache: Option<&'a Value>,
}

impl<'a> Turns<'a> {
    /// Reads `messages`; turns of the same speaker that follow each other become one.
    pub(super) fn read(body: &'a Map<String, Value>) -> Turns<'a> {
        let mut turns = Turns::default();
        let messages = body.get("messages").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        for message in messages.iter().filter_map(Value::as_object) {
            turns.add(message, messages);
        }
        turns
    }

    fn add(&mut self, message: &'a Map<String, Value>, all: &'a [Value]) {
        match message.get("role").and_then(Value::as_str) {
            Some("system" | "developer") => {
                self.system.extend(content_of(message).into_iter().filter_map(|said| match said {
                    Said::Text(text) => Some(text),
                    _ => None,
                }));
            }
            Some("assistant") => self.say(Speaker::Assistant, assistant(message)),
            Some("tool" | "function") => self.say(Speaker::User, vec![result(message, all)]),
            _ => self.say(Speaker::User, content_of(message)),
        }
    }

    fn say(&mut self, speaker: Speaker, mut said: Vec<Said<'a>>) {
        match self.turns.last_mut() {
            Some(last) if last.speaker == speaker => last.said.append(&mut said),
            // A turn in which nothing is said would be refused, and is no turn.
            _ if said.is_empty() => {}
            _ => self.turns.push(Turn { speaker, said }),
        }
    }

    /// What one message says, whoever says it.
    pub(super) fn said_by(message: &'a Map<String, Value>, all: &'a [Value]) -> Vec<Said<'a>> {
        match message.get("role").and_then(Value::as_str) {
            Some("assistant") => assistant(message),
            Some("tool" | "function") => match result(message, all) {
                Said::Result(result) => result.said,
                other => vec![other],
            },
            _ => content_of(message),
        }
    }

    /// Every part that is not text, tools' results included.
    pub(super) fn media(&self) -> impl Iterator<Item = &Media<'a>> {
        self.turns.iter().flat_map(|turn| &turn.said).flat_map(|said| {
            let inside: &[Said<'a>] = match said {
                Said::Result(result) => &result.said,
                one => std::slice::from_ref(one),
            };
            inside.iter().filter_map(|said| match said {
                Said::Media(media) => Some(media),
                _ => None,
            })
        })
    }

    /// Whether a tool was called or answered.
    pub(super) fn mentions_tools(&self) -> bool {
        let of_tool = |said: &Said<'_>| matches!(said, Said::Call(_) | Said::Result(_));
        self.turns.iter().any(|turn| turn.said.iter().any(of_tool))
    }
}

/// Thoughts first, then text, then calls: the order in which chat completions can hold them at all.
fn assistant(message: &Map<String, Value>) -> Vec<Said<'_>> {
    let thoughts = message.get("thinking_blocks").and_then(Value::as_array);
    let mut said: Vec<Said<'_>> = thoughts.into_iter().flatten().map(Said::Thought).collect();
    said.extend(content_of(message));
    if let Some(signature) = google_signature(message)
        && let Some(Said::Text(text)) = said.last_mut()
    {
        text.signature = Some(signature);
    }
    let calls = message.get("tool_calls").and_then(Value::as_array);
    said.extend(calls.into_iter().flatten().filter_map(call).map(Said::Call));
    said
}

fn call(call: &Value) -> Option<Call<'_>> {
    let function = call.get("function")?;
    let arguments = match function.get("arguments") {
        // Native wires take an object; what is none was never valid, and is shown as it came.
        Some(Value::String(text)) if text.trim().is_empty() => Value::Object(Map::new()),
        Some(Value::String(text)) => match serde_json::from_str(text) {
            Ok(Value::Object(fields)) => fields.into(),
            _ => serde_json::json!({ "arguments": text }),
        },
        Some(Value::Object(fields)) => fields.clone().into(),
        _ => Value::Object(Map::new()),
    };
    Some(Call {
        id: text_of(call, "id").unwrap_or_default(),
        name: text_of(function, "name")?,
        arguments,
        signature: call.as_object().and_then(google_signature),
    })
}

fn google_signature(fields: &Map<String, Value>) -> Option<&str> {
    fields.get("extra_content")?.pointer("/google/thought_signature")?.as_str()
}

fn result<'a>(message: &'a Map<String, Value>, all: &'a [Value]) -> Said<'a> {
    let id = message.get("tool_call_id").and_then(Value::as_str).unwrap_or_default();
    let said = content_of(message);
    let of_parts = said.iter().rev().find_map(|said| match said {
        Said::Text(text) => text.cache,
        _ => None,
    });
    let cache = of_parts.or_else(|| message.get("cache_control").filter(|cache| !cache.is_null()));
    Said::Result(ToolResult {
        id,
        name: message.get("name").and_then(Value::as_str).or_else(|| name_of_call(id, all)),
        failed: message.get("is_error").and_then(Value::as_bool).unwrap_or(false),
        said,
        cache,
    })
}

/// The name of the tool that was called with this id.
pub(super) fn name_of_call<'a>(id: &str, messages: &'a [Value]) -> Option<&'a str> {
    let calls = messages.iter().filter_map(|message| message.get("tool_calls")?.as_array()).flatten();
    // The latest: some models number their calls anew in every turn.
    calls.rev().find(|call| text_of(call, "id") == Some(id))?.get("function")?.get("name")?.as_str()
}

fn content_of(message: &Map<String, Value>) -> Vec<Said<'_>> {
    match message.get("content") {
        Some(Value::String(text)) => said_text(text, None).into_iter().collect(),
        Some(Value::Array(parts)) => parts.iter().filter_map(part).collect(),
        _ => Vec::new(),
    }
}

fn said_text<'a>(text: &'a str, cache: Option<&'a Value>) -> Option<Said<'a>> {
    (!text.is_empty()).then_some(Said::Text(Text { text, cache, signature: None }))
}

fn part(part: &Value) -> Option<Said<'_>> {
    let cache = part.get("cache_control").filter(|cache| !cache.is_null());
    let media = |kind, source, name| Some(Said::Media(Media { kind, source, name, cache }));
    match text_of(part, "type") {
        Some("text" | "input_text" | "output_text") => said_text(text_of(part, "text")?, cache),
        Some("refusal") => said_text(text_of(part, "refusal")?, cache),
        Some("image_url") => media(MediaKind::Image, link(part, "image_url"), None),
        Some("video_url") => media(MediaKind::Video, link(part, "video_url"), None),
        Some("input_audio") => media(MediaKind::Audio, audio(part), None),
        Some("file") => {
            let file = part.get("file").unwrap_or(part);
            media(MediaKind::File, file_source(file), text_of(file, "filename"))
        }
        // Thoughts inside the content are the history rules' business.
        Some("thinking" | "redacted_thinking") => None,
        _ => media(MediaKind::Unknown, Source::Missing, None),
    }
}

fn link<'a>(part: &'a Value, key: &str) -> Source<'a> {
    let link = part.get(key);
    match link.and_then(|link| link.as_str().or_else(|| text_of(link, "url"))) {
        Some(url) => source(url),
        None => Source::Missing,
    }
}

fn file_source(file: &Value) -> Source<'_> {
    if let Some(data) = text_of(file, "file_data") {
        return source(data);
    }
    if let Some(url) = text_of(file, "file_url") {
        return source(url);
    }
    text_of(file, "file_id").map_or(Source::Missing, Source::Id)
}

fn audio(part: &Value) -> Source<'_> {
    let audio = part.get("input_audio").unwrap_or(part);
    let media_type = match text_of(audio, "format") {
        Some("mp3") => "audio/mp3",
        Some("flac") => "audio/flac",
        Some("ogg") => "audio/ogg",
        _ => "audio/wav",
    };
    text_of(audio, "data").map_or(Source::Missing, |base64| Source::Data { media_type, base64 })
}

/// What an address holds itself, or where it points to.
fn source(url: &str) -> Source<'_> {
    let inline = url.strip_prefix("data:").and_then(|rest| rest.split_once(','));
    match inline.and_then(|(head, base64)| Some((head.strip_suffix(";base64")?, base64))) {
        Some((head, base64)) => {
            Source::Data { media_type: head.split(';').next().unwrap_or_default(), base64 }
        }
        None => Source::Link(url),
    }
}

pub(super) fn text_of<'a>(value: &'a Value, key: &str) -> Option<&'a str> {
    value.get(key).and_then(Value::as_str)
}
