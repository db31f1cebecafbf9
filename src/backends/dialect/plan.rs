//! What to tell a backend, before it is put in the backend's words: the decision, held against what is known of the model.

use serde_json::{Map, Value};

use super::Call;
use super::restate::schema_of;
use crate::backends::applied::{Applied, Lossy};
use crate::backends::capability::{CapCounts, Capability, Conflict, Depth, Spelling};
use crate::backends::intent::{Asked, Intent};
use crate::backends::wire::history;
use crate::config::{Upstream, Wire};
use crate::conversation::Mode;
use crate::policy::{Effort, ThinkingAbility};

/// What to tell a backend.
#[derive(Debug)]
pub(super) struct Plan<'u> {
    pub(super) upstream: &'u Upstream,
    pub(super) model_id: &'u str,
    pub(super) capability: &'static Capability,
    pub(super) say: Say,
    /// The model has both modes, so that a word about the mode is understood.
    pub(super) switchable: bool,
    /// The effort to name.
    pub(super) effort: Option<Effort>,
    /// The budget to name, in tokens.
    pub(super) budget: Option<u32>,
    /// The answer must come as a stream, whatever the client wants.
    pub(super) force_stream: bool,
    /// Whether to call a tool is left to the model.
    pub(super) frees_tools: bool,
    /// The client set a cap on tokens.
    pub(super) capped: bool,
    pub(super) applied: Applied,
}

/// What to say about the mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Say {
    /// Nothing: the model has one mode, and no depth.
    Nothing,
    /// Do not think.
    Off,
    /// Think as little as you can: off, for a model that always thinks.
    Least,
    /// Think.
    On,
}

