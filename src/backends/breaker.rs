//! Whether a backend may be asked now.
//!
//! A breaker is *shut* while the backend answers. After five failures in a row it is *open*: nobody asks. After a
//! pause it is on *probation*: one request may ask, and its outcome decides.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Failures in a row that open it.
const FAILURES: u32 = 5;
/// How long it stays open.
const PAUSE: Duration = Duration::from_secs(30);

/// One backend's health.
#[derive(Debug, Default)]
pub struct Breaker {
    state: Mutex<State>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Failures in a row so far.
    Shut(u32),
    /// Since when.
    Open(Instant),
    /// Since when one request is trying.
    Probation(Instant),
}

impl Default for State {
    fn default() -> Self {
        State::Shut(0)
    }
}

impl Breaker {
    /// Whether a request could be let through at `now`. Changes nothing.
    pub fn available(&self, now: Instant) -> bool {
        match *self.lock() {
            State::Shut(_) => true,
            State::Open(since) | State::Probation(since) => now.duration_since(since) >= PAUSE,
        }
    }

    /// A request is about to ask at `now`; during an open spell it becomes the one on probation.
    pub fn asked(&self, now: Instant) {
        let mut state = self.lock();
        if !matches!(*state, State::Shut(_)) {
            *state = State::Probation(now);
        }
    }

    /// The backend answered.
    pub fn succeeded(&self) {
        *self.lock() = State::Shut(0);
    }

    /// The backend failed at `now`.
    pub fn failed(&self, now: Instant) {
        let mut state = self.lock();
        *state = match *state {
            State::Shut(failures) if failures + 1 < FAILURES => State::Shut(failures + 1),
            _ => State::Open(now),
        };
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        // Every state is whole at every moment, so a poisoned lock still holds a valid one.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_after_five_failures_in_a_row_and_lets_one_probe_through() {
        let breaker = Breaker::default();
        let start = Instant::now();
        for _ in 0..4 {
            breaker.failed(start);
        }
        breaker.succeeded();
        for _ in 0..4 {
            breaker.failed(start);
        }
        assert!(breaker.available(start), "a success in between starts the count again");
        breaker.failed(start);
        assert!(!breaker.available(start));

        let later = start + PAUSE;
        assert!(breaker.available(later));
        breaker.asked(later);
        assert!(!breaker.available(later), "one on probation is enough");
        breaker.failed(later);
        assert!(!breaker.available(later + PAUSE / 2));
        breaker.asked(later + PAUSE);
        breaker.succeeded();
        assert!(breaker.available(later + PAUSE));
    }
}
