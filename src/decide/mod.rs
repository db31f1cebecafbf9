//! "So what do we do?" One pure function: no I/O, no clock, no metrics.
//!
//! Gateway, `explain`, `classify`, the rule cases and the tests all call [`decide`] and print what it returns.

mod arms;
mod decision;
mod flip;
mod profile;
mod score;
mod trained;
mod warm;
mod wishes;

use std::borrow::Cow;
use std::sync::Arc;

pub use decision::*;
pub(crate) use wishes::read;

use crate::classifier::Classifier;
use crate::conversation::{Asks, Conversation, Mode, Origin, Role, Wish};
use crate::policy::{Effort, Policy, Preset};
use crate::reading::Reading;
use crate::rules::{Directive, Effect, Placed, Rule, RuleSet, Sight};
use crate::signals::{Errand, errand, language_of, order_in_system};
use score::Assessment;

/// Everything deciding depends on besides the request. Immutable; a reload swaps the whole.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// The hand-written judgements.
    pub rules: RuleSet,
    /// The trained vote beside them; without it the rules decide alone.
    pub classifier: Option<Arc<Classifier>>,
    /// Models and presets.
    pub policy: Policy,
}

impl Snapshot {
    fn preset(&self, conversation: &Conversation<'_>) -> (&str, Cow<'_, Preset>) {
        let name = conversation.preset.as_deref().unwrap_or(&self.policy.preset);
        match self.policy.presets.get_key_value(name) {
            Some((name, preset)) => (name, Cow::Borrowed(preset)),
            None => ("api", Cow::Owned(Preset::default())),
        }
    }
}

/// Decides one request: wishes first, then signals, rules and score, then the arm.
#[must_use]
pub fn decide(conversation: &Conversation<'_>, snapshot: &Snapshot) -> Decision {
    let (preset_name, preset) = snapshot.preset(conversation);
    let readings = Readings::of(conversation, &snapshot.rules);
    let assessment = score::assess(conversation, &readings, snapshot);
    let mut wishes = wishes::collect(conversation, &readings, preset_name, &preset);
    let mut notes = Vec::new();
    let mut verdict = settle(&assessment, &mut wishes, &preset, &snapshot.rules);
    verdict.cheapest = readings.errand == Some(Errand::Chore);
    let language = language_of(readings.last().ask());
    let plan = arms::plan(
        conversation,
        &snapshot.policy,
        &snapshot.rules,
        &assessment,
        language,
        &mut verdict,
        &preset,
        &wishes,
        &mut notes,
    );
    mark_model_wishes(&mut wishes, &plan.model);
    note_conflicts(&wishes, &mut notes);
    if snapshot.classifier.is_none() {
        notes.push("classifier absent: rules alone decide, probabilities are not calibrated".to_owned());
    } else if !assessment.calibrated() {
        notes.push("classifier silent: the words point back, the probability is not calibrated".to_owned());
    }
    let thinking = Thinking {
        mode: plan.mode,
        budget_tokens: plan.budget,
        effort: plan.budget.map_or(Effort::None, Effort::holding),
        probability: assessment.probability(),
        source: verdict.source,
    };
    Decision {
        id: None,
        flip: flip::nearest(&assessment, &verdict, &thinking, &wishes, &preset, &snapshot.rules),
        thinking,
        model: plan.model,
        architecture: plan.architecture,
        score: assessment.score,
        strong_probability: assessment.strong_probability(),
        task: assessment.task(),
        language,
        ask: Ask { message: readings.turns[0].index, spans: readings.last().ask_spans() },
        abstained: verdict.abstained,
        wishes,
        evidence: assessment.evidence,
        arms: plan.arms,
        notes,
        applied: None,
        versions: Versions {
            rules: snapshot.rules.version().to_owned(),
            classifier: snapshot.classifier.as_ref().map(|classifier| classifier.version.clone()),
            calibration: profile::version(&snapshot.policy),
        },
        micros: None,
    }
}

/// User turns looked at besides the last one.
const EARLIER_TURNS: usize = 2;

/// A message prepared for deciding.
pub(crate) struct Turn<'r> {
    /// Index in the conversation.
    index: usize,
    pub(crate) reading: Reading,
    /// Where rules may match in the whole of it.
    sight: Sight<'r>,
    /// The directives it states.
    stated: Vec<Directive<'r>>,
}

impl Turn<'_> {
    pub(crate) fn placed(&self) -> Placed<'_> {
        Placed { message: self.index, reading: &self.reading, sight: &self.sight }
    }

    /// Whether this one directive rule states its wish here; what the packs' examples are checked with.
    pub(crate) fn states(&self, rule: &Rule) -> bool {
        let Effect::Asks { mode, .. } = rule.effect else { return false };
        self.stated.iter().any(|directive| directive.rule.id == rule.id && directive.asks == mode)
    }
}

