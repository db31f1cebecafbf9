//! The same request, written a little differently. Every change is one that leaves the right decision as it was.

use unicode_normalization::UnicodeNormalization;

use super::metrics::Generator;

/// One way to write a text differently.
pub struct Perturbation {
    /// Its name in the tables.
    pub name: &'static str,
    /// What it is an example of.
    pub family: Family,
    change: fn(&str, Language, &mut Generator) -> String,
}

/// Kinds of changes with goals of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    /// Other code points that look the same or nearly so.
    Unicode,
    /// Slips of the hand.
    Typos,
    /// Words before the request.
    Prefix,
    /// Unrelated sentences around or within it.
    Padding,
}

/// The language whose words are put in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    /// English.
    En,
    /// Chinese.
    Zh,
}

/// Share of letters that a slip of the hand hits.
const SLIPS: f64 = 0.02;

/// All of them.
pub const PERTURBATIONS: &[Perturbation] = &[
    of("zero-width marks", Family::Unicode, |text, _, random| {
        sprinkle(text, &['\u{200b}', '\u{200d}', '\u{feff}'], random)
    }),
    of("bidi marks", Family::Unicode, |text, _, random| {
        sprinkle(text, &['\u{200e}', '\u{202a}', '\u{2069}'], random)
    }),
    of("full-width letters", Family::Unicode, |text, _, _| text.chars().map(full_width).collect()),
    of("upper case", Family::Unicode, |text, _, _| text.chars().map(|c| c.to_ascii_uppercase()).collect()),
    of("lower case", Family::Unicode, |text, _, _| text.chars().map(|c| c.to_ascii_lowercase()).collect()),
    of("combining marks (NFD)", Family::Unicode, |text, _, _| text.nfd().collect()),
    of("non-breaking spaces", Family::Unicode, |text, _, _| text.replace(' ', "\u{a0}")),
    of("doubled white space", Family::Unicode, |text, _, _| doubled_space(text)),
    of("letters swapped", Family::Typos, |text, language, random| match language {
        Language::En => slips(text, random, |letters, at| letters.swap(at, at + 1)),
        Language::Zh => text.to_owned(),
    }),
    of("letters dropped", Family::Typos, |text, _, random| {
        slips(text, random, |letters, at| {
            letters.remove(at);
        })
    }),
    of("letters doubled", Family::Typos, |text, _, random| {
        slips(text, random, |letters, at| letters.insert(at, letters[at]))
    }),
    of("polite prefix", Family::Prefix, |text, language, random| prefixed(text, language.polite(), random)),
    of("irrelevant prefix", Family::Prefix, |text, language, random| {
        prefixed(text, language.irrelevant(), random)
    }),
    of("padding before", Family::Padding, |text, language, _| format!("{}\n\n{text}", language.padding())),
    of("padding within", Family::Padding, |text, language, _| padded_within(text, language)),
    of("padding after", Family::Padding, |text, language, _| format!("{text}\n\n{}", language.padding())),
];

const fn of(
    name: &'static str,
    family: Family,
    change: fn(&str, Language, &mut Generator) -> String,
) -> Perturbation {
    Perturbation { name, family, change }
}

impl Perturbation {
    /// The text written differently; `None` where this way changes nothing.
    #[must_use]
    pub fn apply(&self, text: &str, language: Language, random: &mut Generator) -> Option<String> {
        let changed = (self.change)(text, language, random);
        (changed != text).then_some(changed)
    }
}

impl Family {
    /// Its name in the tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Family::Unicode => "Unicode",
            Family::Typos => "typos",
            Family::Prefix => "prefix",
            Family::Padding => "padding",
        }
    }
}

impl Language {
    fn polite(self) -> &'static [&'static str] {
        match self {
            Language::En => &[
                "Hello! ",
                "Could you please help me with this? ",
                "Hi there, thanks in advance. ",
                "Excuse me, ",
            ],
            Language::Zh => &["你好！", "麻烦您帮我看一下：", "您好，先谢谢了。", "不好意思打扰一下，"],
        }
    }

    fn irrelevant(self) -> &'static [&'static str] {
        match self {
            Language::En => &[
                "It is raining outside today. ",
                "I just came back from lunch. ",
                "My cat is asleep on the keyboard. ",
                "I am writing this on my phone. ",
            ],
            Language::Zh => {
                &["今天外面下雨了。", "我刚吃完午饭回来。", "我家猫在键盘上睡着了。", "我是用手机打的字。"]
            }
        }
    }

    fn padding(self) -> &'static str {
        match self {
            Language::En => {
                "The kitchen on the second floor will be painted next week, so please take your cups home on Friday. \
                 Coffee will be served in the lobby until then. The new chairs have arrived and stand in the corridor."
            }
            Language::Zh => {
                "二楼的茶水间下周要重新粉刷，请大家周五把自己的杯子带回家。在此之前，咖啡放在大厅里供大家饮用。\
                 新的椅子已经送到了，现在放在走廊上。"
            }
        }
    }
}

/// A mark after about one character in five.
fn sprinkle(text: &str, marks: &[char], random: &mut Generator) -> String {
    let mut out = String::with_capacity(text.len() * 2);
    for c in text.chars() {
        out.push(c);
        if random.chance(0.2) {
            out.push(marks[random.below(marks.len())]);
        }
    }
    out
}

