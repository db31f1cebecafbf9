//! From a pack's TOML to checked rules. Messages quote file, rule and key.

use serde::Deserialize;

use super::pattern::Pattern;
use super::{Condition, Fault, Placed, RuleSet, Scene, Source, Strength, tables};
use crate::conversation::{Conversation, Message, Mode, Role};
use crate::decide::{TaskLabel, Turn};
use crate::signals;

/// Longer patterns are lists that belong in several.
const LONGEST_PATTERN: usize = 2048;

/// How far a rule has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// Evaluated and recorded, never counted.
    Shadow,
    /// Counted.
    #[default]
    Enforce,
    /// Kept for its id, not evaluated.
    Retired,
}

/// Which text a rule looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Where {
    /// The last user message without code, quotations, documents and text to be worked on.
    #[default]
    Ask,
    /// The whole last user message.
    Message,
    /// System messages.
    System,
    /// Earlier user messages.
    History,
}

/// What a rule says when it fires.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// It moves the score.
    Judges {
        /// For (positive) or against thinking, by strength.
        thinking: Option<(bool, Strength)>,
        /// For (positive) or against a strong model.
        complexity: Option<(bool, Strength)>,
        /// What kind of work it is.
        task: Option<(TaskLabel, Strength)>,
    },
    /// It states a wish.
    Asks {
        /// The mode wished for.
        mode: Mode,
        /// Holds in later turns until contradicted.
        lasting: bool,
    },
}

/// One hand-written judgement.
#[derive(Debug, Clone)]
pub struct Rule {
    /// Permanent id, `pack.topic`.
    pub id: String,
    /// The file it stands in.
    pub file: String,
    /// The line it starts on.
    pub line: Option<usize>,
    /// How far it has come.
    pub stage: Stage,
    /// Why it exists.
    pub why: String,
    /// Which text it looks at.
    pub place: Where,
    /// One of these must match …
    pub any: Vec<Pattern>,
    /// … and all of these …
    pub all: Vec<Pattern>,
    /// … and none of these …
    pub unless: Vec<Pattern>,
    /// … and these must hold.
    pub signal: Vec<Condition>,
    /// What it then says.
    pub effect: Effect,
    /// Texts it must fire on.
    pub matches: Vec<Example>,
    /// Texts it must not fire on.
    pub ignores: Vec<Example>,
}

/// A text, or the user messages of a conversation, oldest first.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub enum Example {
    /// One message.
    Prompt(String),
    /// Several turns; the last one is judged.
    Turns(Vec<String>),
}

impl Example {
    fn turns(&self) -> &[String] {
        match self {
            Example::Prompt(text) => std::slice::from_ref(text),
            Example::Turns(texts) => texts,
        }
    }
}

impl std::fmt::Display for Example {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Example::Prompt(text) => write!(f, "{text:?}"),
            Example::Turns(texts) => write!(f, "{texts:?}"),
        }
    }
}

impl Rule {
    /// The part of the id before the dot.
    #[must_use]
    pub fn pack(&self) -> &str {
        self.id.split('.').next().unwrap_or(&self.id)
    }

    pub(super) fn is_directive(&self) -> bool {
        matches!(self.effect, Effect::Asks { .. })
    }