/// The messages that deciding reads, each prepared once.
pub(crate) struct Readings<'r> {
    /// The last user message, then earlier ones, newest first.
    turns: Vec<Turn<'r>>,
    system: Vec<Turn<'r>>,
    /// What a client program asks for itself, where it is not the person who asks.
    errand: Option<Errand>,
}

impl<'r> Readings<'r> {
    fn of(conversation: &Conversation<'_>, rules: &'r RuleSet) -> Self {
        let messages = &conversation.messages;
        let read = |index: usize| {
            let mut turn = wishes::read(rules, index, &messages[index].text);
            if matches!(messages[index].role, Role::Tool | Role::Assistant) {
                turn.stated.clear();
            }
            turn
        };
        let with_role = |role: Role| (0..messages.len()).filter(move |index| messages[*index].role == role);
        // A request may end in something no person wrote; then its last message is what there is to judge.
        let order = order_in_system(conversation);
        let last = order.or_else(|| conversation.last_user()).or_else(|| messages.len().checked_sub(1));
        let earlier = with_role(Role::User)
            .filter(|index| order.is_none() && Some(*index) != last)
            .rev()
            .take(EARLIER_TURNS);
        let mut turns: Vec<Turn<'r>> = last.into_iter().chain(earlier).map(read).collect();
        if turns.is_empty() {
            turns.push(wishes::read(rules, 0, ""));
        }
        let system = with_role(Role::System).filter(|index| Some(*index) != last).map(read).collect();
        let errand = errand(conversation, &turns[0].reading);
        Readings { turns, system, errand }
    }

    fn last(&self) -> &Reading {
        &self.turns[0].reading
    }
}

/// The thinking mode with what settled it.
#[derive(Debug, Clone)]
pub(crate) struct Verdict {
    mode: Mode,
    /// A budget the client named.
    budget: Option<u32>,
    source: Source,
    abstained: bool,
    /// Any model will do.
    cheapest: bool,
    /// The chosen model's profile settled the mode.
    weighed: Option<profile::Weighed>,
}

/// The first wish in rank order settles the mode; without one, the score does; without that, the preset.
fn settle(assessment: &Assessment, wishes: &mut [Wish], preset: &Preset, rules: &RuleSet) -> Verdict {
    let numbers = &rules.strengths().score;
    let undecided = assessment.score >= numbers.off_below && assessment.score < numbers.on_from;
    let first = wishes.iter_mut().find(|wish| matches!(wish.asks, Asks::Thinking(..)));
    if let Some(wish) = first {
        let Asks::Thinking(mode, budget) = wish.asks else { unreachable!("filtered above") };
        wish.honoured = true;
        let source = match wish.origin {
            Origin::Header => Source::Header,
            Origin::Field => Source::Field,
            Origin::Alias => Source::Alias,
            Origin::Text => Source::Text,
            Origin::Preset => Source::Preset,
        };
        // Wishes that agree with the first one had their way too.
        for other in wishes.iter_mut() {
            other.honoured |= matches!(other.asks, Asks::Thinking(asked, _) if asked == mode);
        }
        return Verdict { mode, budget, source, abstained: false, cheapest: false, weighed: None };
    }
    let mode = if assessment.score >= numbers.on_from { Mode::On } else { Mode::Off };
    if undecided {
        Verdict {
            mode: preset.unsure,
            budget: None,
            source: Source::Default,
            abstained: true,
            cheapest: false,
            weighed: None,
        }
    } else {
        Verdict {
            mode,
            budget: None,
            source: assessment.source(mode, numbers),
            abstained: false,
            cheapest: false,
            weighed: None,
        }
    }
}

fn mark_model_wishes(wishes: &mut [Wish], chosen: &str) {
    for wish in wishes {
        if matches!(&wish.asks, Asks::Model(name) if name == chosen) {
            wish.honoured = true;
        }
    }
}

/// A wish that lost is told, never dropped in silence.
fn note_conflicts(wishes: &[Wish], notes: &mut Vec<String>) {
    for lost in wishes.iter().filter(|wish| !wish.honoured) {
        let winner = wishes.iter().find(|wish| {
            wish.honoured && std::mem::discriminant(&wish.asks) == std::mem::discriminant(&lost.asks)
        });
        let by = winner.map_or_else(|| "what fits the request".to_owned(), |wish| wish.by.clone());
        notes.push(format!("wish overruled: {} gave way to {by}", lost.by));
    }
}
