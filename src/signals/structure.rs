//! Sub-questions, lists, answer options and stated requirements. Counts what is marked by punctuation or
//! words; a list in running prose is missed.

use std::sync::LazyLock;

use regex::Regex;

use super::{Signal, Signals};
use crate::reading::Reading;

static PARTICLE: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"[吗呢么][。!\n ]|[吗呢]$").expect("constant"));
static ENUMERATED: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(?m)^ *(?:\(?[0-9]{1,2}[.)、]|[①-⑳]|[-*•] |\([a-z]\)|[一二三四五六七八九十]{1,2}、|第[一二三四五六七八九十]+[,，、])")
        .expect("constant")
});
static SECTIONS: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"(?m)^#{1,6} \S|【[^【】\n]{1,20}】").expect("constant"));
static CONSTRAINTS: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(concat!(
        r"(?-u:\b)(?:must(?: not)?|at least|at most|no more than|no less than|exactly|without using|only use|should not|ensure that|make sure|required? to|constraint|within [0-9])(?-u:\b)",
        r"|必须|不得|至少|至多|不超过|不少于|恰好|要求|只能|不能使用|确保|限制|务必",
    ))
    .expect("constant")
});

pub(super) fn extract(reading: &Reading, signals: &mut Signals) {
    let ask = reading.ask();
    let marks = ask.bytes().filter(|byte| *byte == b'?').count();
    signals.set(Signal::StructureQuestions, marks.max(PARTICLE.find_iter(ask).count()));
    signals.set(Signal::StructureEnumerated, ENUMERATED.find_iter(ask).count());
    signals.set(Signal::StructureOptions, options(reading.whole()));
    signals.set(Signal::StructureSections, SECTIONS.find_iter(reading.whole()).count());
    signals.set(Signal::StructureConstraints, CONSTRAINTS.find_iter(ask).count());
}

/// Length of the longest run a, b, c, … of option letters, in order: a letter a–f after a border, before
/// `.`, `)`, `:` or `、`.
fn options(text: &str) -> usize {
    let bytes = text.as_bytes();
    let (mut longest, mut run) = (0, 0_u8);
    for at in 0..bytes.len().saturating_sub(1) {
        let letter = bytes[at].wrapping_sub(b'a');
        if letter > 5 || !(matches!(bytes[at + 1], b'.' | b')' | b':') || text[at + 1..].starts_with('、')) {
            continue;
        }
        let border =
            text[..at].chars().next_back().is_none_or(|c| c.is_whitespace() || "(。?,;:)".contains(c));
        if border {
            run = if letter == run { run + 1 } else { u8::from(letter == 0) };
            longest = longest.max(usize::from(run));
        }
    }
    if longest >= 3 { longest } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::super::tests::signals_of;
    use super::*;

    #[test]
    fn counts_questions_options_and_lists() {
        for (text, signal, expected) in [
            ("你是谁？你几岁？", Signal::StructureQuestions, 2.0),
            ("你好吗", Signal::StructureQuestions, 1.0),
            ("Pick one:\nA. red\nB. blue\nC. green\nD. black", Signal::StructureOptions, 4.0),
            ("下列正确的是 A．甲 B．乙 C．丙 D．丁", Signal::StructureOptions, 4.0),
            ("Plan a. trip", Signal::StructureOptions, 0.0),
            ("1. first\n2. second\n3) third", Signal::StructureEnumerated, 3.0),
            ("It must be short and at least funny.", Signal::StructureConstraints, 2.0),
            ("【背景】慢。【问题】为何？", Signal::StructureSections, 2.0),
        ] {
            assert_eq!(signals_of(text).get(signal), expected, "{text:?} {}", signal.name());
        }
    }
}
