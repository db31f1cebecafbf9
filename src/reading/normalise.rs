//! Normalisation for matching only: NFKC, what shows nothing stripped, case, accents, lookalikes and traditional
//! characters folded. The original bytes are what is forwarded.

use std::ops::Range;

use unicode_normalization::UnicodeNormalization;

use super::lookalikes::{is_mixed, latin_twin, undressed};
use super::traditional::{is_traditional, simplified};

/// Text with a way back to the bytes it came from.
#[derive(Debug, Clone)]
pub struct Normalised {
    /// The normalised text.
    pub text: String,
    /// Where the distance between the two texts changes: (byte here, byte there), ascending.
    shifts: Vec<(usize, usize)>,
    /// Line breaks that stand for text left out.
    joints: Vec<usize>,
}

impl Normalised {
    /// Normalises the given ranges of `text`, joined by line breaks.
    pub(super) fn of(text: &str, ranges: &[Range<usize>]) -> Self {
        let total = ranges.iter().map(ExactSizeIterator::len).sum::<usize>();
        let mut out = Normalised {
            text: String::with_capacity(total + ranges.len()),
            shifts: vec![(0, 0)],
            joints: Vec::new(),
        };
        for (index, range) in ranges.iter().enumerate() {
            if index > 0 {
                out.join();
            }
            out.append(text, range.clone());
        }
        out
    }

    /// Only these ranges of the normalised text, joined by line breaks.
    pub(super) fn keep(&self, ranges: &[Range<usize>]) -> Self {
        let mut out = Normalised { text: String::new(), shifts: vec![(0, 0)], joints: Vec::new() };
        for (index, range) in ranges.iter().enumerate() {
            if index > 0 {
                out.join();
            }
            let base = out.text.len();
            out.shifts.push((base, self.original(range.start)));
            let first = self.shifts.partition_point(|(here, _)| *here <= range.start);
            let inside = self.shifts[first..].iter().take_while(|(here, _)| *here <= range.end);
            out.shifts.extend(inside.map(|(here, there)| (base + here - range.start, *there)));
            out.text.push_str(&self.text[range.clone()]);
            let joints = self.joints.iter().filter(|at| range.contains(at));
            out.joints.extend(joints.map(|at| base + at - range.start));
        }
        out
    }

    fn join(&mut self) {
        self.joints.push(self.text.len());
        self.text.push('\n');
    }

    /// Where text was left out, as bytes of the normalised text.
    pub(super) fn joints(&self) -> &[usize] {
        &self.joints
    }

    fn append(&mut self, text: &str, range: Range<usize>) {
        let base = range.start;
        let part = &text[range.clone()];
        let mut word = Word::default();
        let mut at = 0;
        while let Some(c) = part[at..].chars().next() {
            self.note_shift(base + at);
            if c == ' ' {
                let spaces = spaces(&part[at..]);
                self.push_gap(&part[at..at + spaces]);
                at += spaces;
                continue;
            }
            let plain = plain_run(&part[at..]);
            if plain > 0 {
                let plain = before_gap(&part[at..at + plain]);
                let start = self.text.len();
                self.text.push_str(&part[at..at + plain]);
                self.text[start..].make_ascii_lowercase();
                at += plain;
                continue;
            }
            let rest = &part[at + c.len_utf8()..];
            match c {
                '\u{4e00}'..='\u{9fff}' => self.text.push(simplified(c)),
                _ if c.is_ascii() => self.push_ascii(c, rest),
                _ if shows_nothing(c) => {}
                '\u{a0}'
                | '\u{1680}'
                | '\u{2000}'..='\u{200a}'
                | '\u{202f}'
                | '\u{205f}'
                | '\u{2800}'
                | '\u{3000}' => {
                    self.push_gap(" ");
                }
                '’' if self.is_apostrophe(rest) => self.text.push('\''),
                _ => match latin_twin(c).filter(|_| word.is_mixed_at(part, at)) {
                    Some(twin) => self.text.push(twin),
                    None => fold_char(c, &mut self.text),
                },
            }
            at += c.len_utf8();
        }
        self.note_shift(range.end);
    }

    /// Within a line one space is as good as many; at its start they are an indent.
    fn push_gap(&mut self, spaces: &str) {
        match self.text.bytes().last() {
            None | Some(b'\n') => self.text.push_str(spaces),
            Some(b' ') => {}
            Some(_) => self.text.push(' '),
        }
    }

    fn push_ascii(&mut self, c: char, rest: &str) {
        match c {
            '\r' if next_shown(rest) == Some('\n') => {}
            '\r' | '\u{b}' | '\u{c}' => self.text.push('\n'),
            // What is left of ASCII here is control characters.
            _ => {}
        }
    }

