//! `application/vnd.amazon.eventstream`: frames of headers and a payload, each with two checksums.
//!
//! ```text
//! total length u32 │ headers length u32 │ CRC32 of both │ headers │ payload │ CRC32 of all before
//! header: name length u8 │ name │ type u8 │ value; strings (type 7) have a u16 length
//! ```
//!
//! Read here rather than by Amazon's crate, which brings its own types, clocks and number formats for these lines; the
//! crate judges this file in the tests.

use super::super::BackendError;

/// Lengths and their checksum.
const PRELUDE: usize = 12;
/// The checksum at the end.
const TRAILER: usize = 4;
/// More than any honest frame.
const MAX_FRAME_BYTES: usize = 1 << 24;

/// A frame, as far as we read it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Frame {
    /// `:event-type` or `:exception-type`.
    pub(super) kind: Option<String>,
    /// `:message-type` is not `event`.
    pub(super) failed: bool,
    pub(super) payload: Vec<u8>,
}

/// Collects frames.
#[derive(Debug, Default)]
pub(in crate::backends) struct Binary {
    held: Vec<u8>,
}

impl Binary {
    /// Takes the next bytes and returns every frame they complete.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<Vec<Frame>, BackendError> {
        self.held.extend_from_slice(bytes);
        let mut frames = Vec::new();
        let mut read = 0;
        while let Some(length) = frame_length(&self.held[read..])? {
            if self.held.len() - read < length {
                break;
            }
            frames.push(frame(&self.held[read..read + length])?);
            read += length;
        }
        self.held.drain(..read);
        Ok(frames)
    }
}

/// The length of the frame that begins here, once its prelude is there.
fn frame_length(bytes: &[u8]) -> Result<Option<usize>, BackendError> {
    let Some(prelude) = bytes.get(..PRELUDE) else { return Ok(None) };
    if crc32fast::hash(&prelude[..8]) != number(&prelude[8..]) {
        return Err(bad("a frame whose prelude was damaged"));
    }
    let (total, headers) = (number(prelude) as usize, number(&prelude[4..]) as usize);
    if total > MAX_FRAME_BYTES {
        return Err(bad("a frame of more than 16 MiB"));
    }
    if headers.saturating_add(PRELUDE + TRAILER) > total {
        return Err(bad("a frame shorter than its headers"));
    }
    Ok(Some(total))
}

fn frame(bytes: &[u8]) -> Result<Frame, BackendError> {
    let (covered, checksum) = bytes.split_at(bytes.len() - TRAILER);
    if crc32fast::hash(covered) != number(checksum) {
        return Err(bad("a frame that was damaged"));
    }
    let headers_end = PRELUDE + number(&bytes[4..]) as usize;
    let mut frame = Frame { kind: None, failed: false, payload: covered[headers_end..].to_vec() };
    let mut rest = &covered[PRELUDE..headers_end];
    while !rest.is_empty() {
        let (name, value) = header(&mut rest).ok_or_else(|| bad("a frame with broken headers"))?;
        match (name, value) {
            (b":message-type", Some(value)) => frame.failed = value != b"event",
            (b":event-type" | b":exception-type" | b":error-code", Some(value)) => {
                frame.kind = Some(String::from_utf8_lossy(value).into_owned());
            }
            _ => {}
        }
    }
    Ok(frame)
}

/// A header's name and, where it is a string, its value.
fn header<'a>(rest: &mut &'a [u8]) -> Option<(&'a [u8], Option<&'a [u8]>)> {
    let length = usize::from(*rest.split_off_first()?);
    let name = rest.split_off(..length)?;
    let kind = *rest.split_off_first()?;
    let length = match kind {
        0 | 1 => 0,
        2 => 1,
        3 => 2,
        4 => 4,
        5 | 8 => 8,
        6 | 7 => usize::from(u16::from_be_bytes(rest.split_off(..2)?.try_into().ok()?)),
        9 => 16,
        _ => return None,
    };
    let value = rest.split_off(..length)?;
    Some((name, (kind == 7).then_some(value)))
}

/// The first four bytes as a number.
fn number(bytes: &[u8]) -> u32 {
    bytes.iter().take(4).fold(0, |number, byte| number << 8 | u32::from(*byte))
}

fn bad(what: &str) -> BackendError {
    BackendError::BadAnswer(what.into())
}

#[cfg(test)]
mod tests {
    use aws_smithy_eventstream::frame::write_message_to;
    use aws_smithy_types::event_stream::{Header, HeaderValue, Message};

    use super::*;

    fn written() -> Vec<u8> {
        let text = |value: &'static str| HeaderValue::String(value.into());
        let message = Message::new(&br#"{"delta": 1}"#[..])
            .add_header(Header::new("a", HeaderValue::Bool(true)))
            .add_header(Header::new("b", HeaderValue::Byte(1)))
            .add_header(Header::new("c", HeaderValue::Int16(2)))
            .add_header(Header::new("d", HeaderValue::Int32(3)))
            .add_header(Header::new("e", HeaderValue::ByteArray(vec![1, 2, 3].into())))
            .add_header(Header::new("f", HeaderValue::Uuid(7)))
            .add_header(Header::new(":message-type", text("event")))
            .add_header(Header::new(":event-type", text("contentBlockDelta")));
        let mut bytes = Vec::new();
        write_message_to(&message, &mut bytes).expect("a frame");
        bytes
    }

    #[test]
    fn headers_of_every_type_are_passed_over() {
        let frames = Binary::default().push(&written()).expect("sound");
        let kind = Some("contentBlockDelta".to_owned());
        assert_eq!(frames, [Frame { kind, failed: false, payload: br#"{"delta": 1}"#.to_vec() }]);
    }

    #[test]
    fn no_damaged_byte_goes_unnoticed() {
        let sound = written();
        for at in 0..sound.len() {
            let mut bytes = sound.clone();
            bytes[at] ^= 0x40;
            assert!(Binary::default().push(&bytes).is_err(), "byte {at}");
        }
    }

    #[test]
    fn a_frame_that_claims_too_much_is_refused_before_it_comes() {
        let claimed = |total: u32, headers: u32| {
            let mut bytes = [total.to_be_bytes(), headers.to_be_bytes()].concat();
            bytes.extend(crc32fast::hash(&bytes).to_be_bytes());
            Binary::default().push(&bytes)
        };
        assert!(claimed(u32::MAX, 0).is_err());
        assert!(claimed(16, u32::MAX).is_err());
        assert!(claimed(15, 0).is_err());
        assert!(claimed(17, 0).is_ok_and(|frames| frames.is_empty()));
    }
}
