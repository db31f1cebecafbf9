//! One snapshot for all tests, and a short way to decide.

use std::sync::{Arc, LazyLock};

use serde_json::{Value, json};
use thinkgate::classifier::Classifier;
use thinkgate::conversation::Conversation;
use thinkgate::decide::{Decision, Snapshot, decide};
use thinkgate::policy::{Architecture, ModelProfile, Policy, Skill, ThinkingAbility};
use thinkgate::rules::RuleSet;

/// The shipped rules and classifier, a small dense and a large MoE model.
pub(crate) static SNAPSHOT: LazyLock<Snapshot> = LazyLock::new(|| {
    let classifier = Classifier::builtin().unwrap_or_else(|error| panic!("{error}"));
    Snapshot { classifier: Some(Arc::new(classifier)), ..RULES_ALONE.clone() }
});

/// The same without the classifier.
pub(crate) static RULES_ALONE: LazyLock<Snapshot> = LazyLock::new(|| {
    let rules = RuleSet::builtin().unwrap_or_else(|faults| panic!("{faults:#?}"));
    let policy = Policy {
        models: vec![
            model(
                "small",
                Architecture::Dense,
                600,
                600,
                Skill { direct: 0.30, thinking: 0.40, narrow: false },
            ),
            model(
                "large",
                Architecture::Moe,
                30_500,
                3_300,
                Skill { direct: 0.60, thinking: 0.77, narrow: false },
            ),
        ],
        presets: Policy::builtin_presets(),
        preset: "api".into(),
    };
    Snapshot { rules, policy, classifier: None }
});

fn model(name: &str, architecture: Architecture, total: u64, active: u64, skill: Skill) -> ModelProfile {
    ModelProfile {
        name: name.into(),
        architecture,
        total_params: Some(total * 1_000_000),
        active_params: Some(active * 1_000_000),
        context_length: Some(32_768),
        thinking: ThinkingAbility::Hybrid,
        tools: true,
        vision: false,
        skill: Some(skill),
        price: None,
        calibrated: None,
        calibration_absent: false,
    }
}

/// Decides one user message.
pub(crate) fn of_prompt(prompt: &str) -> Decision {
    decide(&Conversation::of_prompt(prompt), &SNAPSHOT)
}

/// Decides a whole request body.
pub(crate) fn of_body(body: &Value) -> Decision {
    let conversation =
        Conversation::from_body(body, &SNAPSHOT.policy).unwrap_or_else(|error| panic!("{error}"));
    decide(&conversation, &SNAPSHOT)
}

/// Decides a conversation given as (role, text).
pub(crate) fn of_turns(turns: &[(&str, &str)]) -> Decision {
    let messages: Vec<Value> =
        turns.iter().map(|(role, text)| json!({"role": role, "content": text})).collect();
    of_body(&json!({"messages": messages}))
}

/// Mode and source in one comparable word.
pub(crate) fn verdict(decision: &Decision) -> String {
    format!("{} {}", decision.thinking.mode.as_str(), decision.thinking.source.as_str())
}
