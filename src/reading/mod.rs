//! "Which of these words are the person's own, here and now?"
//!
//! A [`Reading`] is one message prepared for matching: normalised once, cut into regions once, and offered as
//! views of equal length, so that a match in any view maps back to bytes of the original.

mod envelope;
mod lookalikes;
mod normalise;
mod ranges;
mod regions;
mod tags;
mod traditional;
mod window;

use std::ops::Range;

pub use normalise::{Normalised, fold_char};
pub use regions::{Region, RegionKind};

/// One message, ready for matching.
#[derive(Debug, Clone)]
pub struct Reading {
    whole: Normalised,
    regions: Vec<Region>,
    ask: String,
    /// Bytes of `whole` that are blank in `ask`; may overlap.
    blanked: Vec<Range<usize>>,
    wrapped: bool,
}

impl Reading {
    /// Normalises `text`, leaves out what a client program put around the person's words, finds the regions and
    /// blanks what is not the ask. Of long texts the ends are kept (`window.rs`), so the cost is bounded.
    #[must_use]
    pub fn of(text: &str) -> Self {
        let everything = Normalised::of(text, &window::windows(text));
        let words = envelope::persons_words(&everything.text);
        let wrapped = words.is_some();
        let whole = match &words {
            Some(words) if !words.is_empty() => everything.keep(words),
            _ => everything,
        };
        let mut regions = regions::find(&whole.text);
        if words.is_some_and(|words| words.is_empty()) {
            // Read for want of anything else, but nobody's wish.
            regions.insert(0, Region { kind: RegionKind::Document, range: 0..whole.text.len() });
        }
        let blanked = not_the_ask(&whole.text, &regions);
        if whole.text.len() > window::LONGEST {
            return Reading::cut_down(&whole, &regions, &blanked, wrapped);
        }
        let ask = blank(whole.text.clone(), &blanked);
        Reading { whole, regions, ask, blanked, wrapped }
    }

    /// The ends of a long text and of what is asked in it.
    fn cut_down(whole: &Normalised, regions: &[Region], blanked: &[Range<usize>], wrapped: bool) -> Self {
        let kept = window::ends(&whole.text, blanked);
        let placed = |range: &Range<usize>| ranges::after_keeping(&kept, range);
        let region = |region: &Region| Some(Region { kind: region.kind, range: placed(&region.range)? });
        let regions = regions.iter().filter_map(region).collect();
        let blanked: Vec<Range<usize>> = blanked.iter().filter_map(placed).collect();
        let whole = whole.keep(&kept);
        let ask = blank(whole.text.clone(), &blanked);
        Reading { whole, regions, ask, blanked, wrapped }
    }

    /// Whether a client program put something around the words.
    #[must_use]
    pub fn is_wrapped(&self) -> bool {
        self.wrapped
    }

    /// Everything the person wrote, normalised.
    #[must_use]
    pub fn whole(&self) -> &str {
        &self.whole.text
    }

    /// What the person asks: code, quotations, documents and text to be worked on are blanked.
    #[must_use]
    pub fn ask(&self) -> &str {
        &self.ask
    }

    /// Blanks these ranges in the ask too: words that state a wish are not what is asked about.
    pub fn leave_out(&mut self, ranges: impl Iterator<Item = Range<usize>>) {
        let ranges: Vec<Range<usize>> = ranges.collect();
        self.ask = blank(std::mem::take(&mut self.ask), &ranges);
        self.blanked.extend(ranges);
    }

    /// The regions in order of their start.
    #[must_use]
    pub fn regions(&self) -> &[Region] {
        &self.regions
    }

    /// The text of every region of this kind.
    pub fn texts(&self, kind: RegionKind) -> impl Iterator<Item = &str> {
        self.regions
            .iter()
            .filter(move |region| region.kind == kind)
            .map(|region| &self.whole.text[region.range.clone()])
    }

    /// Whether any byte of `range` lies in a region of one of these kinds.
    #[must_use]
    pub fn touches(&self, range: &Range<usize>, kinds: &[RegionKind]) -> bool {
        self.regions.iter().any(|region| {
            kinds.contains(&region.kind) && region.range.start < range.end && range.start < region.range.end
        })
    }

