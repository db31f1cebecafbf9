//! Every stream of `tests/streams/`, read whole and cut at every byte.

use std::fs;
use std::path::{Path, PathBuf};

use aws_smithy_eventstream::frame::write_message_to;
use aws_smithy_types::event_stream::{Header, HeaderValue, Message};
use serde_json::{Map, Value, json};

use super::*;
use crate::backends::Step;
use crate::backends::think::Expects;

/// A stream as it comes, what it says, and what that makes in one piece.
struct Fixture {
    name: String,
    bytes: Vec<u8>,
    expected: Map<String, Value>,
}

fn fixtures() -> Vec<Fixture> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/streams");
    let mut paths: Vec<PathBuf> =
        fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("one").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    paths.sort();
    paths.iter().map(|path| fixture(path)).collect()
}

fn fixture(path: &Path) -> Fixture {
    let expected = serde_json::from_slice(&fs::read(path).expect("a file")).expect("JSON");
    let streams = ["sse", "ndjson", "jsonl"].map(|extension| path.with_extension(extension));
    let stream = streams.iter().find(|stream| stream.exists()).expect("a stream beside it");
    let mut bytes = fs::read(stream).expect("a file");
    if stream.extension().is_some_and(|extension| extension == "jsonl") {
        bytes = binary_of(&bytes);
    }
    Fixture { name: path.file_stem().expect("a name").to_string_lossy().into_owned(), bytes, expected }
}

/// Amazon's own crate writes the frames.
fn binary_of(lines: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for line in std::str::from_utf8(lines).expect("UTF-8").lines() {
        let event: Value = serde_json::from_str(line).expect("JSON");
        let text = |value: &str| HeaderValue::String(value.to_owned().into());
        let kind = event["type"].as_str().expect("a type");
        let (kinds, name) = match event["failed"] == true {
            true => ("exception", ":exception-type"),
            false => ("event", ":event-type"),
        };
        let message = Message::new(event["data"].to_string().into_bytes())
            .add_header(Header::new(name, text(kind)))
            .add_header(Header::new("x-number", HeaderValue::Int64(7)))
            .add_header(Header::new(":content-type", text("application/json")))
            .add_header(Header::new(":message-type", text(kinds)));
        write_message_to(&message, &mut out).expect("a frame");
    }
    out
}

impl Fixture {
    fn text(&self, key: &str) -> &str {
        self.expected[key].as_str().expect("a text")
    }

    fn wire(&self) -> Wire {
        match self.text("wire") {
            "chat" => Wire::Chat,
            "anthropic" => Wire::Anthropic,
            "gemini" => Wire::Gemini,
            "ollama-native" => Wire::OllamaNative,
            "bedrock" => Wire::Bedrock,
            other => panic!("no wire {other}"),
        }
    }

    fn inline(&self) -> Option<Expects> {
        match self.text("inline") {
            "never" => None,
            "opener" => Some(Expects::Opener),
            "perhaps-closer" => Some(Expects::PerhapsCloser),
            "closer" => Some(Expects::Closer),
            other => panic!("no expectation {other}"),
        }
    }

    /// What the stream says if its bytes come in these pieces.
    fn read<'b>(&self, pieces: impl IntoIterator<Item = &'b [u8]>) -> (Vec<Step>, Option<BackendError>) {
        let wire = self.wire();
        let (mut frames, mut reader) = (frames(wire), Reader::new(wire));
        let mut outlet = Outlet::new(self.inline());
        let read = || -> Result<(), BackendError> {
            for piece in pieces {
                for event in frames.push(piece)? {
                    if reader.event(&event, &mut outlet)? {
                        return outlet.end();
                    }
                }
            }
            for event in frames.end()? {
                reader.event(&event, &mut outlet)?;
            }
            outlet.end()
        };
        let error = read().err();
        (std::iter::from_fn(|| outlet.pop()).collect(), error)
    }
}

