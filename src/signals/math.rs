//! Operators, equations, formulas and numbers. Digits alone say little: dates and prices have them too.

use std::sync::LazyLock;

use regex::Regex;

use super::{Signal, Signals};
use crate::reading::Reading;

static OPERATOR: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"[\da-z)²³)\]] ?(?:[+*/^×÷·%]|\*\*|[-−] ?)(?:[\d(√]|[a-z](?-u:\b))").expect("constant")
});
/// Something with an unknown on one side of a relation.
static EQUATION: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(?-u:\b)(?:\d*[a-z](?:[²³⁴]|\^\{?\d+\}?|\([a-z]\)|_\{?\w+\}?)?)[\w \t²³⁴^+*/()×÷−-]{0,40}(?:=|≤|≥|<|>|≠|\\le|\\ge|\\neq)\s*[-\w(√{\\]")
        .expect("constant")
});
static SUM: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"\d\s*[+*/×÷−x-]\s*\d[\d\s+*/×÷().−-]*(?:=|\?|等于|$)").expect("constant"));
static LATEX: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"\\(?:frac|sqrt|sum|int|prod|lim|begin|left|right|cdot|times|mathbb|mathbf|mathrm|alpha|beta|theta|pi|infty|leq?|geq?|neq|in|angle|triangle|circ|overline|text|dots|ldots|binom|log|ln|sin|cos|tan|vec|pmod|equiv|operatorname)|\$[^$\n]{1,300}\$|\\[(\[]")
        .expect("constant")
});
static NUMBER: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\d+(?:[.,]\d+)*").expect("constant"));

pub(super) fn extract(reading: &Reading, signals: &mut Signals) {
    let text = reading.ask();
    signals.set(Signal::MathNumbers, NUMBER.find_iter(text).count());
    signals.set(Signal::MathSymbols, text.chars().filter(|c| is_symbol(*c)).count());
    signals.set(Signal::MathLatex, LATEX.find_iter(text).count());
    signals.set(Signal::MathOperators, OPERATOR.find_iter(text).count());
    signals.set(Signal::MathEquations, EQUATION.find_iter(text).count());
    signals.set(Signal::MathSums, SUM.find_iter(text).count());
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
        for text in ["It is a well-known fact", "call me at 555-1234 on 2024-05-06", "和/或", "C++ or C#?"]
        {
            let signals = signals_of(text);
            assert_eq!(signals.get(Signal::MathEquations), 0.0, "{text:?}");
            assert_eq!(signals.get(Signal::MathLatex), 0.0, "{text:?}");
        }
    }
}
