use std::sync::Arc;

use serde_json::{Value, json};
use thinkgate::calibration::{Calibrated, GAIN_PER_1000_TOKENS, Inputs, Line, Profile};
use thinkgate::conversation::Conversation;
use thinkgate::decide::{Decision, Snapshot, decide};
use thinkgate::policy::ThinkingAbility;

use crate::support::{RULES_ALONE, SNAPSHOT, verdict};

const EASY: &str = "Who is the author of Harry Potter?";
const HARD: &str = "如何证明勾股定理？";

/// A model right on `without` log-odds, to which thinking adds `gain` for 1,000 - 32 tokens.
fn profile(gain: f64) -> Profile {
    let line = |base: f64| Line { base, ..Line::default() };
    Profile {
        rows: 100,
        thinking: [-8.0, 8.0],
        complexity: [-8.0, 8.0],
        without: line(0.0),
        gain: line(gain),
        tokens_without: line(5.0),
        tokens_with: line(1000f64.log2()),
    }
}

fn calibrated(gain: f64, least_gain: f64) -> Arc<Calibrated> {
    Arc::new(Calibrated { profile: profile(gain), least_gain, version: "abc".into() })
}

/// The small model alone, with this profile.
fn alone(gain: f64, least_gain: f64) -> Snapshot {
    let mut snapshot = SNAPSHOT.clone();
    snapshot.policy.models.truncate(1);
    snapshot.policy.models[0].calibrated = Some(calibrated(gain, least_gain));
    snapshot
}

fn of(prompt: &str, snapshot: &Snapshot) -> Decision {
    decide(&Conversation::of_prompt(prompt), snapshot)
}

fn of_body(body: &Value, snapshot: &Snapshot) -> Decision {
    let conversation = Conversation::from_body(body, &snapshot.policy).expect("a request");
    decide(&conversation, snapshot)
}

fn note(decision: &Decision) -> Option<&String> {
    decision.notes.iter().find(|note| note.starts_with("profile: "))
}

#[test]
fn the_mode_follows_what_thinking_buys_on_the_model() {
    for prompt in [EASY, HARD] {
        let gains = of(prompt, &alone(2.0, GAIN_PER_1000_TOKENS));
        assert_eq!(verdict(&gains), "on score", "{prompt}");
        let never = of(prompt, &alone(0.0, GAIN_PER_1000_TOKENS));
        assert_eq!(verdict(&never), "off score", "{prompt}");
        assert!(note(&gains).is_some() && note(&never).is_some());
        assert_eq!(gains.score.to_bits(), of(prompt, &SNAPSHOT).score.to_bits());
    }
    let turned = of(EASY, &alone(2.0, GAIN_PER_1000_TOKENS));
    assert!(note(&turned).is_some_and(|note| note.ends_with("the score alone says off")), "{turned:#?}");
    assert_eq!(turned.versions.calibration.as_deref(), Some("abc"));
}

#[test]
fn an_undecided_score_is_no_longer_left_to_the_preset() {
    let prompt = "The lighthouse keeper's brass telescope";
    assert!(of(prompt, &RULES_ALONE).abstained);
    let decision = of(prompt, &alone(2.0, GAIN_PER_1000_TOKENS));
    assert_eq!((verdict(&decision).as_str(), decision.abstained), ("on score", false));
}

#[test]
fn success_and_tokens_of_arms_are_the_profiles() {
    let decision = of(HARD, &alone(2.0, GAIN_PER_1000_TOKENS));
    let outlook = profile(2.0).outlook(&Inputs::of(&decision));
    for arm in &decision.arms {
        let (success, tokens) = match arm.thinking.as_str() {
            "on" => (outlook.with, 1000),
            _ => (0.5, 32),
        };
        assert!((arm.p_success - success).abs() < 1e-9 && arm.tokens.abs_diff(tokens) <= 1, "{arm:?}");
    }
    // 968 tokens with the headroom of a half.
    assert_eq!(decision.thinking.budget_tokens, Some(2048));
}

