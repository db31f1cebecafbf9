//! Counts characters by their bytes, many at a time: most of a text is ASCII or ideographs, which bytes tell.

/// ASCII bytes of a kind; bytes of other characters never pass for ASCII.
pub(super) fn count_ascii(text: &str, is_kind: impl Fn(&u8) -> bool) -> usize {
    count(text, |byte| byte.is_ascii() && is_kind(byte))
}

/// Ideographs from U+4000 to U+9FFF, which are those that begin with these bytes.
pub(super) fn count_ideographs(text: &str) -> usize {
    count(text, |byte| IDEOGRAPHS.contains(byte))
}

/// The characters that neither of the above counts.
pub(super) fn others(text: &str) -> impl Iterator<Item = char> {
    let begins = |byte: u8| byte >= 0xc0 && !IDEOGRAPHS.contains(&byte);
    let starts = text.bytes().enumerate().filter(move |(_, byte)| begins(*byte));
    starts.filter_map(|(at, _)| text[at..].chars().next())
}

const IDEOGRAPHS: std::ops::RangeInclusive<u8> = 0xe4..=0xe9;

fn count(text: &str, holds: impl Fn(&u8) -> bool) -> usize {
    // Sums of bytes stay within a byte here, so that one instruction adds many.
    let of = |chunk: &[u8]| chunk.iter().map(|byte| u8::from(holds(byte))).sum::<u8>();
    text.as_bytes().chunks(255).map(|chunk| usize::from(of(chunk))).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_character_is_counted_once() {
        for text in ["", "abc 12", "证明√2，是×。", "é豈㐀鿿\u{4000}𠀀ﬁ", &"证a²".repeat(300)]
        {
            let counted = count_ascii(text, |_| true) + count_ideographs(text) + others(text).count();
            assert_eq!(counted, text.chars().count(), "{text:?}");
            assert!(others(text).all(|c| !c.is_ascii() && !('\u{4000}'..='\u{9fff}').contains(&c)));
        }
    }
}
