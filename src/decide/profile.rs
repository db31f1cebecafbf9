//! What the measured profile of a model says of this request, and where it settles whether to think.

use super::{Flip, Source, Verdict};
use crate::calibration::{Calibrated, Inputs, Outlook};
use crate::conversation::Mode;
use crate::policy::{ModelProfile, Policy, ThinkingAbility};

/// A mode that follows from a profile.
#[derive(Debug, Clone)]
pub(crate) struct Weighed {
    mode: Mode,
    model: String,
    outlook: Outlook,
    least_gain: f64,
}

/// Hash of the calibration that the profiles come from.
pub(super) fn version(policy: &Policy) -> Option<String> {
    policy.models.iter().find_map(|model| model.calibrated.as_ref()).map(|of| of.version.clone())
}

/// Says where a calibration was meant to be, and where it is not of every model: success that was measured on an
/// operator's rows and success that was estimated from a model's size differ in what they are shares of.
pub(super) fn note_gaps(models: &[&ModelProfile], notes: &mut Vec<String>) {
    if models.iter().any(|model| model.calibration_absent) {
        notes.push("calibration absent: the score alone says where to think".to_owned());
    }
    let without: Vec<&str> =
        models.iter().filter(|model| model.calibrated.is_none()).map(|model| model.name.as_str()).collect();
    if !without.is_empty() && without.len() < models.len() {
        notes.push(format!(
            "calibration partial: the success of {} is estimated, not measured",
            without.join(", ")
        ));
    }
}

/// Success and tokens of an arm whose model was measured.
pub(super) fn expected(model: &ModelProfile, mode: Mode, inputs: &Inputs) -> Option<(f64, f64)> {
    let outlook = model.calibrated.as_ref()?.profile.outlook(inputs);
    Some(match mode {
        Mode::Off => (outlook.without, outlook.tokens_without),
        Mode::On => (outlook.with, outlook.tokens_with),
    })
}

/// The mode this model would be used in.
pub(super) fn mode(model: &ModelProfile, verdict: &Verdict, inputs: &Inputs) -> Mode {
    weigh(model, verdict, inputs).map_or(verdict.mode, |weighed| weighed.mode)
}

/// Lets the chosen model's profile have the last word on the mode, and says so.
pub(super) fn settle(model: &ModelProfile, inputs: &Inputs, verdict: &mut Verdict, notes: &mut Vec<String>) {
    let Some(weighed) = weigh(model, verdict, inputs) else { return };
    notes.push(weighed.note(verdict.mode));
    verdict.mode = weighed.mode;
    if verdict.source == Source::Default {
        (verdict.source, verdict.abstained) = (Source::Score, false);
    }
    verdict.weighed = Some(weighed);
}

/// Only a mode that nobody asked for and no decisive rule settled is a profile's to weigh, and only where the model can
/// do both.
fn weigh(model: &ModelProfile, verdict: &Verdict, inputs: &Inputs) -> Option<Weighed> {
    let by_score = matches!(verdict.source, Source::Score | Source::Default | Source::Inherited);
    if !by_score || verdict.cheapest || model.thinking != ThinkingAbility::Hybrid {
        return None;
    }
    let Calibrated { profile, least_gain, .. } = &**model.calibrated.as_ref()?;
    let outlook = profile.outlook(inputs);
    let mode = if outlook.gain_per_1000_tokens() >= *least_gain { Mode::On } else { Mode::Off };
    Some(Weighed { mode, model: model.name.clone(), outlook, least_gain: *least_gain })
}

impl Weighed {
    fn note(&self, by_score: Mode) -> String {
        let does = if self.mode == Mode::On { "thinks" } else { "answers at once" };
        let turned = if by_score == self.mode {
            String::new()
        } else {
            format!("; the score alone says {}", by_score.as_str())
        };
        format!(
            "profile: {} {does}: right {:.2} without and {:.2} with about {:.0} tokens of thinking, {:+.3} per 1,000 where {} \
             is asked{turned}",
            self.model,
            self.outlook.without,
            self.outlook.with,
            self.outlook.thinking_tokens(),
            self.outlook.gain_per_1000_tokens(),
            self.least_gain
        )
    }

    /// The gain that would turn the mode around, and a change of the configuration or request that does.
    pub(super) fn flip(&self) -> Flip {
        let gain = self.outlook.gain_per_1000_tokens();
        // Rounded so that the figure named lies on the other side.
        let (to, needs, bound) = match self.mode {
            Mode::On => (Mode::Off, "<", (gain * 1e4).floor() / 1e4 + 1e-4),
            Mode::Off => (Mode::On, ">=", (gain * 1e4).floor() / 1e4),
        };
        let by = if (0.0..=1.0).contains(&bound) {
            format!("gain_per_1000_tokens = {bound:.4} in [calibration]")
        } else {
            format!("asking for it, as with enable_thinking: {}", to == Mode::On)
        };
        let needs = format!(
            "a gain of {needs} {} per 1,000 tokens of thinking on {}, which is {gain:.4}",
            self.least_gain, self.model
        );
        Flip { to, needs, by }
    }
}
