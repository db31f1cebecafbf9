//! From the verdict to an arm: which models fit, what each is expected to achieve and to cost, and how long to
//! think.

use super::score::{Assessment, logistic};
use super::{Arm, Verdict, profile, warm};
use crate::calibration::Inputs;
use crate::conversation::{Asks, Conversation, Mode, Wish};
use crate::policy::{Architecture, Effort, ModelProfile, Policy, Preset, Skill, ThinkingAbility};
use crate::rules::RuleSet;
use crate::signals::estimated_tokens;

/// Success that doubling the cost must buy.
pub(super) const PRICE_OF_DOUBLING: f64 = 0.03;
/// Utilities this close are a tie, which the cheaper arm wins.
const NEAR_TIE: f64 = 0.01;
/// The same for work that weaker models seldom fail at: there a point of success more is not worth a model many times the
/// size.
const EASY_TIE: f64 = 0.1;
/// Probability that the weaker models fail, up to which work is easy.
const EASY: f64 = 0.25;
/// Complexity, in log-odds, of the suites that skills are measured on.
const SUITE_COMPLEXITY: f64 = 1.0;
/// The closing sentence costs more than a thought this short: on hard questions the embedded dense model spends 47
/// tokens at a budget of 16 and is right on 32 %, 40 tokens at a budget of 32 and is right on 54 %.
const SMALLEST_BUDGET: u32 = 32;

/// What to run.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) model: String,
    pub(super) architecture: Architecture,
    pub(super) mode: Mode,
    pub(super) budget: Option<u32>,
    pub(super) arms: Vec<Arm>,
}

/// Chooses model and budget for the settled mode.
#[expect(clippy::too_many_arguments, reason = "the last step sees everything the earlier ones made")]
pub(super) fn plan(
    conversation: &Conversation<'_>,
    policy: &Policy,
    rules: &RuleSet,
    assessment: &Assessment,
    language: &'static str,
    verdict: &mut Verdict,
    preset: &Preset,
    wishes: &[Wish],
    notes: &mut Vec<String>,
) -> Plan {
    let mut tokens = Expected::of(assessment, rules, conversation);
    let fitting = fitting_models(conversation, policy, wishes, &tokens, notes);
    let inputs = Inputs::new(assessment.thinking, assessment.complexity, assessment.task().label, language);
    let arms = ranked(&fitting, assessment, &tokens, &inputs);
    profile::note_gaps(&fitting, notes);
    let near = match verdict.cheapest {
        true => f64::INFINITY,
        false if assessment.strong_probability() <= EASY => EASY_TIE,
        false => NEAR_TIE,
    };
    let settled = |model: &ModelProfile| profile::mode(model, verdict, &inputs);
    let chosen = choose(&arms, &fitting, settled, near).map(|model| match verdict.cheapest {
        true => model,
        false => warm::keep(model, &fitting, &arms, settled, conversation, tokens.prompt, notes),
    });
    if let Some(model) = chosen {
        profile::settle(model, &inputs, verdict, notes);
        tokens.measured(model, &inputs);
    }
    let Some(model) = chosen else {
        return Plan {
            model: String::new(),
            architecture: Architecture::Dense,
            mode: verdict.mode,
            budget: (verdict.mode == Mode::On).then(|| tokens.budget(verdict, preset, conversation)),
            arms,
        };
    };
    let mode = possible_mode(model, verdict.mode, notes);
    let budget = match mode {
        Mode::Off => None,
        Mode::On => bounded_budget(&tokens, verdict, preset, conversation, model, notes),
    };
    let mode = if budget.is_none() { Mode::Off } else { mode };
    Plan { model: model.name.clone(), architecture: model.architecture, mode, budget, arms }
}

/// Expected tokens of this request.
struct Expected {
    prompt: f64,
    thinking: f64,
    answer: f64,
    headroom: f64,
}