    /// Between two letters the mark is no quotation mark.
    fn is_apostrophe(&self, rest: &str) -> bool {
        let letter = |next: char| {
            let mut plain = String::new();
            fold_char(next, &mut plain);
            latin_twin(next).is_some() || plain.starts_with(|c: char| c.is_ascii_alphabetic())
        };
        self.text.ends_with(|c: char| c.is_ascii_alphabetic()) && next_shown(rest).is_some_and(letter)
    }

    fn note_shift(&mut self, there: usize) {
        let here = self.text.len();
        let (last_here, last_there) = *self.shifts.last().expect("starts with one entry");
        // Saturating: a run of stripped marks leaves `here` in place while `there` moves on.
        if there - last_there != here - last_here {
            self.shifts.push((here, there));
        }
    }

    /// The byte of the original text that byte `here` of the normalised text came from.
    #[must_use]
    pub fn original(&self, here: usize) -> usize {
        let index = self.shifts.partition_point(|(start, _)| *start <= here) - 1;
        let (start, there) = self.shifts[index];
        there + (here - start)
    }
}

/// The word under the reader, looked at once.
#[derive(Default)]
struct Word {
    end: usize,
    mixed: bool,
}

impl Word {
    /// Whether the word around byte `at` of `text` mixes Latin with letters that look like it.
    fn is_mixed_at(&mut self, text: &str, at: usize) -> bool {
        if at >= self.end {
            // Chinese and its neighbours put no gap between a Latin word and their own.
            let apart =
                |c: char| matches!(c, '\u{2e80}'..='\u{d7ff}') || !(c.is_alphabetic() || shows_nothing(c));
            let before = &text[self.end..at];
            let start =
                before.char_indices().rfind(|(_, c)| apart(*c)).map_or(0, |(gap, c)| gap + c.len_utf8());
            let start = self.end + start;
            self.end = text[at..].find(apart).map_or(text.len(), |length| at + length);
            self.mixed = is_mixed(&text[start..self.end]);
        }
        self.mixed
    }
}

/// Bytes at the start that need no more than lower case: plain ASCII, or ideographs that are simplified already.
fn plain_run(text: &str) -> usize {
    let plain = |byte: &u8| matches!(byte, b' '..=b'~' | b'\n' | b'\t');
    let bytes = text.as_bytes();
    if bytes.first().is_some_and(u8::is_ascii) {
        // Chunks without a branch inside are looked at all at once.
        let all_plain = |chunk: &&[u8]| chunk.iter().fold(true, |all, byte| all & plain(byte));
        let whole = 16 * bytes.chunks_exact(16).take_while(all_plain).count();
        return whole + bytes[whole..].iter().take_while(|byte| plain(byte)).count();
    }
    let is_simplified = |c: &char| matches!(c, '\u{4e00}'..='\u{9fff}') && !is_traditional(*c);
    text.chars().take_while(is_simplified).map(char::len_utf8).sum()
}

/// Bytes of a plain run, which starts with no space, up to where spaces stand in a row within a line.
fn before_gap(run: &str) -> usize {
    let mut from = 0;
    while let Some(found) = memchr::memmem::find(&run.as_bytes()[from..], b"  ") {
        let at = from + found;
        if run.as_bytes()[at - 1] != b'\n' {
            return at;
        }
        from = at + spaces(&run[at..]);
    }
    run.len()
}

fn spaces(text: &str) -> usize {
    text.bytes().take_while(|byte| *byte == b' ').count()
}

fn next_shown(rest: &str) -> Option<char> {
    rest.chars().find(|c| !shows_nothing(*c))
}

/// Appends the folded form of one character.
pub fn fold_char(c: char, out: &mut String) {
    if keeps_its_form(c) {
        out.push(c);
        return;
    }
    match c {
        // CJK ideographs are the bulk of Chinese text and need no Unicode tables.
        '\u{4e00}'..='\u{9fff}' => out.push(simplified(c)),
        // Marks of everyday text that fold to themselves, and full-width ASCII.
        '\u{2012}'..='\u{2015}' | '\u{2018}'..='\u{201f}' | '\u{3001}'..='\u{3029}' => out.push(c),
        '\u{ff01}'..='\u{ff5e}' => out.push(half_width(c)),
        '\u{2010}' | '\u{2011}' => out.push('-'),
        '\u{2044}' | '\u{2215}' | '\u{29f8}' => out.push('/'),
        '\u{85}' | '\u{2028}' | '\u{2029}' => out.push('\n'),
        '\u{1680}' | '\u{2800}' => out.push(' '),
        _ => match undressed(c) {
            Some(plain) => out.push(plain),
            None => c.nfkc().flat_map(char::to_lowercase).for_each(|plain| push_bare(plain, out)),
        },
    }
}

fn half_width(c: char) -> char {
    char::from_u32(u32::from(c) - 0xfee0).unwrap_or(c).to_ascii_lowercase()
}

/// Letters without their accents, so that composed and decomposed text read the same. Scripts whose marks are
/// letters of their own keep them.
fn push_bare(c: char, out: &mut String) {
    match c {
        '\u{c0}'..='\u{5ff}' | '\u{1e00}'..='\u{1fff}' => out.extend(c.nfd().filter(|part| !is_mark(*part))),
        _ if is_mark(c) => {}
        _ => out.push(c),
    }
}

