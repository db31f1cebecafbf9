//! Operators, equations, formulas and numbers. Digits alone say little: dates and prices have them too.

use std::sync::LazyLock;

use regex::Regex;

use super::characters::others;
use super::{Signal, Signals};
use crate::reading::Reading;

// Normalised text has ASCII digits only, and ASCII classes match several times faster than Unicode ones.
static OPERATOR: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"[0-9a-z)²³\]] ?(?:[+*/^×÷·%]|\*\*|[-−] ?)(?:[0-9(√]|[a-z](?-u:\b))").expect("constant")
});
/// Something with an unknown on one side of a relation.
static EQUATION: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(?-u:\b)(?:[0-9]*[a-z](?:[²³⁴]|\^\{?[0-9]+\}?|\([a-z]\)|_\{?[a-z0-9]+\}?)?)[a-z0-9_ \t²³⁴^+*/()×÷−-]{0,40}(?:(?:=|≤|≥|≠|\\le|\\ge|\\neq)[ \t]*[-a-z0-9_(√{\\]|[<>][ \t]*-?[0-9]|[ \t][<>][ \t][a-z])")
        .expect("constant")
});
static SUM: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"[0-9][ \t]*[+*/×÷−x-][ \t]*[0-9][0-9 \t+*/×÷().−-]*(?:=|\?|等于|$)").expect("constant")
});
static LATEX_COMMAND: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"^\\(?:frac|sqrt|sum|int|prod|lim|begin|left|right|cdot|times|mathbb|mathbf|mathrm|alpha|beta|theta|pi|infty|leq?|geq?|neq|in|angle|triangle|circ|overline|text|dots|ldots|binom|log|ln|sin|cos|tan|vec|pmod|equiv|operatorname|\(|\[)")
        .expect("constant")
});
/// Longer stretches between dollars are prose about money.
const LONGEST_FORMULA: usize = 300;

pub(super) fn extract(reading: &Reading, signals: &mut Signals) {
    let text = reading.ask();
    let held = Held::of(text);
    let numbers = if held.any("0123456789") { count_numbers(text) } else { 0 };
    signals.set(Signal::MathNumbers, numbers);
    signals.set(Signal::MathSymbols, others(text).filter(|c| is_symbol(*c)).count());
    // The patterns run only where a character they cannot do without may occur.
    let count =
        |pattern: &Regex, needed: &str| if held.any(needed) { pattern.find_iter(text).count() } else { 0 };
    signals.set(Signal::MathLatex, if held.any("\\$") { count_latex(text) } else { 0 });
    signals.set(Signal::MathOperators, count(&OPERATOR, "+*/^×÷·%-−"));
    let relates = held.any("=<>\\≤≥≠");
    signals.set(Signal::MathEquations, if relates { count_equations(text) } else { 0 });
    signals.set(Signal::MathSums, if numbers >= 2 { count(&SUM, "+*/×÷−x-") } else { 0 });
}

/// Which bytes a text has.
struct Held([bool; 256]);

impl Held {
    fn of(text: &str) -> Self {
        let mut held = [false; 256];
        text.bytes().for_each(|byte| held[usize::from(byte)] = true);
        Held(held)
    }

    /// Whether one of these characters may occur, by its first byte.
    fn any(&self, needed: &str) -> bool {
        let mut firsts = needed.bytes().filter(|byte| !(0x80..0xc0).contains(byte));
        firsts.any(|byte| self.0[usize::from(byte)])
    }
}

/// LaTeX commands and formulas between dollars, one after the other.
fn count_latex(text: &str) -> usize {
    let (mut count, mut at) = (0, 0);
    while let Some(found) = text[at..].find(['\\', '$']).map(|found| at + found) {
        at = found + 1;
        if text.as_bytes()[found] == b'\\' {
            count += usize::from(LATEX_COMMAND.is_match(&text[found..]));
        } else if let Some(length) = formula_length(&text[at..]) {
            count += 1;
            at += length + 1;
        }
    }
    count
}

