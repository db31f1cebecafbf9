//! Tool calls, put in a row. Chat streams name each fragment's call by number and may mix them; the other APIs show one
//! call after the other, each from its beginning to its end.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::id::unique;

/// What becomes of a call, in order: `Begin`, any number of `Arguments`, `End`; then the next call.
#[derive(Debug, PartialEq)]
pub(super) enum CallEvent {
    Begin {
        id: String,
        name: String,
    },
    Arguments(String),
    /// With the arguments as a whole.
    End(String),
}

/// The calls of one answer as they grow.
#[derive(Debug, Default)]
pub(super) struct Calls {
    calls: Vec<Call>,
    /// Calls before this one are over.
    current: usize,
}

#[derive(Debug, Default)]
struct Call {
    index: u64,
    id: Option<String>,
    name: Option<String>,
    signature: Option<Value>,
    arguments: String,
    /// Bytes of the arguments that were passed on.
    told: usize,
    begun: bool,
}

impl Calls {
    /// Whether there was any.
    pub(super) fn any(&self) -> bool {
        !self.calls.is_empty()
    }

    /// Takes the `tool_calls` of a delta.
    pub(super) fn push(&mut self, fragments: &[Value]) -> Vec<CallEvent> {
        for fragment in fragments {
            self.add(fragment);
        }
        let mut events = Vec::new();
        while let Some(call) = self.calls.get_mut(self.current) {
            call.tell(&mut events);
            // Whether more of it is to come shows only once another call has begun.
            let over =
                self.calls.len() > self.current + 1 && is_complete(&self.calls[self.current].arguments);
            if !over {
                break;
            }
            self.close(&mut events);
        }
        events
    }

    /// No more fragments will come.
    pub(super) fn finish(&mut self) -> Vec<CallEvent> {
        let mut events = Vec::new();
        while let Some(call) = self.calls.get_mut(self.current) {
            call.tell(&mut events);
            self.close(&mut events);
        }
        events
    }

    fn close(&mut self, events: &mut Vec<CallEvent>) {
        let call = &self.calls[self.current];
        if call.begun {
            events.push(CallEvent::End(call.arguments.clone()));
        }
        self.current += 1;
    }

    fn add(&mut self, fragment: &Value) {
        let text = |pointer: &str| {
            fragment
                .pointer(pointer)
                .and_then(Value::as_str)
                .filter(|text| !text.is_empty())
                .map(str::to_owned)
        };
        let index = fragment.get("index").and_then(Value::as_u64).unwrap_or(0);
        let id = text("/id");
        // Some servers give every call the same number and tell them apart by id alone.
        let is_it = |call: &Call| call.index == index && (id.is_none() || call.id.is_none() || call.id == id);
        let at = self.calls.iter().rposition(is_it).unwrap_or_else(|| {
            self.calls.push(Call { index, ..Call::default() });
            self.calls.len() - 1
        });
        let call = &mut self.calls[at];
        call.id = call.id.take().or(id);
        call.name = call.name.take().or_else(|| text("/function/name"));
        call.signature = call.signature.take().or_else(|| fragment.get(EXTRA).cloned());
        match fragment.pointer("/function/arguments") {
            Some(Value::String(more)) => call.arguments.push_str(more),
            Some(object @ Value::Object(_)) => call.arguments.push_str(&object.to_string()),
            _ => {}
        }
    }
}

impl Call {
    /// Passes on what is known and was not yet; nothing before the name is.
    fn tell(&mut self, events: &mut Vec<CallEvent>) {
        let Some(name) = &self.name else { return };
        if !self.begun {
            self.begun = true;
            let id = self.id.clone().unwrap_or_else(|| format!("call_{}", unique()));
            events.push(CallEvent::Begin { id: signed(&id, self.signature.as_ref()), name: name.clone() });
        }
        if self.told < self.arguments.len() {
            events.push(CallEvent::Arguments(self.arguments[self.told..].to_owned()));
            self.told = self.arguments.len();
        }
    }
}

