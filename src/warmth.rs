//! "Which model has read this conversation before?" Its prefix cache spares it most of the reading, another model's does not.
//!
//! Only hashes are kept, for as long as caches are: nothing of a text, and nothing across callers.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Map, Value};

/// How long a prefix stays warm: hosted caches promise five minutes, servers of one's own drop the oldest under load.
const WARM: Duration = Duration::from_secs(300);
/// Conversations remembered; the memory is a few hundred kilobytes.
const MOST: usize = 8192;

/// What was read lately, and by whom.
#[derive(Debug, Default)]
pub struct Warmth {
    keys: RandomState,
    seen: Mutex<HashMap<u64, Seen>>,
}

#[derive(Debug, Clone)]
struct Seen {
    model: String,
    at: Instant,
}

/// A conversation as the hashes of its beginnings, shortest first.
#[derive(Debug, Clone, Default)]
pub struct Trail(Vec<u64>);

impl Warmth {
    /// The trail of a chat-completions body of this caller.
    #[must_use]
    pub fn trail(&self, body: &Map<String, Value>, caller: u64) -> Trail {
        let messages = body.get("messages").and_then(Value::as_array);
        let mut before = caller;
        let step = |message: &Value| {
            let mut hasher = self.keys.build_hasher();
            before.hash(&mut hasher);
            message.hash(&mut hasher);
            before = hasher.finish();
            before
        };
        Trail(messages.into_iter().flatten().map(step).collect())
    }

    /// The model that read the longest known beginning.
    #[must_use]
    pub fn model(&self, trail: &Trail, now: Instant) -> Option<String> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let warm = |hash: &u64| seen.get(hash).filter(|seen| now.duration_since(seen.at) < WARM);
        trail.0.iter().rev().find_map(warm).map(|seen| seen.model.clone())
    }

    /// Notes that a model read all of it.
    pub fn read(&self, trail: &Trail, model: &str, now: Instant) {
        let Some(whole) = trail.0.last() else { return };
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() >= MOST {
            seen.retain(|_, seen| now.duration_since(seen.at) < WARM / 2);
        }
        if seen.len() >= MOST {
            // More than this in so short a time pushes prefixes out of the models' own caches too.
            seen.clear();
        }
        seen.insert(*whole, Seen { model: model.to_owned(), at: now });
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn body(texts: &[&str]) -> Map<String, Value> {
        let messages: Vec<Value> =
            texts.iter().map(|text| json!({"role": "user", "content": text})).collect();
        Map::from_iter([("messages".to_owned(), messages.into())])
    }

    #[test]
    fn the_longest_beginning_counts_for_its_caller_and_for_a_while() {
        let (warmth, now) = (Warmth::default(), Instant::now());
        warmth.read(&warmth.trail(&body(&["a"]), 1), "small", now);
        warmth.read(&warmth.trail(&body(&["a", "b", "c"]), 1), "large", now);
        let of = |texts: &[&str], caller: u64, after: u64| {
            warmth.model(&warmth.trail(&body(texts), caller), now + Duration::from_secs(after))
        };
        assert_eq!(of(&["a", "b", "c", "d", "e"], 1, 10).as_deref(), Some("large"));
        assert_eq!(of(&["a", "b", "x"], 1, 10).as_deref(), Some("small"));
        assert_eq!(of(&["b"], 1, 10), None);
        assert_eq!(of(&["a", "b"], 2, 10), None, "another caller's reading warms nothing");
        assert_eq!(of(&["a", "b"], 1, 301), None);
    }

    #[test]
    fn memory_is_bounded() {
        let (warmth, now) = (Warmth::default(), Instant::now());
        for number in 0..2 * MOST {
            warmth.read(&Trail(vec![number as u64]), "m", now);
        }
        assert!(warmth.seen.lock().expect("not poisoned").len() <= MOST);
    }
}
