//! One ask as numbers: counted words and measured shape. Training calls the same function as serving, so the two
//! cannot differ.

use super::courtesy;
use crate::reading::Reading;
use crate::signals::{Signal, Signals};

/// Places that words and word pairs are hashed to.
pub const BUCKETS: usize = 1 << 16;
/// Changes whenever the same text would give other numbers; an artefact of another version is refused.
pub const VERSION: u32 = 3;
/// Longer asks are read at both ends, so that the cost is bounded.
const HEAD_TOKENS: usize = 900;
const TAIL_TOKENS: usize = 300;

/// The signals a single prompt has. Those of the conversation and the client program belong to the rules: the
/// prompts trained on hardly vary in them.
const SIGNALS: &[Signal] = &[
    Signal::StructureQuestions,
    Signal::StructureEnumerated,
    Signal::StructureOptions,
    Signal::StructureSections,
    Signal::StructureConstraints,
    Signal::CodeFences,
    Signal::CodeLines,
    Signal::CodeInline,
    Signal::CodeStackTrace,
    Signal::MathOperators,
    Signal::MathEquations,
    Signal::MathSums,
    Signal::MathLatex,
    Signal::MathSymbols,
    Signal::MathNumbers,
    Signal::LogicConnectives,
    Signal::LanguageHan,
    Signal::LanguageMixed,
];

/// Only the question of a strong model may see these: length alone never makes a prompt one to think about.
const LENGTH: &[Signal] = &[Signal::LengthTokens, Signal::LengthAskTokens, Signal::LengthLines];

/// More of anything says nothing more: a thousand numbers are no harder than forty.
const ENOUGH: f32 = 40.0;

/// Measured over the ask's tokens, beside the signals. Saying a thing again does not make it harder, so what is counted are
/// different words.
const SHAPE: &[&str] = &[
    "shape.word_length",
    "shape.distinct_per_sentence",
    "shape.distinct",
    "shape.number_words",
    "shape.distinct_numbers",
    "shape.longest_number",
    "shape.decimals",
    "shape.percent",
    "shape.money",
    "shape.commas",
    "shape.slashes",
    "shape.brackets",
    "shape.commands",
];

/// Names of the measured numbers, in order: each for every prompt, then each once more for those with options to choose
/// from. Numbers, for one, mean little beside a question of knowledge, and a calculation where the options are numbers.
pub fn dense_names() -> impl Iterator<Item = String> {
    let signals = || SIGNALS.iter().chain(LENGTH).map(|signal| signal.name());
    let plain = || signals().chain(SHAPE.iter().copied());
    plain().map(str::to_owned).chain(plain().map(|name| format!("choice.{name}")))
}

/// Whether a measured number says no more than how long the prompt is.
#[must_use]
pub fn is_length(name: &str) -> bool {
    let name = name.strip_prefix("choice.").unwrap_or(name);
    LENGTH.iter().any(|signal| signal.name() == name)
}

/// One ask as numbers.
#[derive(Debug, Clone, Default)]
pub struct Features {
    /// Bucket and 1 + ln(count), by bucket; buckets are below [`BUCKETS`].
    pub words: Vec<(u32, f32)>,
    /// ln(1 + x) of every measured number, as [`dense_names`] lists them.
    pub dense: Vec<f32>,
    /// Words, characters, numbers and marks of the ask.
    pub tokens: usize,
}

impl Features {
    /// Measures the ask of a message whose signals are known.
    #[must_use]
    pub fn of(reading: &Reading, signals: &Signals) -> Self {
        let tokens = Tokens::of(courtesy::without(reading.ask()));
        let mut dense: Vec<f32> = SIGNALS.iter().map(|signal| measured(signals.get(*signal))).collect();
        dense.extend(LENGTH.iter().map(|signal| signals.get(*signal).ln_1p()));
        dense.extend(tokens.shape().map(measured));
        let choice = signals.get(Signal::StructureOptions) > 0.0;
        dense.extend_from_within(..);
        if !choice {
            let plain = dense.len() / 2;
            dense[plain..].fill(0.0);
        }
        Features { words: counted(tokens.buckets()), dense, tokens: tokens.all.len() }
    }
}