impl Expected {
    fn of(assessment: &Assessment, rules: &RuleSet, conversation: &Conversation<'_>) -> Self {
        let numbers = &rules.strengths().tokens;
        let label = assessment.task().label;
        let prompt: f32 = conversation.messages.iter().map(|message| cheap_estimate(&message.text)).sum();
        Expected {
            prompt: f64::from(prompt),
            thinking: assessment.expected_tokens.map_or_else(
                || numbers.thinking * assessment.complexity.clamp(-4.0, 5.0).exp2(),
                |log2| log2.clamp(5.0, 14.0).exp2(),
            ),
            answer: numbers.answer.get(&label).copied().unwrap_or(150.0),
            headroom: numbers.headroom,
        }
    }

    /// The budget before the model's own limits: the client's figure, or the effort that holds the expectation.
    fn budget(&self, verdict: &Verdict, preset: &Preset, conversation: &Conversation<'_>) -> u32 {
        let wanted = verdict.budget.unwrap_or_else(|| {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped, positive")]
            let needed = (self.thinking * self.headroom).clamp(1.0, 1e6) as u32;
            Effort::holding(needed).budget()
        });
        wanted.min(preset.max_budget_tokens).min(conversation.budget_cap.unwrap_or(u32::MAX))
    }

    /// What the model's profile expects takes the place of what is expected of any model.
    fn measured(&mut self, model: &ModelProfile, inputs: &Inputs) {
        if let Some(calibrated) = &model.calibrated {
            let outlook = calibrated.profile.outlook(inputs);
            (self.answer, self.thinking) = (outlook.tokens_without, outlook.thinking_tokens());
        }
    }

    fn of_mode(&self, mode: Mode) -> f64 {
        match mode {
            Mode::Off => self.answer,
            Mode::On => self.answer + self.thinking,
        }
    }
}

/// Exact up to a page; beyond it the length in bytes tells enough.
fn cheap_estimate(text: &str) -> f32 {
    if text.len() <= 4096 {
        return estimated_tokens(text);
    }
    let head = &text[..text.floor_char_boundary(4096)];
    #[expect(clippy::cast_precision_loss, reason = "an estimate")]
    let ratio = text.len() as f32 / head.len() as f32;
    estimated_tokens(head) * ratio
}

/// The models that can take the request; all of them where none can, with a note.
fn fitting_models<'p>(
    conversation: &Conversation<'_>,
    policy: &'p Policy,
    wishes: &[Wish],
    tokens: &Expected,
    notes: &mut Vec<String>,
) -> Vec<&'p ModelProfile> {
    let wished = wishes.iter().find_map(|wish| match &wish.asks {
        Asks::Model(name) => Some(name.as_str()),
        Asks::Thinking(..) => None,
    });
    let named = wished.or(conversation.model.as_deref());
    if let Some(model) = named.and_then(|name| policy.models.iter().find(|model| model.name == name)) {
        return vec![model];
    }
    let mut refused = Vec::new();
    let allowed = || policy.models.iter().filter(|model| !conversation.barred.contains(&model.name));
    let fitting: Vec<&ModelProfile> = allowed()
        .filter(|model| match misfit(model, conversation, tokens) {
            None => true,
            Some(reason) => {
                refused.push(format!("model left out: {} {reason}", model.name));
                false
            }
        })
        .collect();
    notes.extend(refused);
    if fitting.is_empty() && !policy.models.is_empty() {
        notes.push("no model fits: choosing among all".to_owned());
        return allowed().collect();
    }
    fitting
}

