//! "Which hand-written judgements apply?"
//!
//! A rule says what it has seen and how much that means, by name; `strengths.toml` says what the names are
//! worth. Rules live in packs (`rules/*.toml`), with the texts they must and must not fire on beside them: a
//! pack whose examples disagree with its patterns does not load.

mod builtin;
mod case;
mod condition;
mod demands;
mod index;
mod matcher;
mod pack;
mod pattern;
mod strengths;

use std::collections::HashMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

pub use case::{Case, CaseOutcome, Expectation};
pub use condition::Condition;
pub use matcher::Sight;
pub use pack::{Effect, Example, Rule, Stage, Where};
pub use pattern::Pattern;
pub use strengths::{ScoreNumbers, Strength, Strengths};

use crate::conversation::Mode;
use crate::reading::Reading;
use crate::signals::Signals;
use matcher::{Builder, Matcher, Parts};

/// Something wrong in a rule file, in its author's words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}{}: {}{message}", .line.map(|line| format!(":{line}")).unwrap_or_default(), .rule.as_ref().map(|rule| format!("rule {rule}: ")).unwrap_or_default())]
pub struct Fault {
    /// The file's name.
    pub file: String,
    /// The line the rule starts on, where known.
    pub line: Option<usize>,
    /// The rule's id.
    pub rule: Option<String>,
    /// What is wrong and what would be accepted.
    pub message: String,
}

/// The name and text of one file.
#[derive(Debug, Clone)]
pub struct Source {
    /// File name without folders.
    pub name: String,
    /// Contents.
    pub text: String,
}

/// A rule that fired.
#[derive(Debug, Clone)]
pub struct Match<'r> {
    /// The rule.
    pub rule: &'r Rule,
    /// The message it fired on.
    pub message: usize,
    /// `[start, end)` in bytes of that message's text; absent for rules on signals alone.
    pub span: Option<[usize; 2]>,
}

/// A directive found in a text.
#[derive(Debug, Clone)]
pub struct Directive<'r> {
    /// The rule that knows it.
    pub rule: &'r Rule,
    /// What its words ask, negation not yet considered.
    pub asks: Mode,
    /// Bytes of the normalised text.
    pub range: Range<usize>,
}

/// One message with its index.
#[derive(Debug, Clone, Copy)]
pub struct Placed<'a> {
    /// Index in the conversation.
    pub message: usize,
    /// The message, ready for matching.
    pub reading: &'a Reading,
    /// What [`RuleSet::look`] saw in the whole of it.
    pub sight: &'a Sight<'a>,
}

/// What rules look at.
#[derive(Debug, Clone, Copy)]
pub struct Scene<'a> {
    /// The user message being judged.
    pub last: Placed<'a>,
    /// Its signals.
    pub signals: &'a Signals,
    /// System messages.
    pub system: &'a [Placed<'a>],
    /// Earlier user messages, newest first.
    pub history: &'a [Placed<'a>],
}

/// The loaded packs, ready to evaluate. Immutable.
#[derive(Debug, Clone)]
pub struct RuleSet {
    rules: Vec<Rule>,
    strengths: Strengths,
    cases: Vec<Case>,
    matcher: Matcher,
    ask: Vec<Parts>,
    whole: Vec<Parts>,
    system: Vec<Parts>,
    history: Vec<Parts>,
    directives: Vec<Parts>,
    version: String,
}

impl RuleSet {
    /// The rules inside the binary.
    ///
    /// # Errors
    /// Never in a released binary: the tests load them.
    pub fn builtin() -> Result<Self, Vec<Fault>> {
        RuleSet::load(&builtin::sources())
    }

    /// The rules of a folder: `strengths.toml`, packs and cases.
    ///
    /// # Errors
    /// Every fault of every file.
    pub fn from_dir(dir: &Path) -> Result<Self, Vec<Fault>> {
        RuleSet::load(&sources(Some(dir))?)
    }

    /// Parses, checks every example, and compiles.
    ///
    /// # Errors
    /// Every fault of every file.
    pub fn load(sources: &[Source]) -> Result<Self, Vec<Fault>> {
        let mut faults = Vec::new();
        let strengths = strengths::parse(sources, &mut faults);
        let mut rules = Vec::new();
        let mut cases = Vec::new();
        for source in sources {
            if source.name.ends_with(".cases.toml") {
                cases.extend(case::parse(source, &mut faults));
            } else if source.name != strengths::FILE {
                rules.extend(pack::parse(source, &mut faults));
            }
        }
        refuse_duplicates(&rules, &mut faults);
        let mut builder = Builder::default();
        let mut those = |belongs: &dyn Fn(&Rule) -> bool| -> Vec<Parts> {
            let active = rules.iter().enumerate().filter(|(_, rule)| rule.stage != Stage::Retired);
            active.filter(|(_, rule)| belongs(rule)).map(|(index, rule)| builder.add(index, rule)).collect()
        };
        let mut of = |place: Where| those(&|rule| rule.place == place && !rule.is_directive());
        let set = RuleSet {
            ask: of(Where::Ask),
            whole: of(Where::Message),
            system: of(Where::System),
            history: of(Where::History),
            directives: those(&Rule::is_directive),
            matcher: builder.build(),
            version: version_of(sources),
            strengths,
            cases,
            rules,
        };
        if faults.is_empty() {
            pack::check_examples(&set, &mut faults);
        }
        if faults.is_empty() { Ok(set) } else { Err(faults) }
    }

