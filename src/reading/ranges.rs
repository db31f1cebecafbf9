//! Arithmetic on stretches of a text.

use std::ops::Range;

/// `kept`, which is in order and disjoint, without `cut`, which may overlap and stand in any order.
pub(super) fn without(kept: &[Range<usize>], cut: Vec<Range<usize>>) -> Vec<Range<usize>> {
    let cut = merged(cut);
    let mut out = Vec::new();
    for range in kept {
        let mut start = range.start;
        let first = cut.partition_point(|gap| gap.end <= range.start);
        for gap in cut[first..].iter().take_while(|gap| gap.start < range.end) {
            if gap.start > start {
                out.push(start..gap.start);
            }
            start = gap.end;
        }
        if start < range.end {
            out.push(start..range.end);
        }
    }
    out
}

/// In order and disjoint.
pub(super) fn merged(mut ranges: Vec<Range<usize>>) -> Vec<Range<usize>> {
    ranges.sort_by_key(|range| range.start);
    let mut out: Vec<Range<usize>> = Vec::with_capacity(ranges.len());
    for range in ranges {
        match out.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => out.push(range),
        }
    }
    out
}

/// Whether `at` lies in one of these ranges, which are in order and disjoint.
pub(super) fn holds(ranges: &[Range<usize>], at: usize) -> bool {
    ranges.get(ranges.partition_point(|range| range.end <= at)).is_some_and(|range| range.start <= at)
}

/// Where `range` stands once only `kept`, in order and disjoint, is left, joined by one byte; none where nothing
/// of it is left.
pub(super) fn after_keeping(kept: &[Range<usize>], range: &Range<usize>) -> Option<Range<usize>> {
    let mut base = 0;
    let mut placed: Option<Range<usize>> = None;
    for part in kept {
        let (start, end) = (range.start.max(part.start), range.end.min(part.end));
        if start < end {
            let start = placed.map_or(base + start - part.start, |placed| placed.start);
            placed = Some(start..base + end - part.start);
        }
        base += part.len() + 1;
    }
    placed
}

/// The ranges that show something, without the blanks at their ends.
pub(super) fn visible_only(text: &str, ranges: Vec<Range<usize>>) -> Vec<Range<usize>> {
    ranges
        .into_iter()
        .filter_map(|range| {
            let part = &text[range.clone()];
            let start = range.start + (part.len() - part.trim_start().len());
            let end = range.start + part.trim_end().len();
            (start < end).then_some(start..end)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::single_range_in_vec_init, reason = "lists of ranges are the subject")]
    fn cuts_may_overlap_and_stand_in_any_order() {
        assert_eq!(without(&[0..10], vec![6..7, 2..4, 3..5]), [0..2, 5..6, 7..10]);
        assert_eq!(without(&[0..3, 5..9], vec![2..6]), [0..2, 6..9]);
        assert!(without(&[0..3], vec![0..3]).is_empty());
        assert_eq!(after_keeping(&[2..4, 6..9], &(3..8)), Some(1..5));
        assert_eq!(after_keeping(&[2..4, 6..9], &(4..6)), None);
        assert_eq!(visible_only(" a  b ", vec![0..3, 2..4, 4..6]), [1..2, 4..5]);
    }
}
