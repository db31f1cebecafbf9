//! Bounds the work on long texts: the head, the tail and samples between them.

use std::ops::Range;

/// Texts up to this many bytes are read whole.
pub(super) const WHOLE: usize = 64 * 1024;
const HEAD: usize = 24 * 1024;
const TAIL: usize = 24 * 1024;
const SAMPLES: usize = 4;
const SAMPLE: usize = 4 * 1024;

/// The byte ranges to read, in order, on character borders.
pub(super) fn windows(text: &str) -> Vec<Range<usize>> {
    if text.len() <= WHOLE {
        return std::iter::once(0..text.len()).collect();
    }
    let middle = HEAD..text.len() - TAIL;
    let stride = (middle.len() - SAMPLE) / (SAMPLES - 1);
    let mut out = vec![on_borders(text, 0..HEAD)];
    for sample in 0..SAMPLES {
        let start = middle.start + sample * stride;
        out.push(on_borders(text, start..start + SAMPLE));
    }
    out.push(on_borders(text, text.len() - TAIL..text.len()));
    out
}

fn on_borders(text: &str, range: Range<usize>) -> Range<usize> {
    text.floor_char_boundary(range.start)..text.floor_char_boundary(range.end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_ordered_disjoint_and_bounded() {
        for text in ["x".repeat(WHOLE + 1), "证".repeat(400_000), "x".repeat(1 << 20)] {
            let windows = windows(&text);
            assert_eq!(windows[0].start, 0);
            assert_eq!(windows.last().expect("some").end, text.len());
            assert!(windows.windows(2).all(|pair| pair[0].end <= pair[1].start));
            assert!(windows.iter().map(ExactSizeIterator::len).sum::<usize>() <= WHOLE);
            assert!(windows.iter().all(|range| text.get(range.clone()).is_some()));
        }
    }
}
