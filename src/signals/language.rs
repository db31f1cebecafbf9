//! Language of the ask, by script. Told by the letters used, so Latin-script languages other than English
//! are taken for English.

use super::characters::{count_ascii, count_ideographs, others};
use super::{Signal, Signals};
use crate::reading::Reading;

#[derive(Default)]
struct Scripts {
    han: usize,
    kana: usize,
    hangul: usize,
    latin: usize,
    cyrillic: usize,
    arabic: usize,
    other: usize,
}

impl Scripts {
    fn of(text: &str) -> Self {
        let latin = count_ascii(text, u8::is_ascii_alphabetic);
        let mut out = Scripts { latin, han: count_ideographs(text), ..Scripts::default() };
        for c in others(text) {
            match c {
                '\u{c0}'..='\u{24f}' => out.latin += 1,
                '\u{3040}'..='\u{30ff}' => out.kana += 1,
                '\u{3400}'..='\u{3fff}' | '\u{20000}'..='\u{3ffff}' => out.han += 1,
                '\u{ac00}'..='\u{d7af}' | '\u{1100}'..='\u{11ff}' => out.hangul += 1,
                '\u{400}'..='\u{4ff}' => out.cyrillic += 1,
                '\u{600}'..='\u{6ff}' => out.arabic += 1,
                c if c.is_alphabetic() => out.other += 1,
                _ => {}
            }
        }
        out
    }
}

/// ISO 639-1 code of the likeliest language, `und` where there is nothing to tell it by.
#[must_use]
pub fn language_of(text: &str) -> &'static str {
    let scripts = Scripts::of(text);
    // A Chinese character carries about as much as an English word, hence the factor.
    let candidates = [
        ("ja", if scripts.kana * 5 > scripts.han { scripts.kana * 3 + scripts.han * 2 } else { 0 }),
        ("zh", scripts.han * 3),
        ("ko", scripts.hangul * 2),
        ("en", scripts.latin),
        ("ru", scripts.cyrillic),
        ("ar", scripts.arabic),
        ("und", scripts.other),
    ];
    candidates
        .into_iter()
        .rev()
        .max_by_key(|(_, weight)| *weight)
        .filter(|(_, weight)| *weight > 0)
        .map_or("und", |(name, _)| name)
}

pub(super) fn extract(reading: &Reading, signals: &mut Signals) {
    let scripts = Scripts::of(reading.ask());
    let letters = scripts.han + scripts.latin;
    if letters == 0 {
        return;
    }
    #[expect(clippy::cast_precision_loss, reason = "shares")]
    let han = scripts.han as f32 / letters as f32;
    signals.set(Signal::LanguageHan, han);
    signals.set(Signal::LanguageMixed, han.min(1.0 - han));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn languages_by_script() {
        for (text, language) in [
            ("北京人口多少？", "zh"),
            ("这段Python循环为何运行缓慢？", "zh"),
            ("What is the capital of 日本?", "en"),
            ("東京はどこですか", "ja"),
            ("서울은 어디인가요", "ko"),
            ("Где Москва?", "ru"),
            ("1+1=?", "und"),
            ("", "und"),
        ] {
            assert_eq!(language_of(text), language, "{text:?}");
        }
    }
}
