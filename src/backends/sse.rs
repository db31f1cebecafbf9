//! From bytes to server-sent events, whatever the places where the bytes were cut.

/// More than any honest event; beyond it a stream is refused rather than held in memory.
pub(super) const MAX_EVENT_BYTES: usize = 1 << 20;

const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// An event was larger than allowed or not UTF-8.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BadEvent {
    TooLarge,
    NotUtf8,
}

/// Collects the data of events; comments, names and ids are of no use to us.
#[derive(Debug)]
pub(super) struct Events {
    /// Bytes of an event beyond which the stream is refused.
    most: usize,
    /// The line being received.
    line: Vec<u8>,
    /// Data lines of the event being received.
    data: Option<String>,
    /// The last byte was a carriage return, so a line feed that follows belongs to it.
    after_return: bool,
    /// A line has been read, so a byte order mark is none any more.
    begun: bool,
}

impl Default for Events {
    fn default() -> Self {
        Events::up_to(MAX_EVENT_BYTES)
    }
}

impl Events {
    /// For a server whose events may be as large as this.
    pub(super) fn up_to(most: usize) -> Self {
        Events { most, line: Vec::new(), data: None, after_return: false, begun: false }
    }

    /// Takes the next bytes and returns the data of every event they complete.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<Vec<String>, BadEvent> {
        let mut complete = Vec::new();
        let mut rest = bytes;
        while !rest.is_empty() {
            if std::mem::take(&mut self.after_return) && rest[0] == b'\n' {
                rest = &rest[1..];
                continue;
            }
            let Some(end) = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r')) else {
                self.grow(rest)?;
                break;
            };
            self.grow(&rest[..end])?;
            self.after_return = rest[end] == b'\r';
            rest = &rest[end + 1..];
            complete.extend(self.end_line()?);
        }
        Ok(complete)
    }

    fn grow(&mut self, bytes: &[u8]) -> Result<(), BadEvent> {
        if self.line.len() + bytes.len() > self.most {
            return Err(BadEvent::TooLarge);
        }
        self.line.extend_from_slice(bytes);
        Ok(())
    }

    fn end_line(&mut self) -> Result<Option<String>, BadEvent> {
        let line = std::mem::take(&mut self.line);
        let line = match std::mem::replace(&mut self.begun, true) {
            false => line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&line),
            true => &line,
        };
        if line.is_empty() {
            return Ok(self.data.take());
        }
        let value = match line.strip_prefix(b"data:") {
            Some(value) => value.strip_prefix(b" ").unwrap_or(value),
            None if line == b"data" => b"",
            None => return Ok(None),
        };
        let value = std::str::from_utf8(value).map_err(|_| BadEvent::NotUtf8)?;
        match &mut self.data {
            None => self.data = Some(value.to_owned()),
            Some(data) => {
                if data.len() + value.len() > self.most {
                    return Err(BadEvent::TooLarge);
                }
                data.push('\n');
                data.push_str(value);
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &str =
        ": ping\r\n\r\ndata: {\"a\":\"思考\"}\n\nevent: x\rdata:one\rdata: two\r\rid: 7\n\ndata: [DONE]\n\n";

    #[test]
    fn any_cut_gives_the_same_events() {
        let whole = Events::default().push(STREAM.as_bytes()).expect("valid");
        assert_eq!(whole, ["{\"a\":\"思考\"}", "one\ntwo", "[DONE]"]);
        for size in 1..STREAM.len() {
            let mut events = Events::default();
            let mut found = Vec::new();
            for piece in STREAM.as_bytes().chunks(size) {
                found.extend(events.push(piece).expect("valid"));
            }
            assert_eq!(found, whole, "cut every {size} bytes");
        }
    }

    #[test]
    fn an_endless_event_is_refused() {
        let mut events = Events::default();
        assert_eq!(events.push(&vec![b'x'; MAX_EVENT_BYTES + 1]), Err(BadEvent::TooLarge));
        let mut events = Events::default();
        let line = [b"data: ".as_slice(), &vec![b'x'; MAX_EVENT_BYTES / 2], b"\n"].concat();
        assert!(events.push(&line).is_ok());
        assert!(events.push(&line).is_ok());
        assert_eq!(events.push(&line), Err(BadEvent::TooLarge));
    }

    /// The data of every event, as a well-kept reader of the standard sees them.
    fn as_the_standard(pieces: &[Vec<u8>]) -> Vec<String> {
        use eventsource_stream::Eventsource;
        use futures_util::{StreamExt, stream};
        let bytes = stream::iter(pieces.iter().cloned().map(Ok::<_, std::io::Error>));
        let events = bytes.eventsource().map(|event| event.expect("valid").data);
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(events.collect())
    }

    proptest::proptest! {
        #[test]
        fn streams_are_read_as_another_reader_reads_them(
            lines in proptest::collection::vec(
                ("(data|event|id|retry|dat|: |)", "(:|: |:  |)", "[a-z想🙂 :]{0,6}", "(\n|\r\n|\n\n|\r\n\r\n)"),
                0..12,
            ),
            mark in proptest::bool::ANY,
            size in 1..9usize,
        ) {
            let text: String =
                lines.iter().map(|(name, colon, value, end)| format!("{name}{colon}{value}{end}")).collect();
            let cut = |text: &str| text.as_bytes().chunks(size).map(<[u8]>::to_vec).collect::<Vec<_>>();
            let pieces = cut(&if mark { format!("\u{feff}{text}") } else { text.clone() });
            let mut events = Events::default();
            let mut ours = Vec::new();
            for piece in &pieces {
                ours.extend(events.push(piece).expect("valid"));
            }
            // The other reader panics on a byte order mark, which the standard tells it to pass over.
            proptest::prop_assert_eq!(ours, as_the_standard(&cut(&text)), "{:?}", text);
        }
    }
}
