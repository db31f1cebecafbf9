//! `thinkgate explain`: the decision, its evidence and what would flip it. Prints what [`decide`] returned;
//! nothing is computed again.

use std::io::Write;
use std::time::Instant;

use crate::conversation::Conversation;
use crate::decide::{Decision, Snapshot, decide};

/// Decides and times. The time is taken here because deciding itself reads no clock.
#[must_use]
pub fn timed_decision(conversation: &Conversation<'_>, snapshot: &Snapshot) -> Decision {
    let start = Instant::now();
    let mut decision = decide(conversation, snapshot);
    decision.micros = Some(u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX));
    decision
}

/// The decision as JSON, pretty.
///
/// # Errors
/// Writing failed.
pub fn print_json(decision: &Decision, out: &mut impl Write) -> std::io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, decision)?;
    writeln!(out)
}

/// The decision for a reader.
///
/// # Errors
/// Writing failed.
pub fn print_text(
    decision: &Decision,
    conversation: &Conversation<'_>,
    out: &mut impl Write,
) -> std::io::Result<()> {
    print_summary(decision, out)?;
    if !decision.evidence.is_empty() {
        writeln!(out, "\nevidence (log-odds: thinking, complexity)")?;
        for evidence in &decision.evidence {
            let text = evidence
                .message
                .zip(evidence.span)
                .map(|(message, span)| quoted(conversation, message, span));
            writeln!(
                out,
                "  {:+6.2} {:+6.2}  {:<32} {}{}",
                evidence.contribution,
                evidence.complexity,
                evidence.id,
                text.unwrap_or_default(),
                if evidence.shadow { "  (shadow: not counted)" } else { "" }
            )?;
        }
    }
    for wish in &decision.wishes {
        let text = wish.message.zip(wish.span).map(|(message, span)| quoted(conversation, message, span));
        let verdict = if wish.honoured { "honoured" } else { "overruled" };
        writeln!(out, "\nwish: {:?} by {} {} ({verdict})", wish.asks, wish.by, text.unwrap_or_default())?;
    }
    writeln!(out, "\narms (success, tokens, relative cost, utility)")?;
    for arm in &decision.arms {
        writeln!(
            out,
            "  {:<20} {:<4} {:>5.2} {:>7} {:>8.2} {:>6.2}",
            arm.model,
            arm.thinking.as_str(),
            arm.p_success,
            arm.tokens,
            arm.cost,
            arm.utility
        )?;
    }
    if let Some(flip) = &decision.flip {
        writeln!(out, "\nto turn it {}: {}, e.g. by {}", flip.to.as_str(), flip.needs, flip.by)?;
    }
    for note in &decision.notes {
        writeln!(out, "note: {note}")?;
    }
    Ok(())
}

/// The few lines that also stand above an answer.
///
/// # Errors
/// Writing failed.
pub fn print_summary(decision: &Decision, out: &mut impl Write) -> std::io::Result<()> {
    let thinking = &decision.thinking;
    let budget = thinking
        .budget_tokens
        .map_or_else(String::new, |tokens| format!(", budget {tokens} ({})", thinking.effort.as_str()));
    let unsure = if decision.abstained { ", unsure: the preset decided" } else { "" };
    writeln!(
        out,
        "thinking {}{budget}  p {:.2}  source {}{unsure}",
        thinking.mode.as_str(),
        thinking.probability,
        thinking.source.as_str()
    )?;
    writeln!(out, "model    {} ({})", decision.model, decision.architecture.as_str())?;
    let label = serde_json::to_value(decision.task.label).unwrap_or_default();
    write!(
        out,
        "task     {} {:.2}  language {}  strong {:.2}",
        label.as_str().unwrap_or_default(),
        decision.task.probability,
        decision.language,
        decision.strong_probability
    )?;
    match decision.micros {
        Some(micros) => writeln!(out, "  in {micros} µs"),
        None => writeln!(out),
    }
}

/// The words at `span`, cut to fit a line and safe to show in a terminal.
fn quoted(conversation: &Conversation<'_>, message: usize, span: [usize; 2]) -> String {
    let text = conversation.messages.get(message).and_then(|message| message.text.get(span[0]..span[1]));
    let shown: String = text.unwrap_or_default().chars().filter(|c| !c.is_control()).take(40).collect();
    format!("{shown:?}")
}