fn measured(count: f32) -> f32 {
    count.min(ENOUGH).ln_1p()
}

/// Equal buckets joined.
fn counted(mut buckets: Vec<u32>) -> Vec<(u32, f32)> {
    buckets.sort_unstable();
    let runs = buckets.chunk_by(|a, b| a == b);
    #[expect(clippy::cast_precision_loss, reason = "bounded by the tokens read")]
    runs.map(|run| (run[0], 1.0 + (run.len() as f32).ln())).collect()
}

/// A word, a Chinese character, a number or a mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Token {
    hash: u64,
    kind: Kind,
    chars: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Word,
    Ideograph,
    Number,
    Mark,
}

#[derive(Debug, Default)]
struct Tokens {
    all: Vec<Token>,
    sentences: usize,
    number_words: usize,
    longest_number: u32,
    decimals: usize,
    numbers: Vec<u64>,
    percent: usize,
    money: usize,
    commas: usize,
    slashes: usize,
    brackets: usize,
    commands: usize,
}

impl Tokens {
    fn of(text: &str) -> Self {
        let mut tokens = Tokens { all: Vec::with_capacity(text.len() / 4), ..Tokens::default() };
        let mut at = 0;
        // Where the last run of plain letters or digits ends: its words are not measured again, each to its end.
        let mut plain_until = 0;
        while let Some(c) = text[at..].chars().next() {
            if c.is_ascii_alphanumeric() && at >= plain_until {
                match Run::of(&text[at..]) {
                    Run { length, encoded: true, .. } => {
                        at += length;
                        continue;
                    }
                    Run { length, mixed: false, .. } => plain_until = at + length,
                    Run { .. } => {}
                }
            }
            at += match c {
                c if c.is_whitespace() => c.len_utf8(),
                '0'..='9' => tokens.number(&text[at..]),
                c if is_ideograph(c) => tokens.push(&text[at..at + c.len_utf8()], Kind::Ideograph),
                c if c.is_alphabetic() => tokens.word(&text[at..]),
                c => tokens.mark(c, &text[at..at + c.len_utf8()]),
            };
        }
        tokens
    }

    fn push(&mut self, text: &str, kind: Kind) -> usize {
        let chars = u32::try_from(text.chars().count()).unwrap_or(u32::MAX);
        self.number_words += usize::from(is_number_word(text));
        self.all.push(Token { hash: hash(text.as_bytes()), kind, chars });
        text.len()
    }

    fn word(&mut self, text: &str) -> usize {
        let inside = |c: char| c.is_alphabetic() && !is_ideograph(c) || matches!(c, '\'' | '_');
        let end = text.find(|c| !inside(c)).unwrap_or(text.len());
        self.push(&text[..end], Kind::Word)
    }

    /// How many digits it has is what counts, not which: prices and dates have no say of their own.
    fn number(&mut self, text: &str) -> usize {
        let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let digits = u32::try_from(end).unwrap_or(u32::MAX);
        self.longest_number = self.longest_number.max(digits);
        self.numbers.push(hash(&text.as_bytes()[..end]));
        let rest = &text.as_bytes()[end..];
        self.decimals += usize::from(rest.len() > 1 && rest[0] == b'.' && rest[1].is_ascii_digit());
        self.all.push(Token { hash: hash(&b"0000"[..end.min(4)]), kind: Kind::Number, chars: digits });
        end
    }

    fn mark(&mut self, c: char, text: &str) -> usize {
        let counter = match c {
            '.' | '!' | '?' | '。' | '；' | ';' => Some(&mut self.sentences),
            '%' => Some(&mut self.percent),
            '$' | '¥' | '€' | '£' => Some(&mut self.money),
            ',' | '、' => Some(&mut self.commas),
            '/' => Some(&mut self.slashes),
            '(' | '[' | '{' => Some(&mut self.brackets),
            '\\' => Some(&mut self.commands),
            _ => None,
        };
        if let Some(counter) = counter {
            *counter += 1;
        }
        let token = Token { hash: hash(text.as_bytes()), kind: Kind::Mark, chars: 1 };
        // A ruler of dashes is one mark.
        if self.all.last() != Some(&token) {
            self.all.push(token);
        }
        text.len()
    }

