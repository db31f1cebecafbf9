//! Which ids does the model read and write for a text?
//!
//! The library encodes ordinary text. Control markers (the file's "added tokens") are taken out of its hands: it
//! finds them in any text, while here only the template's own may become ids. So the library is loaded without
//! them, prompts are cut at unfenced markers (see [`crate::prompt`]), and the pieces between are encoded.
//!
//! Decoding goes by bytes: in a byte-level vocabulary each letter of a token stands for one byte, so a stream can
//! be put together exactly, without decoding anything twice.

use std::collections::HashMap;

use serde_json::Value;

use crate::config::ModelConfig;
use crate::prompt::{PromptError, Rendered};
use crate::weights::{Checkpoint, LoadError};

const FILE: &str = "tokenizer.json";

/// Text to ids and back.
pub(crate) struct Tokenizer {
    /// Without added tokens.
    plain: tokenizers::Tokenizer,
    markers: Vec<Marker>,
    /// The characters that markers begin with.
    marker_starts: Vec<char>,
    /// The byte that each letter of a byte-level token stands for.
    bytes: HashMap<char, u8>,
    /// Ids below this have a text.
    size: usize,
}

struct Marker {
    id: u32,
    text: String,
    /// Shown in the output? Tool tags are, turn boundaries are not.
    visible: bool,
}

impl Tokenizer {
    pub(crate) fn from_checkpoint(checkpoint: &Checkpoint, config: &ModelConfig) -> Result<Self, LoadError> {
        let tokenizer = Tokenizer::parse(&checkpoint.tokenizer()?)?;
        if tokenizer.size > config.vocab {
            let reason = format!("ids up to {}, but the model has {} rows", tokenizer.size - 1, config.vocab);
            return Err(refuse(reason));
        }
        Ok(tokenizer)
    }

    pub(crate) fn parse(file: &[u8]) -> Result<Tokenizer, LoadError> {
        let mut json: Value = serde_json::from_slice(file)
            .map_err(|source| LoadError::Json { file: FILE.to_owned(), source })?;
        require_byte_level(&json["decoder"])?;
        let markers = read_markers(&json["added_tokens"])?;
        json["added_tokens"] = Value::Array(Vec::new());
        // Cutting a prompt short is the caller's decision, not a setting left over from training.
        json["truncation"] = Value::Null;
        json["padding"] = Value::Null;
        let plain = tokenizers::Tokenizer::from_bytes(json.to_string()).map_err(refuse)?;
        let size = highest_id(&plain, &markers).map_or(0, |id| id as usize + 1);
        let marker_starts = markers.iter().filter_map(|marker| marker.text.chars().next()).collect();
        Ok(Tokenizer { plain, markers, marker_starts, bytes: byte_letters(), size })
    }

    /// The texts of all markers.
    pub(crate) fn markers(&self) -> impl Iterator<Item = &str> {
        self.markers.iter().map(|marker| marker.text.as_str())
    }

    /// The id of a marker, if this vocabulary has it.
    pub(crate) fn marker_id(&self, text: &str) -> Option<u32> {
        self.markers.iter().find(|marker| marker.text == text).map(|marker| marker.id)
    }

    /// Ids below this have a text; the model's embedding may be padded beyond.
    pub(crate) fn size(&self) -> usize {
        self.size
    }

    /// The ids of a rendered prompt: the template's markers as themselves, everything else as text.
    pub(crate) fn encode_prompt(&self, prompt: &Rendered) -> Result<Vec<u32>, PromptError> {
        let mut ids = Vec::new();
        let mut rest = prompt.fenced();
        while let Some((start, marker)) = self.next_marker(rest) {
            ids.extend(self.encode_text(&prompt.unfence(&rest[..start]))?);
            ids.push(marker.id);
            rest = &rest[start + marker.text.len()..];
        }
        ids.extend(self.encode_text(&prompt.unfence(rest))?);
        if ids.is_empty() { Err(PromptError::Empty) } else { Ok(ids) }
    }

    /// The ids of ordinary text. Whatever it says, no marker comes out.
    pub(crate) fn encode_text(&self, text: &str) -> Result<Vec<u32>, PromptError> {
        if text.is_empty() {
            return Ok(Vec::new());
        }
        let encoding =
            self.plain.encode_fast(text, false).map_err(|error| PromptError::Tokenizer(error.to_string()))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// The first marker in a text, the longest if several begin there.
    fn next_marker<'a>(&'a self, text: &str) -> Option<(usize, &'a Marker)> {
        text.match_indices(self.marker_starts.as_slice()).find_map(|(at, _)| {
            let here = self.markers.iter().filter(|marker| text[at..].starts_with(&marker.text));
            here.max_by_key(|marker| marker.text.len()).map(|marker| (at, marker))
        })
    }

    /// One token for people to read: markers by name, parts of characters replaced.
    pub(crate) fn token_text(&self, id: u32) -> String {
        match self.markers.iter().find(|marker| marker.id == id) {
            Some(marker) => marker.text.clone(),
            None => String::from_utf8_lossy(&self.token_bytes(id)).into_owned(),
        }
    }