    /// Looks over a text once, for [`RuleSet::directives`] and [`RuleSet::evaluate`].
    #[must_use]
    pub fn look(&self, text: &str) -> Sight<'_> {
        self.matcher.look(text)
    }

    /// Every rule that fires, in file order. Retired rules never fire; shadow rules are marked as such.
    #[must_use]
    pub fn evaluate(&self, scene: &Scene<'_>) -> Vec<Match<'_>> {
        let mut found: Vec<(usize, Match<'_>)> = Vec::new();
        let mut run = |list: &[Parts], sight: &Sight<'_>, text: &str, placed: &Placed<'_>| {
            sight.fired(text, list, &self.rules, scene.signals, |index, range| {
                let span = range.map(|range| placed.reading.original_span(&range));
                found.push((index, Match { rule: &self.rules[index], message: placed.message, span }));
            });
        };
        run(&self.whole, scene.last.sight, scene.last.reading.whole(), &scene.last);
        let mut on_ask = |list: &[Parts], placed: &Placed<'_>| {
            let (ask, whole) = (placed.reading.ask(), placed.reading.whole());
            if list.is_empty() {
            } else if ask == whole {
                run(list, placed.sight, whole, placed);
            } else {
                run(list, &self.look(ask), ask, placed);
            }
        };
        on_ask(&self.ask, &scene.last);
        scene.system.iter().for_each(|placed| on_ask(&self.system, placed));
        scene.history.iter().for_each(|placed| on_ask(&self.history, placed));
        found.sort_by_key(|(index, _)| *index);
        // A rule speaks once, however many messages it fires on.
        found.dedup_by_key(|(index, _)| *index);
        found.into_iter().map(|(_, found)| found).collect()
    }

    /// Every directive in the whole text, in order of position; the caller weighs quotation and negation.
    #[must_use]
    pub fn directives<'r>(&'r self, reading: &Reading, sight: &Sight<'_>) -> Vec<Directive<'r>> {
        let mut found = Vec::new();
        sight.each_match(reading.whole(), &self.directives, |index, range| {
            let rule = &self.rules[index];
            if let Effect::Asks { mode, .. } = rule.effect {
                found.push(Directive { rule, asks: mode, range });
            }
        });
        found.sort_by_key(|directive| (directive.range.start, directive.range.end));
        found
    }

    /// What the strength names are worth, and the score's numbers.
    #[must_use]
    pub fn strengths(&self) -> &Strengths {
        &self.strengths
    }

    /// Every rule, in file order.
    #[must_use]
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// The whole-decision cases beside the packs.
    #[must_use]
    pub fn cases(&self) -> &[Case] {
        &self.cases
    }

    /// A hash of all files, so that a decision can be repeated.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }
}

/// The files of a folder, or those inside the binary, by name.
pub(crate) fn sources(dir: Option<&Path>) -> Result<Vec<Source>, Vec<Fault>> {
    let Some(dir) = dir else { return Ok(builtin::sources()) };
    let fault = |file: String, error: &std::io::Error| {
        vec![Fault { file, line: None, rule: None, message: error.to_string() }]
    };
    let mut sources = Vec::new();
    for path in files_of(dir).map_err(|error| fault(dir.display().to_string(), &error))? {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let text = std::fs::read_to_string(&path).map_err(|error| fault(name.clone(), &error))?;
        sources.push(Source { name, text });
    }
    Ok(sources)
}

/// The rule files of a folder, by name. Hidden ones are an editor's own: a lock, a draft.
pub(crate) fn files_of(dir: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if !hidden && path.extension().is_some_and(|extension| extension == "toml") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// The `[[key]]` tables of a file that holds nothing else.
fn tables(source: &Source, key: &str, faults: &mut Vec<Fault>) -> Vec<toml::Value> {
    let mut fault =
        |message: String| faults.push(Fault { file: source.name.clone(), line: None, rule: None, message });
    let mut table: toml::Table = match toml::from_str(&source.text) {
        Ok(table) => table,
        Err(error) => {
            fault(error.to_string().trim().to_owned());
            return Vec::new();
        }
    };
    for unknown in table.keys().filter(|found| *found != key) {
        fault(format!("unknown key {unknown:?}; this file holds [[{key}]] tables only"));
    }
    match table.remove(key) {
        Some(toml::Value::Array(list)) => list,
        _ => {
            fault(format!("no [[{key}]] in this file"));
            Vec::new()
        }
    }
}

fn refuse_duplicates(rules: &[Rule], faults: &mut Vec<Fault>) {
    let mut seen: HashMap<&str, &str> = HashMap::new();
    for rule in rules {
        if let Some(first) = seen.insert(&rule.id, &rule.file) {
            faults.push(
                rule.fault(format!("this id is taken by a rule in {first}; ids are permanent and unique")),
            );
        }
    }
}

/// FNV-1a, 64 bits, over names and contents: stable across machines and Rust versions, which std's hasher is not.
fn version_of(sources: &[Source]) -> String {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for source in sources.iter().filter(|source| !source.name.ends_with(".cases.toml")) {
        for byte in source.name.bytes().chain(source.text.bytes()) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    format!("{hash:016x}")
}