fn misfit(model: &ModelProfile, conversation: &Conversation<'_>, tokens: &Expected) -> Option<&'static str> {
    if conversation.unavailable.contains(&model.name) {
        return Some("cannot take requests now");
    }
    // The estimate is off by a quarter either way, so only a clear misfit counts.
    if model.context_length.is_some_and(|length| tokens.prompt * 0.75 > f64::from(length)) {
        return Some("cannot hold the conversation");
    }
    if conversation.tools > 0 && !model.tools {
        return Some("takes no tools");
    }
    if conversation.images > 0 && !model.vision {
        return Some("takes no images");
    }
    None
}

/// Every arm of the fitting models, best first.
fn ranked(models: &[&ModelProfile], assessment: &Assessment, tokens: &Expected, inputs: &Inputs) -> Vec<Arm> {
    let comparable = models.iter().all(|model| model.skill.is_some_and(|skill| skill.narrow));
    let mut arms: Vec<Arm> = models
        .iter()
        .flat_map(|model| {
            let skill = model.skill.filter(|skill| comparable || !skill.narrow);
            let skill = skill.unwrap_or_else(|| skill_by_size(model));
            modes(model).iter().map(move |mode| {
                let (p_success, generated) = profile::expected(model, *mode, inputs)
                    .unwrap_or_else(|| (success(skill, *mode, assessment), tokens.of_mode(*mode)));
                arm(model, *mode, p_success, generated)
            })
        })
        .collect();
    let cheapest = arms.iter().map(|arm| arm.cost).fold(f64::INFINITY, f64::min);
    for arm in &mut arms {
        arm.cost /= cheapest;
        arm.utility = arm.p_success - PRICE_OF_DOUBLING * arm.cost.log2();
    }
    arms.sort_by(|a, b| b.utility.total_cmp(&a.utility).then(a.cost.total_cmp(&b.cost)));
    arms
}

fn modes(model: &ModelProfile) -> &'static [Mode] {
    match model.thinking {
        ThinkingAbility::Hybrid => &[Mode::Off, Mode::On],
        ThinkingAbility::Always => &[Mode::On],
        ThinkingAbility::Never => &[Mode::Off],
    }
}

fn arm(model: &ModelProfile, mode: Mode, p_success: f64, generated: f64) -> Arm {
    #[expect(clippy::cast_precision_loss, reason = "parameter counts as a cost factor")]
    let per_token = model
        .price
        .unwrap_or_else(|| model.active_params.or(model.total_params).unwrap_or(8_000_000_000) as f64);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped, positive")]
    let shown = generated.clamp(0.0, 1e9) as u32;
    Arm {
        model: model.name.clone(),
        thinking: mode,
        p_success,
        tokens: shown,
        cost: per_token.max(f64::MIN_POSITIVE) * generated,
        utility: 0.0,
    }
}

/// The model's measured skill, shifted by how much harder this request is than the suite it was measured on.
/// Thinking adds its gain only to the extent that thinking is expected to help.
fn success(skill: Skill, mode: Mode, assessment: &Assessment) -> f64 {
    let shifted = |accuracy: f64| {
        let accuracy = accuracy.clamp(0.01, 0.99);
        logistic((accuracy / (1.0 - accuracy)).ln() - (assessment.complexity - SUITE_COMPLEXITY))
    };
    let direct = shifted(skill.direct);
    match mode {
        Mode::Off => direct,
        Mode::On => direct + (shifted(skill.thinking) - direct) * assessment.probability(),
    }
}

/// Prior for models nobody measured: mean scores of the Qwen3 report by size in billions, where a MoE counts as
/// the geometric mean of its total and active parameters.
fn skill_by_size(model: &ModelProfile) -> Skill {
    const BY_SIZE: [(f64, f64, f64); 6] = [
        (0.6, 0.28, 0.36),
        (1.7, 0.40, 0.54),
        (4.0, 0.52, 0.69),
        (8.2, 0.57, 0.73),
        (14.8, 0.61, 0.77),
        (32.8, 0.63, 0.79),
    ];
    #[expect(clippy::cast_precision_loss, reason = "a size in billions")]
    let billions = match (model.total_params, model.active_params) {
        (Some(total), Some(active)) => (total as f64 * active as f64).sqrt() / 1e9,
        (Some(only), None) | (None, Some(only)) => only as f64 / 1e9,
        (None, None) => 8.2,
    };
    // The line through the two nearest sizes, also below the smallest; nothing is gained above the largest.
    let above = BY_SIZE.iter().position(|(size, ..)| *size >= billions).unwrap_or(BY_SIZE.len() - 1).max(1);
    let (low, high) = (BY_SIZE[above - 1], BY_SIZE[above]);
    let share = ((billions.max(1e-6).ln() - low.0.ln()) / (high.0.ln() - low.0.ln())).min(1.0);
    let between = |low: f64, high: f64| (low + (high - low) * share).max(0.02);
    Skill { direct: between(low.1, high.1), thinking: between(low.2, high.2), narrow: false }
}

