//! Length in estimated tokens and lines. An estimate: real tokenizers differ by a quarter either way.

use super::characters::{count_ascii, count_ideographs, others};
use super::{Signal, Signals};
use crate::reading::Reading;

pub(super) fn extract(reading: &Reading, signals: &mut Signals) {
    let (whole, ask) = (reading.whole(), reading.ask());
    let tokens = estimated_tokens(whole);
    signals.set(Signal::LengthTokens, tokens);
    signals.set(Signal::LengthAskTokens, if ask == whole { tokens } else { estimated_tokens(ask) });
    signals.set(Signal::LengthLines, whole.lines().count());
}

/// About four Latin letters, one digit, or 1.5 Chinese characters make a token of a Qwen vocabulary.
pub(crate) fn estimated_tokens(text: &str) -> f32 {
    let latin = count_ascii(text, u8::is_ascii_alphabetic);
    let digits = count_ascii(text, u8::is_ascii_digit);
    let mark = |byte: &u8| !byte.is_ascii_alphanumeric() && !matches!(byte, b'\t'..=b'\r' | b' ');
    let (mut han, mut other) = (count_ideographs(text), count_ascii(text, mark));
    for c in others(text) {
        match c {
            c if c.is_whitespace() => {}
            '\u{3400}'..='\u{3fff}' | '\u{20000}'..='\u{3ffff}' => han += 1,
            _ => other += 1,
        }
    }
    #[expect(clippy::cast_precision_loss, reason = "an estimate")]
    let estimate = latin as f32 / 4.0 + digits as f32 + han as f32 / 1.5 + other as f32 / 1.5;
    estimate
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chinese_is_not_four_characters_a_token() {
        let zh = estimated_tokens("已知函数连续，证明它在区间上有界。");
        assert!((9.0..=16.0).contains(&zh), "{zh}");
        let en = estimated_tokens("Prove that a continuous function on a closed interval is bounded.");
        assert!((10.0..=18.0).contains(&en), "{en}");
    }
}
