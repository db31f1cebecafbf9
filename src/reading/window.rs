//! Bounds the work on long texts, twice. What is normalised and cut into regions is the head, the tail and samples
//! between them; what is judged is, of that, both ends, and both ends of what is asked, wherever it stands.

use std::ops::Range;

use super::ranges::{merged, without};

/// Texts up to this many bytes are normalised whole.
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

/// Normalised texts up to this many bytes are judged whole.
pub(super) const LONGEST: usize = 16 * 1024;
/// What is judged of each end of a longer one.
const END: usize = 2 * 1024;

/// Both ends of `text` and both ends of what is asked in it, which is all but `blanked`.
pub(super) fn ends(text: &str, blanked: &[Range<usize>]) -> Vec<Range<usize>> {
    let all = std::iter::once(0..text.len()).collect::<Vec<_>>();
    let asked = without(&all, blanked.to_vec());
    let kept = [both_ends(&all), both_ends(&asked)].concat();
    merged(kept).into_iter().map(|range| on_borders(text, range)).filter(|range| !range.is_empty()).collect()
}

/// The first and last bytes of these ranges, which are in order and disjoint.
fn both_ends(ranges: &[Range<usize>]) -> Vec<Range<usize>> {
    let mut out = Vec::new();
    let mut left = END;
    for range in ranges {
        out.push(range.start..range.end.min(range.start + left));
        left -= out.last().map_or(0, ExactSizeIterator::len);
    }
    left = END;
    for range in ranges.iter().rev() {
        out.push(range.start.max(range.end.saturating_sub(left))..range.end);
        left -= out.last().map_or(0, ExactSizeIterator::len);
    }
    out.retain(|range| !range.is_empty());
    out
}

fn on_borders(text: &str, range: Range<usize>) -> Range<usize> {
    text.floor_char_boundary(range.start)..text.floor_char_boundary(range.end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ends_are_kept_and_the_ends_of_what_is_asked() {
        let text = "é".repeat(30_000);
        let asked = 30_000..30_300;
        let kept = ends(&text, &[0..asked.start, asked.end..text.len()]);
        assert_eq!(kept, [0..END, asked, text.len() - END..text.len()]);
        let kept = ends(&text, &[]);
        assert_eq!(kept, [0..END, text.len() - END..text.len()]);
    }

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
