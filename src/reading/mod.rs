//! "Which of these words are the person's own, here and now?"
//!
//! A [`Reading`] is one message prepared for matching: normalised once, cut into regions once, and offered as
//! views of equal length, so that a match in any view maps back to bytes of the original.

mod normalise;
mod regions;
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
}

impl Reading {
    /// Normalises `text`, finds its regions and blanks what is not the ask. Long texts are read through a
    /// window (`window.rs`), so the cost is bounded.
    #[must_use]
    pub fn of(text: &str) -> Self {
        let whole = Normalised::of(text, &window::windows(text));
        let regions = regions::find(&whole.text);
        let ask = ask_of(&whole.text, &regions);
        Reading { whole, regions, ask }
    }

    /// Everything, normalised.
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
        let mut bytes = std::mem::take(&mut self.ask).into_bytes();
        for range in ranges {
            bytes[range].fill(b' ');
        }
        self.ask = String::from_utf8(bytes).expect("matches start and end on character borders");
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

    /// `[start, end)` in bytes of the original text.
    #[must_use]
    pub fn original_span(&self, range: &Range<usize>) -> [usize; 2] {
        [self.whole.original(range.start), self.whole.original(range.end)]
    }
}

/// Blanks every region, except those that would leave nothing to judge: a message that is one quotation, or
/// one document with the question inside, is read whole.
fn ask_of(text: &str, regions: &[Region]) -> String {
    let all = blanked(text, regions, &[]);
    if visible(&all) >= 2 {
        return all;
    }
    let only_code = blanked(text, regions, &[RegionKind::Quote, RegionKind::Document, RegionKind::Payload]);
    if visible(&only_code) >= 2 { only_code } else { text.to_owned() }
}

fn blanked(text: &str, regions: &[Region], keep: &[RegionKind]) -> String {
    let mut bytes = text.as_bytes().to_vec();
    for region in regions.iter().filter(|region| !keep.contains(&region.kind)) {
        bytes[region.range.clone()].fill(b' ');
    }
    String::from_utf8(bytes).expect("regions start and end on character borders")
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