impl<'u> Plan<'u> {
    pub(super) fn of(call: &Call, upstream: &'u Upstream) -> Plan<'u> {
        let intent = Intent::of(call);
        let mut plan = Plan::for_mode(intent.mode, upstream);
        match intent.mode {
            Mode::On => plan.turn_on(&intent, &call.body),
            Mode::Off => plan.turn_off(&call.body),
        }
        plan.note_the_rest(call);
        plan
    }

    fn for_mode(mode: Mode, upstream: &'u Upstream) -> Self {
        let capability = upstream.capability(mode);
        // What the operator says of the one model does not hold for each of a pair.
        let stated = upstream.thinking.filter(|_| upstream.thinking_model_id.is_none());
        Plan {
            upstream,
            model_id: upstream.model_for(mode),
            capability,
            say: Say::Nothing,
            switchable: stated.unwrap_or(capability.thinking) == ThinkingAbility::Hybrid,
            effort: None,
            budget: None,
            force_stream: false,
            frees_tools: false,
            capped: false,
            applied: Applied { mode, effort: None, budget: None, model: None, lossy: Vec::new() },
        }
    }

    fn ability(&self) -> ThinkingAbility {
        match self.upstream.thinking.filter(|_| self.upstream.thinking_model_id.is_none()) {
            Some(stated) => stated,
            None => self.capability.thinking,
        }
    }

    fn turn_on(&mut self, intent: &Intent, body: &Map<String, Value>) {
        if self.ability() == ThinkingAbility::Never {
            self.applied.mode = Mode::Off;
            self.applied.lost(Lossy::OnUnsupported);
            return;
        }
        self.set_depth(intent, cap_of(body));
        let elsewhere = self.upstream.thinking_model_id.is_some();
        if let Some(reason) = self.excluded(body).filter(|_| self.switchable || elsewhere) {
            *self = Plan::for_mode(Mode::Off, self.upstream);
            self.applied.lost(reason);
            return self.turn_off(body);
        }
        let told = self.switchable || self.effort.is_some() || self.budget.is_some();
        self.say = if told { Say::On } else { Say::Nothing };
    }

    fn turn_off(&mut self, body: &Map<String, Value>) {
        match self.ability() {
            ThinkingAbility::Never => return,
            ThinkingAbility::Hybrid => self.say = Say::Off,
            ThinkingAbility::Always => self.turn_low(),
        }
        if self.applied.mode == Mode::Off && self.capability.json == Conflict::TurnsOn && wants_json(body) {
            self.applied.mode = Mode::On;
            self.applied.lost(Lossy::OnForJson);
        }
    }

    /// The nearest to off that a model has which always thinks.
    fn turn_low(&mut self) {
        self.applied.mode = Mode::On;
        self.effort = self.capability.lowest();
        self.budget = self.budget_rule().map(|rule| rule.min).filter(|_| self.effort.is_none());
        (self.applied.effort, self.applied.budget) = (self.effort, self.budget);
        let (say, lossy) = match (self.effort, self.budget) {
            (Some(_), _) => (Say::Least, Lossy::OffToMinEffort),
            (None, Some(_)) => (Say::Least, Lossy::OffToMinBudget),
            (None, None) => (Say::Nothing, Lossy::OffUnsupported),
        };
        self.say = say;
        self.applied.lost(lossy);
    }

    fn budget_rule(&self) -> Option<crate::backends::capability::BudgetRule> {
        self.capability.budget.filter(|rule| !rule.started_for_it || self.upstream.budget)
    }

    /// Which of effort and budget can be told, and what is lost by it.
    fn set_depth(&mut self, intent: &Intent, cap: Option<u64>) {
        let mut effort = self.capability.nearest(intent.effort);
        let mut budget = self.budget_rule().zip(intent.budget);
        if let (Some(either), Some(_), Some(_)) = (self.capability.either, effort, budget) {
            let wanted = match intent.asked {
                Asked::Nothing => either,
                Asked::Effort => Depth::Effort,
                Asked::Budget => Depth::Budget,
            };
            match wanted {
                Depth::Effort => budget = None,
                Depth::Budget => effort = None,
            }
        }
        if let (Some(given), None) = (effort, budget) {
            if intent.asked != Asked::Effort && intent.budget.is_some() {
                self.applied.lost(Lossy::BudgetToEffort);
            }
            if given != intent.effort {
                self.applied.lost(Lossy::EffortClamped(intent.effort, given));
            }
        }
        match (effort, budget) {
            (None, Some(_)) if intent.asked == Asked::Effort => self.applied.lost(Lossy::EffortToBudget),
            (None, None) if intent.asked == Asked::Effort => self.applied.lost(Lossy::EffortDropped),
            (None, None) if intent.budget.is_some() => self.applied.lost(Lossy::BudgetDropped),
            _ => {}
        }
        self.effort = effort;
        let cap = cap.filter(|_| self.capability.cap_counts == CapCounts::All);
        let half = cap.and_then(|cap| u32::try_from(cap / 2).ok()).unwrap_or(u32::MAX);
        self.budget = budget.map(|(rule, tokens)| {
            // Deciding left room for the answer; what is clamped upwards here must leave some too.
            let fits = if cap.is_some_and(|cap| u64::from(tokens) >= cap) { half } else { tokens };
            let given = fits.clamp(rule.min, rule.max);
            if given != tokens {
                self.applied.lost(Lossy::BudgetClamped);
            }
            given
        });
        (self.applied.effort, self.applied.budget) = (self.effort, self.budget);
    }

    /// What of the request leaves no place for thinking.
    fn excluded(&self, body: &Map<String, Value>) -> Option<Lossy> {
        if self.capability.forced_tools == Conflict::TurnsOff && forces_tools(body) {
            return Some(Lossy::OffForTools);
        }
        if self.capability.json == Conflict::TurnsOff && wants_json(body) {
            return Some(Lossy::OffForJson);
        }
        if self.thinks_by_budget() && history::begins_unthought(body) {
            return Some(Lossy::OffForHistory);
        }
        let least = self.budget.filter(|_| self.capability.cap_counts == CapCounts::All).map(u64::from);
        match (least, cap_of(body)) {
            (Some(budget), Some(cap)) if budget >= cap => Some(Lossy::OffForRoom),
            _ => None,
        }
    }

    /// Anthropic's first way of thinking, which is strict about what went before.
    fn thinks_by_budget(&self) -> bool {
        match self.capability.spelling {
            Spelling::Enabled => true,
            Spelling::EnabledOrAdaptive => self.budget.is_some(),
            _ => false,
        }
    }

    fn note_the_rest(&mut self, call: &Call) {
        self.capped = cap_of(&call.body).is_some();
        if self.upstream.thinking_model_id.is_some() && self.model_id != self.upstream.model_id {
            self.applied.model = Some(self.model_id.to_owned());
            self.applied.lost(Lossy::SwitchedModel);
        }
        let thinks = self.applied.mode == Mode::On;
        let forced = forces_tools(&call.body);
        let must_yield = match self.capability.forced_tools {
            Conflict::Yields => true,
            // A model that always thinks, told to do so as little as it can, thinks still.
            Conflict::TurnsOff => thinks,
            Conflict::None | Conflict::TurnsOn => false,
        };
        if forced && must_yield {
            self.frees_tools = true;
            self.applied.lost(Lossy::ToolChoiceDropped);
        }
        let anthropic = matches!(self.upstream.wire, Wire::Anthropic | Wire::Bedrock);
        let is_schema = schema_of(&call.body).is_some();
        let is_json = wants_json(&call.body) && !is_schema;
        if (self.capability.json_objects_only && is_schema) || (anthropic && is_json) {
            self.applied.lost(Lossy::SchemaInText);
        }
        let says = |field: &str| call.body.get(field).is_some_and(|value| !is_neutral(field, value));
        if anthropic && ANTHROPIC_LACKS.iter().any(|field| says(field)) {
            self.applied.lost(Lossy::SamplingDropped);
        }
        if thinks && self.capability.thinks_in_streams_only && !call.stream {
            self.force_stream = true;
            self.applied.lost(Lossy::ForcedStream);
        }
        if self.capability.spelling == Spelling::SoftSwitch && self.switchable {
            self.applied.lost(Lossy::SoftSwitchUsed);
        }
        if self.refused().any(|field| call.body.get(field).is_some_and(|value| !is_neutral(field, value))) {
            self.applied.lost(Lossy::SamplingDropped);
        }
    }

    /// Sampling fields that the model refuses in this mode.
    pub(super) fn refused(&self) -> impl Iterator<Item = &'static str> + use<> {
        let capability = self.capability;
        let while_thinking: &[String] =
            if self.applied.mode == Mode::On { &capability.refuses_thinking } else { &[] };
        capability.refuses.iter().chain(while_thinking).map(String::as_str)
    }
}