    /// One to three neighbours of the head and of the tail: words up to pairs, ideographs up to triples.
    fn buckets(&self) -> Vec<u32> {
        let mut out = Vec::with_capacity(3 * self.all.len().min(HEAD_TOKENS + TAIL_TOKENS));
        if self.all.len() <= HEAD_TOKENS + TAIL_TOKENS {
            neighbours(&self.all, &mut out);
        } else {
            neighbours(&self.all[..HEAD_TOKENS], &mut out);
            neighbours(&self.all[self.all.len() - TAIL_TOKENS..], &mut out);
        }
        out
    }

    #[expect(clippy::cast_precision_loss, reason = "counts")]
    fn shape(&self) -> impl Iterator<Item = f32> {
        let words: Vec<&Token> =
            self.all.iter().filter(|token| matches!(token.kind, Kind::Word | Kind::Ideograph)).collect();
        let letters: u32 = words.iter().map(|token| token.chars).sum();
        let sentences = self.sentences + 1;
        let different = distinct(words.iter().map(|token| token.hash)) as f32;
        let counts = [
            self.number_words,
            distinct(self.numbers.iter().copied()),
            self.longest_number as usize,
            self.decimals,
            self.percent,
            self.money,
            self.commas,
            self.slashes,
            self.brackets,
            self.commands,
        ];
        [letters as f32 / words.len().max(1) as f32, different / sentences as f32, different]
            .into_iter()
            .chain(counts.into_iter().map(|count| count as f32))
    }
}

/// Letters, digits and the marks of base64 without a gap.
struct Run {
    /// Bytes.
    length: usize,
    /// There are both letters and digits.
    mixed: bool,
    /// Nobody would read it: encoded or random.
    encoded: bool,
}

impl Run {
    /// The run at the start of a text.
    fn of(text: &str) -> Self {
        const SHORTEST: usize = 24;
        let of_code = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'=');
        let length = text.bytes().position(|b| !of_code(b)).unwrap_or(text.len());
        let run = &text.as_bytes()[..length];
        let mixed = run.iter().any(u8::is_ascii_digit) && run.iter().any(u8::is_ascii_alphabetic);
        // Paths and rates have slashes too, up to a length.
        let long = length >= if run.contains(&b'/') { 2 * SHORTEST } else { SHORTEST };
        Run { length, mixed, encoded: mixed && long }
    }
}

fn distinct(values: impl Iterator<Item = u64>) -> usize {
    let mut values: Vec<u64> = values.collect();
    values.sort_unstable();
    values.dedup();
    values.len()
}

fn neighbours(tokens: &[Token], out: &mut Vec<u32>) {
    for (at, token) in tokens.iter().enumerate() {
        out.push(bucket(token.hash));
        let Some(next) = tokens.get(at + 1) else { continue };
        let pair = joined(token.hash, next.hash);
        out.push(bucket(pair));
        if let Some(third) = tokens.get(at + 2)
            && [token, next, third].iter().all(|token| token.kind == Kind::Ideograph)
        {
            out.push(bucket(joined(pair, third.hash)));
        }
    }
}

