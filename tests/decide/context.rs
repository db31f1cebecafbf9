use thinkgate::conversation::Mode;
use thinkgate::decide::Decision;

use crate::support::{of_turns, verdict};

/// The last of these user turns, an answer after each earlier one.
fn after(asks: &[&str]) -> Decision {
    let mut turns = Vec::new();
    for ask in asks {
        turns.extend([("user", *ask), ("assistant", "…")]);
    }
    turns.pop();
    of_turns(&turns)
}

/// Every row that came out otherwise, in one line each.
fn wrong<'a>(rows: impl IntoIterator<Item = (Vec<&'a str>, Mode)>) -> String {
    let told = rows.into_iter().filter_map(|(asks, mode)| {
        let decision = after(&asks);
        let because: Vec<String> =
            decision.evidence.iter().map(|e| format!("{} {:+.2}", e.id, e.contribution)).collect();
        (decision.thinking.mode != mode)
            .then(|| format!("{asks:?}: {} {:.2} {}", verdict(&decision), decision.score, because.join(", ")))
    });
    told.collect::<Vec<_>>().join("\n")
}

const HARD: [&str; 4] = [
    "证明根号2是无理数",
    "求解方程x²-5x+6=0",
    "Prove that the square root of 2 is irrational.",
    "Solve x^2-5x+6=0 for x.",
];
const EASY: [&str; 4] =
    ["北京人口多少？", "谁写了《红楼梦》？", "What is the capital of France?", "Who wrote Hamlet?"];

#[test]
fn a_reference_back_to_hard_work_is_hard() {
    let follow_ups = [
        "继续",
        "请继续",
        "接着说",
        "然后呢？",
        "为什么？",
        "你确定吗？",
        "不对，再算一遍",
        "那三维空间呢？",
        "那如果是根号3呢？",
        "下一步",
        "换一种方法",
        "第二步怎么来的？",
        "还有别的解法吗？",
        "接下来呢",
        "再来一次",
        "那x=3的情况呢？",
        "continue",
        "go on",
        "are you sure?",
        "why?",
        "how come?",
        "what about three dimensions?",
        "and for 3?",
        "do it",
        "what if x is negative?",
        "explain the second step",
        "is that right?",
        "try another method",
        "next step",
        "keep going",
        "then what?",
        "Why is that?",
        "that's wrong",
        "ok, do it",
        "go ahead",
    ];
    let rows = HARD.iter().flat_map(|hard| follow_ups.map(|next| (vec![*hard, next], Mode::On)));
    let wrong = wrong(rows);
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn a_reference_back_to_easy_talk_is_easy() {
    let follow_ups = [
        "继续",
        "为什么？",
        "那上海呢？",
        "还有呢？",
        "continue",
        "why?",
        "what about Spain?",
        "and his wife?",
        "are you there?",
    ];
    let rows = EASY.iter().flat_map(|easy| follow_ups.map(|next| (vec![*easy, next], Mode::Off)));
    let wrong = wrong(rows);
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn editing_an_answer_is_no_new_problem() {
    let edits = [
        "改成英文",
        "翻译成英文",
        "用中文说",
        "短一点",
        "简短一点",
        "换个说法",
        "再说一遍",
        "改得正式一点",
        "用一句话总结",
        "rewrite it shorter",
        "make it shorter",
        "shorten it",
        "translate that into Chinese",
        "in English please",
        "say it again",
        "make it more formal",
        "put it in a table",
        "summarize that in one sentence",
    ];
    let rows = HARD.iter().flat_map(|hard| edits.map(|next| (vec![*hard, next], Mode::Off)));
    let wrong = wrong(rows);
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn a_change_of_topic_falls_back() {
    let others = [
        "你好",
        "谢谢",
        "谢谢！",
        "好的",
        "明白了",
        "再见",
        "北京人口多少？",
        "换个话题，你叫什么名字？",
        "今天天气怎么样？",
        "把“你好”翻译成英文",
        "那你喜欢什么颜色？",
        "推荐一部电影",
        "thanks",
        "thank you!",
        "ok",
        "got it",
        "hi",
        "bye",
        "What is the capital of France?",
        "By the way, what's your name?",
        "Tell me a joke",
        "How are you?",
        "Translate 'good morning' into French",
        "So what's your favourite colour?",
    ];
    let rows = HARD.iter().flat_map(|hard| others.map(|next| (vec![*hard, next], Mode::Off)));
    let wrong = wrong(rows);
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn an_easy_start_does_not_keep_a_hard_turn_down() {
    let rows = EASY
        .iter()
        .chain(&["你好", "thanks!"])
        .flat_map(|easy| HARD.map(|hard| (vec![*easy, hard], Mode::On)));
    let wrong = wrong(rows);
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn nothing_ratchets_upwards() {
    for (hard, easy) in [(HARD[0], "你好"), (HARD[2], "thanks!"), (HARD[1], EASY[0]), (HARD[3], EASY[3])] {
        let alone = after(&[easy]);
        for rounds in [1, 3, 10] {
            let mut asks = vec![hard; rounds];
            asks.push(easy);
            let decision = after(&asks);
            assert_eq!(decision.thinking.mode, Mode::Off, "{easy} after {rounds} × {hard}");
            assert!(decision.score <= alone.score + 0.05, "{easy}: {} {}", decision.score, alone.score);
        }
    }
}

#[test]
fn what_lies_beyond_the_window_is_forgotten() {
    for (hard, next) in [(HARD[0], "继续"), (HARD[2], "continue")] {
        let near = after(&[hard, next]);
        let far = after(&[hard, EASY[0], EASY[2], EASY[1], next]);
        assert_eq!(near.thinking.mode, Mode::On);
        assert_eq!(far.thinking.mode, Mode::Off, "{far:#?}");
    }
}

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
    let loud =
        of_turns(&[("user", "你好"), ("assistant", "证明：求解方程 x²=2 …"), ("user", "你叫什么名字？")]);
    assert!((plain.score - loud.score).abs() < 1e-12);
}
