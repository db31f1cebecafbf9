//! What a backend wants back with the next request, in the place that an API has for opaque reasoning: the
//! `encrypted_content` of responses, the redacted blocks of messages. Clients return it as it came.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};

use super::client::Head;

/// Tells ours from a vendor's own.
const MARK: &str = "thinkgate1.";
/// Of OpenAI's own content, as OpenRouter names it.
const OPENAI: &str = "openai-responses-v1";

/// Signatures and the like, gathered while an answer grows.
#[derive(Debug, Default)]
pub(super) struct Sealed {
    thinking_blocks: Vec<Value>,
    reasoning_details: Vec<Value>,
}

impl Sealed {
    pub(super) fn is_empty(&self) -> bool {
        self.thinking_blocks.is_empty() && self.reasoning_details.is_empty()
    }

    pub(super) fn add_blocks(&mut self, blocks: Vec<Value>) {
        self.thinking_blocks.extend(blocks);
    }

    /// Streams bring details piece by piece, all pieces of one under its number.
    pub(super) fn add_details(&mut self, details: Vec<Value>) {
        for detail in details {
            let same = |known: &&mut Value| {
                detail.get("index").is_some()
                    && known["index"] == detail["index"]
                    && known["type"] == detail["type"]
            };
            match self.reasoning_details.iter_mut().rev().find(same) {
                Some(Value::Object(known)) => grow(known, detail),
                _ => self.reasoning_details.push(detail),
            }
        }
    }

    /// The content; a vendor's own goes as it came.
    pub(super) fn content(&self) -> Option<String> {
        if self.is_empty() {
            return None;
        }
        if let ([], [one]) = (self.thinking_blocks.as_slice(), self.reasoning_details.as_slice())
            && one["type"] == "reasoning.encrypted"
            && one["format"] == OPENAI
        {
            return one["data"].as_str().map(str::to_owned);
        }
        Some(self.packed())
    }

    fn packed(&self) -> String {
        let all =
            json!({"thinking_blocks": self.thinking_blocks, "reasoning_details": self.reasoning_details});
        format!("{MARK}{}", URL_SAFE_NO_PAD.encode(all.to_string()))
    }

    /// The signature of the reasoning that was shown, for a block of messages.
    pub(super) fn signature(&self) -> Option<&str> {
        let signed = |detail: &&Value| detail["type"] == "reasoning.text" && filled(detail, "signature");
        self.reasoning_details.iter().rev().find(signed)?["signature"].as_str()
    }

    /// Details that hold more than what was shown, as a block of messages. Text alone needs none.
    pub(super) fn block(&self) -> Option<Value> {
        let opaque = |detail: &Value| filled(detail, "signature") || filled(detail, "data");
        let any = self.reasoning_details.iter().any(opaque);
        any.then(|| json!({"type": "redacted_thinking", "data": self.packed()}))
    }
}

fn filled(detail: &Value, field: &str) -> bool {
    detail.get(field).and_then(Value::as_str).is_some_and(|text| !text.is_empty())
}

/// What a redacted block of messages holds that is one of ours.
pub(super) fn of_block(block: &Value) -> Option<&str> {
    block.get("data").and_then(Value::as_str).filter(|data| data.starts_with(MARK))
}

fn grow(known: &mut Map<String, Value>, piece: Value) {
    let Value::Object(piece) = piece else { return };
    for (key, more) in piece {
        match (known.get_mut(&key), more) {
            (Some(Value::String(text)), Value::String(more))
                if matches!(key.as_str(), "text" | "summary" | "data") =>
            {
                text.push_str(&more);
            }
            (_, Value::Null) => {}
            (_, more) => drop(known.insert(key, more)),
        }
    }
}

/// Gives an earlier answer back what was sealed in it.
pub(super) fn open(content: &str, id: Option<&Value>, message: &mut Map<String, Value>) {
    let sealed = content
        .strip_prefix(MARK)
        .and_then(|text| URL_SAFE_NO_PAD.decode(text).ok())
        .and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok());
    let mut sealed = sealed.unwrap_or_else(|| {
        json!({"reasoning_details": [{
            "type": "reasoning.encrypted", "data": content, "id": id, "format": OPENAI,
        }]})
    });
    for field in ["thinking_blocks", "reasoning_details"] {
        let Some(Value::Array(more)) = sealed.get_mut(field).map(Value::take) else { continue };
        if more.is_empty() {
            continue;
        }
        match message.entry(field).or_insert_with(|| json!([])) {
            Value::Array(known) => known.extend(more),
            other => *other = more.into(),
        }
    }
}

/// What may be handed out of what a backend wants back: where reasoning is hidden, its text may not.
pub(super) fn unseen(head: &Head, sealed: Vec<Value>) -> Vec<Value> {
    if head.reasoning.is_some() {
        return sealed;
    }
    let hidden = |mut one: Value| {
        for field in ["thinking", "text", "summary"] {
            if let Some(text) = one.get_mut(field) {
                *text = "".into();
            }
        }
        let kept = |field: &str| one[field].as_str().is_some_and(|text| !text.is_empty());
        (kept("signature") || kept("data")).then_some(one)
    };
    sealed.into_iter().filter_map(hidden).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sealed_comes_back() {
        let block = json!({"type": "thinking", "thinking": "t", "signature": "s"});
        let mut sealed = Sealed::default();
        sealed.add_blocks(vec![block.clone()]);
        let mut message = Map::new();
        open(&sealed.content().expect("content"), None, &mut message);
        assert_eq!(Value::from(message), json!({"thinking_blocks": [block]}));
    }

    #[test]
    fn a_vendors_own_goes_as_it_came_both_ways() {
        let mut message = Map::new();
        open("gAAAA", Some(&json!("rs_1")), &mut message);
        let details = message["reasoning_details"].as_array().expect("details").clone();
        assert_eq!(details[0]["data"], "gAAAA");
        let mut sealed = Sealed::default();
        sealed.add_details(details);
        assert_eq!(sealed.content().as_deref(), Some("gAAAA"));
    }

    #[test]
    fn pieces_of_one_detail_grow_together() {
        let mut sealed = Sealed::default();
        sealed
            .add_details(vec![json!({"type": "reasoning.text", "index": 0, "text": "a", "signature": null})]);
        sealed
            .add_details(vec![json!({"type": "reasoning.text", "index": 0, "text": "b", "signature": "s"})]);
        assert_eq!(
            sealed.reasoning_details,
            [json!({"type": "reasoning.text", "index": 0, "text": "ab", "signature": "s"})]
        );
    }
}
