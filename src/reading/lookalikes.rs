//! Letters that look like Latin ones. Cyrillic and Greek are folded only inside words that are Latin otherwise,
//! so that text in those scripts stays what it is.

use super::normalise::fold_char;

/// How a letter of another script reads to the eye, if it has a Latin twin.
pub(super) fn latin_twin(c: char) -> Option<char> {
    let twin = match c {
        'а' | 'А' | 'Α' => 'a',
        'В' | 'Β' => 'b',
        'с' | 'С' | 'ϲ' => 'c',
        'ԁ' => 'd',
        'е' | 'Е' | 'Ε' => 'e',
        'һ' | 'Н' | 'Η' => 'h',
        'і' | 'І' | 'Ι' | 'ι' => 'i',
        'ј' | 'Ј' => 'j',
        'к' | 'К' | 'Κ' | 'κ' => 'k',
        'ӏ' | 'Ӏ' => 'l',
        'М' | 'Μ' => 'm',
        'Ν' => 'n',
        'о' | 'О' | 'Ο' | 'ο' | 'օ' => 'o',
        'р' | 'Р' | 'Ρ' => 'p',
        'ԛ' => 'q',
        'ѕ' | 'Ѕ' => 's',
        'Т' | 'Τ' => 't',
        'ս' => 'u',
        'ѵ' => 'v',
        'ԝ' => 'w',
        'х' | 'Х' | 'Χ' => 'x',
        'у' | 'У' | 'Υ' => 'y',
        'Ζ' => 'z',
        _ => return None,
    };
    Some(twin)
}

/// Latin letters in another dress that compatibility folding leaves alone: small capitals, white on black, IPA.
pub(super) fn undressed(c: char) -> Option<char> {
    const SMALL_CAPITALS: &[(char, char)] = &[
        ('ı', 'i'),
        ('ɑ', 'a'),
        ('ɡ', 'g'),
        ('ɢ', 'g'),
        ('ɪ', 'i'),
        ('ɴ', 'n'),
        ('ʀ', 'r'),
        ('ʏ', 'y'),
        ('ʙ', 'b'),
        ('ʜ', 'h'),
        ('ʟ', 'l'),
        ('ᴀ', 'a'),
        ('ᴄ', 'c'),
        ('ᴅ', 'd'),
        ('ᴇ', 'e'),
        ('ᴊ', 'j'),
        ('ᴋ', 'k'),
        ('ᴍ', 'm'),
        ('ᴏ', 'o'),
        ('ᴘ', 'p'),
        ('ᴛ', 't'),
        ('ᴜ', 'u'),
        ('ᴠ', 'v'),
        ('ᴡ', 'w'),
        ('ᴢ', 'z'),
        ('ꜰ', 'f'),
        ('ꜱ', 's'),
    ];
    // Negative circled and negative squared capitals.
    for first in ['\u{1f150}', '\u{1f170}'] {
        if let Some(index) = u32::from(c).checked_sub(u32::from(first)).filter(|index| *index < 26) {
            return char::from_u32(u32::from('a') + index);
        }
    }
    SMALL_CAPITALS.binary_search_by_key(&c, |(dressed, _)| *dressed).ok().map(|at| SMALL_CAPITALS[at].1)
}

/// Whether the letters of `word` are Latin, in whatever dress, and lookalikes of Latin, some of each.
pub(super) fn is_mixed(word: &str) -> bool {
    let (mut latin, mut twins) = (false, false);
    let mut plain = String::new();
    for c in word.chars().filter(|c| c.is_alphabetic()) {
        if latin_twin(c).is_some() {
            twins = true;
            continue;
        }
        plain.clear();
        fold_char(c, &mut plain);
        if !plain.starts_with(|c: char| c.is_ascii_alphabetic()) {
            return false;
        }
        latin = true;
    }
    latin && twins
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_words_of_two_scripts_are_mixed() {
        for word in ["рrove", "prоof", "ѕtеp", "ΡROVE", "аnⓢⓦⓔ𝐫"] {
            assert!(is_mixed(word), "{word}");
        }
        for word in ["prove", "решение", "сок", "αx", "sinα", "Δx", "证明"] {
            assert!(!is_mixed(word), "{word}");
        }
    }

    #[test]
    fn dresses_come_off() {
        assert_eq!("ᴘʀᴏᴠᴇ🅰🅿".chars().filter_map(undressed).collect::<String>(), "proveap");
        assert_eq!(undressed('p'), None);
    }
}
