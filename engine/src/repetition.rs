//! Has the model begun to repeat itself?
//!
//! Small models, and all models that take the likeliest token while thinking, fall into loops: the same few tokens until
//! the budget is spent. A loop is reported, and cut only where it has lasted and nobody said how long the reply may be: a
//! table of zeros repeats itself too.

/// A text that ended in a loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repetition {
    /// Tokens of the passage that came again and again.
    pub period: usize,
    /// Tokens of the whole loop.
    pub tokens: usize,
}

impl Repetition {
    /// Has it gone on for so long that nobody can want the rest?
    pub(crate) fn is_endless(&self) -> bool {
        self.tokens >= ENDLESS.max(ENDLESS_TIMES * self.period)
    }
}

/// A loop that fills this many tokens ...
const ENDLESS: usize = 1024;
/// ... with a passage that came this often is never left: at each round the model saw more reason to go on.
const ENDLESS_TIMES: usize = 32;

/// Longest passage that is looked for.
const LONGEST: usize = 64;
/// A passage must come this often ...
const TIMES: usize = 4;
/// ... and fill this many tokens. Rulers, padding and small tables stay below.
const LEAST: usize = 48;

/// Watches one text.
#[derive(Default)]
pub(crate) struct Watch {
    /// The last tokens, oldest first.
    recent: std::collections::VecDeque<u32>,
    /// For each period, how many tokens up to here equal the one a period before.
    equal: Vec<usize>,
    found: Option<Repetition>,
}

impl Watch {
    pub(crate) fn push(&mut self, token: u32) {
        self.equal.resize(LONGEST, 0);
        for (equal, before) in self.equal.iter_mut().zip(self.recent.iter().rev()) {
            *equal = if *before == token { *equal + 1 } else { 0 };
        }
        if self.recent.len() == LONGEST {
            self.recent.pop_front();
        }
        self.recent.push_back(token);
        self.found = self.looping();
    }

    /// The loop that the text is in now.
    pub(crate) fn found(&self) -> Option<Repetition> {
        self.found
    }

    /// The shortest period counts; its multiples repeat as well.
    fn looping(&self) -> Option<Repetition> {
        let periods = self.equal.iter().enumerate().map(|(at, equal)| (at + 1, *equal));
        let loops = |(period, equal): (usize, usize)| {
            let tokens = equal + period;
            (tokens >= LEAST.max(TIMES * period)).then_some(Repetition { period, tokens })
        };
        periods.filter(|(_, equal)| *equal > 0).find_map(loops)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watch(tokens: impl IntoIterator<Item = u32>) -> Option<Repetition> {
        let mut watch = Watch::default();
        tokens.into_iter().for_each(|token| watch.push(token));
        watch.found()
    }

    #[test]
    fn a_loop_is_told_with_its_period_and_length() {
        let looped = |period: u32, tokens: u32| (100..130).chain((0..tokens).map(move |at| at % period));
        assert_eq!(watch(looped(1, 60)), Some(Repetition { period: 1, tokens: 60 }));
        assert_eq!(watch(looped(7, 70)), Some(Repetition { period: 7, tokens: 70 }));
        assert_eq!(watch(looped(64, 300)), Some(Repetition { period: 64, tokens: 300 }));
        assert_eq!(watch(looped(20, 79)), None, "not yet four times");
        assert_eq!(watch(looped(3, 40)), None, "too short");
    }

    #[test]
    fn only_what_lasts_is_endless() {
        for (period, endless) in [(1, 1024), (32, 1024), (33, 1056), (64, 2048)] {
            let after = |tokens| Repetition { period, tokens }.is_endless();
            assert_eq!((after(endless - 1), after(endless)), (false, true), "{period}");
        }
    }

    #[test]
    fn text_that_goes_on_is_no_loop() {
        assert_eq!(watch((0..500).map(|at| at * at % 257)), None);
        let left = (0..100).map(|at| at % 5).chain([9, 9, 8]);
        assert_eq!(watch(left), None, "it found its way out");
    }
}
