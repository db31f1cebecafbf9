use thinkgate::conversation::{Conversation, Mode};
use thinkgate::decide::decide;
use thinkgate::policy::Skill;

use crate::support::{RULES_ALONE, SNAPSHOT, of_prompt, of_turns, verdict};

const SLOW_LOOP: &str = "
```python
def find_pairs(items, target):
    pairs = []
    for i in range(len(items)):
        for j in range(len(items)):
            if i != j:
                total = items[i] + items[j]
                if total == target:
                    pair = sorted([items[i], items[j]])
                    if pair not in pairs:
                        pairs.append(pair)
    return pairs

data = list(range(20000))
result = []
for n in range(100):
    for pair in find_pairs(data, n):
        result = result + [pair]
        print(len(result))
        with open('log.txt', 'a') as f:
            f.write(str(pair))
```";

#[test]
fn hard_questions_are_thought_about() {
    for prompt in [
        "已知x²+2x+1=0，求x的值",
        "如何证明勾股定理？",
        "如果明天下雨，演唱会取消的概率是多少？",
        "请证明等边三角形的高与边长关系。",
        "Given x²+2x+1=0, find the value of x",
        "How do you prove the Pythagorean theorem?",
        "If it rains tomorrow, what is the probability that the concert is cancelled?",
        "Prove the relation between the height and the side of an equilateral triangle.",
    ] {
        let decision = of_prompt(prompt);
        assert_eq!(decision.thinking.mode, Mode::On, "{prompt}: {decision:#?}");
        assert!(!decision.abstained, "{prompt}");
    }
    for question in ["这段Python循环为何运行缓慢？", "Why does this Python loop run slowly?"] {
        let decision = of_prompt(&format!("{question}{SLOW_LOOP}"));
        assert_eq!(decision.thinking.mode, Mode::On, "{question}: {decision:#?}");
    }
}

#[test]
fn an_equation_is_hard_beyond_doubt() {
    for prompt in ["已知x²+2x+1=0，求x的值", "Given x²+2x+1=0, find the value of x"] {
        let decision = of_prompt(prompt);
        assert!(decision.thinking.probability >= 0.85, "{prompt}: {}", decision.thinking.probability);
    }
}

#[test]
fn easy_questions_are_answered_at_once() {
    for prompt in [
        "北京人口多少？",
        "今天北京天气如何？",
        "把这句话翻译成英文：知识就是力量，法国就是培根。",
        "《哈利波特》作者是谁？",
        "你好",
        "What is the population of Beijing?",
        "What's the weather like in Beijing today?",
        "Translate this sentence into Chinese: Knowledge is power.",
        "Who is the author of Harry Potter?",
        "Hello!",
    ] {
        let decision = of_prompt(prompt);
        assert_eq!(decision.thinking.mode, Mode::Off, "{prompt}: {decision:#?}");
        assert!(!decision.abstained, "{prompt} is off for want of evidence: {}", decision.score);
    }
}

#[test]
fn a_follow_up_continues_and_thanks_do_not() {
    for (first, follow_up, thanks) in [
        ("证明勾股定理。", "那这个定理适用三维空间吗？", "谢谢！"),
        ("Prove the Pythagorean theorem.", "Does this theorem also hold in three dimensions?", "Thanks!"),
    ] {
        let two = [("user", first), ("assistant", "…"), ("user", follow_up)];
        let decision = of_turns(&two);
        assert!(["on inherited", "on score"].contains(&verdict(&decision).as_str()), "{decision:#?}");
        let three = [two.as_slice(), &[("assistant", "…"), ("user", thanks)]].concat();
        assert_eq!(of_turns(&three).thinking.mode, Mode::Off, "{thanks}");
    }
}

#[test]
fn stated_wishes_are_obeyed() {
    for (prompt, expected) in [
        ("/no_think 证明勾股定理", "off text"),
        ("1+1=? /think", "on text"),
        ("简答：如何证明勾股定理？", "off text"),
        ("不要详细说明，1+1等于几", "off text"),
        ("详细说明1+1为什么等于2", "on text"),
        ("/no_think Prove the Pythagorean theorem", "off text"),
        ("What is 1+1? /think", "on text"),
        ("Briefly: how do you prove the Pythagorean theorem?", "off text"),
        ("Don't explain in detail, what is 1+1?", "off text"),
        ("Explain in detail why 1+1 is 2", "on text"),
    ] {
        assert_eq!(verdict(&of_prompt(prompt)), expected, "{prompt}");
    }
}

#[test]
fn presets_differ_where_the_score_is_undecided() {
    for prompt in ["关于三角形的东西？", "Something about triangles?"] {
        let with = |preset: &str| {
            let body =
                serde_json::json!({"model": preset, "messages": [{"role": "user", "content": prompt}]});
            let conversation = Conversation::from_body(&body, &RULES_ALONE.policy).expect("a request");
            decide(&conversation, &RULES_ALONE)
        };
        let (api, debug) = (with("api"), with("debug"));
        assert!(api.abstained && debug.abstained, "{prompt}: {}", api.score);
        assert_eq!((verdict(&api).as_str(), verdict(&debug).as_str()), ("off default", "on default"));
    }
}

#[test]
fn background_weighs_less_than_the_question() {
    let decision = of_prompt("【背景】现有Python代码（见附件）运行缓慢。\n【问题】如何优化循环部分的性能？");
    assert_eq!(decision.thinking.mode, Mode::On, "{decision:#?}");
}

#[test]
fn hard_work_goes_to_the_large_model_and_easy_work_to_the_small_one() {
    let model = |prompt: &str| of_prompt(prompt).model;
    assert_eq!(model("你好"), "small");
    assert_eq!(model("Who is the author of Harry Potter?"), "small");
    assert_eq!(model("证明对任意素数p，存在无穷多个正整数n使得p整除2^n-n"), "large");
}

#[test]
fn a_skill_of_a_narrow_domain_does_not_outrank_a_general_one() {
    let mut snapshot = SNAPSHOT.clone();
    let toy = &mut snapshot.policy.models[0];
    (toy.total_params, toy.active_params) = (Some(1_000_000), Some(1_000_000));
    toy.skill = Some(Skill { direct: 0.9, thinking: 0.99, narrow: true });
    let decision = decide(&Conversation::of_prompt("已知x²+2x+1=0，求x的值"), &snapshot);
    assert_eq!(decision.model, "large", "{:#?}", decision.arms);
}
