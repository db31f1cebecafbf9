//! `*.cases.toml`: whole decisions that must come out as written, with tags that say which kind of
//! understanding a failing case stands for.

use serde::Deserialize;
use serde_json::json;

use super::{Fault, Source, tables};
use crate::conversation::{Conversation, Mode};
use crate::decide::{Decision, EvidenceKind, Snapshot, Source as DecisionSource, TaskLabel, decide};

const TAGS: &[&str] = &["baseline", "paraphrase", "negative", "collision", "multi_turn", "language", "mixed"];

/// What a case expects of the thinking mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Expectation {
    /// Off, and not for want of evidence.
    Off,
    /// On, and not for want of evidence.
    On,
    /// Abstained.
    Unsure,
}

/// One whole-decision case.
#[derive(Debug, Clone)]
pub struct Case {
    /// The file it stands in.
    pub file: String,
    /// Its number in the file, from 1.
    pub number: usize,
    /// Which kinds of understanding it tests.
    pub tags: Vec<String>,
    messages: serde_json::Value,
    thinking: Expectation,
    task: Option<TaskLabel>,
    source: Option<String>,
    rules: Vec<String>,
    not_rules: Vec<String>,
}

/// How a case came out.
#[derive(Debug, Clone)]
pub enum CaseOutcome {
    /// As written.
    Held,
    /// Otherwise; one sentence per difference.
    Failed(Vec<String>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawCase {
    prompt: Option<String>,
    messages: Option<Vec<RawMessage>>,
    tags: Vec<String>,
    thinking: Expectation,
    task: Option<TaskLabel>,
    source: Option<String>,
    #[serde(default)]
    rules: Vec<String>,
    #[serde(default)]
    not_rules: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawMessage {
    role: String,
    content: String,
}

pub(super) fn parse(source: &Source, faults: &mut Vec<Fault>) -> Vec<Case> {
    let fault = |message: String| Fault { file: source.name.clone(), line: None, rule: None, message };
    let list = tables(source, "case", faults);
    let mut cases = Vec::new();
    for (index, value) in list.iter().enumerate() {
        match read_case(source, index + 1, value) {
            Ok(case) => cases.push(case),
            Err(message) => faults.push(fault(format!("case {}: {message}", index + 1))),
        }
    }
    cases
}

fn read_case(source: &Source, number: usize, value: &toml::Value) -> Result<Case, String> {
    let raw: RawCase =
        value.clone().try_into().map_err(|error: toml::de::Error| error.to_string().trim().to_owned())?;
    let messages = match (raw.prompt, raw.messages) {
        (Some(prompt), None) => json!([{"role": "user", "content": prompt}]),
        (None, Some(messages)) => messages
            .into_iter()
            .map(|message| json!({"role": message.role, "content": message.content}))
            .collect(),
        _ => return Err("give either prompt or messages".into()),
    };
    Conversation::from_messages(&messages).map_err(|error| error.to_string())?;
    if raw.tags.is_empty() || raw.tags.iter().any(|tag| !TAGS.contains(&tag.as_str())) {
        return Err(format!("tags = {:?}: expected some of {}", raw.tags, TAGS.join(", ")));
    }
    Ok(Case {
        file: source.name.clone(),
        number,
        tags: raw.tags,
        messages,
        thinking: raw.thinking,
        task: raw.task,
        source: raw.source,
        rules: raw.rules,
        not_rules: raw.not_rules,
    })
}

impl Case {
    /// Decides the case and compares.
    #[must_use]
    pub fn run(&self, snapshot: &Snapshot) -> CaseOutcome {
        let conversation =
            Conversation::from_messages(&self.messages).expect("checked when the case was read");
        let differences = self.differences(&decide(&conversation, snapshot));
        if differences.is_empty() { CaseOutcome::Held } else { CaseOutcome::Failed(differences) }
    }

    /// The text being judged, cut to fit a line.
    #[must_use]
    pub fn title(&self) -> String {
        let last = self
            .messages
            .as_array()
            .and_then(|list| list.last())
            .and_then(|message| message["content"].as_str());
        last.unwrap_or_default().replace('\n', "⏎").chars().take(70).collect()
    }

    fn differences(&self, decision: &Decision) -> Vec<String> {
        let mut out = Vec::new();
        let thinking = match (decision.abstained, decision.thinking.mode) {
            (true, _) if decision.thinking.source == DecisionSource::Default => Expectation::Unsure,
            (_, Mode::On) => Expectation::On,
            (_, Mode::Off) => Expectation::Off,
        };
        if thinking != self.thinking {
            let rules: Vec<String> =
                decision.evidence.iter().map(|e| format!("{} {:+.2}", e.id, e.contribution)).collect();
            out.push(format!(
                "thinking: expected {:?}, got {thinking:?} (score {:.2}: {})",
                self.thinking,
                decision.score,
                rules.join(", ")
            ));
        }
        if self.task.is_some_and(|task| task != decision.task.label) {
            out.push(format!(
                "task: expected {:?}, got {:?}",
                self.task.expect("just seen"),
                decision.task.label
            ));
        }
        if self.source.as_deref().is_some_and(|source| source != decision.thinking.source.as_str()) {
            out.push(format!(
                "source: expected {:?}, got {:?}",
                self.source,
                decision.thinking.source.as_str()
            ));
        }
        let fired =
            |id: &String| decision.evidence.iter().any(|e| e.kind == EvidenceKind::Rule && e.id == *id);
        out.extend(self.rules.iter().filter(|id| !fired(id)).map(|id| format!("rule {id} did not fire")));
        out.extend(self.not_rules.iter().filter(|id| fired(id)).map(|id| format!("rule {id} fired")));
        out
    }
}
