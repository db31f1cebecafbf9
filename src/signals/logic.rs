//! Words of deduction. Counts them; whether they make a puzzle is for the rules to judge.

use std::sync::LazyLock;

use regex::Regex;

use super::{Signal, Signals};
use crate::reading::Reading;

static CONNECTIVE: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(concat!(
        r"(?-u:\b)(?:if|then|unless|either|neither|only if|all|none|some|every|each|therefore|implies|must be|cannot both|at least one|exactly one|not all)(?-u:\b)",
        r"|如果|那么|除非|要么|或者|既不|只有|才能|所有|有的|有些|每个|因此|推出|必然|至少有一|恰有一|并非|当且仅当",
    ))
    .expect("constant")
});

pub(super) fn extract(reading: &Reading, signals: &mut Signals) {
    signals.set(Signal::LogicConnectives, CONNECTIVE.find_iter(reading.ask()).count());
}

#[cfg(test)]
mod tests {
    use super::super::tests::signals_of;
    use super::*;

    #[test]
    fn counts_in_both_languages() {
        assert_eq!(signals_of("If all cats purr then some purr.").get(Signal::LogicConnectives), 4.0);
        assert_eq!(signals_of("如果下雨，那么所有比赛取消。").get(Signal::LogicConnectives), 3.0);
    }
}
