//! "What became of the decision at the backend?" What was said in the backend's own words, and what could not be said.

use std::fmt;

use serde::{Serialize, Serializer};

use super::Call;
use crate::conversation::Mode;
use crate::policy::Effort;

/// What a backend was told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Applied {
    /// The mode it will answer in, as far as that is known.
    pub mode: Mode,
    /// The effort it was told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub effort: Option<Effort>,
    /// The budget in tokens it was told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget: Option<u32>,
    /// The model's name over there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// What differs from the decision.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub lossy: Vec<Lossy>,
}

/// One way in which what was applied differs from what was decided or asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lossy {
    /// The model always thinks; it was told to think as little as it can.
    OffToMinEffort,
    /// The same, by the smallest budget.
    OffToMinBudget,
    /// The model always thinks, and takes no word about it.
    OffUnsupported,
    /// The model never thinks.
    OnUnsupported,
    /// The model does not know this effort and got another.
    EffortClamped(Effort, Effort),
    /// An effort was asked for, and nothing like it can be said.
    EffortDropped,
    /// Nothing limits the thinking.
    BudgetDropped,
    /// The budget was told as an effort's name.
    BudgetToEffort,
    /// The effort was told as a budget.
    EffortToBudget,
    /// The budget lay outside what the backend takes.
    BudgetClamped,
    /// The backend decides by itself how much to think.
    AutoToOn,
    /// Sampling fields of the client that the backend refuses in this mode were left out.
    SamplingDropped,
    /// The mode is another model's over there.
    SwitchedModel,
    /// The backend answers only as a stream in this mode.
    ForcedStream,
    /// The mode was asked for in the text, which models may overlook.
    SoftSwitchUsed,
    /// The mode was told to a server that is not known to obey.
    UnverifiedServer,
    /// Reasoning that the backend insists on was filled in.
    HistoryBackfilled,
    /// Reasoning that the backend refuses was taken out.
    HistoryStripped,
    /// A forced tool call and thinking exclude each other; thinking went.
    OffForTools,
    /// An answer in JSON and thinking exclude each other; thinking went.
    OffForJson,
    /// A tool loop that was not thought about cannot be thought about now.
    OffForHistory,
    /// The client's cap leaves no room for the least thinking the backend takes.
    OffForRoom,
    /// The backend thinks before an answer in JSON, whatever it is told.
    OnForJson,
    /// A tool call cannot be forced on this model.
    ToolChoiceDropped,
    /// The backend cannot hold an answer to a schema, or to JSON, so that this stands in the text instead.
    SchemaInText,
}

impl Lossy {
    /// What it means, for a reader of the notes.
    #[must_use]
    pub fn meaning(self) -> &'static str {
        match self {
            Lossy::OffToMinEffort => "the model always thinks, so it got its lowest effort",
            Lossy::OffToMinBudget => "the model always thinks, so it got its smallest budget",
            Lossy::OffUnsupported => "the model always thinks",
            Lossy::OnUnsupported => "the model cannot think",
            Lossy::EffortClamped(..) => "the model does not know this effort, so it got the nearest it knows",
            Lossy::EffortDropped => "the backend takes no effort",
            Lossy::BudgetDropped => "the backend enforces no budget",
            Lossy::BudgetToEffort => "the backend takes efforts, so the budget became one",
            Lossy::EffortToBudget => "the backend takes budgets, so the effort became one",
            Lossy::BudgetClamped => "the budget lay outside what the backend takes",
            Lossy::AutoToOn => "the backend cannot decide by itself, so it thinks",
            Lossy::SamplingDropped => "the backend refuses the client's sampling in this mode",
            Lossy::SwitchedModel => "the mode is another model's",
            Lossy::ForcedStream => "the backend only streams in this mode",
            Lossy::SoftSwitchUsed => "the mode stands in the text, which the model may overlook",
            Lossy::UnverifiedServer => "the backend is not known to obey",
            Lossy::HistoryBackfilled => "reasoning the backend insists on was filled in",
            Lossy::HistoryStripped => "reasoning the backend refuses was taken out",
            Lossy::OffForTools => "thinking excludes a forced tool call",
            Lossy::OffForJson => "thinking excludes an answer in JSON",
            Lossy::OffForHistory => "the tool loop brings no thought that the backend knows again",
            Lossy::OffForRoom => "the cap on tokens leaves no room for the least thinking",
            Lossy::OnForJson => "the backend thinks before an answer in JSON",
            Lossy::ToolChoiceDropped => "the model's tool calls cannot be forced",
            Lossy::SchemaInText => "the backend holds answers to no such form, so it stands in the text",
        }
    }
}

