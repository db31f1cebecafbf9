use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

fn thinkgate(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_thinkgate"));
    command.args(arguments).current_dir(folder).stdin(Stdio::null()).output().expect("the binary runs")
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("UTF-8")
}

const CONFIG: &str = r#"
[[models]]
name = "quick"
architecture = "dense"
upstream = { url = "http://127.0.0.1:9/v1", dialect = "vllm", model_id = "m" }
"#;

/// Rows on which one model gains by thinking on every other prompt and another never does.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let row = |n: usize| {
        let gains = f64::from(n.is_multiple_of(2));
        let outcome = |think: f64| json!({"think_correct": think, "nothink_correct": 0, "think_tokens": 600, "nothink_tokens": 20});
        let prompt = format!("Who wrote book number {n}?");
        json!({"prompt": prompt, "mode_outcomes": {"gains": outcome(gains), "never": outcome(0.0)}})
            .to_string()
    };
    let rows: Vec<String> = (0..120).map(row).collect();
    std::fs::write(folder.path().join("rows.jsonl"), rows.join("\n")).expect("written");
    std::fs::write(folder.path().join("thinkgate.toml"), CONFIG).expect("written");
    folder
}

fn decision(folder: &Path, config: &str) -> Value {
    let output =
        thinkgate(folder, &["explain", "--json", "--no-timing", "--config", config, "Who wrote Emma?"]);
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    serde_json::from_str(&out(&output)).expect("JSON")
}

fn calibrate(folder: &Path, arguments: &[&str]) -> Output {
    let all = [&["calibrate", "--resamples", "20", "--eval", "rows.jsonl"], arguments].concat();
    thinkgate(folder, &all)
}

#[test]
fn profiles_are_fitted_shown_written_and_decided_by() {
    let folder = folder();
    let folder = folder.path();
    let output = calibrate(folder, &[]);
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    let table = out(&output);
    for words in
        ["### gains: 120 rows", "### never: 120 rows", "| with a profile | 100.0 %", "| always off | 0.0 %"]
    {
        assert!(table.contains(words), "{words}: {table}");
    }
    let written = std::fs::read_to_string(folder.join("calibration.toml")).expect("written");
    assert!(written.contains("[models.gains.without]") && written.contains("rows = 120"), "{written}");
    assert_eq!(calibrate(folder, &["--output", "again.toml"]).status.code(), Some(0));
    assert_eq!(std::fs::read_to_string(folder.join("again.toml")).expect("written"), written);

    let before = decision(folder, "thinkgate.toml");
    assert_eq!(
        (&before["thinking"]["mode"], &before["versions"]["calibration"]),
        (&json!("off"), &Value::Null)
    );
    for (in_file, mode) in [("gains", "on"), ("never", "off")] {
        let model = format!("quick={in_file}");
        let output =
            calibrate(folder, &["--config", "thinkgate.toml", "--model", &model, "--output", "quick.toml"]);
        assert_eq!(output.status.code(), Some(0), "{}", err(&output));
        let config = format!("{CONFIG}\n[calibration]\npath = \"quick.toml\"\n");
        std::fs::write(folder.join("with.toml"), config).expect("written");
        let decision = decision(folder, "with.toml");
        assert_eq!(
            (&decision["thinking"]["mode"], &decision["thinking"]["source"]),
            (&json!(mode), &json!("score"))
        );
        assert!(decision["versions"]["calibration"].as_str().is_some_and(|version| version.len() == 16));
        assert!(decision["notes"][0].as_str().is_some_and(|note| note.starts_with("profile: quick")));
    }
}

#[test]
fn names_that_do_not_meet_are_told_with_what_is_known() {
    let folder = folder();
    let folder = folder.path();
    for (arguments, says) in [
        (&["--model", "quick"][..], "--model quick: expected NAME=NAME_IN_FILE"),
        (&["--model", "quick=x"], "no row has outcomes of \"x\"; they have gains, never"),
        (&["--config", "thinkgate.toml", "--model", "x=gains"], "no model \"x\"; configured are quick"),
        (&["--config", "thinkgate.toml"], "the rows have outcomes of gains, never, but configured are quick"),
    ] {
        let output = calibrate(folder, arguments);
        assert_eq!(output.status.code(), Some(2));
        assert!(err(&output).contains(says), "{}", err(&output));
    }
    let config = format!("{CONFIG}\n[calibration]\npath = \"calibration.toml\"\n");
    std::fs::write(folder.join("with.toml"), config).expect("written");
    let output = thinkgate(folder, &["explain", "--config", "with.toml", "hi"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(err(&output).contains("with.toml: calibration.path: cannot read"), "{}", err(&output));
    assert_eq!(calibrate(folder, &[]).status.code(), Some(0));
    let output = thinkgate(folder, &["explain", "--config", "with.toml", "hi"]);
    assert_eq!(output.status.code(), Some(2));
    let text = err(&output);
    assert!(
        text.contains("calibration.toml:")
            && text.contains("models: no model \"gains\"; configured are quick"),
        "{text}"
    );
}

#[test]
fn faulty_rows_are_named_by_file_line_and_field() {
    let folder = folder();
    let folder = folder.path();
    let rows = std::fs::read_to_string(folder.join("rows.jsonl")).expect("read");
    std::fs::write(
        folder.join("rows.jsonl"),
        rows.replacen("\"think_tokens\":600", "\"think_tokens\":-1", 1),
    )
    .expect("written");
    let output = calibrate(folder, &[]);
    assert_eq!(output.status.code(), Some(2));
    let says = "rows.jsonl:1: mode_outcomes.gains.think_tokens: expected a number from 0 to 1000000, got -1";
    assert!(err(&output).contains(says), "{}", err(&output));
    let few: Vec<&str> = rows.lines().skip(1).take(12).collect();
    std::fs::write(folder.join("rows.jsonl"), few.join("\n")).expect("written");
    let output = calibrate(folder, &[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(out(&output).contains("gains: left out, 12 rows, where a profile needs 20"), "{}", out(&output));
    assert!(!folder.join("calibration.toml").exists());
}

#[test]
fn built_in_models_are_asked_what_is_to_be_checked() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    std::fs::write(
        folder.join("thinkgate.toml"),
        "[[models]]\nname = \"tiny\"\ncatalogue = \"pico-dense\"\n",
    )
    .expect("written");
    let row =
        |n: usize| json!({"prompt": format!("What is {n} + {}?", n + 20), "answer": 2 * n + 20}).to_string();
    std::fs::write(folder.join("rows.jsonl"), (10..45).map(row).collect::<Vec<_>>().join("\n"))
        .expect("written");
    let output = calibrate(folder, &["--config", "thinkgate.toml"]);
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    assert!(out(&output).contains("tiny: 35 questions, with and without thinking"), "{}", out(&output));
    let written = std::fs::read_to_string(folder.join("calibration.toml")).expect("written");
    assert!(written.contains("[models.tiny.gain]") && written.contains("rows = 35"), "{written}");
    // The embedded models do such sums: whoever thinks puts out more.
    let line = |name: &str| {
        let at = written.split(&format!("[models.tiny.{name}]\nbase = ")).nth(1).expect("the line");
        at.lines().next().and_then(|number| number.parse::<f64>().ok()).expect("a number")
    };
    assert!(line("tokens_with") > line("tokens_without"), "{written}");
}