    pub(super) fn fault(&self, message: String) -> Fault {
        Fault { file: self.file.clone(), line: self.line, rule: Some(self.id.clone()), message }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRule {
    id: String,
    #[serde(default)]
    stage: Stage,
    why: String,
    #[serde(default, rename = "where")]
    place: Where,
    #[serde(default)]
    any: Vec<String>,
    #[serde(default)]
    all: Vec<String>,
    #[serde(default)]
    unless: Vec<String>,
    #[serde(default)]
    signal: OneOrMany,
    raises: Option<RawEffect>,
    lowers: Option<RawEffect>,
    asks: Option<Mode>,
    #[serde(default)]
    lasting: bool,
    matches: Vec<Example>,
    ignores: Vec<Example>,
}

#[derive(Deserialize, Default)]
#[serde(untagged)]
enum OneOrMany {
    #[default]
    None,
    One(String),
    Many(Vec<String>),
}

#[derive(Deserialize, Clone, Copy)]
#[serde(deny_unknown_fields)]
struct RawEffect {
    thinking: Option<Strength>,
    complexity: Option<Strength>,
    task: Option<RawTask>,
}

#[derive(Deserialize, Clone, Copy)]
#[serde(untagged)]
enum RawTask {
    Label(TaskLabel),
    Weighted { label: TaskLabel, strength: Strength },
}

/// Reads one pack; rules with faults are left out and their faults noted.
pub(super) fn parse(source: &Source, faults: &mut Vec<Fault>) -> Vec<Rule> {
    let list = tables(source, "rule", faults);
    let pack = source.name.trim_end_matches(".toml");
    list.iter().filter_map(|value| read_rule(source, pack, value, faults)).collect()
}

fn read_rule(source: &Source, pack: &str, value: &toml::Value, faults: &mut Vec<Fault>) -> Option<Rule> {
    let id = value.get("id").and_then(toml::Value::as_str).unwrap_or("(no id)").to_owned();
    let line = line_of(&source.text, &id);
    let mut own: Vec<String> = Vec::new();
    let raw: RawRule = match value.clone().try_into() {
        Ok(raw) => raw,
        Err(error) => {
            own.push(error.to_string().trim().replace('\n', " "));
            note(source, line, &id, own, faults);
            return None;
        }
    };
    check_words(&raw, pack, &mut own);
    let effect = effect_of(&raw, &mut own);
    let signal = conditions(&raw.signal, &mut own);
    let rule = Rule {
        any: compile("any", &raw.any, &mut own),
        all: compile("all", &raw.all, &mut own),
        unless: compile("unless", &raw.unless, &mut own),
        id: raw.id,
        file: source.name.clone(),
        line,
        stage: raw.stage,
        why: raw.why,
        place: raw.place,
        signal,
        effect,
        matches: raw.matches,
        ignores: raw.ignores,
    };
    let sound = own.is_empty();
    note(source, line, &id, own, faults);
    sound.then_some(rule)
}

fn note(source: &Source, line: Option<usize>, id: &str, messages: Vec<String>, faults: &mut Vec<Fault>) {
    faults.extend(messages.into_iter().map(|message| Fault {
        file: source.name.clone(),
        line,
        rule: Some(id.to_owned()),
        message,
    }));
}

fn line_of(text: &str, id: &str) -> Option<usize> {
    let quoted = format!("\"{id}\"");
    text.lines()
        .position(|line| line.trim_start().starts_with("id") && line.contains(&quoted))
        .map(|at| at + 1)
}

fn check_words(raw: &RawRule, pack: &str, own: &mut Vec<String>) {
    let topic = raw.id.strip_prefix(pack).and_then(|rest| rest.strip_prefix('.'));
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    if !topic.is_some_and(|topic| !topic.is_empty() && topic.chars().all(plain)) {
        own.push(format!("id = {:?}: expected \"{pack}.topic\" in a-z, 0-9 and _", raw.id));
    }
    if raw.why.trim().is_empty() {
        own.push("why = \"\": say why the rule exists".into());
    }
    if raw.matches.is_empty() || raw.ignores.is_empty() {
        own.push("matches and ignores: at least one text each".into());
    }
    if raw.any.is_empty() && raw.all.is_empty() && matches!(raw.signal, OneOrMany::None) {
        own.push("any, all or signal: at least one is needed, or the rule fires on everything".into());
    }
}

fn effect_of(raw: &RawRule, own: &mut Vec<String>) -> Effect {
    if let Some(mode) = raw.asks {
        if raw.raises.is_some() || raw.lowers.is_some() {
            own.push("asks: a rule that states a wish cannot also raise or lower the score".into());
        }
        if raw.any.is_empty() || !raw.all.is_empty() || !matches!(raw.signal, OneOrMany::None) {
            own.push("asks: a directive is known by its words; use `any` alone".into());
        }
        return Effect::Asks { mode, lasting: raw.lasting };
    }
    let side = |effect: Option<RawEffect>, up: bool, pick: fn(&RawEffect) -> Option<Strength>| {
        effect.as_ref().and_then(pick).map(|strength| (up, strength))
    };
    let mut axis = |name: &str, pick: fn(&RawEffect) -> Option<Strength>| {
        let (up, down) = (side(raw.raises, true, pick), side(raw.lowers, false, pick));
        if up.is_some() && down.is_some() {
            own.push(format!("{name} is both raised and lowered"));
        }
        up.or(down)
    };
    let thinking = axis("thinking", |effect| effect.thinking);
    let complexity = axis("complexity", |effect| effect.complexity);
    let task =
        [raw.raises, raw.lowers].into_iter().flatten().find_map(|effect| effect.task).map(
            |task| match task {
                RawTask::Label(label) => (label, Strength::Moderate),
                RawTask::Weighted { label, strength } => (label, strength),
            },
        );
    if thinking.is_none() && complexity.is_none() && task.is_none() {
        own.push("raises or lowers: say what the rule means (thinking, complexity, task), or `asks`".into());
    }
    Effect::Judges { thinking, complexity, task }
}

fn conditions(raw: &OneOrMany, own: &mut Vec<String>) -> Vec<Condition> {
    let texts: &[String] = match raw {
        OneOrMany::None => &[],
        OneOrMany::One(text) => std::slice::from_ref(text),
        OneOrMany::Many(texts) => texts,
    };
    let mut out = Vec::new();
    for text in texts {
        match Condition::parse(text) {
            Ok(condition) => out.push(condition),
            Err(message) => own.push(message),
        }
    }
    out
}

/// Texts are normalised before matching: lower case, half width, simplified. A pattern that expects otherwise
/// could never match.
fn compile(key: &str, patterns: &[String], own: &mut Vec<String>) -> Vec<Pattern> {
    let mut out = Vec::new();
    for pattern in patterns {
        if pattern.len() > LONGEST_PATTERN {
            own.push(format!("{key}: a pattern of {} bytes; at most {LONGEST_PATTERN}", pattern.len()));
            continue;
        }
        if let Some(c) = unmatchable(pattern) {
            own.push(format!("{key} = {pattern:?}: {c:?} never occurs in normalised text (lower case, half width, simplified characters)"));
            continue;
        }
        match Pattern::new(pattern) {
            Ok(compiled) if compiled.matches_nothing() => {
                own.push(format!("{key} = {pattern:?}: matches the empty text"));
            }
            Ok(compiled) => out.push(compiled),
            Err(error) => own.push(format!("{key} = {pattern:?}: {error}")),
        }
    }
    out
}

fn unmatchable(pattern: &str) -> Option<char> {
    let mut previous = ' ';
    for c in pattern.chars() {
        let mut folded = String::new();
        if c.is_ascii() {
            folded.push(c.to_ascii_lowercase())
        } else {
            crate::reading::fold_char(c, &mut folded)
        }
        // `\D`, `\S`, `\p{L}` and the like are syntax, not text.
        if previous != '\\' && previous != '{' && folded != c.to_string() {
            return Some(c);
        }
        previous = if previous == '\\' && c == '\\' { ' ' } else { c };
    }
    None
}

/// Every rule fires on each of its `matches` and on none of its `ignores`.
pub(super) fn check_examples(set: &RuleSet, faults: &mut Vec<Fault>) {
    for rule in set.rules().iter().filter(|rule| rule.stage != Stage::Retired) {
        for example in rule.matches.iter().filter(|example| !fires(set, rule, example)) {
            faults.push(rule.fault(format!("does not fire on its own example {example} (matches)")));
        }
        for example in rule.ignores.iter().filter(|example| fires(set, rule, example)) {
            faults.push(rule.fault(format!("fires on {example}, which it must ignore (ignores)")));
        }
    }
}

fn fires(set: &RuleSet, rule: &Rule, example: &Example) -> bool {
    let conversation = staged(rule.place, example.turns());
    let messages = conversation.messages.iter().enumerate();
    let turns: Vec<Turn<'_>> =
        messages.map(|(index, message)| crate::decide::read(set, index, &message.text)).collect();
    let Some((last, before)) = turns.split_last() else { return false };
    if rule.is_directive() {
        return last.states(rule);
    }
    let signals = signals::extract(&conversation, before.len(), &last.reading);
    let mut placed: Vec<Placed<'_>> = before.iter().map(Turn::placed).collect();
    placed.reverse();
    let none: &[Placed<'_>] = &[];
    let (system, history) =
        if rule.place == Where::System { (placed.as_slice(), none) } else { (none, placed.as_slice()) };
    let scene = Scene { last: last.placed(), signals: &signals, system, history };
    set.evaluate(&scene).iter().any(|found| found.rule.id == rule.id)
}

/// The conversation that puts an example where the rule looks.
fn staged(place: Where, turns: &[String]) -> Conversation<'_> {
    let elsewhere = match place {
        Where::Ask | Where::Message => None,
        Where::System => Some(Role::System),
        Where::History => Some(Role::User),
    };
    let mut conversation = Conversation::default();
    conversation.messages.extend(turns.iter().map(|text| message(elsewhere.unwrap_or(Role::User), text)));
    if elsewhere.is_some() {
        conversation.messages.push(message(Role::User, ""));
    }
    conversation
}

fn message(role: Role, text: &str) -> Message<'_> {
    Message { role, text: text.into(), calls_tools: false, thought: false }
}
