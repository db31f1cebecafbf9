//! Reasoning that stands inline in the content, between think tags, taken apart from the answer.
//!
//! Servers without a reasoning parser send it that way; with some chat templates only the closing tag appears, because
//! the opening one is in the prompt.

const OPENER: &str = "<think>";
const CLOSER: &str = "</think>";
/// A text held back for a closing tag that never came is given out as the answer beyond this size.
const MAX_HELD: usize = 1 << 20;

/// A piece of text and what it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Part {
    Reasoning(String),
    Answer(String),
}

/// Splits one choice's content as it arrives.
#[derive(Debug)]
pub(super) struct Splitter {
    state: State,
    /// Text that cannot be classified yet.
    held: String,
    /// Reasoning is expected although no opening tag may come.
    expects_closer: bool,
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
    /// For content in which reasoning may stand; `expects_closer` where thinking was asked for.
    pub(super) fn new(expects_closer: bool) -> Self {
        Splitter { state: State::Start, held: String::new(), expects_closer }
    }

    /// The server has a field of its own for reasoning, so the content holds none.
    pub(super) fn field_seen(&mut self) {
        self.expects_closer = false;
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

    /// The content is complete: what was held back is what it looked like.
    pub(super) fn finish(&mut self) -> Vec<Part> {
        let held = std::mem::take(&mut self.held);
        let mut parts = Vec::new();
        let part = match self.state {
            State::Inside if held.trim().is_empty() => return parts,
            State::Inside => Part::Reasoning(held),
            _ => Part::Answer(held),
        };
        push_part(&mut parts, part);
        parts
    }

    /// One transition; None when more text is needed.
    fn step(&mut self) -> Option<Part> {
        match self.state {
            State::Start => {
                let start = self.held.trim_start();
                if let Some(inside) = start.strip_prefix(OPENER) {
                    self.held = inside.to_owned();
                    return self.turn(State::Opened);
                }
                if OPENER.starts_with(start) {
                    return None;
                }
                self.turn(if self.expects_closer { State::Undecided } else { State::Answer })
            }
            State::Undecided => match self.held.find(CLOSER) {
                Some(at) => self.close(at),
                None if !self.expects_closer || self.held.len() > MAX_HELD => self.turn(State::Answer),
                None => None,
            },
            State::Inside => match self.held.find(CLOSER) {
                Some(at) => self.close(at),
                None => self.release().map(Part::Reasoning),
            },
            State::Opened => self.skip_breaks(State::Inside),
            State::Behind => self.skip_breaks(State::Answer),
            State::Answer => (!self.held.is_empty()).then(|| Part::Answer(std::mem::take(&mut self.held))),
        }
    }

    /// Drops line breaks, and goes on when something else has come.
    fn skip_breaks(&mut self, next: State) -> Option<Part> {
        let breaks = self.held.len() - self.held.trim_start_matches(['\r', '\n']).len();
        self.held.drain(..breaks);
        if self.held.is_empty() { None } else { self.turn(next) }
    }

    /// Goes on in another state; the empty part is dropped by [`push_part`].
    fn turn(&mut self, state: State) -> Option<Part> {
        self.state = state;
        Some(Part::Answer(String::new()))
    }

    fn close(&mut self, at: usize) -> Option<Part> {
        let behind = self.held.split_off(at + CLOSER.len());
        let mut reasoning = std::mem::replace(&mut self.held, behind);
        reasoning.truncate(at);
        reasoning.truncate(reasoning.trim_end().len());
        self.state = State::Behind;
        Some(Part::Reasoning(reasoning))
    }

    /// Everything that cannot be part of a closing tag or of the white space before it.
    fn release(&mut self) -> Option<String> {
        let tail =
            (1..CLOSER.len()).rev().find(|length| self.held.ends_with(&CLOSER[..*length])).unwrap_or(0);
        let certain = self.held[..self.held.len() - tail].trim_end().len();
        if certain == 0 {
            return None;
        }
        let rest = self.held.split_off(certain);
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
pub(super) fn split(content: &str, expects_closer: bool) -> (String, String) {
    let mut splitter = Splitter::new(expects_closer);
    let mut parts = splitter.push(content);
    parts.extend(splitter.finish());
    let (mut reasoning, mut answer) = (String::new(), String::new());
    for part in parts {
        match part {
            Part::Reasoning(text) => reasoning.push_str(&text),
            Part::Answer(text) => answer.push_str(&text),
        }
    }
    (reasoning, answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split_every(content: &str, size: usize, expects_closer: bool) -> (String, String) {
        let mut splitter = Splitter::new(expects_closer);
        let (mut reasoning, mut answer) = (String::new(), String::new());
        let chars: Vec<char> = content.chars().collect();
        let mut parts = Vec::new();
        for piece in chars.chunks(size) {
            parts.extend(splitter.push(&piece.iter().collect::<String>()));
        }
        parts.extend(splitter.finish());
        for part in parts {
            match part {
                Part::Reasoning(text) => reasoning.push_str(&text),
                Part::Answer(text) => answer.push_str(&text),
            }
        }
        (reasoning, answer)
    }

    #[test]
    fn any_cut_gives_the_same_parts() {
        for (content, expects_closer, reasoning, answer) in [
            ("<think>\n想一想 a < b\n</think>\n\n42", true, "想一想 a < b", "42"),
            ("想一想\n</think>\n\n42", true, "想一想", "42"),
            ("<think>\n\n</think>\n\n42", false, "", "42"),
            ("just an answer", true, "", "just an answer"),
            ("tags look like </think>", false, "", "tags look like </think>"),
            ("use <think> tags", false, "", "use <think> tags"),
            ("<think>cut off </thi", true, "cut off </thi", ""),
            ("  <thin ice", false, "", "  <thin ice"),
        ] {
            for size in 1..=content.chars().count() {
                let found = split_every(content, size, expects_closer);
                assert_eq!(found, (reasoning.to_owned(), answer.to_owned()), "{content:?} cut every {size}");
            }
        }
    }

    #[test]
    fn an_answer_flows_when_reasoning_has_a_field_of_its_own() {
        let mut splitter = Splitter::new(true);
        splitter.field_seen();
        assert_eq!(splitter.push("Hello"), [Part::Answer("Hello".into())]);
    }
}
