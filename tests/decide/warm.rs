use serde_json::json;
use thinkgate::conversation::Conversation;
use thinkgate::decide::{Decision, decide};

use crate::support::SNAPSHOT;

fn with_warm(asks: &str, warm: Option<&str>) -> Decision {
    let body = json!({"messages": [
        {"role": "user", "content": "Who wrote Hamlet?"},
        {"role": "assistant", "content": "Shakespeare."},
        {"role": "user", "content": asks},
    ]});
    let mut conversation = Conversation::from_body(&body, &SNAPSHOT.policy).expect("valid");
    conversation.warm = warm.map(str::to_owned);
    decide(&conversation, &SNAPSHOT)
}

const EASY: &str = "What is the capital of France?";
const HARD: &str = "Prove that there are infinitely many primes congruent to 3 modulo 4, and say where the same proof fails \
                    for 1 modulo 4.";

#[test]
fn a_conversation_keeps_its_model_where_the_other_gains_too_little() {
    assert_eq!(with_warm(EASY, None).model, "small");
    let kept = with_warm(EASY, Some("large"));
    assert_eq!(kept.model, "large");
    let told = |decision: &Decision| decision.notes.iter().any(|note| note.starts_with("warm prefix: large"));
    assert!(told(&kept), "{:?}", kept.notes);
    assert!(!told(&with_warm(EASY, Some("small"))));
}

#[test]
fn a_gain_that_pays_for_the_reading_moves_it() {
    assert_eq!(with_warm(HARD, None).model, "large");
    assert_eq!(with_warm(HARD, Some("small")).model, "large");
}

#[test]
fn a_model_that_is_not_there_keeps_nothing() {
    assert_eq!(with_warm(EASY, Some("gone")).model, "small");
}

#[test]
fn the_mode_is_settled_before_the_model() {
    for warm in [None, Some("small"), Some("large")] {
        assert_eq!(with_warm(EASY, warm).thinking.mode, with_warm(EASY, None).thinking.mode);
        assert_eq!(with_warm(HARD, warm).thinking.mode, with_warm(HARD, None).thinking.mode);
    }
}
