//! The `thinkgate` binary.
use std::io::Write;
use thinkgate::commands::{check, classify, explain};
use thinkgate::conversation::Conversation;
use thinkgate::decide::Snapshot;
use thinkgate::policy::*;
use thinkgate::rules::RuleSet;
fn main() -> anyhow::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let mut out = std::io::stdout().lock();
    let dir = std::env::var("RULES_DIR").ok();
    let rules = match dir.map_or_else(RuleSet::builtin, |d| RuleSet::from_dir(d.as_ref())) {
        Ok(r) => r,
        Err(f) => {
            check::report_faults(&f, &mut out)?;
            std::process::exit(1)
        }
    };
    let model = |name: &str, architecture, total, skill| ModelProfile {
        name: name.into(), architecture, total_params: Some(total), active_params: Some(1_000_000), context_length: Some(1024),
        thinking: ThinkingAbility::Hybrid, tools: true, vision: false, skill: Some(skill), price: None,
    };
    let policy = Policy {
        models: vec![
            model("pico-dense", Architecture::Dense, 1_000_000, Skill { direct: 0.539, thinking: 0.897 }),
            model("pico-moe", Architecture::Moe, 2_800_000, Skill { direct: 0.44, thinking: 0.793 }),
        ],
        presets: Policy::builtin_presets(),
        preset: std::env::var("PRESET").unwrap_or("api".into()),
    };
    let snapshot = Snapshot { rules, policy };
    match args[0].as_str() {
        "check" => {
            if check::run_cases(&snapshot, &mut out)? == check::Outcome::Failed {
                std::process::exit(1)
            }
        }
        "explain" => {
            let value;
            let c = if args[1] == "--messages" {
                value = serde_json::from_str(&args[2])?;
                Conversation::from_messages(&value)?
            } else {
                Conversation::of_prompt(&args[1])
            };
            let d = explain::timed_decision(&c, &snapshot);
            if args.last().is_some_and(|a| a == "--json") { explain::print_json(&d, &mut out)? } else { explain::print_text(&d, &c, &mut out)? }
        }
        "classify" => {
            let options = classify::Options { no_timing: true, summary: vec!["source".into(), "lang".into()] };
            let mut tally = classify::Tally::default();
            let mut o = std::io::BufWriter::new(std::fs::File::create(&args[1])?);
            for f in &args[2..] {
                classify::run(std::io::BufReader::new(std::fs::File::open(f)?), &mut o, &snapshot, &options, &mut tally)?;
            }
            tally.print(&options.summary, &mut out)?;
        }
        _ => {}
    }
    out.flush()?;
    Ok(())
}
