use std::io::Write;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};

fn evaluate(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_thinkgate"));
    command.arg("evaluate").args(["--resamples", "20"]).args(arguments).output().expect("the binary runs")
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("UTF-8")
}

fn path(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// What every row of a file has besides its text; every fourth row needs more than the others.
fn fields(file: &str, n: usize) -> Value {
    let hard = f64::from(n.is_multiple_of(4));
    match file {
        "lb_math500" => json!({"level": 1 + n % 5}),
        "lb_cmath_zh" => json!({"level": 1 + n % 6, "reasoning_steps": 1 + n % 5}),
        "lb_agieval" | "ch_smalltalk" | "ch_kdconv_zh" => json!({}),
        "sw_routerdc_cmmlu_zh" => json!({"model_scores": {"a": 1.0 - hard, "b": 1}}),
        file if file.starts_with("sw_") => json!({"strong_correct": 1, "weak_correct": 1.0 - hard}),
        _ => json!({
            "think_correct": 1, "nothink_correct": 1.0 - hard, "think_tokens": 600, "nothink_tokens": 20,
            "mode_outcomes": {"m": {"think_correct": 1, "nothink_correct": 0, "think_tokens": 9, "nothink_tokens": 1}}
        }),
    }
}

/// A folder with 60 rows of every file that the suites need: proofs in files of mathematics, greetings elsewhere.
fn data() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for file in [
        "lb_math500",
        "lb_cmath_zh",
        "lb_agieval",
        "ch_smalltalk",
        "ch_kdconv_zh",
        "sw_routerdc_cmmlu_zh",
        "sw_routellm_mmlu",
        "sw_routellm_gsm8k",
        "sw_llmrouter_9models",
        "sw_routerbench_zs",
        "sw_zeroeval",
        "th_tts_simpleqa",
        "th_tts_frames",
        "th_qwen3_gsm8k",
    ] {
        let mut out = std::fs::File::create(folder.path().join(format!("{file}.jsonl"))).expect("created");
        for n in 0..60 {
            let mut row = fields(file, n);
            let chinese = file.ends_with("_zh");
            let text = match (
                ["math500", "cmath", "agieval", "frames"].iter().any(|part| file.contains(part)),
                chinese,
            ) {
                (true, true) => format!("已知x²+{n}x+1=0，求x的值，并证明结论。"),
                (true, false) => format!("Prove that {n} + x^2 = 2 has no rational solution."),
                (false, true) => format!("你好，我是{n}号。"),
                (false, false) => format!("Hello there, number {n}!"),
            };
            row["id"] = json!(format!("{file}:{n}"));
            row["source"] = json!(file);
            row["lang"] = json!(if chinese { "zh" } else { "en" });
            row["messages"] = json!([{"role": "user", "content": text}]);
            writeln!(out, "{row}").expect("written");
        }
    }
    folder
}

fn table<'a>(report: &'a Value, title: &str) -> &'a Vec<Value> {
    let suites = report["suites"].as_array().expect("suites");
    let tables = suites.iter().flat_map(|suite| suite["tables"].as_array().expect("tables"));
    let found = tables.into_iter().find(|table| table["title"] == title);
    found.unwrap_or_else(|| panic!("no table {title}"))["rows"].as_array().expect("rows")
}

fn line<'a>(rows: &'a [Value], policy: &str) -> &'a Value {
    rows.iter().find(|row| row["policy"] == policy).unwrap_or_else(|| panic!("no line {policy}"))
}