/// The best arm of those with their model's settled mode; those whose utility is `near` go to the cheaper. Where no model has
/// that mode, the best arm.
fn choose<'p>(
    arms: &[Arm],
    models: &[&'p ModelProfile],
    mode: impl Fn(&ModelProfile) -> Mode,
    near: f64,
) -> Option<&'p ModelProfile> {
    let settled: Vec<(&str, Mode)> = models.iter().map(|model| (model.name.as_str(), mode(model))).collect();
    let with_mode: Vec<&Arm> =
        arms.iter().filter(|arm| settled.contains(&(arm.model.as_str(), arm.thinking))).collect();
    let pool = if with_mode.is_empty() { arms.iter().collect() } else { with_mode };
    let best = pool.first()?;
    let chosen = pool
        .iter()
        .filter(|arm| best.utility - arm.utility <= near)
        .min_by(|a, b| a.cost.total_cmp(&b.cost))?;
    models.iter().copied().find(|model| model.name == chosen.model)
}

fn possible_mode(model: &ModelProfile, wanted: Mode, notes: &mut Vec<String>) -> Mode {
    match (model.thinking, wanted) {
        (ThinkingAbility::Never, Mode::On) => {
            notes.push(format!("on unsupported: {} cannot think", model.name));
            Mode::Off
        }
        (ThinkingAbility::Always, Mode::Off) => {
            notes.push(format!("off unsupported: {} always thinks", model.name));
            Mode::On
        }
        _ => wanted,
    }
}

/// The budget that leaves the answer its room; none where too little is left to think at all.
fn bounded_budget(
    tokens: &Expected,
    verdict: &Verdict,
    preset: &Preset,
    conversation: &Conversation<'_>,
    model: &ModelProfile,
    notes: &mut Vec<String>,
) -> Option<u32> {
    let wanted = tokens.budget(verdict, preset, conversation);
    if verdict.budget.is_some_and(|asked| asked > wanted) {
        notes.push(format!("budget clamped: {wanted} tokens at most"));
    }
    let by_request = conversation.max_tokens.map(|cap| room(cap, tokens.answer));
    let by_context = model.context_length.map(|length| {
        let left = (f64::from(length) - tokens.prompt).max(0.0);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "positive")]
        let left = left as u64;
        room(left, tokens.answer)
    });
    let mut budget = wanted;
    for (limit, reason) in [(by_request, "max_tokens"), (by_context, "the model's context")] {
        let Some(limit) = limit.filter(|limit| *limit < budget) else { continue };
        notes.push(format!("budget clamped: {limit} tokens, because {reason} leaves no more"));
        budget = limit;
    }
    // A wish is obeyed as far as it goes; a guess is not worth a crippled thought.
    let wished = !matches!(
        verdict.source,
        super::Source::Score | super::Source::Rule | super::Source::Default | super::Source::Inherited
    );
    if budget < SMALLEST_BUDGET && !(wished && budget > 0) {
        notes.push(format!("thinking off: {budget} tokens are too few to think in"));
        return None;
    }
    Some(budget)
}

/// What is left for thinking when the answer gets its share, at most half.
fn room(cap: u64, answer: f64) -> u32 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "positive")]
    let reserve = (answer as u64).min(cap / 2);
    u32::try_from(cap - reserve).unwrap_or(u32::MAX)
}
