//! Reasoning that stands inline in the content, between think tags, taken apart from the answer.
//!
//! Servers without a reasoning parser send it that way; with some chat templates only the closing tag appears, because
//! the opening one is in the prompt. A tag in a code block, between quotation marks or among the words of a sentence is
//! what the answer talks about, and stays.

mod prose;
#[cfg(test)]
mod tests;

use self::prose::Prose;

const OPENER: &str = "<think>";
const CLOSER: &str = "</think>";
/// Some models begin a tool call without closing their thoughts; at the start of a line it ends them.
const CALL: &str = "<tool_call>";
/// A text held back for a closing tag that never came is given out as the answer beyond this size.
const MAX_HELD: usize = 1 << 20;

/// A piece of text and what it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Part {
    Reasoning(String),
    Answer(String),
}

/// Whether reasoning may begin without an opening tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expects {
    /// It does not.
    Opener,
    /// Thinking was asked for, and a closing tag alone would not surprise.
    PerhapsCloser,
    /// This server is known to send the closing tag alone.
    Closer,
}

/// Why no more text comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// The model was done.
    Complete,
    /// It ran out of tokens.
    Cut,
    /// It calls a tool.
    Call,
}

/// What the content turned out to be like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// A closing tag came without an opening one.
    CloserAlone,
    /// A closing tag was waited for in vain.
    NoTags,
}

/// Splits one choice's content as it arrives.
#[derive(Debug)]
pub(super) struct Splitter {
    state: State,
    /// Text that cannot be classified yet.
    held: String,
    /// How much of it is known to hold no closing tag.
    searched: usize,
    expects: Expects,
    /// Reasoning has been seen, so another closing tag is no word of the answer.
    thought: bool,
    /// Some of the block being read was given out.
    released: bool,
    prose: Prose,
    shape: Option<Shape>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nothing but white space and perhaps part of an opening tag so far.
    Start,
    /// No opening tag came, but a closing one may.
    Undecided,
    /// Behind the opening tag, where line breaks belong to the tag.
    Opened,
    /// Between the tags.
    Inside,
    /// Behind the closing tag, where line breaks belong to the tag.
    Behind,
    /// The answer.
    Answer,
}

impl Splitter {
    /// For content in which reasoning may stand.
    pub(super) fn new(expects: Expects) -> Self {
        Splitter {
            state: State::Start,
            held: String::new(),
            searched: 0,
            expects,
            thought: false,
            released: false,
            prose: Prose::default(),
            shape: None,
        }
    }

    /// The server has a field of its own for reasoning, so what was held back for a closing tag is the answer.
    pub(super) fn field_seen(&mut self) -> Vec<Part> {
        self.expects = Expects::Opener;
        self.thought = true;
        self.push("")
    }

    /// What the content turned out to be like, once that is known.
    pub(super) fn shape(&self) -> Option<Shape> {
        self.shape
    }

    /// Takes the next content and returns what is certain by now.
    pub(super) fn push(&mut self, text: &str) -> Vec<Part> {
        self.held.push_str(text);
        let mut parts = Vec::new();
        while let Some(part) = self.step() {
            push_part(&mut parts, part);
        }
        parts
    }

    /// No more content comes for now: what was held back is what it looked like.
    pub(super) fn finish(&mut self, end: End) -> Vec<Part> {
        let held = std::mem::take(&mut self.held);
        let reasoning = match self.state {
            State::Opened | State::Inside => true,
            State::Undecided => match (end, self.expects) {
                (End::Call, _) | (End::Cut, Expects::Closer) => true,
                (End::Complete, _) => {
                    self.shape = Some(Shape::NoTags);
                    false
                }
                _ => false,
            },
            _ => false,
        };
        if !held.is_empty() || reasoning {
            self.state = State::Answer;
        }
        let mut parts = Vec::new();
        if reasoning {
            self.thought = true;
            let kept = if held.trim().is_empty() { "" } else { held.as_str() };
            push_part(&mut parts, Part::Reasoning(kept.to_owned()));
        } else {
            self.prose.read(&held);
            push_part(&mut parts, Part::Answer(held));
        }
        parts
    }

    /// One transition; None when more text is needed.
    fn step(&mut self) -> Option<Part> {
        match self.state {
            State::Start => {
                let start = self.held.trim_start();
                if let Some(inside) = start.strip_prefix(OPENER) {
                    self.held = inside.to_owned();
                    return self.open();
                }
                if OPENER.starts_with(start) {
                    return None;
                }
                self.turn(if self.expects == Expects::Opener { State::Answer } else { State::Undecided })
            }
            State::Undecided => match self.search() {
                Some(at) => {
                    self.shape = Some(Shape::CloserAlone);
                    self.close(at, CLOSER.len())
                }
                None if self.expects == Expects::Opener || self.held.len() > MAX_HELD => {
                    self.turn(State::Answer)
                }
                None => None,
            },
            State::Inside => match self.end_of_thoughts() {
                Some((at, tag)) => self.close(at, tag),
                None => self.release().map(Part::Reasoning),
            },
            State::Opened => self.skip_breaks(State::Inside),
            State::Behind => self.skip_breaks(State::Answer),
            State::Answer => self.answer(),
        }
    }