#[test]
fn all_tables_stand_beside_their_controls_in_both_forms() {
    let data = data();
    let out = tempfile::tempdir().expect("a folder");
    let (page, numbers) = (out.path().join("quality.md"), out.path().join("quality.json"));
    let output = evaluate(&["--data", path(data.path()), "--output", path(&page), "--json", path(&numbers)]);
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    let report: Value =
        serde_json::from_str(&std::fs::read_to_string(&numbers).expect("written")).expect("JSON");
    let english = table(&report, "Task level, English");
    let router = &line(english, "thinkgate")["AUC"];
    assert_eq!((router["value"].as_f64(), router["low"].as_f64()), (Some(1.0), Some(1.0)));
    for (policy, missed, needless) in [("always off", 1.0, 0.0), ("always on", 0.0, 1.0)] {
        let control = line(english, policy);
        assert_eq!(control["AUC"]["value"], 0.5);
        assert_eq!(
            (&control["missed"]["value"], &control["needless"]["value"]),
            (&json!(missed), &json!(needless))
        );
    }
    for title in ["Measured outcomes, all three", "RouteLLM MMLU", "Agreement"] {
        for control in ["constant mix", "shuffled", "length only"] {
            line(table(&report, title), control);
        }
    }
    assert_eq!(line(table(&report, "Measured outcomes, all three"), "oracle")["recall"]["value"], 1.0);
    let by_model = &table(&report, "Measured outcomes by model")[0];
    assert_eq!((&by_model["model"], &by_model["set"]), (&json!("m"), &json!("all three")));
    for column in ["area, with a profile", "F1, with a profile"] {
        assert!(by_model.get(column).is_some(), "{by_model}");
    }
    // The model is right with nine tokens of thinking and never without: what it is measured to gain is worth them.
    let bought = table(&report, "What a profile of each model changes");
    let profiled = bought.iter().find(|row| row["policy"] == "with a profile").expect("a line");
    assert_eq!((profiled["thinks"].as_f64(), profiled["right"].as_f64()), (Some(1.0), Some(1.0)));
    assert!(profiled["over thinkgate"]["low"].as_f64().is_some_and(|low| low > 0.0), "{profiled}");
    let markdown = std::fs::read_to_string(&page).expect("written");
    for words in
        ["Only rows that nothing was trained on", "### Decisions unchanged, Chinese", "| always off |"]
    {
        assert!(markdown.contains(words), "{words}");
    }
}

#[test]
fn trained_rows_count_only_where_asked_for() {
    let data = data();
    let rows = |arguments: &[&str]| {
        let mut all = vec!["--suite", "robustness", "--data", path(data.path())];
        all.extend(arguments);
        let output = evaluate(&all);
        assert_eq!(output.status.code(), Some(0), "{}", err(&output));
        String::from_utf8(output.stdout).expect("UTF-8")
    };
    assert!(rows(&[]).contains("Only rows that nothing was trained on are measured"));
    let all = rows(&["--split", "all"]);
    assert!(all.contains("All 840 rows are measured") && all.contains("--split all"), "{all}");
}

#[test]
fn a_peer_stands_beside_the_controls() {
    let data = data();
    let mut peer = tempfile::Builder::new().prefix("other").suffix(".jsonl").tempfile().expect("a file");
    for file in std::fs::read_dir(data.path()).expect("a folder") {
        let text = std::fs::read_to_string(file.expect("a file").path()).expect("read");
        for row in text.lines() {
            let row: Value = serde_json::from_str(row).expect("JSON");
            let decision = json!({"id": row["id"], "peer": "other", "thinking": "on", "score": 0.7});
            writeln!(peer, "{decision}").expect("written");
        }
    }
    let output =
        evaluate(&["--suite", "thinking", "--data", path(data.path()), "--peers", path(peer.path())]);
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    let markdown = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(markdown.contains("| other | 0.500 | 0.500 |"), "{markdown}");
}

#[test]
fn parity_needs_no_data_and_the_rest_says_that_it_does() {
    let output = evaluate(&["--suite", "zh-en"]);
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    let output = evaluate(&["--suite", "thinking"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(err(&output).contains("--data DIR"), "{}", err(&output));
}

#[test]
fn what_is_missing_is_named() {
    let data = data();
    let fails = |says: &str| {
        let output = evaluate(&["--suite", "strong-weak", "--data", path(data.path())]);
        assert_eq!(output.status.code(), Some(2));
        assert!(err(&output).contains(says), "{says}: {}", err(&output));
    };
    let file = data.path().join("sw_zeroeval.jsonl");
    let rows = std::fs::read_to_string(&file).expect("read");
    std::fs::write(&file, rows.replace("\"weak_correct\"", "\"weak\"")).expect("written");
    fails("sw_zeroeval: row sw_zeroeval:");
    fails("has no weak_correct");
    std::fs::write(&file, "{\"id\": 1}\n").expect("written");
    fails("sw_zeroeval.jsonl:1");
    std::fs::remove_file(&file).expect("removed");
    fails("sw_zeroeval.jsonl: not in");
}
