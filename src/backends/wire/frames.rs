//! From the bytes of a stream to its events, whatever the places where the bytes were cut.

use super::super::BackendError;
use super::super::sse::{BadEvent, Events};
use super::binary::{Binary, Frame};

/// More than any honest event.
const MAX_LINE_BYTES: usize = super::super::sse::MAX_EVENT_BYTES;

/// How events are told apart.
#[derive(Debug)]
pub(in crate::backends) enum Frames {
    /// Server-sent events.
    Sse(Events),
    /// One JSON value a line.
    Lines(Vec<u8>),
    /// Amazon's binary frames.
    Binary(Binary),
}

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::backends) struct Event {
    /// What it is, where that stands beside the data.
    pub(super) kind: Option<String>,
    /// It tells of a failure.
    pub(super) failed: bool,
    pub(super) data: String,
}

impl Frames {
    /// Takes the next bytes and returns every event they complete.
    pub(in crate::backends) fn push(&mut self, bytes: &[u8]) -> Result<Vec<Event>, BackendError> {
        match self {
            Frames::Sse(events) => {
                let events = events.push(bytes).map_err(bad_event)?.into_iter();
                // An event without data is a sign of life.
                Ok(events.filter(|data| !data.trim().is_empty()).map(Event::plain).collect())
            }
            Frames::Lines(line) => lines(line, bytes),
            Frames::Binary(frames) => {
                let frames = frames.push(bytes)?.into_iter();
                frames
                    .filter(|frame| frame.failed || !frame.payload.is_empty())
                    .map(Event::of_frame)
                    .collect()
            }
        }
    }

    /// What stands at the end of the stream without the mark that ends an event.
    pub(in crate::backends) fn end(&mut self) -> Result<Vec<Event>, BackendError> {
        match self {
            // An event that was not ended is dropped, says the standard.
            Frames::Sse(_) | Frames::Binary(_) => Ok(Vec::new()),
            Frames::Lines(line) => {
                let line = std::mem::take(line);
                Ok(line_event(&line)?.into_iter().collect())
            }
        }
    }
}

impl Event {
    fn plain(data: String) -> Event {
        Event { kind: None, failed: false, data }
    }

    fn of_frame(frame: Frame) -> Result<Event, BackendError> {
        let data = String::from_utf8(frame.payload).map_err(|_| bad_event(BadEvent::NotUtf8))?;
        Ok(Event { kind: frame.kind, failed: frame.failed, data })
    }
}

fn lines(held: &mut Vec<u8>, bytes: &[u8]) -> Result<Vec<Event>, BackendError> {
    let mut events = Vec::new();
    for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
        if held.len() + piece.len() > MAX_LINE_BYTES {
            return Err(bad_event(BadEvent::TooLarge));
        }
        held.extend_from_slice(piece);
        if held.ends_with(b"\n") {
            events.extend(line_event(&std::mem::take(held))?);
        }
    }
    Ok(events)
}

fn line_event(line: &[u8]) -> Result<Option<Event>, BackendError> {
    let line = std::str::from_utf8(line).map_err(|_| bad_event(BadEvent::NotUtf8))?.trim();
    Ok((!line.is_empty()).then(|| Event::plain(line.to_owned())))
}

fn bad_event(bad: BadEvent) -> BackendError {
    BackendError::BadAnswer(match bad {
        BadEvent::TooLarge => "an event that is too large".into(),
        BadEvent::NotUtf8 => "an event that is not UTF-8".into(),
    })
}
