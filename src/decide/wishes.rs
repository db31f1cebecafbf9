//! Explicit requests in rank order: those stated outside the text, then directives in it, then the preset.
//!
//! A directive counts only where a person speaks for themselves: never in code, quotations, documents, text
//! handed over to be worked on, tool results or answers. The last one in the last user message wins; a lasting
//! one (`/think`, `/no_think`) in an earlier user or system message holds until contradicted.

use std::sync::LazyLock;

use regex::Regex;

use super::{Readings, Turn};
use crate::conversation::{Asks, Conversation, Mode, Origin, Wish};
use crate::policy::Preset;
use crate::reading::{Reading, RegionKind};
use crate::rules::{Directive, Effect, Rule, RuleSet};

/// Every wish, highest rank first.
pub(super) fn collect(
    conversation: &Conversation<'_>,
    readings: &Readings<'_>,
    preset_name: &str,
    preset: &Preset,
) -> Vec<Wish> {
    let mut wishes = conversation.wishes.clone();
    wishes.sort_by_key(|wish| wish.origin);
    // The words in a client's own call are there to be titled or sorted, not obeyed.
    if preset.text_directives && readings.errand.is_none() {
        wishes.extend(in_text(readings));
    }
    if let Some(mode) = preset.thinking {
        wishes.push(Wish::outside_text(Origin::Preset, preset_name, Asks::Thinking(mode, None)));
    }
    wishes
}

/// Directives of the last user message, last one first; then lasting ones from earlier, newest first.
fn in_text(readings: &Readings<'_>) -> Vec<Wish> {
    let (last, earlier) = readings.turns.split_first().expect("there is always a last turn");
    let mut found: Vec<Wish> = last.stated.iter().rev().map(|directive| to_wish(directive, last)).collect();
    let mut before: Vec<&Turn<'_>> = earlier.iter().chain(&readings.system).collect();
    before.sort_by_key(|turn| std::cmp::Reverse(turn.index));
    let lasting = before.into_iter().find_map(|turn| {
        let directive = turn.stated.iter().rfind(|directive| is_lasting(directive.rule))?;
        Some(to_wish(directive, turn))
    });
    found.extend(lasting);
    found
}

fn to_wish(directive: &Directive<'_>, turn: &Turn<'_>) -> Wish {
    Wish {
        origin: Origin::Text,
        asks: Asks::Thinking(directive.asks, None),
        by: directive.rule.id.clone(),
        message: Some(turn.index),
        span: Some(turn.reading.original_span(&directive.range)),
        honoured: false,
    }
}

/// Prepares a message: its directives are found, and are no part of what is asked.
pub(crate) fn read<'r>(rules: &'r RuleSet, index: usize, text: &str) -> Turn<'r> {
    let mut reading = Reading::of(text);
    let sight = rules.look(reading.whole());
    let stated = stated(rules.directives(&reading, &sight), &reading);
    reading.leave_out(stated.iter().map(|directive| directive.range.clone()));
    Turn { index, reading, sight, stated }
}

/// Directives that are meant, with negation applied, in order of position.
fn stated<'r>(found: Vec<Directive<'r>>, reading: &Reading) -> Vec<Directive<'r>> {
    let mut out: Vec<Directive<'r>> = Vec::new();
    for mut directive in found {
        if !is_meant(&directive, reading) {
            continue;
        }
        if is_negated(&reading.whole()[..directive.range.start]) {
            directive.asks = opposite(directive.asks);
        }
        // "简单回答" inside "请简单回答一下": the longer reading of the same words stands.
        match out.last_mut() {
            Some(previous) if previous.range.end > directive.range.start => {
                if directive.range.len() > previous.range.len() {
                    *previous = directive;
                }
            }
            _ => out.push(directive),
        }
    }
    out
}

fn is_lasting(rule: &Rule) -> bool {
    matches!(rule.effect, Effect::Asks { lasting: true, .. })
}

fn opposite(mode: Mode) -> Mode {
    match mode {
        Mode::On => Mode::Off,
        Mode::Off => Mode::On,
    }
}

fn is_meant(directive: &Directive<'_>, reading: &Reading) -> bool {
    let switch = reading.whole()[directive.range.clone()].starts_with('/');
    if switch && !stands_alone(reading.whole(), directive) {
        return false;
    }
    // `/think` at the end of a text to translate is still the switch; words there are text to translate.
    let apart: &[RegionKind] = if switch {
        &[RegionKind::Code, RegionKind::Quote, RegionKind::Document]
    } else {
        &[RegionKind::Code, RegionKind::Quote, RegionKind::Document, RegionKind::Payload]
    };
    !reading.touches(&directive.range, apart) && !is_mentioned(&reading.whole()[..directive.range.start])
}

/// `/think` as a word of its own, not a piece of a path, an address or a tag.
fn stands_alone(text: &str, directive: &Directive<'_>) -> bool {
    let part_of_a_path =
        |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '_' | '-' | '~' | '.' | ':' | '<' | '>');
    let before = text[..directive.range.start].chars().next_back();
    let mut after = text[directive.range.end..].chars();
    let clear_after = match after.next() {
        // A full stop may end the sentence.
        Some('.' | ':') => after.next().is_none_or(char::is_whitespace),
        Some(c) => !part_of_a_path(c),
        None => true,
    };
    before.is_none_or(|c| c == '.' || !part_of_a_path(c)) && clear_after && !is_opened(text, directive)
}

/// An argument of a command: `cd /think`.
fn is_opened(text: &str, directive: &Directive<'_>) -> bool {
    const COMMANDS: &[&str] =
        &["cd", "ls", "cat", "cp", "mv", "rm", "mkdir", "chmod", "chown", "mount", "curl", "get", "post"];
    let word = text[..directive.range.start].trim_end().rsplit(|c: char| !c.is_ascii_alphanumeric()).next();
    word.is_some_and(|word| COMMANDS.contains(&word))
}

static MENTION: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(
        r"(?:what (?:is|does|are)|meaning of|define|difference between|the (?:word|term|command|flag|switch|phrase)s?|什么是|什么叫|关于|所谓|命令|指令|词语?|短语) ?(?:the )?$",
    )
    .expect("constant")
});

/// Talked about, not said: "what does /think do".
fn is_mentioned(before: &str) -> bool {
    MENTION.is_match(tail(before))
}

static NEGATION: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(concat!(
        r"(?:不要?|别|勿|无需|无须|不必|不用|不需要?|没必要|不想|毋须|避免|禁止)(?:再|给我|帮我|对此|进行|那么|太|过于|太过|做|去|用|要|你)*$",
        r"|(?-u:\b)(?:don'?t|do not|no need (?:to|for)|needn'?t|without|not|never|avoid|skip|stop|no)(?: (?:need|have|want|you)(?: you)?(?: to| for)?| to| any| a| the| bother to| please| just| even| be| give me| go into| it in| too| think| explain| answer| reply| reason| do it| solve it)*\s*$",
    ))
    .expect("constant")
});

fn is_negated(before: &str) -> bool {
    NEGATION.is_match(tail(before))
}

/// The last few words: negation and mention stand right before what they are about.
fn tail(before: &str) -> &str {
    let start = before.floor_char_boundary(before.len().saturating_sub(48));
    let sentence = &before[start..];
    let after_stop = sentence.rfind(['。', '!', '?', '\n', ';', ',', '.']).map_or(0, |at| at + 1);
    sentence
        .get(after_stop..)
        .unwrap_or(sentence.trim_start_matches('。'))
        .trim_start_matches(|c: char| !c.is_alphanumeric() && !c.is_whitespace())
}