    /// The ask as stretches of the original text, `[start, end)` in bytes, in order.
    #[must_use]
    pub fn ask_spans(&self) -> Vec<[usize; 2]> {
        let text = &self.whole.text;
        let joints = self.whole.joints().iter().map(|at| *at..at + 1);
        let cut = self.blanked.iter().cloned().chain(joints).collect();
        ranges::visible_only(text, ranges::without(std::slice::from_ref(&(0..text.len())), cut))
            .iter()
            .map(|range| self.original_span(range))
            .collect()
    }

    /// `[start, end)` in bytes of the original text.
    #[must_use]
    pub fn original_span(&self, range: &Range<usize>) -> [usize; 2] {
        [self.whole.original(range.start), self.whole.original(range.end)]
    }
}

/// Whether a message in the user's name holds nothing that a person wrote: tool results, reminders, listings.
#[must_use]
pub fn is_all_machine(text: &str) -> bool {
    // What a program writes starts with a mark of its own, so most messages are told by their first letter.
    if text.trim_start().starts_with(|c| matches!(c, '\u{4e00}'..='\u{9fff}' | '0'..='9')) {
        return false;
    }
    let head = Normalised::of(text, std::slice::from_ref(&(0..text.floor_char_boundary(512))));
    envelope::may_be_machine(&head.text)
        && envelope::persons_words(&Normalised::of(text, &window::windows(text)).text)
            .is_some_and(|words| words.is_empty())
}

/// Every region, except those that would leave nothing to judge: a message that is one quotation, or one document
/// with the question inside, is read whole.
fn not_the_ask(text: &str, regions: &[Region]) -> Vec<Range<usize>> {
    let of = |keep: &[RegionKind]| -> Vec<Range<usize>> {
        let blanked = regions.iter().filter(|region| !keep.contains(&region.kind));
        blanked.map(|region| region.range.clone()).collect()
    };
    [of(&[]), of(&[RegionKind::Quote, RegionKind::Document, RegionKind::Payload])]
        .into_iter()
        .find(|blanked| blanked.is_empty() || visible(&blank(text.to_owned(), blanked)) >= 2)
        .unwrap_or_default()
}

fn blank(text: String, ranges: &[Range<usize>]) -> String {
    let mut bytes = text.into_bytes();
    for range in ranges {
        bytes[range.clone()].fill(b' ');
    }
    String::from_utf8(bytes).expect("regions and matches start and end on character borders")
}

/// Letters and digits; a CJK character says about as much as two letters, so it counts double.
fn visible(text: &str) -> usize {
    text.chars().filter(|c| c.is_alphanumeric()).map(|c| if c.is_ascii() { 1 } else { 2 }).take(8).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_map_back_to_the_original() {
        let text = "Ｐｒｏｖｅ\u{200b} that √2 is irrational：now";
        let reading = Reading::of(text);
        let start = reading.whole().find("prove").expect("folded to plain letters");
        let [from, to] = reading.original_span(&(start..start + 5));
        assert_eq!(&text[from..to], "Ｐｒｏｖｅ\u{200b}");
        let at = reading.whole().find("now").expect("kept");
        let [from, to] = reading.original_span(&(at..at + 3));
        assert_eq!(&text[from..to], "now");
    }

    #[test]
    fn the_ask_leaves_out_code_quotes_and_payload() {
        for (text, gone, kept) in [
            ("What does this do?\n```py\nprove()\n```", "prove", "what does"),
            ("What does “证明” mean?", "证明", "mean"),
            ("把这句话翻译成英文：请证明勾股定理", "勾股", "翻译"),
            ("Translate into Chinese:\nProve that it is hot.", "prove", "translate"),
            ("> prove it\nIs that rude?", "prove", "rude"),
            ("阅读下面的文章，回答问题。\n\n证明过程很长。\n\n问题：作者是谁？", "证明", "作者"),
            ("Read the passage and answer.\nThe proof is long.\nQuestion: who wrote it?", "proof", "who"),
            ("【背景】证明过程很长。\n【问题】作者是谁？", "证明", "作者"),
        ] {
            let reading = Reading::of(text);
            assert!(!reading.ask().contains(gone), "{text:?} → {:?}", reading.ask());
            assert!(reading.ask().contains(kept), "{text:?} → {:?}", reading.ask());
        }
    }

    #[test]
    fn a_message_that_is_one_quotation_is_read() {
        let reading = Reading::of("\"Prove that the square root of 2 is irrational.\"");
        assert!(reading.ask().contains("prove"));
    }

    #[test]
    fn apostrophes_do_not_quote() {
        let reading = Reading::of("Don't tell me it's prove that's hard");
        assert!(reading.ask().contains("prove"));
    }
}
