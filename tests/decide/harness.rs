//! Request bodies in the shapes that client programs send: whose words are judged, and what comes of it.

use std::path::Path;

use serde_json::Value;
use thinkgate::conversation::{Conversation, Mode};
use thinkgate::decide::{Decision, TaskLabel};

use crate::support::{SNAPSHOT, of_body};

fn body(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/decide/harness/{name}.json"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The words that were judged, stretches joined by " | ".
fn judged(body: &Value, decision: &Decision) -> String {
    let conversation = Conversation::from_body(body, &SNAPSHOT.policy).expect("valid");
    let text = &conversation.messages[decision.ask.message].text;
    let words: Vec<&str> = decision.ask.spans.iter().map(|[start, end]| &text[*start..*end]).collect();
    words.join(" | ")
}

/// A decision in one line.
fn told(name: &str, body: &Value, decision: &Decision) -> String {
    let because: Vec<String> = decision
        .evidence
        .iter()
        .map(|e| format!("{} {:+.2}/{:+.2}", e.id, e.contribution, e.complexity))
        .collect();
    format!(
        "{name}: {:?} {} {:?} {:?} wishes {:?} by {}",
        decision.thinking.mode,
        decision.model,
        decision.task.label,
        judged(body, decision),
        decision.wishes,
        because.join(", ")
    )
}

/// What the rest of a conversation will stand on is not left to the cheapest model.
const COMPACTION: &str = "claude-code-compact";

/// Calls that the client makes for itself.
const HOUSEKEEPING: &[&str] = &[
    "claude-code-topic",
    "claude-code-title",
    "claude-code-quota",
    "claude-code-count",
    COMPACTION,
    "openwebui-title",
    "openwebui-tags",
    "openwebui-follow-ups",
    "openwebui-queries",
    "openwebui-autocomplete",
    "openwebui-emoji",
    "dify-classifier",
    "dify-title",
    "fastgpt-question-guide",
    "fastgpt-classifier",
    "lobechat-title",
    "lobechat-title-en",
    "librechat-title",
];

#[test]
fn a_clients_own_calls_go_to_the_cheapest_arm() {
    let mut wrong = Vec::new();
    for name in HOUSEKEEPING {
        let decision = of_body(&body(name));
        let as_told = decision.thinking.mode == Mode::Off
            && (decision.model == "small" || *name == COMPACTION)
            && decision.task.label == TaskLabel::Agent
            && decision.wishes.is_empty();
        if !as_told {
            wrong.push(told(name, &body(name), &decision));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

const DEADLOCK: &str = "The scheduler deadlocks when two workers finish at the same time. Find out why and fix the race condition in src/scheduler.rs.";
const REFACTOR: &str =
    "Refactor the whole storage module so that two writers cannot corrupt the index, and keep the API.";

/// Fixture, thinking, task where it is clear, the person's words.
const ASKS: &[(&str, Mode, Option<TaskLabel>, &str)] = &[
    ("claude-code-first", Mode::On, None, DEADLOCK),
    ("claude-code-easy", Mode::Off, Some(TaskLabel::Chat), "hi, thanks!"),
    ("claude-code-tool-loop", Mode::On, None, DEADLOCK),
    ("claude-code-after-loop", Mode::Off, Some(TaskLabel::Chat), "thanks!"),
    ("claude-code-easy-loop", Mode::Off, Some(TaskLabel::Agent), "Read the file notes.txt"),
    ("claude-code-slash-command", Mode::On, None, DEADLOCK),
    ("codex-easy", Mode::Off, Some(TaskLabel::Agent), "Read the file notes.txt"),
    ("codex-hard", Mode::On, None, REFACTOR),
    ("codex-tool-loop", Mode::On, None, REFACTOR),
    ("codex-ide", Mode::Off, Some(TaskLabel::Chat), "hello"),
    ("cline-easy", Mode::Off, Some(TaskLabel::Chat), "你好"),
    ("cline-tool-loop", Mode::On, None, DEADLOCK),
    ("cline-nagging", Mode::On, None, DEADLOCK),
    ("cline-feedback", Mode::Off, Some(TaskLabel::Chat), "谢谢！"),
    ("roo-easy-loop", Mode::Off, Some(TaskLabel::Agent), "列出 src 目录里的文件"),
    ("cursor-easy", Mode::Off, Some(TaskLabel::Fact), "What is the capital of France?"),
    ("cursor-hard", Mode::On, None, "证明这个排序算法的时间复杂度是 O(n log n)"),
    ("openwebui-rag", Mode::Off, None, "Who wrote this report?"),
    ("openwebui-rag-appended", Mode::On, Some(TaskLabel::Math), "已知x²+2x+1=0，求x的值"),
    ("dify-rag-chat", Mode::Off, None, "公司地址在哪里？"),
    ("dify-rag-completion", Mode::Off, None, "公司地址在哪里？"),
    ("fastgpt-rag-easy", Mode::Off, None, "公司几点下班？"),
    ("fastgpt-rag-hard", Mode::On, Some(TaskLabel::Math), "证明根号2是无理数"),
    ("gemini-cli", Mode::Off, None, "1+1等于几？"),
    ("langchain-rag", Mode::Off, Some(TaskLabel::Fact), "Who is the author of Harry Potter?"),
    ("chatchat-rag", Mode::On, Some(TaskLabel::Math), "证明根号2是无理数"),
    ("react-loop", Mode::On, Some(TaskLabel::Math), "证明根号2是无理数"),
];

#[test]
fn the_persons_words_are_judged_and_nothing_around_them() {
    let mut wrong = Vec::new();
    for (name, mode, task, words) in ASKS {
        let body = body(name);
        let decision = of_body(&body);
        let as_told = decision.thinking.mode == *mode
            && task.is_none_or(|task| task == decision.task.label)
            && judged(&body, &decision) == *words
            && decision.wishes.is_empty();
        if !as_told {
            wrong.push(told(name, &body, &decision));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn attached_files_stand_outside_the_ask() {
    let body = body("cline-hard");
    let decision = of_body(&body);
    let judged = judged(&body, &decision);
    assert!(judged.starts_with(DEADLOCK), "{judged}");
    assert!(!judged.contains("thanks"), "{judged}");
    assert_eq!(decision.thinking.mode, Mode::On, "{decision:#?}");
}

#[test]
fn a_tool_loop_keeps_its_arm() {
    for name in [
        "claude-code-tool-loop",
        "claude-code-easy-loop",
        "codex-tool-loop",
        "cline-tool-loop",
        "roo-easy-loop",
    ] {
        let whole = body(name);
        let full = of_body(&whole);
        let messages = whole["messages"].as_array().expect("an array").clone();
        let offset = usize::from(whole["system"].is_array());
        for end in full.ask.message + 1 - offset..=messages.len() {
            let mut shorter = whole.clone();
            shorter["messages"] = Value::Array(messages[..end].to_vec());
            let decision = of_body(&shorter);
            assert_eq!(
                (decision.thinking.mode, decision.thinking.budget_tokens, &decision.model),
                (full.thinking.mode, full.thinking.budget_tokens, &full.model),
                "{name} up to message {end}"
            );
        }
    }
}

#[test]
fn every_fixture_is_used() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/decide/harness");
    for entry in std::fs::read_dir(folder).expect("the fixtures' folder") {
        let name = entry.expect("readable").file_name().to_string_lossy().replace(".json", "");
        let used = HOUSEKEEPING.contains(&name.as_str())
            || ASKS.iter().any(|ask| ask.0 == name)
            || name == "cline-hard";
        assert!(used, "{name}");
    }
}