/// Superscripts, fractions and circled numbers carry meaning that NFKC would erase: x² is not x2.
fn keeps_its_form(c: char) -> bool {
    matches!(c, '²' | '³' | '¹' | '¼'..='¾' | '⁰'..='₎' | '⅐'..='⅞' | '①'..='⑳' | '…')
}

/// Characters that leave the words as they are to the eye.
fn shows_nothing(c: char) -> bool {
    if c.is_ascii() {
        return c.is_ascii_control() && !matches!(c, '\t'..='\r');
    }
    is_invisible(c) || is_mark(c)
}

/// Zero-width and bidi controls, soft hyphen, fillers, variation selectors, tag characters, annotation anchors.
fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{0080}'..='\u{0084}' | '\u{0086}'..='\u{009f}' | '\u{00ad}' | '\u{061c}' | '\u{115f}' | '\u{1160}'
        | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}'
        | '\u{fff0}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
        | '\u{e0000}'..='\u{e0fff}')
}

/// Combining marks that may be piled on any letter.
fn is_mark(c: char) -> bool {
    matches!(c,
        '\u{0300}'..='\u{036f}' | '\u{0483}'..='\u{0489}' | '\u{1ab0}'..='\u{1aff}' | '\u{1dc0}'..='\u{1dff}'
        | '\u{20d0}'..='\u{20ff}' | '\u{fe20}'..='\u{fe2f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folded(text: &str) -> String {
        Normalised::of(text, std::slice::from_ref(&(0..text.len()))).text
    }

    #[test]
    fn folds_width_case_and_script() {
        assert_eq!(folded("ＡＢｃ１２，？："), "abc12,?:");
        assert_eq!(folded("請證明這個問題"), "请证明这个问题");
        assert_eq!(folded("𝑥² + ½ ①"), "x² + ½ ①");
    }

    #[test]
    fn spaces_within_a_line_are_one() {
        assert_eq!(folded("How  many   apples \u{a0} are\u{3000} left "), "how many apples are left ");
        assert_eq!(folded("a\u{200b}  b  \n"), "a b \n");
        assert_eq!(folded("def f():\n    return  1"), "def f():\n    return 1");
        assert_eq!(folded("    x = 1"), "    x = 1");
    }

    #[test]
    fn strips_what_shows_nothing() {
        assert_eq!(folded("pro\u{200b}ve \u{202e}th\u{ad}at\u{feff}"), "prove that");
        assert_eq!(folded("p\u{336}r\u{e0041}o\u{fe0f}v\u{34f}e\0 1\u{fe0f}\u{20e3}"), "prove 1");
    }

    #[test]
    fn folds_what_looks_the_same() {
        for (text, plain) in [
            ("рrоvе", "prove"),
            ("ᴘʀᴏᴠᴇ 🅿🆁🅾🆅🅴 ⓟⓡⓞⓥⓔ 𝐩𝐫𝐨𝐯𝐞", "prove prove prove prove"),
            ("/nо_think ∕think", "/no_think /think"),
            ("请用prоof证明", "请用proof证明"),
            ("step‑by‐step", "step-by-step"),
            ("don’t ‘quote’", "don't ‘quote’"),
            ("café cafe\u{301}", "cafe cafe"),
            ("a\r\nb\rc\u{2028}d", "a\nb\nc\nd"),
            ("где мой сок? sin\u{3b1} \u{394}x", "где мои сок? sin\u{3b1} \u{3b4}x"),
        ] {
            assert_eq!(folded(text), plain, "{text:?}");
        }
    }

    #[test]
    fn kept_parts_map_back() {
        let text = "Ａa<x>２</x>ｂ\u{200b}c";
        let whole = Normalised::of(text, std::slice::from_ref(&(0..text.len())));
        assert_eq!(whole.text, "aa<x>2</x>bc");
        let kept = whole.keep(&[0..2, 10..12]);
        assert_eq!(kept.text, "aa\nbc");
        let original: Vec<usize> = (0..=kept.text.len()).map(|at| kept.original(at)).collect();
        let b = text.find('ｂ').expect("there");
        assert_eq!(original, [0, 3, 4, b, b + 6, text.len()]);
        assert_eq!(kept.joints(), [2]);
    }

    #[test]
    fn every_position_maps_into_the_original() {
        let text = "Ａ\u{200b}b证明ﬁn２…\u{e0041}z";
        let normalised = Normalised::of(text, std::slice::from_ref(&(0..text.len())));
        let mut last = 0;
        for (at, _) in normalised.text.char_indices() {
            let there = normalised.original(at);
            assert!(there >= last && there < text.len());
            last = there;
        }
        assert_eq!(normalised.original(normalised.text.len()), text.len());
    }
}