    /// Where the closing tag stands; what was searched before is not searched again.
    fn search(&mut self) -> Option<usize> {
        let from = self.searched.saturating_sub(CLOSER.len());
        let from = (0..=from).rev().find(|at| self.held.is_char_boundary(*at)).unwrap_or(0);
        self.searched = self.held.len();
        self.held[from..].find(CLOSER).map(|at| from + at)
    }

    /// Answer text up to the next tag that is none of its words.
    fn answer(&mut self) -> Option<Part> {
        if self.held.is_empty() {
            return None;
        }
        let Some(at) = self.held.find('<') else { return Some(self.take_answer(self.held.len())) };
        if at > 0 {
            return Some(self.take_answer(at));
        }
        if self.held.starts_with(OPENER) {
            if self.prose.talks_of_opener() {
                return Some(self.take_answer(OPENER.len()));
            }
            self.held.drain(..OPENER.len());
            return self.open();
        }
        if self.held.starts_with(CLOSER) {
            if self.prose.talks_of_closer(self.thought) {
                return Some(self.take_answer(CLOSER.len()));
            }
            self.held.drain(..CLOSER.len());
            return self.turn(State::Answer);
        }
        let undecided = OPENER.starts_with(&self.held) || CLOSER.starts_with(&self.held);
        (!undecided).then(|| self.take_answer(1))
    }

    fn take_answer(&mut self, length: usize) -> Part {
        let rest = self.held.split_off(length);
        let text = std::mem::replace(&mut self.held, rest);
        self.prose.read(&text);
        Part::Answer(text)
    }

    /// Drops line breaks, and goes on when something else has come.
    fn skip_breaks(&mut self, next: State) -> Option<Part> {
        let breaks = self.held.len() - self.held.trim_start_matches(['\r', '\n']).len();
        self.held.drain(..breaks);
        if self.held.is_empty() { None } else { self.turn(next) }
    }

    fn open(&mut self) -> Option<Part> {
        (self.thought, self.released) = (true, false);
        self.turn(State::Opened)
    }

    /// Goes on in another state; the empty part is dropped by [`push_part`].
    fn turn(&mut self, state: State) -> Option<Part> {
        self.state = state;
        Some(Part::Answer(String::new()))
    }

    /// Where thoughts end and how long the tag is that ends them.
    fn end_of_thoughts(&self) -> Option<(usize, usize)> {
        let closer = self.held.find(CLOSER).map(|at| (at, CLOSER.len()));
        // White space at the end is held back, so the line break before it is here.
        let begins_line = |at: usize| match self.held[..at].chars().last() {
            Some(before) => before == '\n',
            None => !self.released,
        };
        let call = self.held.match_indices(CALL).map(|(at, _)| at).find(|at| begins_line(*at));
        match (closer, call) {
            (Some((closer, _)), Some(call)) if call < closer => Some((call, 0)),
            (None, Some(call)) => Some((call, 0)),
            (closer, _) => closer,
        }
    }

    fn close(&mut self, at: usize, tag: usize) -> Option<Part> {
        let behind = self.held.split_off(at + tag);
        let mut reasoning = std::mem::replace(&mut self.held, behind);
        reasoning.truncate(at);
        reasoning.truncate(reasoning.trim_end().len());
        self.thought = true;
        self.state = State::Behind;
        Some(Part::Reasoning(reasoning))
    }

    /// Everything that cannot be part of a tag that ends thoughts or of the white space before it.
    fn release(&mut self) -> Option<String> {
        let begun =
            |tag: &str| (1..tag.len()).rev().find(|length| self.held.ends_with(&tag[..*length])).unwrap_or(0);
        let tail = begun(CLOSER).max(begun(CALL));
        let certain = self.held[..self.held.len() - tail].trim_end().len();
        if certain == 0 {
            return None;
        }
        let rest = self.held.split_off(certain);
        self.released = true;
        Some(std::mem::replace(&mut self.held, rest))
    }
}

fn push_part(parts: &mut Vec<Part>, part: Part) {
    match (parts.last_mut(), part) {
        (_, Part::Reasoning(text) | Part::Answer(text)) if text.is_empty() => {}
        (Some(Part::Reasoning(before)), Part::Reasoning(text))
        | (Some(Part::Answer(before)), Part::Answer(text)) => before.push_str(&text),
        (_, part) => parts.push(part),
    }
}

/// Splits content that is complete.
pub(super) fn split(content: &str) -> (String, String) {
    let mut splitter = Splitter::new(Expects::Opener);
    let mut parts = splitter.push(content);
    parts.extend(splitter.finish(End::Complete));
    joined(parts)
}

fn joined(parts: Vec<Part>) -> (String, String) {
    let (mut reasoning, mut answer) = (String::new(), String::new());
    for part in parts {
        match part {
            Part::Reasoning(text) => reasoning.push_str(&text),
            Part::Answer(text) => answer.push_str(&text),
        }
    }
    (reasoning, answer)
}

/// Whether a closing tag without an opening one ends thoughts in content that is complete.
pub(super) fn closes_alone(content: &str) -> bool {
    let Some(at) = content.find(CLOSER).filter(|at| !content[..*at].contains(OPENER)) else { return false };
    let mut prose = Prose::default();
    prose.read(&content[..at]);
    !prose.talks_of_closer(false)
}
