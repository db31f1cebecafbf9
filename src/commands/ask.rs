//! `thinkgate ask`: decide, generate, and stream reasoning and answer to the terminal.

use std::io::{IsTerminal, Write};
use std::sync::Arc;

use futures_util::StreamExt;
use serde_json::{Map, Value, json};

use super::explain::{print_summary, timed_decision};
use super::serve::start_logging;
use super::{Failure, heat_map};
use crate::app::App;
use crate::backends::{Answer, Asked, Call, ExpertDetail, ExpertReport, Repetition, Step, Steps, Usage};
use crate::cli::{AskArgs, Think};
use crate::config::{Config, Log};
use crate::conversation::{Asks, Conversation, Mode, Origin, Wish, unknown_model};
use crate::decide::Decision;
use crate::dispatch::{Order, dispatch};

/// Asks one question and prints the answer as it comes.
///
/// # Errors
/// A faulty configuration, an unknown model, or a model that fails.
pub fn run(args: &AskArgs, out: &mut impl Write) -> Result<(), Failure> {
    let begin_logging = |log: &Log| start_logging(log.json);
    let config = Config::load_fetching(args.config.as_deref(), begin_logging).map_err(Failure::usage)?;
    let runtime = super::runtime()?;
    runtime.block_on(async {
        let app = App::strictly(config).map_err(Failure::usage)?;
        let decision = decide(&app, args)?;
        print_summary(&decision, out)?;
        writeln!(out)?;
        out.flush()?;
        tokio::select! {
            answered = answer(&app, &decision, args, out) => answered,
            // Dropping the answer cancels the work behind it.
            _ = tokio::signal::ctrl_c() => Ok(()),
        }
    })
}

fn decide(app: &App, args: &AskArgs) -> Result<Decision, Failure> {
    let loaded = app.loaded();
    let snapshot = loaded.snapshot(None);
    let mut conversation = Conversation::of_prompt(&args.prompt);
    conversation.max_tokens = args.max_tokens.map(u64::from);
    let mode = match (args.think, args.budget) {
        (Think::Off, _) | (Think::Auto, Some(0)) => Some(Mode::Off),
        (Think::On, _) | (Think::Auto, Some(_)) => Some(Mode::On),
        (Think::Auto, None) => None,
    };
    if let Some(mode) = mode {
        let asks = Asks::Thinking(mode, args.budget.filter(|tokens| mode == Mode::On && *tokens > 0));
        conversation.wishes.push(Wish::outside_text(Origin::Header, "--think", asks));
    }
    if let Some(name) = &args.model {
        if app.served(name).is_none() {
            return Err(Failure::usage(unknown_model(name, &snapshot.policy)));
        }
        let asks = Asks::Model(name.clone());
        conversation.wishes.push(Wish::outside_text(Origin::Header, "--model", asks));
    }
    Ok(timed_decision(&conversation, snapshot))
}

async fn answer(
    app: &Arc<App>,
    decision: &Decision,
    args: &AskArgs,
    out: &mut impl Write,
) -> Result<(), Failure> {
    let call = Call {
        body: body_of(args),
        thinking: decision.thinking.mode,
        budget: decision.thinking.budget_tokens,
        asked: Asked::Nothing,
        stream: true,
        experts: args.experts.then_some(ExpertDetail::Summary),
        caller: 0,
    };
    let order = Order::new(app, decision, call, args.model.is_none())
        .ok_or_else(|| Failure::usage(anyhow::anyhow!("no model {:?}", decision.model)))?;
    let dispatched = dispatch(Arc::clone(app), order).await.map_err(Failure::backend)?;
    let Answer::Steps(steps) = dispatched.answer else {
        return Err(Failure::backend(anyhow::anyhow!("the model did not stream")));
    };
    let printed = print_steps(steps, out).await?;
    print_cost(&printed, out)?;
    if let Some(repetition) = printed.repetition {
        let cut = if repetition.cut { "; it was cut off" } else { "" };
        writeln!(out, "it repeated itself for {} tokens{cut}", repetition.tokens)?;
    }
    match printed.experts {
        Some(report) => heat_map::print(&report, out)?,
        None if args.experts => {
            writeln!(out, "\n{} tells of no experts", dispatched.served.model.profile.name)?;
        }
        None => {}
    }
    Ok(())
}

fn print_cost(printed: &Printed, out: &mut impl Write) -> std::io::Result<()> {
    let Some(usage) = &printed.usage else { return Ok(()) };
    let reasoning = usage.reasoning_tokens.unwrap_or(0);
    writeln!(
        out,
        "\n{} tokens read, {reasoning} of reasoning, {} of answer",
        usage.prompt_tokens,
        usage.completion_tokens.saturating_sub(reasoning)
    )
}

fn body_of(args: &AskArgs) -> Map<String, Value> {
    let mut body = Map::new();
    body.insert("messages".into(), json!([{"role": "user", "content": args.prompt}]));
    if let Some(tokens) = args.max_tokens {
        body.insert("max_tokens".into(), tokens.into());
    }
    if let Some(seed) = args.seed {
        body.insert("seed".into(), seed.into());
    }
    body
}

/// What is told after the answer.
#[derive(Default)]
struct Printed {
    usage: Option<Usage>,
    experts: Option<ExpertReport>,
    repetition: Option<Repetition>,
}

/// Prints reasoning, dim where the terminal can, then the answer.
async fn print_steps(mut steps: Steps, out: &mut impl Write) -> Result<Printed, Failure> {
    let dims = std::io::stdout().is_terminal();
    let mut reasoning = false;
    let mut printed = Printed::default();
    while let Some(step) = steps.next().await {
        match step.map_err(Failure::backend)? {
            Step::Reasoning { text, .. } => {
                if !reasoning && dims {
                    write!(out, "\x1b[2m")?;
                }
                reasoning = true;
                write!(out, "{}", visible(&text))?;
            }
            Step::Answer { text, .. } => {
                if std::mem::take(&mut reasoning) {
                    write!(out, "{}\n\n", if dims { "\x1b[0m" } else { "" })?;
                }
                write!(out, "{}", visible(&text))?;
            }
            Step::Usage(usage) => printed.usage = Some(usage),
            Step::Experts(report) => printed.experts = Some(report),
            Step::Repetition(repetition) => printed.repetition = Some(repetition),
            Step::Other { .. } | Step::Finished { .. } => {}
        }
        out.flush()?;
    }
    if reasoning && dims {
        write!(out, "\x1b[0m")?;
    }
    writeln!(out)?;
    Ok(printed)
}

/// What a model writes must not steer the terminal.
fn visible(text: &str) -> String {
    text.chars().filter(|c| !c.is_control() || matches!(c, '\n' | '\t')).collect()
}