impl fmt::Display for Lossy {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let code = match self {
            Lossy::OffToMinEffort => "off_unsupported>min_effort",
            Lossy::OffToMinBudget => "off_unsupported>min_budget",
            Lossy::OffUnsupported => "off_unsupported",
            Lossy::OnUnsupported => "on_unsupported",
            Lossy::EffortClamped(asked, given) => {
                return write!(out, "effort_clamped({}>{})", asked.as_str(), given.as_str());
            }
            Lossy::EffortDropped => "effort_dropped",
            Lossy::BudgetDropped => "budget_dropped",
            Lossy::BudgetToEffort => "budget>effort",
            Lossy::EffortToBudget => "effort>budget",
            Lossy::BudgetClamped => "budget_clamped",
            Lossy::AutoToOn => "auto>on",
            Lossy::SamplingDropped => "sampling_dropped",
            Lossy::SwitchedModel => "switched_model",
            Lossy::ForcedStream => "forced_stream",
            Lossy::SoftSwitchUsed => "soft_switch_used",
            Lossy::UnverifiedServer => "unverified_server",
            Lossy::HistoryBackfilled => "history_backfilled",
            Lossy::HistoryStripped => "history_stripped",
            Lossy::OffForTools => "off_for_tools",
            Lossy::OffForJson => "off_for_json",
            Lossy::OffForHistory => "off_for_history",
            Lossy::OffForRoom => "off_for_room",
            Lossy::OnForJson => "on_for_json",
            Lossy::ToolChoiceDropped => "tool_choice_dropped",
            Lossy::SchemaInText => "schema_in_text",
        };
        out.write_str(code)
    }
}

impl Serialize for Lossy {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Applied {
    /// Everything as decided.
    #[must_use]
    pub fn in_full(call: &Call) -> Applied {
        Applied { mode: call.thinking, effort: None, budget: call.budget, model: None, lossy: Vec::new() }
    }

    /// The compact form of the `x-thinkgate-applied` header: `mode=on;effort=low;lossy=budget>effort`.
    #[must_use]
    pub fn compact(&self) -> String {
        let mut out = format!("mode={}", self.mode.as_str());
        if let Some(effort) = self.effort {
            out.push_str(&format!(";effort={}", effort.as_str()));
        }
        if let Some(budget) = self.budget {
            out.push_str(&format!(";budget={budget}"));
        }
        if let Some(model) = &self.model {
            out.push_str(&format!(";model={model}"));
        }
        if !self.lossy.is_empty() {
            let codes: Vec<String> = self.lossy.iter().map(Lossy::to_string).collect();
            out.push_str(&format!(";lossy={}", codes.join(",")));
        }
        out
    }

    /// One note for each thing lost, `applied CODE: sentence`.
    pub fn notes(&self) -> impl Iterator<Item = String> + '_ {
        self.lossy.iter().map(|lossy| format!("applied {lossy}: {}", lossy.meaning()))
    }

    /// Notes something lost, once.
    pub fn lost(&mut self, lossy: Lossy) {
        if !self.lossy.contains(&lossy) {
            self.lossy.push(lossy);
        }
    }
}