/// Bytes up to the dollar that closes a formula.
fn formula_length(text: &str) -> Option<usize> {
    let length = text.find(['$', '\n']).filter(|end| text.as_bytes()[*end] == b'$')?;
    (1..=LONGEST_FORMULA).contains(&text[..length].chars().count()).then_some(length)
}

/// Equations are looked for around a relation sign only, between characters that no equation holds: over a
/// whole text the pattern's bounded repeat would cost more than everything else here.
fn count_equations(text: &str) -> usize {
    const RELATIONS: [char; 7] = ['=', '≤', '≥', '<', '>', '≠', '\\'];
    let may_be_part = |c: char| {
        c.is_ascii_alphanumeric()
            || matches!(
                c,
                '_' | ' '
                    | '\t'
                    | '²'
                    | '³'
                    | '⁴'
                    | '^'
                    | '+'
                    | '*'
                    | '/'
                    | '('
                    | ')'
                    | '×'
                    | '÷'
                    | '−'
                    | '-'
            )
            || matches!(c, '{' | '}' | '√')
            || RELATIONS.contains(&c)
    };
    let pieces = text.split(|c| !may_be_part(c)).filter(|piece| piece.contains(RELATIONS));
    pieces.map(|piece| EQUATION.find_iter(piece).count()).sum()
}

/// Runs of digits; a decimal point or a thousands separator does not end one.
fn count_numbers(text: &str) -> usize {
    let bytes = text.as_bytes();
    let digit = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_digit);
    let joins = |at: usize| matches!(bytes[at], b'.' | b',') && at > 0 && digit(at - 1) && digit(at + 1);
    let within = |at: usize| digit(at) || joins(at);
    (0..bytes.len()).filter(|at| digit(*at) && (*at == 0 || !within(*at - 1))).count()
}

fn is_symbol(c: char) -> bool {
    matches!(c,
        '²' | '³' | '⁰'..='⁹' | '₀'..='₉' | '√' | '∑' | '∏' | '∫' | '∂' | '∇' | '≤' | '≥' | '≠' | '≈' | '≡' | '∈' | '∉'
        | '⊂' | '⊆' | '∪' | '∩' | '∀' | '∃' | '∞' | '∵' | '∴' | '∠' | '△' | '⊥' | '∥' | '±' | '×' | '÷' | 'π' | 'θ'
        | '→' | '⇒' | '⇔' | '∧' | '∨' | '¬' | '½' | '⅓' | '¼' | '°')
}

#[cfg(test)]
mod tests {
    use super::super::tests::signals_of;
    use super::*;

    #[test]
    fn equations_sums_and_formulas() {
        for (text, signal, at_least) in [
            ("已知x²+2x+1=0，求x的值", Signal::MathEquations, 1.0),
            ("已知x²+2x+1=0，求x的值", Signal::MathSymbols, 1.0),
            ("Solve 3x + 5 = 20", Signal::MathEquations, 1.0),
            ("f(x) = 2x - 1", Signal::MathEquations, 1.0),
            ("37*48=?", Signal::MathSums, 1.0),
            ("1+1等于几", Signal::MathSums, 1.0),
            (r"Compute $\frac{1}{2}$", Signal::MathLatex, 1.0),
            ("a + b - c", Signal::MathOperators, 1.0),
        ] {
            assert!(signals_of(text).get(signal) >= at_least, "{text:?} {}", signal.name());
        }
    }

    #[test]
    fn prose_has_none() {
        for text in [
            "It is a well-known fact",
            "<script>alert(1)</script>",
            "call me at 555-1234 on 2024-05-06",
            "和/或",
            "C++ or C#?",
        ] {
            let signals = signals_of(text);
            assert_eq!(signals.get(Signal::MathEquations), 0.0, "{text:?}");
            assert_eq!(signals.get(Signal::MathLatex), 0.0, "{text:?}");
        }
    }
}
