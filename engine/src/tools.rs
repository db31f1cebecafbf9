//! Where in an answer does the model call a tool?
//!
//! Qwen's format: `<tool_call>`, a JSON object of name and arguments, `</tool_call>`. The calls are taken out of the
//! text as it streams. What looks like a call and is none stays text, so that nothing the model wrote is lost.

use serde_json::Value;

const OPEN: &str = "<tool_call>";
const CLOSE: &str = "</tool_call>";

/// Text of the answer, or a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    Text(String),
    Call(ToolCall),
}

/// The model wants a tool to be called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToolCall {
    /// The tool's name, as the model wrote it; perhaps none that it was offered.
    pub name: String,
    /// A JSON object, as text.
    pub arguments: String,
}

/// Takes calls out of text that arrives in pieces.
#[derive(Default)]
pub(crate) struct CallFinder {
    /// White space and what may be the beginning of a tag; within a call, all of it so far.
    held: String,
    inside: bool,
}

impl CallFinder {
    pub(crate) fn push(&mut self, text: &str) -> Vec<Piece> {
        self.held.push_str(text);
        let mut pieces = Vec::new();
        while let Some(piece) = self.step() {
            pieces.push(piece);
        }
        pieces
    }

    /// The answer is over. Some models end their turn instead of closing a call; a whole object is a call all the same.
    pub(crate) fn finish(&mut self) -> Option<Piece> {
        let held = std::mem::take(&mut self.held);
        let inside = std::mem::take(&mut self.inside);
        match inside.then(|| parse(&held)).flatten() {
            Some(call) => Some(Piece::Call(call)),
            None if inside => Some(Piece::Text(format!("{OPEN}{held}"))),
            None => (!held.is_empty()).then_some(Piece::Text(held)),
        }
    }

    /// The next piece that is certain.
    fn step(&mut self) -> Option<Piece> {
        if self.inside {
            let end = self.held.find(CLOSE)?;
            let rest = self.held.split_off(end + CLOSE.len());
            let mut body = std::mem::replace(&mut self.held, rest);
            body.truncate(end);
            self.inside = false;
            return Some(match parse(&body) {
                Some(call) => Piece::Call(call),
                None => Piece::Text(format!("{OPEN}{body}{CLOSE}")),
            });
        }
        if let Some(start) = self.held.find(OPEN) {
            let rest = self.held.split_off(start + OPEN.len());
            let mut before = std::mem::replace(&mut self.held, rest);
            before.truncate(before[..start].trim_end().len());
            self.inside = true;
            // An empty piece keeps the caller asking.
            return Some(Piece::Text(before));
        }
        let tag = (1..OPEN.len()).rev().find(|length| self.held.ends_with(&OPEN[..*length])).unwrap_or(0);
        let certain = self.held[..self.held.len() - tag].trim_end().len();
        if certain == 0 {
            return None;
        }
        let rest = self.held.split_off(certain);
        Some(Piece::Text(std::mem::replace(&mut self.held, rest)))
    }
}

/// The call between the tags. Some models write the arguments as text that holds JSON.
fn parse(body: &str) -> Option<ToolCall> {
    let mut call: Value = serde_json::from_str(body.trim()).ok()?;
    let arguments = match call.get_mut("arguments") {
        Some(Value::String(text)) => std::mem::take(text),
        Some(arguments @ Value::Object(_)) => arguments.to_string(),
        None | Some(Value::Null) => "{}".to_owned(),
        Some(_) => return None,
    };
    let name = call.get("name")?.as_str().filter(|name| !name.is_empty())?;
    Some(ToolCall { name: name.to_owned(), arguments })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(name: &str, arguments: &str) -> Piece {
        Piece::Call(ToolCall { name: name.to_owned(), arguments: arguments.to_owned() })
    }

    fn text(text: &str) -> Piece {
        Piece::Text(text.to_owned())
    }

    /// The pieces of an answer that arrives a few characters at a time, texts joined.
    fn find(answer: &str, size: usize) -> Vec<Piece> {
        let mut finder = CallFinder::default();
        let letters: Vec<char> = answer.chars().collect();
        let mut pieces: Vec<Piece> = letters
            .chunks(size)
            .flat_map(|letters| finder.push(&letters.iter().collect::<String>()))
            .collect();
        pieces.extend(finder.finish());
        let mut joined: Vec<Piece> = Vec::new();
        for piece in pieces {
            match (joined.last_mut(), piece) {
                (Some(Piece::Text(before)), Piece::Text(more)) => before.push_str(&more),
                (_, Piece::Text(empty)) if empty.is_empty() => {}
                (_, piece) => joined.push(piece),
            }
        }
        joined
    }

    #[test]
    fn calls_are_found_however_the_text_is_cut() {
        let cases = [
            ("plain text <b> ", vec![text("plain text <b> ")]),
            (
                "Let me look.\n\n<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": \"<b>\"}}\n</tool_call>",
                vec![text("Let me look."), call("f", "{\"a\":\"<b>\"}")],
            ),
            (
                "<tool_call>{\"name\": \"f\"}</tool_call>\n<tool_call>{\"name\": \"g\", \"arguments\": \"{}\"}</tool_call>",
                vec![call("f", "{}"), call("g", "{}")],
            ),
        ];
        for (answer, pieces) in cases {
            for size in 1..=answer.chars().count() {
                assert_eq!(find(answer, size), pieces, "{answer:?} cut every {size}");
            }
        }
    }

    #[test]
    fn the_order_of_arguments_is_the_models() {
        let answer = "<tool_call>{\"name\": \"f\", \"arguments\": {\"z\": 1, \"a\": 2.50}}</tool_call>";
        assert_eq!(find(answer, 7), [call("f", "{\"z\":1,\"a\":2.5}")]);
    }

    #[test]
    fn what_is_no_call_stays_text() {
        for answer in [
            "<tool_call>not JSON</tool_call>",
            "<tool_call>{\"arguments\": {}}</tool_call>",
            "<tool_call>{\"name\": \"f\", \"arguments\": [1]}</tool_call>",
            "<tool_call>{\"name\": \"f\", \"argu",
            "a <tool_",
        ] {
            assert_eq!(find(answer, 3), [text(answer)]);
        }
    }

    #[test]
    fn a_call_that_was_not_closed_is_one_if_it_is_whole() {
        assert_eq!(find("<tool_call>\n{\"name\": \"f\", \"arguments\": {}}\n", 4), [call("f", "{}")]);
    }
}
