//! What must hold for any text.

use proptest::prelude::*;
use thinkgate::conversation::{Conversation, Mode};
use thinkgate::decide::{EvidenceKind, decide};

use crate::support::{RULES_ALONE, SNAPSHOT, of_prompt};

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_decided(text in "\\PC{0,300}") {
        let decision = of_prompt(&text);
        prop_assert!((0.0..=1.0).contains(&decision.score));
        prop_assert_eq!(decision.thinking.mode == Mode::On, decision.thinking.budget_tokens.is_some());
    }

    #[test]
    fn every_span_lies_on_character_borders(text in "[\\PC证明求解/think²：，。“” \n]{0,200}") {
        let decision = of_prompt(&text);
        for [start, end] in decision.evidence.iter().filter_map(|e| e.span).chain(decision.wishes.iter().filter_map(|w| w.span)) {
            prop_assert!(text.get(start..end).is_some(), "{start}..{end} in {text:?}");
        }
    }

    #[test]
    fn invisible_marks_change_nothing(at in 0_usize..8) {
        let words: Vec<char> = "请证明勾股定理吧".chars().collect();
        let mut marked: String = words[..at].iter().collect();
        marked.push('\u{200b}');
        marked.extend(&words[at..]);
        let plain: String = words.iter().collect();
        prop_assert!((of_prompt(&marked).score - of_prompt(&plain).score).abs() < 1e-12);
    }
}

#[test]
fn the_score_is_the_sum_of_its_evidence() {
    let numbers = RULES_ALONE.rules.strengths().score.clone();
    for prompt in ["已知x²+2x+1=0，求x的值", "Who wrote Hamlet?", "关于三角形的东西？"] {
        let decision = decide(&Conversation::of_prompt(prompt), &RULES_ALONE);
        let sum: f64 = decision.evidence.iter().filter(|e| !e.shadow).map(|e| e.contribution).sum();
        let score = 1.0 / (1.0 + (-(numbers.prior + sum)).exp());
        assert!((score - decision.score).abs() < 1e-9, "{prompt}");
    }
}

#[test]
fn deciding_twice_gives_the_same() {
    for prompt in ["已知x²+2x+1=0，求x的值", "Who wrote Hamlet?"] {
        let (first, second) = (of_prompt(prompt), of_prompt(prompt));
        assert_eq!(
            serde_json::to_string(&first).expect("JSON"),
            serde_json::to_string(&second).expect("JSON")
        );
    }
}

#[test]
fn repeating_a_keyword_does_not_pay() {
    let once = of_prompt("证明勾股定理").score;
    let often = of_prompt(&"证明勾股定理 ".repeat(50)).score;
    assert!(often - once < 0.1, "{once} {often}");
}

#[test]
fn length_alone_decides_nothing() {
    for filler in ["今天我去了公园，看到了很多花。", "I walked through the park and saw flowers. "]
    {
        let decision = of_prompt(&filler.repeat(400));
        assert!(decision.abstained || decision.thinking.mode == Mode::Off, "{decision:#?}");
    }
}

#[test]
fn the_flip_it_names_flips() {
    for prompt in ["已知x²+2x+1=0，求x的值", "如何证明勾股定理？", "Who is the author of Harry Potter?"]
    {
        let decision = of_prompt(prompt);
        let flip = decision.flip.expect("a scored decision can flip");
        let Some(names) = flip.by.strip_prefix("removing ") else { continue };
        let removed: f64 = names
            .split(" and ")
            .map(|id| decision.evidence.iter().find(|e| e.id == id).expect("names its evidence").contribution)
            .sum();
        let logit = (decision.score / (1.0 - decision.score)).ln() - removed;
        let score = 1.0 / (1.0 + (-logit).exp());
        let on = score >= SNAPSHOT.rules.strengths().score.on_from;
        assert_eq!(on, flip.to == Mode::On, "{prompt}: {flip:?} gives {score}");
    }
}

#[test]
fn a_megabyte_is_decided_like_its_ends() {
    let filler = "The weather was mild and the road was long. ".repeat(24_000);
    let ends = decide(&Conversation::of_prompt(&format!("{filler}\n证明勾股定理 /no_think")), &SNAPSHOT);
    assert_eq!(ends.thinking.source.as_str(), "text");
    let start =
        decide(&Conversation::of_prompt(&format!("证明勾股定理，求证：√2是无理数。\n{filler}")), &SNAPSHOT);
    assert!(
        start.evidence.iter().any(|e| e.kind == EvidenceKind::Rule && e.id.starts_with("math.")),
        "{start:#?}"
    );
}