#[test]
fn the_flip_it_names_flips() {
    for gain in [-1.0, 0.05, 0.2, 2.0] {
        let decision = of(HARD, &alone(gain, GAIN_PER_1000_TOKENS));
        let flip = decision.flip.clone().expect("both modes are possible");
        assert_ne!(flip.to, decision.thinking.mode);
        let turned = match flip.by.strip_prefix("gain_per_1000_tokens = ") {
            Some(rest) => {
                let asked = rest.split(' ').next().and_then(|number| number.parse().ok()).expect("a number");
                of(HARD, &alone(gain, asked))
            }
            None => {
                let wanted =
                    flip.by.strip_prefix("asking for it, as with enable_thinking: ").expect("a wish");
                let body = json!({"enable_thinking": wanted == "true", "messages": [{"role": "user", "content": HARD}]});
                of_body(&body, &alone(gain, GAIN_PER_1000_TOKENS))
            }
        };
        assert_eq!(turned.thinking.mode, flip.to, "{gain}: {flip:?}");
    }
}

#[test]
fn what_was_asked_for_or_settled_stays() {
    let gains = alone(2.0, GAIN_PER_1000_TOKENS);
    assert_eq!(verdict(&of(&format!("{HARD} /no_think"), &gains)), "off text");
    let message = json!([{"role": "user", "content": HARD}]);
    let field = of_body(&json!({"enable_thinking": false, "messages": message}), &gains);
    assert_eq!(verdict(&field), "off field");
    let mut fixed = gains.clone();
    fixed.policy.presets.get_mut("api").expect("built in").thinking =
        Some(thinkgate::conversation::Mode::Off);
    assert_eq!(verdict(&of(HARD, &fixed)), "off preset");
    for kept in [&field, &of(HARD, &fixed)] {
        assert!(note(kept).is_none() && kept.flip.as_ref().is_some_and(|flip| flip.needs.contains("wish")));
    }
    let title = include_str!("harness/openwebui-title.json");
    let title: Value = serde_json::from_str(title).expect("JSON");
    let body = title.get("body").unwrap_or(&title);
    assert_eq!(of_body(body, &gains).thinking.mode.as_str(), "off");
}

#[test]
fn each_model_is_taken_in_its_own_mode() {
    let mut snapshot = SNAPSHOT.clone();
    snapshot.policy.models[1].calibrated = Some(calibrated(-3.0, GAIN_PER_1000_TOKENS));
    let partial = of(HARD, &snapshot);
    assert!(partial.notes.iter().any(|note| note.starts_with("calibration partial: the success of small")));
    snapshot.policy.models[0].calibrated = Some(calibrated(4.0, GAIN_PER_1000_TOKENS));
    // Thinking, the small model is right nearly always; the large one is best left without, and right half of the time.
    let both = of(HARD, &snapshot);
    assert_eq!((both.model.as_str(), both.thinking.mode.as_str()), ("small", "on"));
    assert!(!both.notes.iter().any(|note| note.starts_with("calibration partial")));
    let named = json!({"model": "large", "messages": [{"role": "user", "content": HARD}]});
    let named = of_body(&named, &snapshot);
    assert_eq!((named.model.as_str(), named.thinking.mode.as_str()), ("large", "off"));
}

#[test]
fn a_calibration_that_is_missing_is_told() {
    let told = |decision: &Decision| decision.notes.iter().any(|note| note.starts_with("calibration absent"));
    let mut snapshot = SNAPSHOT.clone();
    assert!(!told(&of(HARD, &snapshot)));
    snapshot.policy.models.iter_mut().for_each(|model| model.calibration_absent = true);
    assert!(told(&of(HARD, &snapshot)));
}

#[test]
fn a_model_that_cannot_switch_is_left_alone() {
    let mut snapshot = alone(2.0, GAIN_PER_1000_TOKENS);
    snapshot.policy.models[0].thinking = ThinkingAbility::Never;
    let decision = of(EASY, &snapshot);
    assert_eq!(decision.thinking.mode.as_str(), "off");
    assert!(note(&decision).is_none());
}