    /// The bytes that a token adds to the output; hidden markers and padding add none.
    pub(crate) fn token_bytes(&self, id: u32) -> Vec<u8> {
        if let Some(marker) = self.markers.iter().find(|marker| marker.id == id) {
            return if marker.visible { marker.text.clone().into_bytes() } else { Vec::new() };
        }
        let letters = self.plain.id_to_token(id).unwrap_or_default();
        let mut bytes = Vec::with_capacity(letters.len());
        for letter in letters.chars() {
            match self.bytes.get(&letter) {
                Some(byte) => bytes.push(*byte),
                None => bytes.extend(letter.to_string().into_bytes()),
            }
        }
        bytes
    }
}

fn refuse(reason: impl ToString) -> LoadError {
    LoadError::Tokenizer { file: FILE.to_owned(), reason: reason.to_string() }
}

/// Other decoders change text at the borders of tokens, which the byte table cannot express.
fn require_byte_level(decoder: &Value) -> Result<(), LoadError> {
    let steps = decoder["decoders"].as_array().map_or(std::slice::from_ref(decoder), Vec::as_slice);
    if steps.iter().all(|step| step["type"] == "ByteLevel") && !steps.is_empty() {
        return Ok(());
    }
    Err(refuse(format!("decoder {decoder} is not supported, only ByteLevel")))
}

fn read_markers(added: &Value) -> Result<Vec<Marker>, LoadError> {
    added.as_array().map_or(Ok(Vec::new()), |tokens| tokens.iter().map(read_marker).collect())
}

fn read_marker(token: &Value) -> Result<Marker, LoadError> {
    for flag in ["lstrip", "rstrip", "single_word"] {
        if token[flag] == true {
            return Err(refuse(format!("added token with {flag}: {token}")));
        }
    }
    let id = token["id"].as_u64().and_then(|id| u32::try_from(id).ok());
    match (id, token["content"].as_str()) {
        (Some(id), Some(text)) if !text.is_empty() => {
            Ok(Marker { id, text: text.to_owned(), visible: token["special"] != true })
        }
        _ => Err(refuse(format!("added token without id or content: {token}"))),
    }
}

fn highest_id(plain: &tokenizers::Tokenizer, markers: &[Marker]) -> Option<u32> {
    let words = plain.get_vocab(false).into_values().max();
    words.max(markers.iter().map(|marker| marker.id).max())
}

/// The alphabet of byte-level vocabularies: printable Latin-1 bytes stand for themselves, the others were given
/// the letters from U+0100 on, in order.
fn byte_letters() -> HashMap<char, u8> {
    let printable = |byte: &u8| matches!(byte, 0x21..=0x7E | 0xA1..=0xAC | 0xAE..=0xFF);
    let moved = (0..=u8::MAX).filter(|byte| !printable(byte));
    let moved = ('\u{100}'..).zip(moved);
    (0..=u8::MAX).filter(printable).map(|byte| (char::from(byte), byte)).chain(moved).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn pico() -> Tokenizer {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../models/pico-dense/tokenizer.json");
        Tokenizer::parse(&std::fs::read(path).unwrap()).unwrap()
    }

    fn decode(tokenizer: &Tokenizer, ids: &[u32]) -> String {
        String::from_utf8(ids.iter().flat_map(|id| tokenizer.token_bytes(*id)).collect()).unwrap()
    }

    #[test]
    fn text_survives_a_round_trip() {
        let tokenizer = pico();
        for text in ["Solve x^2+2x+1=0", "已知x²+2x+1=0，求x的值", "a\t\u{0}\n👩‍🚀 é", "<|im_end|></think>"]
        {
            assert_eq!(decode(&tokenizer, &tokenizer.encode_text(text).unwrap()), text);
        }
    }

    #[test]
    fn ordinary_text_never_becomes_a_marker() {
        let tokenizer = pico();
        for marker in ["<|im_start|>", "<|im_end|>", "<think>", "</think>", "<|endoftext|>"] {
            let ids = tokenizer.encode_text(&format!("a{marker}b")).unwrap();
            assert!(!ids.contains(&tokenizer.marker_id(marker).unwrap()), "{marker}");
        }
    }

    #[test]
    fn only_unfenced_markers_become_ids() {
        let tokenizer = pico();
        let prompt = Rendered::for_test("<|im_start|>user\n<\u{F0000}|im_end|><|im_end|>", '\u{F0000}');
        let ids = tokenizer.encode_prompt(&prompt).unwrap();
        let end = tokenizer.marker_id("<|im_end|>").unwrap();
        assert_eq!(ids.iter().filter(|id| **id == end).count(), 1);
        assert_eq!(ids.last(), Some(&end));
        let typed = tokenizer.encode_text("user\n<|im_end|>").unwrap();
        assert_eq!(ids[1..ids.len() - 1], typed);
    }

    #[test]
    fn turn_markers_are_hidden_and_padding_is_empty() {
        let tokenizer = pico();
        assert_eq!(tokenizer.size(), 1536);
        assert!(tokenizer.token_bytes(tokenizer.marker_id("<|im_end|>").unwrap()).is_empty());
        assert!(tokenizer.token_bytes(1599).is_empty());
    }

    #[test]
    fn another_kind_of_decoder_is_refused() {
        let file = br#"{"decoder": {"type": "Metaspace"}, "added_tokens": []}"#;
        assert!(matches!(Tokenizer::parse(file), Err(LoadError::Tokenizer { .. })));
        assert!(matches!(Tokenizer::parse(b"{"), Err(LoadError::Json { .. })));
        assert!(matches!(Tokenizer::parse(b"[1]"), Err(LoadError::Tokenizer { .. })));
    }
}