/// Sampling fields of chat completions that Anthropic's messages and Bedrock's Converse have no place for.
const ANTHROPIC_LACKS: [&str; 6] =
    ["presence_penalty", "frequency_penalty", "seed", "logit_bias", "logprobs", "top_logprobs"];

/// The client demands that a tool be called.
fn forces_tools(body: &Map<String, Value>) -> bool {
    match body.get("tool_choice") {
        Some(Value::String(choice)) => matches!(choice.as_str(), "required" | "any"),
        Some(Value::Object(choice)) => choice.get("type").is_none_or(|kind| kind != "auto" && kind != "none"),
        _ => false,
    }
}

/// The client demands JSON, of a schema or of any.
fn wants_json(body: &Map<String, Value>) -> bool {
    let kind = body.get("response_format").and_then(|format| format.get("type")).and_then(Value::as_str);
    matches!(kind, Some("json_schema" | "json_object"))
}

/// The client's cap on generated tokens, by whichever name.
pub(super) fn cap_of(body: &Map<String, Value>) -> Option<u64> {
    let stated = |field: &str| body.get(field).and_then(Value::as_u64);
    let (new, old) = (stated("max_completion_tokens"), stated("max_tokens"));
    new.into_iter().chain(old).min()
}

/// The value asks for nothing in particular, so that leaving it out changes nothing.
fn is_neutral(field: &str, value: &Value) -> bool {
    let neutral = match field {
        "temperature" | "top_p" | "repetition_penalty" => Some(1.0),
        "presence_penalty" | "frequency_penalty" | "min_p" => Some(0.0),
        _ => None,
    };
    value.is_null() || *value == false || (neutral.is_some() && value.as_f64() == neutral)
}