/// Letters only: full-width digits and signs are another test than the one of looks.
fn full_width(c: char) -> char {
    if c.is_ascii_alphabetic() { char::from_u32(c as u32 + 0xfee0).unwrap_or(c) } else { c }
}

fn doubled_space(text: &str) -> String {
    text.chars().flat_map(|c| std::iter::repeat_n(c, if c == ' ' { 2 } else { 1 })).collect()
}

/// Hits about 2 % of the letters, one at least. Digits stay: another number is another question.
fn slips(text: &str, random: &mut Generator, slip: fn(&mut Vec<char>, usize)) -> String {
    let mut letters: Vec<char> = text.chars().collect();
    let mut places: Vec<usize> = (0..letters.len()).filter(|at| is_hit(&letters, *at)).collect();
    let hits = ((places.len() as f64 * SLIPS).round() as usize).max(1).min(places.len());
    random.shuffle(&mut places);
    places.truncate(hits);
    // From the end, so that earlier places stay where they are.
    places.sort_unstable_by(|a, b| b.cmp(a));
    for at in places {
        slip(&mut letters, at);
    }
    letters.into_iter().collect()
}

/// Inside a word, so that a lone variable keeps its name.
fn is_hit(letters: &[char], at: usize) -> bool {
    letters[at].is_alphabetic() && letters.get(at + 1).is_some_and(|next| next.is_alphabetic())
}

fn prefixed(text: &str, prefixes: &[&str], random: &mut Generator) -> String {
    format!("{}{text}", prefixes[random.below(prefixes.len())])
}

/// At the end of the sentence or line nearest to the middle; a text of one sentence is left alone.
fn padded_within(text: &str, language: Language) -> String {
    let middle = text.len() / 2;
    let ends = text.char_indices().filter(|(at, c)| {
        let after = text[at + c.len_utf8()..].chars().next();
        matches!(c, '\n' | '。' | '！' | '？') || (matches!(c, '.' | '!' | '?') && after == Some(' '))
    });
    let ends = ends.map(|(at, c)| at + c.len_utf8()).filter(|at| *at < text.len());
    match ends.min_by_key(|at| at.abs_diff(middle)) {
        Some(at) => format!("{} {} {}", &text[..at], language.padding(), &text[at..]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn apply(name: &str, text: &str, language: Language) -> Option<String> {
        let perturbation = PERTURBATIONS.iter().find(|of| of.name == name).expect("a known name");
        perturbation.apply(text, language, &mut Generator::new(1, 1))
    }

    const EN: &str = "Prove that every odd number is a difference of squares. Then try 15 for yourself.";
    const ZH: &str = "证明任意奇数都是两个平方数之差。然后用15验证一下。";

    #[test]
    fn each_changes_a_text_of_two_sentences_or_says_that_it_does_not() {
        for perturbation in PERTURBATIONS {
            for (text, language) in [(EN, Language::En), (ZH, Language::Zh)] {
                let changed = perturbation.apply(text, language, &mut Generator::new(7, 0));
                let again = perturbation.apply(text, language, &mut Generator::new(7, 0));
                assert_eq!(changed, again, "{}", perturbation.name);
                let chinese = language == Language::Zh;
                let none = match perturbation.name {
                    "full-width letters"
                    | "upper case"
                    | "lower case"
                    | "non-breaking spaces"
                    | "doubled white space"
                    | "letters swapped" => chinese,
                    "combining marks (NFD)" => true,
                    _ => false,
                };
                assert_eq!(changed.is_none(), none, "{} {text}", perturbation.name);
                assert!(changed.is_none_or(|changed| changed.contains("15")
                    || changed.contains("1\u{200b}5")
                    || changed.chars().filter(char::is_ascii_digit).eq("15".chars())));
            }
        }
    }

    #[test]
    fn changes_are_as_named() {
        assert_eq!(apply("full-width letters", "ab 1", Language::En).as_deref(), Some("ａｂ 1"));
        assert_eq!(apply("combining marks (NFD)", "é", Language::En).as_deref(), Some("e\u{301}"));
        assert_eq!(apply("doubled white space", "a b", Language::En).as_deref(), Some("a  b"));
        assert_eq!(apply("letters swapped", "ab", Language::En).as_deref(), Some("ba"));
        assert_eq!(apply("letters dropped", "ab", Language::En).as_deref(), Some("b"));
        assert_eq!(apply("letters doubled", "ab", Language::En).as_deref(), Some("aab"));
        let within = apply("padding within", "One. Two. ", Language::En).expect("two sentences");
        assert!(within.starts_with("One. The kitchen") && within.ends_with(" Two. "), "{within}");
    }

    #[test]
    fn slips_hit_one_letter_in_fifty_and_no_digit() {
        let text = "word ".repeat(125) + "12345";
        let dropped = apply("letters dropped", &text, Language::En).expect("letters");
        // Three of four letters have a letter after them.
        assert_eq!(text.len() - dropped.len(), 8);
        assert!(dropped.ends_with("12345"));
        assert_eq!(apply("letters dropped", "x = 12", Language::En), None);
    }
}