/// Steps as a fixture spells them; texts that follow each other are one, ids that we make up are masked.
fn spelled(steps: &[Step], error: Option<&BackendError>) -> Value {
    let mut out: Vec<Value> = Vec::new();
    for step in steps {
        let (choice, name, value) = match step {
            Step::Reasoning { choice, text } => (*choice, "reasoning", json!(text)),
            Step::Answer { choice, text } => (*choice, "answer", json!(text)),
            Step::Other { choice, delta, beside } if beside.is_empty() => (*choice, "delta", json!(delta)),
            Step::Other { choice, delta, beside } => {
                (*choice, "other", json!({"delta": delta, "beside": beside}))
            }
            Step::Finished { choice, reason } => (*choice, "finished", json!(reason)),
            Step::Usage(usage) => (0, "usage", usage.to_json()),
            Step::Experts(_) | Step::Repetition(_) => panic!("no server tells of these"),
        };
        let mut entry = json!({ name: masked(value) });
        if choice > 0 {
            entry["choice"] = choice.into();
        }
        match out.last_mut() {
            Some(last)
                if matches!(name, "reasoning" | "answer")
                    && last.get(name).is_some()
                    && last.get("choice") == entry.get("choice") =>
            {
                let text =
                    format!("{}{}", last[name].as_str().expect("text"), entry[name].as_str().expect("text"));
                last[name] = text.into();
            }
            _ => out.push(entry),
        }
    }
    out.extend(error.map(|error| json!({"error": error.to_string()})));
    out.into()
}

fn masked(value: Value) -> Value {
    match value {
        Value::Array(items) => items.into_iter().map(masked).collect(),
        Value::Object(fields) => fields
            .into_iter()
            .map(|(name, value)| {
                let made_up = name == "id" && value.as_str().is_some_and(|id| id.len() >= 25);
                (name, if made_up { "(made up)".into() } else { masked(value) })
            })
            .collect::<Map<String, Value>>()
            .into(),
        value => value,
    }
}

#[test]
fn every_stream_says_what_it_should() {
    for fixture in fixtures() {
        let (steps, error) = fixture.read([fixture.bytes.as_slice()]);
        let says = spelled(&steps, error.as_ref());
        let mut gathering = Gathering::default();
        steps.iter().cloned().for_each(|step| gathering.take(step));
        let whole = if error.is_none() { masked(gathering.into_whole().choices.into()) } else { Value::Null };
        assert_eq!(says, fixture.expected["says"], "{}", fixture.name);
        assert_eq!(whole, fixture.expected["whole"], "{}", fixture.name);
    }
}

#[test]
fn wherever_the_bytes_are_cut_the_steps_are_the_same() {
    for fixture in fixtures() {
        let bytes = fixture.bytes.as_slice();
        let told = |(steps, error): (Vec<Step>, Option<BackendError>)| spelled(&steps, error.as_ref());
        let whole = told(fixture.read([bytes]));
        for at in 1..bytes.len() {
            let (head, tail) = bytes.split_at(at);
            assert_eq!(told(fixture.read([head, tail])), whole, "{} cut at {at}", fixture.name);
        }
        assert_eq!(told(fixture.read(bytes.chunks(1))), whole, "{} byte by byte", fixture.name);
    }
}

#[test]
fn no_tag_is_left_in_an_answer_and_no_reasoning_is_blank() {
    for fixture in fixtures() {
        let (steps, _) = fixture.read([fixture.bytes.as_slice()]);
        let (mut answers, mut thoughts) = (String::new(), String::new());
        for step in steps {
            match step {
                Step::Answer { text, .. } => {
                    assert!(!text.is_empty(), "{}", fixture.name);
                    answers.push_str(&text);
                }
                Step::Reasoning { text, .. } => {
                    assert!(!text.is_empty(), "{}", fixture.name);
                    thoughts.push_str(&text);
                }
                _ => {}
            }
        }
        let keeps = fixture.expected.contains_key("keeps_tags");
        assert_eq!(answers.contains("think>"), keeps, "{}: {answers}", fixture.name);
        assert!(!thoughts.contains("think>"), "{}: {thoughts}", fixture.name);
        assert!(thoughts.is_empty() || !thoughts.trim().is_empty(), "{}: {thoughts:?}", fixture.name);
    }
}
