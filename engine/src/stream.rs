//! Which part of the text so far is safe to show?
//!
//! Three small filters between tokens and events. Each may hold text back: a character whose bytes have not all
//! arrived, the beginning of what may become a stop string, white space that may turn out to be the edge of the
//! reasoning.

/// Puts characters together from bytes. Bytes that cannot become a character are replaced, an unfinished
/// character is held back.
#[derive(Default)]
pub(crate) struct Utf8Stream {
    held: Vec<u8>,
}

impl Utf8Stream {
    pub(crate) fn push(&mut self, bytes: &[u8]) -> String {
        self.held.extend_from_slice(bytes);
        let mut text = String::new();
        let mut done = 0;
        for chunk in self.held.utf8_chunks() {
            text.push_str(chunk.valid());
            done += chunk.valid().len();
            if unfinished(chunk.invalid(), done + chunk.invalid().len() == self.held.len()) {
                break;
            }
            done += chunk.invalid().len();
            if !chunk.invalid().is_empty() {
                text.push(char::REPLACEMENT_CHARACTER);
            }
        }
        self.held.drain(..done);
        text
    }

    /// Gives up on an unfinished character, when the text ends in the middle of it.
    pub(crate) fn discard(&mut self) {
        self.held.clear();
    }
}

/// Could these bytes, at the end of the stream, still become a character?
fn unfinished(bytes: &[u8], at_end: bool) -> bool {
    at_end && !bytes.is_empty() && std::str::from_utf8(bytes).is_err_and(|error| error.error_len().is_none())
}

/// Looks for stop strings across token borders.
pub(crate) struct StopMatcher {
    stops: Vec<String>,
    held: String,
}

impl StopMatcher {
    pub(crate) fn new(stops: Vec<String>) -> StopMatcher {
        StopMatcher { stops, held: String::new() }
    }

    /// Text that can no longer belong to a stop string, and the stop string that was completed, if any.
    pub(crate) fn push(&mut self, text: &str) -> (String, Option<String>) {
        self.held.push_str(text);
        if let Some((start, stop)) = self.first_match() {
            self.held.truncate(start);
            return (std::mem::take(&mut self.held), Some(stop));
        }
        let safe = self.held.len() - self.possible_start();
        let rest = self.held.split_off(safe);
        (std::mem::replace(&mut self.held, rest), None)
    }

    /// What was held back, once it is clear that no more text follows.
    pub(crate) fn flush(&mut self) -> String {
        std::mem::take(&mut self.held)
    }

    fn first_match(&self) -> Option<(usize, String)> {
        let found = self.stops.iter().filter_map(|stop| self.held.find(stop).map(|at| (at, stop.clone())));
        found.min_by_key(|(at, _)| *at)
    }

    /// Length of the longest end of the held text that begins a stop string.
    fn possible_start(&self) -> usize {
        let starts = self.stops.iter().flat_map(|stop| {
            stop.char_indices().map(|(at, _)| at).filter(|at| self.held.ends_with(&stop[..*at]))
        });
        starts.max().unwrap_or(0)
    }
}

/// Removes white space from both ends of a text that arrives in pieces.
#[derive(Default)]
pub(crate) struct Trimmer {
    held: String,
    started: bool,
}

impl Trimmer {
    pub(crate) fn push(&mut self, text: &str) -> String {
        self.held.push_str(text);
        if !self.started {
            self.held = self.held.trim_start().to_owned();
            self.started = !self.held.is_empty();
        }
        let rest = self.held.split_off(self.held.trim_end().len());
        std::mem::replace(&mut self.held, rest)
    }

    /// Has anything but white space arrived?
    pub(crate) fn started(&self) -> bool {
        self.started
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_appear_only_when_whole() {
        let text = "é中👩‍🚀x";
        for size in 1..=text.len() {
            let mut stream = Utf8Stream::default();
            let pieces: Vec<String> = text.as_bytes().chunks(size).map(|bytes| stream.push(bytes)).collect();
            assert!(pieces.iter().all(|piece| !piece.contains('\u{FFFD}')), "{size}: {pieces:?}");
            assert_eq!(pieces.concat(), text, "{size}");
        }
    }

    #[test]
    fn impossible_bytes_are_replaced_and_do_not_block_the_rest() {
        let mut stream = Utf8Stream::default();
        assert_eq!(stream.push(&[b'a', 0xFF, b'b', 0xE4]), "a\u{FFFD}b");
        assert_eq!(stream.push(b"c"), "\u{FFFD}c");
        assert_eq!(stream.push(&[0xE4, 0xB8]), "");
        stream.discard();
        assert_eq!(stream.push(b"d"), "d");
    }

    #[test]
    fn a_stop_string_is_found_however_it_is_cut_and_never_shown() {
        let text = "one, two STOP three";
        for size in 1..text.len() {
            let mut matcher = StopMatcher::new(vec!["STOP".to_owned()]);
            let mut shown = String::new();
            let mut stopped = None;
            for piece in text.as_bytes().chunks(size) {
                let (safe, stop) = matcher.push(std::str::from_utf8(piece).unwrap());
                shown.push_str(&safe);
                stopped = stopped.or(stop);
                if stopped.is_some() {
                    break;
                }
            }
            assert_eq!((shown.as_str(), stopped.as_deref()), ("one, two ", Some("STOP")), "{size}");
        }
    }

    #[test]
    fn what_only_began_like_a_stop_string_is_shown_after_all() {
        let mut matcher = StopMatcher::new(vec!["。。".to_owned(), "abc".to_owned()]);
        assert_eq!(matcher.push("x ab"), ("x ".to_owned(), None));
        assert_eq!(matcher.push("d 。"), ("abd ".to_owned(), None));
        assert_eq!(matcher.flush(), "。");
    }

    #[test]
    fn the_earliest_stop_string_wins() {
        let mut matcher = StopMatcher::new(vec!["later".to_owned(), "ly".to_owned()]);
        assert_eq!(matcher.push("early later"), ("ear".to_owned(), Some("ly".to_owned())));
    }

    #[test]
    fn white_space_is_trimmed_at_the_ends_only() {
        let mut trimmer = Trimmer::default();
        let shown: String =
            ["\n", " a", " ", "\n b", "\n\n"].iter().map(|piece| trimmer.push(piece)).collect();
        assert_eq!(shown, "a \n b");
        let mut blank = Trimmer::default();
        assert_eq!(blank.push("\n\n"), "");
        assert!(!blank.started());
    }
}
