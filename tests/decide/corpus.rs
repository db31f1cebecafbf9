//! Shares of thinking on labelled public prompts. The prompts may not all be redistributed, so they are read
//! from `../shared/data`; where that folder is absent the test says so and passes nothing off as measured.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use thinkgate::conversation::{Conversation, Mode};
use thinkgate::decide::decide;

use crate::support::SNAPSHOT;

fn folder() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data");
    folder.is_dir().then_some(folder)
}

/// Share of the rows that `keep` keeps on which thinking is chosen, in percent.
fn share(folder: &Path, source: &str, keep: impl Fn(&Value) -> bool) -> f64 {
    let text = fs::read_to_string(folder.join(format!("{source}.jsonl"))).expect("a file of the data set");
    let rows: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let kept: Vec<&Value> = rows.iter().filter(|row| keep(row)).collect();
    let on = kept.iter().filter(|row| {
        let conversation = Conversation::from_messages(&row["messages"]).expect("OpenAI messages");
        decide(&conversation, &SNAPSHOT).thinking.mode == Mode::On
    });
    #[expect(clippy::cast_precision_loss, reason = "a percentage")]
    let share = 100.0 * on.count() as f64 / kept.len() as f64;
    println!("{source:<24} {:>5} rows  thinking on {share:>5.1} %", kept.len());
    share
}

fn any(_: &Value) -> bool {
    true
}

#[test]
fn easy_sources_are_answered_at_once() {
    let Some(folder) = folder() else {
        println!("skipped: no labelled prompts beside the repository");
        return;
    };
    for source in ["lb_chinese_simpleqa", "th_tts_simpleqa", "ch_smalltalk", "lb_cmrc_zh"] {
        let on = share(&folder, source, any);
        assert!(on <= 10.0, "{source}: {on:.1} %");
    }
}

#[test]
fn hard_sources_are_thought_about() {
    let Some(folder) = folder() else {
        println!("skipped: no labelled prompts beside the repository");
        return;
    };
    let hard_level = |row: &Value| row["level"].as_f64().is_some_and(|level| level >= 3.0);
    let mathematics = |row: &Value| row["subject"].as_str().is_some_and(|subject| subject.contains("Math"));
    let measured = [
        ("lb_math500", share(&folder, "lb_math500", hard_level)),
        ("lb_olympiad_en", share(&folder, "lb_olympiad_en", any)),
        ("lb_college_math", share(&folder, "lb_college_math", any)),
        ("lb_agieval", share(&folder, "lb_agieval", any)),
        ("sw_gaokao_zh", share(&folder, "sw_gaokao_zh", mathematics)),
    ];
    for (source, on) in measured {
        assert!(on >= 85.0, "{source}: {on:.1} %");
    }
}
