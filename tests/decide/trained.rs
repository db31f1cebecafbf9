use thinkgate::conversation::{Conversation, Mode};
use thinkgate::decide::{EvidenceKind, decide};

use crate::support::{RULES_ALONE, SNAPSHOT, of_prompt, of_turns};

#[test]
fn what_is_plain_is_decided_plainly() {
    for (prompt, mode) in [
        ("已知x²+2x+1=0，求x的值", Mode::On),
        ("北京人口多少？", Mode::Off),
        ("你好", Mode::Off),
        ("Find all pairs of integers (m, n) such that m^2 - 2n^2 = 1 and m + n < 20.", Mode::On),
        ("What is the capital of Australia?", Mode::Off),
        ("Translate into German: The meeting is at 3 pm.", Mode::Off),
    ] {
        assert_eq!(of_prompt(prompt).thinking.mode, mode, "{prompt}");
    }
}

#[test]
fn the_score_is_the_sum_of_the_evidence_of_both() {
    let classifier = SNAPSHOT.classifier.as_ref().expect("loaded");
    for (prompt, language) in
        [("小明有3个苹果，吃了1个，还剩几个？", "zh"), ("How do I reverse a list in Python?", "en")]
    {
        let decision = of_prompt(prompt);
        let prior = classifier.blend(language).thinking.prior;
        let sum: f64 = decision.evidence.iter().map(|evidence| evidence.contribution).sum();
        let score = 1.0 / (1.0 + (-prior - sum).exp());
        assert!((decision.score - score).abs() < 1e-9, "{prompt}: {} {score}", decision.score);
        assert!(decision.evidence.iter().any(|evidence| evidence.kind == EvidenceKind::Classifier));
    }
}

#[test]
fn a_decisive_rule_is_not_outvoted() {
    // Directives aside, a client program's own call is the plainest decisive rule there is.
    let title = "### Task:\nGenerate a concise, 3-5 word title with an emoji summarizing the chat history.\n\
                 Prove that there are infinitely many primes of the form 4k+3 and bound the error term.";
    assert_eq!(of_prompt(title).thinking.mode, Mode::Off);
}

#[test]
fn a_decision_says_whether_training_had_a_say() {
    let with = of_prompt("你好");
    assert_eq!(
        with.versions.classifier.as_deref(),
        Some(SNAPSHOT.classifier.as_ref().expect("loaded").version.as_str())
    );
    assert!(with.notes.iter().all(|note| !note.starts_with("classifier absent")));
    let without = decide(&Conversation::of_prompt("你好"), &RULES_ALONE);
    assert_eq!(without.versions.classifier, None);
    assert!(without.notes.iter().any(|note| note.starts_with("classifier absent")));
}

#[test]
fn words_that_point_back_are_left_to_the_rules() {
    for (first, next) in [("求解方程x²-5x+6=0", "继续"), ("Prove that 7 is prime.", "that's wrong")] {
        let decision = of_turns(&[("user", first), ("assistant", "…"), ("user", next)]);
        assert!(decision.notes.iter().any(|note| note.starts_with("classifier silent")), "{decision:#?}");
        assert!(decision.evidence.iter().all(|evidence| evidence.kind != EvidenceKind::Classifier));
        assert!((decision.thinking.probability - decision.score).abs() < 1e-12);
    }
}
