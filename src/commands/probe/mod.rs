//! `thinkgate models --probe`: does the switch have an effect, where does reasoning come, is a budget kept?
//!
//! What a server was started with cannot be seen from here, only felt. Each model is asked the same question off, on, and on
//! with a small budget; the builtin engine is not asked, it obeys.

mod ask;
mod seen;

use std::io::Write;

use serde::Serialize;

use self::ask::{Asking, Outcome, ask};
use self::seen::Seen;
use super::{Failure, runtime};
use crate::backends::upstream::client;
use crate::config::{Config, Model, Source, Upstream};
use crate::conversation::Mode;

/// Tokens of thought in the first question that asks for any.
const AMPLE: u32 = 2048;
/// Tokens of thought in the last one, or the least that the backend takes.
const SMALL: u32 = 64;
/// A budget is kept if the thought is at most this much longer: servers end it at a sentence, and the text is only estimated.
const SLACK: f64 = 1.5;

/// What was found of one model.
#[derive(Debug, Serialize)]
struct Report {
    model: String,
    dialect: &'static str,
    /// Why it could not be asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    unreachable: Option<String>,
    /// Whether the mode follows the word: `obeyed`, `no effect: …`, `refused: …`.
    #[serde(skip_serializing_if = "Option::is_none")]
    switch: Option<String>,
    /// Whether a small budget was kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    budget: Option<String>,
    /// The field that reasoning came in.
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_in: Option<String>,
    /// How reasoning tokens are counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    off: Option<Side>,
    #[serde(skip_serializing_if = "Option::is_none")]
    on: Option<Side>,
}

/// One question and its answer.
#[derive(Debug, Clone, Serialize)]
struct Side {
    /// What was said, as in `x-thinkgate-applied`.
    applied: String,
    #[serde(flatten)]
    seen: Option<Seen>,
    #[serde(skip_serializing_if = "Option::is_none")]
    refused: Option<String>,
}

/// Asks every configured upstream and prints what was found.
///
/// # Errors
/// A model that could not be reached, after all were asked; output that cannot be written.
pub(super) fn run(config: &Config, as_json: bool, out: &mut impl Write) -> Result<(), Failure> {
    let runtime = runtime()?;
    let mut reports = Vec::new();
    for model in &config.models {
        if let Source::Upstream(upstream) = &model.source {
            reports.push(runtime.block_on(probe(model, upstream))?);
        }
    }
    if as_json {
        let json = serde_json::json!({"probes": reports});
        writeln!(out, "{}", serde_json::to_string_pretty(&json).map_err(std::io::Error::from)?)?;
    } else {
        print(&reports, out)?;
    }
    let gone: Vec<&str> =
        reports.iter().filter(|report| report.unreachable.is_some()).map(|report| &*report.model).collect();
    if gone.is_empty() {
        return Ok(());
    }
    Err(Failure::backend(anyhow::anyhow!("not reached: {}", gone.join(", "))))
}

async fn probe(model: &Model, upstream: &Upstream) -> Result<Report, Failure> {
    let client = client(upstream.timeouts.connect).map_err(Failure::backend)?;
    let mut report = Report {
        model: model.profile.name.clone(),
        dialect: upstream.dialect.as_str(),
        unreachable: None,
        switch: None,
        budget: None,
        reasoning_in: None,
        usage: None,
        off: None,
        on: None,
    };
    let off = ask(&client, upstream, Mode::Off, None).await;
    if let Outcome::Failed(reason) = off.outcome {
        report.unreachable = Some(reason);
        return Ok(report);
    }
    let on = ask(&client, upstream, Mode::On, Some(AMPLE)).await;
    if let Outcome::Failed(reason) = on.outcome {
        report.unreachable = Some(reason);
        return Ok(report);
    }
    let small = small_budget(&client, upstream).await;
    let (off, on) = (Side::of(off), Side::of(on));
    report.switch = Some(switch(&off, &on));
    report.budget = Some(budget(small, &on));
    let thoughtful =
        [&on, &off].into_iter().filter_map(|side| side.seen.as_ref()).find(|seen| seen.thought());
    report.reasoning_in = thoughtful.and_then(|seen| seen.reasoning_in.clone());
    report.usage = thoughtful.map(|seen| usage(seen).to_owned());
    (report.off, report.on) = (Some(off), Some(on));
    Ok(report)
}

