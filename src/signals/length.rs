//! Length in estimated tokens and lines. An estimate: real tokenizers differ by a quarter either way.

use super::{Signal, Signals};
use crate::reading::Reading;

pub(super) fn extract(reading: &Reading, signals: &mut Signals) {
    signals.set(Signal::LengthTokens, estimated_tokens(reading.whole()));
    signals.set(Signal::LengthAskTokens, estimated_tokens(reading.ask()));
    signals.set(Signal::LengthLines, reading.whole().lines().count());
}

/// About four Latin letters, one digit, or 1.5 Chinese characters make a token of a Qwen vocabulary.
pub(crate) fn estimated_tokens(text: &str) -> f32 {
    let (mut latin, mut digits, mut han, mut other) = (0_usize, 0_usize, 0_usize, 0_usize);
    for c in text.chars() {
        match c {
            '0'..='9' => digits += 1,
            'a'..='z' | 'A'..='Z' => latin += 1,
            c if c.is_whitespace() => {}
            '\u{3400}'..='\u{9fff}' | '\u{20000}'..='\u{3ffff}' => han += 1,
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
