//! `signal = "code.lines >= 8"`: one comparison of a signal with a number.

use crate::signals::{Signal, Signals};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Relation {
    AtLeast,
    Above,
    AtMost,
    Below,
    Equal,
}

/// A comparison that a rule demands.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Condition {
    signal: Signal,
    relation: Relation,
    bound: f32,
}

impl Condition {
    /// Reads `NAME RELATION NUMBER`.
    ///
    /// # Errors
    /// What is wrong, and what would be accepted.
    pub fn parse(text: &str) -> Result<Self, String> {
        let accepted = "expected \"NAME >= NUMBER\" (also >, <=, <, ==)";
        let [name, relation, bound] = text.split_whitespace().collect::<Vec<_>>()[..] else {
            return Err(format!("signal = {text:?}: {accepted}"));
        };
        let signal = Signal::named(name).ok_or_else(|| {
            let known: Vec<&str> = Signal::ALL.iter().map(|signal| signal.name()).collect();
            format!("signal = {text:?}: no signal is called {name:?}; known are {}", known.join(", "))
        })?;
        let relation = match relation {
            ">=" => Relation::AtLeast,
            ">" => Relation::Above,
            "<=" => Relation::AtMost,
            "<" => Relation::Below,
            "==" => Relation::Equal,
            _ => return Err(format!("signal = {text:?}: {accepted}")),
        };
        let bound = bound.parse().map_err(|_| format!("signal = {text:?}: {bound:?} is not a number"))?;
        Ok(Condition { signal, relation, bound })
    }

    /// Whether it holds.
    #[must_use]
    pub fn holds(&self, signals: &Signals) -> bool {
        let value = signals.get(self.signal);
        match self.relation {
            Relation::AtLeast => value >= self.bound,
            Relation::Above => value > self.bound,
            Relation::AtMost => value <= self.bound,
            Relation::Below => value < self.bound,
            Relation::Equal => (value - self.bound).abs() < 1e-6,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conversation::Conversation;
    use crate::reading::Reading;

    #[test]
    fn reads_and_compares() {
        let text = "你是谁？你几岁？";
        let signals = crate::signals::extract(&Conversation::of_prompt(text), 0, &Reading::of(text));
        let holds = |text: &str| Condition::parse(text).expect("valid").holds(&signals);
        assert!(holds("structure.questions >= 2") && holds("structure.questions == 2"));
        assert!(!holds("structure.questions > 2") && !holds("structure.questions < 2"));
    }

    #[test]
    fn refusals_say_what_would_do() {
        assert!(Condition::parse("code.lnes >= 2").expect_err("refused").contains("code.lines"));
        assert!(Condition::parse("code.lines => 2").expect_err("refused").contains(">="));
        assert!(Condition::parse("code.lines >= many").expect_err("refused").contains("many"));
    }
}