fn is_complete(arguments: &str) -> bool {
    serde_json::from_str::<serde::de::IgnoredAny>(arguments).is_ok()
}

/// Where chat messages keep what a vendor wants back with a call.
const EXTRA: &str = "extra_content";
/// What joins an id with what a vendor wants back.
const JOINT: &str = "__extra__";

/// The id of a call with what its vendor wants back, for APIs that have no other place for it. Every client returns ids
/// as they came.
pub(super) fn signed(id: &str, extra: Option<&Value>) -> String {
    match extra.filter(|extra| !extra.is_null()) {
        None => id.to_owned(),
        Some(extra) => format!("{id}{JOINT}{}", URL_SAFE_NO_PAD.encode(extra.to_string())),
    }
}

/// The id without it, and it.
pub(super) fn unsigned(id: &str) -> (&str, Option<Value>) {
    let Some((own, extra)) = id.split_once(JOINT) else { return (id, None) };
    let extra = URL_SAFE_NO_PAD.decode(extra).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
    (own, extra)
}

/// A tool call of a chat message, from what the other APIs know of it.
pub(super) fn chat_call(id: &str, name: &str, arguments: String) -> Value {
    let (id, extra) = unsigned(id);
    let mut call = json!({"id": id, "type": "function", "function": {"name": name, "arguments": arguments}});
    if let Some(extra) = extra {
        call[EXTRA] = extra;
    }
    call
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fragment(index: u64, id: Option<&str>, name: Option<&str>, arguments: &str) -> Value {
        let mut fragment = json!({"index": index, "function": {"arguments": arguments}});
        if let Some(id) = id {
            fragment["id"] = id.into();
        }
        if let Some(name) = name {
            fragment["function"]["name"] = name.into();
        }
        fragment
    }

    fn told(fragments: &[Value]) -> String {
        let mut calls = Calls::default();
        let mut events: Vec<CallEvent> =
            fragments.iter().flat_map(|fragment| calls.push(std::slice::from_ref(fragment))).collect();
        events.extend(calls.finish());
        let shown = events.iter().map(|event| match event {
            CallEvent::Begin { id, name } => format!("{id}:{name}("),
            CallEvent::Arguments(more) => more.clone(),
            CallEvent::End(whole) => format!(")={whole}; "),
        });
        shown.collect()
    }

    #[test]
    fn calls_come_one_after_the_other() {
        let one = fragment(0, Some("a"), Some("f"), "{\"x\":");
        let rest = fragment(0, None, None, "1}");
        let two = fragment(1, Some("b"), Some("g"), "{}");
        let expected = "a:f({\"x\":1})={\"x\":1}; b:g({})={}; ";
        assert_eq!(told(&[one.clone(), rest.clone(), two.clone()]), expected);
        assert_eq!(told(&[one, two, rest]), expected, "mixed fragments are put in a row");
    }

    #[test]
    fn calls_of_one_number_are_told_by_id() {
        let calls = [fragment(0, Some("a"), Some("f"), "{}"), fragment(0, Some("b"), Some("g"), "{}")];
        assert_eq!(told(&calls), "a:f({})={}; b:g({})={}; ");
    }

    #[test]
    fn a_call_without_arguments_waits_for_nothing() {
        let calls = [fragment(0, Some("a"), Some("f"), ""), fragment(1, Some("b"), Some("g"), "{}")];
        assert_eq!(told(&calls), "a:f()=; b:g({})={}; ");
    }

    #[test]
    fn what_a_vendor_wants_back_travels_in_the_id() {
        let extra = json!({"google": {"thought_signature": "a+b/c=="}});
        let id = signed("call_1", Some(&extra));
        assert!(id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)), "{id}");
        assert_eq!(unsigned(&id), ("call_1", Some(extra)));
        assert_eq!(unsigned("call_1"), ("call_1", None));
    }
}
