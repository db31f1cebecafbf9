//! "What was asked of the model's thinking, whatever the words?"
//!
//! Deciding settles on or off, so that "let the model decide" and "say nothing" do not occur here: a model whose default
//! were left to it would think when nobody pays for it.

use serde_json::{Map, Value};

use super::Call;
use crate::conversation::{Asks, Mode};
use crate::decide::Decision;
use crate::policy::Effort;

/// The thinking mode with its depth, and whose figure that is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Intent {
    /// Off or on.
    pub mode: Mode,
    /// The depth as a name; [`Effort::None`] when off.
    pub effort: Effort,
    /// The depth in tokens; absent when off, and where nobody set a limit.
    pub budget: Option<u32>,
    /// What of it the client asked for itself.
    pub asked: Asked,
}

/// What the client said about the depth of thinking. The rest is this gateway's own estimate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Asked {
    /// Nothing.
    #[default]
    Nothing,
    /// The name of an effort.
    Effort,
    /// A number of tokens.
    Budget,
}

impl Intent {
    /// What this call asks.
    #[must_use]
    pub fn of(call: &Call) -> Intent {
        // A budget of nothing is a way to say off.
        if call.thinking == Mode::Off || call.budget == Some(0) {
            return Intent { mode: Mode::Off, effort: Effort::None, budget: None, asked: Asked::Nothing };
        }
        let effort = call.budget.map_or(Effort::Medium, Effort::holding);
        Intent { mode: Mode::On, effort, budget: call.budget, asked: call.asked }
    }
}

impl Asked {
    /// What the client of this decision said, in the wish that settled it or in a field of `body` that caps the tokens.
    #[must_use]
    pub fn of(decision: &Decision, body: &Map<String, Value>) -> Asked {
        if CAPS.iter().any(|field| body.get(*field).is_some_and(|value| value.as_u64() > Some(0))) {
            return Asked::Budget;
        }
        let mut honoured = decision.wishes.iter().filter(|wish| wish.honoured);
        let settled = honoured.find(|wish| matches!(wish.asks, Asks::Thinking(..)));
        let Some((Asks::Thinking(Mode::On, Some(tokens)), by)) = settled.map(|wish| (&wish.asks, &*wish.by))
        else {
            return Asked::Nothing;
        };
        match by {
            "reasoning_effort" | "think" => Asked::Effort,
            "thinking" => Asked::Budget,
            // These may hold either; a figure that is a name's own is as good as the name.
            _ if Effort::holding(*tokens).budget() == *tokens => Asked::Effort,
            _ => Asked::Budget,
        }
    }
}

/// Fields by which a client limits the thinking in tokens.
const CAPS: [&str; 3] = ["thinking_budget", "thinking_token_budget", "thinking_budget_tokens"];
