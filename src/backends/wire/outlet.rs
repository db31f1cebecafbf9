//! "What of this is reasoning, and what is the answer?" The one door through which everything that a server sends
//! leaves as steps, whichever wire it came by.

use std::collections::{BTreeMap, VecDeque};

use serde_json::{Map, Value};

use super::super::think::{End, Expects, Part, Shape, Splitter};
use super::super::{BackendError, Step, Usage};

/// Steps in the making.
#[derive(Debug)]
pub(in crate::backends) struct Outlet {
    queue: VecDeque<Step>,
    choices: BTreeMap<u64, Choice>,
    /// How reasoning may stand inline in the content; None: it does not.
    inline: Option<Expects>,
    usage: Option<Usage>,
    shape: Option<Shape>,
    said: bool,
}

#[derive(Debug)]
struct Choice {
    splitter: Option<Splitter>,
    /// White space that reasoning began with; alone it is no reasoning.
    blank: String,
    reasoned: bool,
    /// Tool calls begun so far.
    calls: u64,
    finished: bool,
}

impl Outlet {
    pub(in crate::backends) fn new(inline: Option<Expects>) -> Self {
        Outlet {
            queue: VecDeque::new(),
            choices: BTreeMap::new(),
            inline,
            usage: None,
            shape: None,
            said: false,
        }
    }

    /// The next step that is ready.
    pub(in crate::backends) fn pop(&mut self) -> Option<Step> {
        self.queue.pop_front()
    }

    /// Whether anything was said so far.
    pub(in crate::backends) fn has_begun(&self) -> bool {
        self.said
    }

    /// What the content turned out to be like.
    pub(in crate::backends) fn shape(&self) -> Option<Shape> {
        self.shape
    }

    /// The choice's content is known to end its thoughts with a closing tag alone, if tags may stand in it at all.
    pub(super) fn expect_closer(&mut self, index: u64) {
        let choice = self.choice(index);
        if choice.splitter.is_some() && !choice.reasoned {
            choice.splitter = Some(Splitter::new(Expects::PerhapsCloser));
        }
    }

    /// Reasoning from a field of its own.
    pub(super) fn reasoning(&mut self, index: u64, text: &str) {
        if text.is_empty() {
            return;
        }
        self.said = true;
        let choice = self.choice(index);
        let held = choice.splitter.as_mut().map(Splitter::field_seen).unwrap_or_default();
        let mut steps: Vec<Step> = held.into_iter().filter_map(|part| choice.step(index, part)).collect();
        steps.extend(choice.step(index, Part::Reasoning(text.to_owned())));
        self.queue.extend(steps);
    }

    /// Content, in which reasoning may stand.
    pub(super) fn content(&mut self, index: u64, text: &str) {
        self.said |= !text.is_empty();
        let choice = self.choice(index);
        let parts = match &mut choice.splitter {
            Some(splitter) => splitter.push(text),
            None => vec![Part::Answer(text.to_owned())],
        };
        let steps: Vec<Step> = parts.into_iter().filter_map(|part| choice.step(index, part)).collect();
        self.queue.extend(steps);
    }

    /// Fields that are passed on without being read.
    pub(super) fn other(&mut self, index: u64, delta: Map<String, Value>, beside: Map<String, Value>) {
        self.choice(index);
        if delta.is_empty() && beside.is_empty() {
            return;
        }
        self.said = true;
        if delta.contains_key("tool_calls") || delta.contains_key("function_call") {
            // A tool call ends whatever text stands before it.
            self.flush(index, End::Call);
        }
        self.queue.push_back(Step::Other { choice: index, delta, beside });
    }

    /// One field of the delta.
    pub(super) fn field(&mut self, index: u64, name: &str, value: Value) {
        self.other(index, Map::from_iter([(name.to_owned(), value)]), Map::new());
    }

    /// Begins a tool call and returns its number among the choice's calls.
    pub(super) fn call(&mut self, index: u64, mut call: Map<String, Value>) -> u64 {
        let choice = self.choice(index);
        let number = choice.calls;
        choice.calls += 1;
        call.shift_insert(0, "index".into(), number.into());
        self.field(index, "tool_calls", vec![Value::from(call)].into());
        number
    }

    /// How many tool calls the choice has begun.
    pub(super) fn calls(&self, index: u64) -> u64 {
        self.choices.get(&index).map_or(0, |choice| choice.calls)
    }

    /// The choice is complete.
    pub(super) fn finish(&mut self, index: u64, reason: &str) {
        self.said = true;
        if std::mem::replace(&mut self.choice(index).finished, true) {
            return;
        }
        let end = match reason {
            "length" => End::Cut,
            "tool_calls" | "function_call" => End::Call,
            _ => End::Complete,
        };
        self.flush(index, end);
        self.queue.push_back(Step::Finished { choice: index, reason: reason.to_owned() });
    }

    /// What it cost; the last word counts.
    pub(super) fn usage(&mut self, usage: Usage) {
        self.usage = Some(usage);
    }

    /// The server said it is done: what it did not finish by name is finished now.
    pub(super) fn finish_all(&mut self) {
        let open: Vec<u64> =
            self.choices.iter().filter(|(_, choice)| !choice.finished).map(|(index, _)| *index).collect();
        for index in open {
            self.finish(index, "stop");
        }
    }

    /// Nothing more comes.
    ///
    /// # Errors
    /// Without a finished choice that is a failure, however cleanly the connection was closed.
    pub(in crate::backends) fn end(&mut self) -> Result<(), BackendError> {
        if self.choices.is_empty() || self.choices.values().any(|choice| !choice.finished) {
            return Err(BackendError::Truncated(None));
        }
        self.queue.extend(self.usage.take().map(Step::Usage));
        Ok(())
    }

    fn flush(&mut self, index: u64, end: End) {
        let choice = self.choice(index);
        let Some(splitter) = &mut choice.splitter else { return };
        let parts = splitter.finish(end);
        let shape = splitter.shape();
        let steps: Vec<Step> = parts.into_iter().filter_map(|part| choice.step(index, part)).collect();
        self.shape = shape.or(self.shape);
        self.queue.extend(steps);
    }

    fn choice(&mut self, index: u64) -> &mut Choice {
        let inline = self.inline;
        self.choices.entry(index).or_insert_with(|| Choice {
            splitter: inline.map(Splitter::new),
            blank: String::new(),
            reasoned: false,
            calls: 0,
            finished: false,
        })
    }
}

impl Choice {
    fn step(&mut self, choice: u64, part: Part) -> Option<Step> {
        match part {
            Part::Answer(text) if text.is_empty() => None,
            Part::Answer(text) => Some(Step::Answer { choice, text }),
            Part::Reasoning(text) if self.reasoned => {
                (!text.is_empty()).then_some(Step::Reasoning { choice, text })
            }
            Part::Reasoning(text) => {
                self.blank.push_str(&text);
                self.reasoned = !self.blank.trim().is_empty();
                self.reasoned.then(|| Step::Reasoning { choice, text: std::mem::take(&mut self.blank) })
            }
        }
    }
}
