//! What would turn the thinking mode around: the nearest change, stated so that a person can make it.

use super::score::{Assessment, logistic};
use super::{Evidence, Flip, Source, Thinking, Verdict};
use crate::conversation::{Asks, Mode, Wish};
use crate::policy::Preset;
use crate::rules::RuleSet;

/// The nearest change that gives the other mode; none where the model or the token cap settled it.
pub(super) fn nearest(
    assessment: &Assessment,
    verdict: &Verdict,
    thinking: &Thinking,
    wishes: &[Wish],
    preset: &Preset,
    rules: &RuleSet,
) -> Option<Flip> {
    if thinking.mode != verdict.mode {
        return None;
    }
    let to = if verdict.mode == Mode::On { Mode::Off } else { Mode::On };
    if is_wished(verdict.source) {
        let wish = wishes.iter().find(|wish| wish.honoured && matches!(wish.asks, Asks::Thinking(..)))?;
        return Some(Flip {
            to,
            needs: format!("a wish of at least the rank of {}", verdict.source.as_str()),
            by: format!("asking for the contrary where {} asked", wish.by),
        });
    }
    if let Some(weighed) = &verdict.weighed {
        return Some(weighed.flip());
    }
    let numbers = &rules.strengths().score;
    // What an undecided score would give counts for its side.
    let (needs, bound) = match (to, preset.unsure) {
        (Mode::Off, Mode::Off) => (format!("score < {}", numbers.on_from), numbers.on_from),
        (Mode::Off, Mode::On) => (format!("score < {}", numbers.off_below), numbers.off_below),
        (Mode::On, Mode::Off) => (format!("score >= {}", numbers.on_from), numbers.on_from),
        (Mode::On, Mode::On) => (format!("score >= {}", numbers.off_below), numbers.off_below),
    };
    Some(Flip { to, needs, by: removal(assessment, to, bound) })
}

fn is_wished(source: Source) -> bool {
    matches!(source, Source::Header | Source::Field | Source::Alias | Source::Text | Source::Preset)
}

/// The fewest contributions whose removal crosses the bound, largest first.
fn removal(assessment: &Assessment, to: Mode, bound: f64) -> String {
    let crossed = |thinking: f64| match to {
        Mode::Off => logistic(thinking) < bound,
        Mode::On => logistic(thinking) >= bound,
    };
    let against = |evidence: &&Evidence| {
        !evidence.shadow
            && if to == Mode::Off { evidence.contribution > 0.0 } else { evidence.contribution < 0.0 }
    };
    let mut thinking = assessment.thinking;
    // One that suffices alone is the plainest answer; the smallest such says most.
    let alone = assessment.evidence.iter().filter(against).rfind(|e| crossed(thinking - e.contribution));
    if let Some(evidence) = alone {
        return format!("removing {}", evidence.id);
    }
    let mut removed = Vec::new();
    for evidence in assessment.evidence.iter().filter(against) {
        thinking -= evidence.contribution;
        removed.push(evidence.id.as_str());
        if crossed(thinking) {
            return format!("removing {}", removed.join(" and "));
        }
    }
    let missing = ((bound / (1.0 - bound)).ln() - thinking).abs();
    format!("evidence of {missing:.2} log-odds {} thinking", if to == Mode::On { "for" } else { "against" })
}
