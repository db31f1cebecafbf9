use thinkgate::conversation::Mode;

use crate::support::{of_turns, verdict};

#[test]
fn a_bare_continue_inherits_the_task() {
    for (first, next) in [("求解方程x²-5x+6=0", "继续"), ("Solve x^2-5x+6=0 for x", "continue")] {
        let decision = of_turns(&[("user", first), ("assistant", "首先…"), ("user", next)]);
        assert_eq!(verdict(&decision), "on inherited", "{decision:#?}");
    }
}

#[test]
fn an_easy_new_topic_falls_back() {
    for (first, next) in [
        ("证明根号2是无理数", "北京人口多少？"),
        ("Prove that the square root of 2 is irrational.", "What is the capital of France?"),
    ] {
        let decision = of_turns(&[("user", first), ("assistant", "…"), ("user", next)]);
        assert_eq!(decision.thinking.mode, Mode::Off, "{decision:#?}");
    }
}

#[test]
fn inheritance_fades_over_empty_turns() {
    let score = |follow_ups: usize| {
        let mut turns = vec![("user", "证明根号2是无理数")];
        for _ in 0..follow_ups {
            turns.push(("assistant", "…"));
            turns.push(("user", "继续"));
        }
        of_turns(&turns).score
    };
    assert!(score(1) > score(2), "{} {}", score(1), score(2));
    assert!(score(4) < 0.55, "beyond the window nothing is inherited: {}", score(4));
}

#[test]
fn a_tool_loop_keeps_the_decision_of_the_human_turn() {
    let human = of_turns(&[("user", "证明根号2是无理数")]);
    let looping = of_turns(&[
        ("user", "证明根号2是无理数"),
        ("assistant", "查一下"),
        ("tool", "Error: not found. 你好！谢谢！"),
        ("assistant", "再查"),
        ("tool", "ok"),
    ]);
    assert_eq!(looping.thinking.mode, human.thinking.mode);
    assert_eq!(looping.model, human.model);
}

#[test]
fn what_the_assistant_says_does_not_count() {
    let plain = of_turns(&[("user", "你好"), ("assistant", "你好！"), ("user", "你叫什么名字？")]);
    let loud = of_turns(&[("user", "你好"), ("assistant", "证明：求解方程 x²=2 …"), ("user", "你叫什么名字？")]);
    assert!((plain.score - loud.score).abs() < 1e-12);
}