fn joined(first: u64, second: u64) -> u64 {
    (first.rotate_left(23) ^ second).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// The upper bits, which every input bit reaches.
fn bucket(hash: u64) -> u32 {
    let mixed = (hash ^ (hash >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    #[expect(clippy::cast_possible_truncation, reason = "shifted into range")]
    let bucket = (mixed >> (64 - BUCKETS.trailing_zeros())) as u32;
    bucket
}

/// FNV-1a, which is short and good enough for words.
fn hash(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

fn is_ideograph(c: char) -> bool {
    matches!(c, '\u{3040}'..='\u{30ff}' | '\u{3400}'..='\u{9fff}' | '\u{20000}'..='\u{3ffff}' | '\u{f900}'..='\u{faff}')
}

fn is_number_word(text: &str) -> bool {
    matches!(
        text,
        "one"
            | "two"
            | "three"
            | "four"
            | "five"
            | "six"
            | "seven"
            | "eight"
            | "nine"
            | "ten"
            | "eleven"
            | "twelve"
            | "twenty"
            | "thirty"
            | "forty"
            | "fifty"
            | "hundred"
            | "twice"
            | "double"
            | "triple"
            | "half"
            | "third"
            | "quarter"
            | "dozen"
            | "一"
            | "二"
            | "两"
            | "三"
            | "四"
            | "五"
            | "六"
            | "七"
            | "八"
            | "九"
            | "十"
            | "百"
            | "千"
            | "万"
            | "倍"
            | "半"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conversation::Conversation;
    use crate::signals;

    fn features(text: &str) -> Features {
        let conversation = Conversation::of_prompt(text);
        let reading = Reading::of(text);
        Features::of(&reading, &signals::extract(&conversation, 0, &reading))
    }

    fn measured(text: &str, name: &str) -> f32 {
        let at = dense_names().position(|known| known == name).expect("known");
        features(text).dense[at].exp_m1()
    }

    #[test]
    fn words_are_counted_alone_and_in_pairs() {
        // "a b a": a twice, b, "a b", "b a".
        let words = features("a b a").words;
        assert_eq!(words.len(), 4);
        let twice = words.iter().filter(|(_, weight)| (weight - (1.0 + 2_f32.ln())).abs() < 1e-6).count();
        assert_eq!(twice, 1);
        assert!(words.windows(2).all(|pair| pair[0].0 < pair[1].0));
    }

    #[test]
    fn ideographs_are_taken_in_threes() {
        assert_eq!(features("求极限").words.len(), 6);
        assert_eq!(features("sum of x").words.len(), 5);
    }

    #[test]
    fn which_digits_stand_in_a_number_does_not_matter() {
        assert_eq!(features("pay 125 now").words, features("pay 999 now").words);
        assert_ne!(features("pay 125 now").words, features("pay 5 now").words);
    }

    #[test]
    fn shape_is_measured() {
        let text = "Tom has 3 apples, 12.5% of (two) boxes. How many?";
        for (name, expected) in [
            ("shape.number_words", 1.0),
            ("shape.longest_number", 2.0),
            ("shape.decimals", 1.0),
            ("shape.percent", 1.0),
            ("shape.brackets", 1.0),
            ("shape.distinct_numbers", 3.0),
        ] {
            let found = measured(text, name);
            assert!((found - expected).abs() < 1e-3, "{name}: {found}");
        }
    }

    #[test]
    fn encoded_text_is_no_word() {
        let plain = features("How many people live in Beijing?");
        let carrying = features("How many people live in Beijing? L25vX3RoaW5rIC90aGluayBqdXN0IGdpdmUgbWU=");
        assert_eq!(carrying.words, plain.words);
        assert_ne!(features("internationalization of software").words, features("software").words);
    }

    #[test]
    fn shape_counts_once_more_where_there_are_options() {
        let asked = "Which is largest?\nA. 3 B. 5 C. 7 D. 9";
        assert!((measured(asked, "choice.math.numbers") - measured(asked, "math.numbers")).abs() < 1e-6);
        assert!(measured(asked, "choice.math.numbers") > 0.0);
        assert!(measured("Which is larger, 3 or 5?", "choice.math.numbers").abs() < 1e-6);
    }

    #[test]
    fn long_asks_cost_no_more_than_their_ends() {
        let long: String = (0..50_000).map(|n| format!("w{} ", n % 977)).collect();
        assert!(features(&long).words.len() <= 3 * (HEAD_TOKENS + TAIL_TOKENS));
        assert_eq!(features("").words, []);
        assert_eq!(features("").dense.len(), dense_names().count());
    }
}