/// The least budget that the dialect can tell and its answer; none where it has no word for one.
async fn small_budget(client: &reqwest::Client, upstream: &Upstream) -> Option<(u32, Asking)> {
    let rule = upstream.capability(Mode::On).budget?;
    let tokens = SMALL.clamp(rule.min, rule.max);
    // Asked even where the operator does not count on it: this is how to find out.
    let upstream = Upstream { budget: true, ..upstream.clone() };
    Some((tokens, ask(client, &upstream, Mode::On, Some(tokens)).await))
}

impl Side {
    fn of(asking: Asking) -> Side {
        let applied = asking.applied.compact();
        let (seen, refused) = match asking.outcome {
            Outcome::Answered(seen) => (Some(seen), None),
            Outcome::Refused(reason) | Outcome::Failed(reason) => (None, Some(reason)),
        };
        Side { applied, seen, refused }
    }

    fn told_off(&self) -> bool {
        self.applied.starts_with("mode=off")
    }
}

fn switch(off: &Side, on: &Side) -> String {
    let (seen_off, seen_on) = match (&off.seen, &on.seen) {
        (Some(off), Some(on)) => (off, on),
        (None, _) => return format!("off refused: {}", off.refused.as_deref().unwrap_or_default()),
        (_, None) => return format!("on refused: {}", on.refused.as_deref().unwrap_or_default()),
    };
    match (seen_off.thought(), seen_on.thought(), off.told_off()) {
        (false, true, _) => "obeyed".to_owned(),
        (true, true, false) if seen_off.reasoning_tokens < seen_on.reasoning_tokens => {
            format!(
                "always thinks: {} tokens instead of {}",
                seen_off.reasoning_tokens, seen_on.reasoning_tokens
            )
        }
        (true, true, false) => "always thinks".to_owned(),
        (true, true, true) => "no effect: thinks when told not to".to_owned(),
        (false, false, _) if on.told_off() => "never thinks".to_owned(),
        (false, false, _) => "no effect: does not think when told to".to_owned(),
        (true, false, _) => "inverted: thinks only when told not to".to_owned(),
    }
}

fn budget(small: Option<(u32, Asking)>, on: &Side) -> String {
    let Some((tokens, asking)) = small else { return "no word for it".to_owned() };
    let seen = match asking.outcome {
        Outcome::Answered(seen) => seen,
        Outcome::Refused(reason) | Outcome::Failed(reason) => return format!("refused: {reason}"),
    };
    let ample = on.seen.as_ref().map_or(0, |seen| seen.reasoning_tokens);
    let within = |spent: u32| f64::from(spent) <= f64::from(tokens) * SLACK;
    match seen.reasoning_tokens {
        _ if within(ample) => format!("untried: {ample} tokens were enough anyway"),
        spent if within(spent) => format!("kept: {spent} of {tokens} tokens"),
        spent => format!("ignored: {spent} instead of {tokens} tokens"),
    }
}

fn usage(seen: &Seen) -> &'static str {
    match (seen.counted, seen.counts) {
        (true, Some("beside")) => "counted, beside the generated",
        (true, Some(_)) => "counted, within the generated",
        (true, None) => "counted",
        (false, _) => "not counted",
    }
}

fn print(reports: &[Report], out: &mut impl Write) -> std::io::Result<()> {
    if reports.is_empty() {
        return writeln!(out, "no upstream is configured; the builtin engine needs no probe");
    }
    for report in reports {
        writeln!(out, "{} ({})", report.model, report.dialect)?;
        let lines = [
            ("unreachable", &report.unreachable),
            ("switch", &report.switch),
            ("budget", &report.budget),
            ("reasoning in", &report.reasoning_in),
            ("usage", &report.usage),
        ];
        for (name, value) in lines {
            if let Some(value) = value {
                writeln!(out, "  {name:<13} {value}")?;
            }
        }
        for (name, side) in [("told off", &report.off), ("told on", &report.on)] {
            if let Some(side) = side {
                let tokens = side.seen.as_ref().map_or(0, |seen| seen.reasoning_tokens);
                writeln!(out, "  {name:<13} {} → {tokens} tokens of reasoning", side.applied)?;
            }
        }
    }
    Ok(())
}
