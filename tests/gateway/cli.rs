use std::io::Write;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

fn thinkgate(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_thinkgate"))
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .expect("the binary runs")
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("UTF-8")
}

fn file(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(text.as_bytes()).expect("written");
    file
}

fn path(file: &tempfile::NamedTempFile) -> &str {
    file.path().to_str().expect("UTF-8")
}

#[test]
fn explain_prints_the_same_decision_again_and_again() {
    let arguments = ["explain", "--json", "--no-timing", "已知x²+2x+1=0，求x的值"];
    let first = thinkgate(&arguments);
    assert_eq!(first.status.code(), Some(0));
    let decision: Value = serde_json::from_str(&out(&first)).expect("JSON");
    assert_eq!(decision["thinking"]["mode"], "on");
    assert!(decision.get("micros").is_none());
    assert_eq!(out(&thinkgate(&arguments)), out(&first));
    assert!(out(&thinkgate(&["explain", "What is 2 + 2?"])).contains("thinking"));
}

#[test]
fn explain_reads_conversations() {
    let messages = file(r#"[{"role": "user", "content": "hi"}]"#);
    assert_eq!(thinkgate(&["explain", "--messages", path(&messages)]).status.code(), Some(0));
    let body = file(r#"{"messages": [{"role": "user", "content": "hi"}], "enable_thinking": true}"#);
    let explained = thinkgate(&["explain", "--json", "--messages", path(&body)]);
    let decision: Value = serde_json::from_str(&out(&explained)).expect("JSON");
    assert_eq!(decision["thinking"]["source"], "field");
    let faulty = file("[{]");
    assert_eq!(thinkgate(&["explain", "--messages", path(&faulty)]).status.code(), Some(2));
}

#[test]
fn classify_gives_a_line_per_row() {
    let rows = file("{\"id\": 1, \"prompt\": \"hi\"}\n{\"id\": 2, \"prompt\": \"证明根号2是无理数\"}\n");
    let output = thinkgate(&["classify", "--no-timing", path(&rows)]);
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    assert_eq!(out(&output).lines().count(), 2);
    let faulty = file("{\"prompt\": \"hi\"}\nnot JSON\n");
    let output = thinkgate(&["classify", path(&faulty)]);
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(out(&output).lines().count(), 2);
}

#[test]
fn check_fails_with_one_on_a_faulty_rule() {
    assert_eq!(thinkgate(&["check"]).status.code(), Some(0));
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("bad.toml"), "[[rule]]\nid = \"bad\"\n").expect("written");
    let output = thinkgate(&["check", folder.path().to_str().expect("UTF-8")]);
    assert_eq!(output.status.code(), Some(1));
    assert!(out(&output).contains("bad.toml"), "{}", out(&output));
}

#[test]
fn models_lists_what_is_configured_and_known() {
    let text = out(&thinkgate(&["models"]));
    assert!(text.contains("pico-moe") && text.contains("Qwen3-30B-A3B") && text.contains("8/128"), "{text}");
    let json: Value = serde_json::from_str(&out(&thinkgate(&["models", "--json"]))).expect("JSON");
    assert_eq!(json["models"][0]["profile"]["name"], "pico-dense");
    assert!(json["catalogue"].as_array().is_some_and(|entries| entries.len() >= 8));
}

#[test]
fn ask_prints_the_decision_then_the_answer() {
    let output = thinkgate(&["ask", "--think", "on", "--seed", "1", "What is 17 + 25?"]);
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    let text = out(&output);
    assert!(text.starts_with("thinking on"), "{text}");
    assert!(text.contains("of reasoning"), "{text}");
    let unknown = thinkgate(&["ask", "--model", "gpt-9", "hi"]);
    assert_eq!(unknown.status.code(), Some(2));
    assert!(err(&unknown).contains("pico-dense"), "names what is known: {}", err(&unknown));
}

#[test]
fn ask_fails_with_three_when_the_model_does() {
    let address = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("bound");
    let config = file(&format!(
        "[[models]]\nname = \"gone\"\narchitecture = \"dense\"\n\
         upstream = {{ url = \"http://{address}/v1\", dialect = \"vllm\", model_id = \"m\" }}\n"
    ));
    let output = thinkgate(&["ask", "--config", path(&config), "hi"]);
    assert_eq!(output.status.code(), Some(3), "{}", err(&output));
}

#[test]
fn a_faulty_configuration_is_shown_whole() {
    let config = file("[server]\nlisten = 1\n[policies]\n");
    let output = thinkgate(&["serve", "--config", path(&config)]);
    assert_eq!(output.status.code(), Some(2));
    let text = err(&output);
    assert!(
        text.contains("2 faults") && text.contains("server.listen") && text.contains("policies"),
        "{text}"
    );
    assert_eq!(thinkgate(&["models", "--config", "/nowhere.toml"]).status.code(), Some(2));
}

#[test]
fn a_classifier_that_cannot_be_used_is_bad_input_to_whatever_ends_by_itself() {
    let damaged = file("not a classifier");
    let rows = file("{\"id\": 1, \"prompt\": \"hi\"}\n");
    for (model, reason) in [(path(&damaged), "TGCLF1"), ("/nowhere/model.bin", "No such file")] {
        let config = file(&format!("[classifier]\npath = \"{model}\"\n"));
        let with_config = |arguments: &[&str]| thinkgate(&[arguments, &["--config", path(&config)]].concat());
        for (arguments, code) in [
            (&["explain", "hi"][..], 2),
            (&["classify", path(&rows)], 2),
            (&["ask", "hi"], 2),
            (&["evaluate", "--suite", "zh-en"], 2),
            (&["check"], 1),
        ] {
            let output = with_config(arguments);
            let told = err(&output);
            assert_eq!(output.status.code(), Some(code), "{arguments:?}: {told}");
            for words in [path(&config), "classifier.path", model, reason] {
                assert!(told.contains(words), "{arguments:?}: no {words:?} in {told}");
            }
            assert_eq!(out(&output), "", "{arguments:?}");
        }
        let off = file(&format!("[classifier]\npath = \"{model}\"\nenabled = false\n"));
        assert_eq!(thinkgate(&["explain", "--config", path(&off), "hi"]).status.code(), Some(0));
    }
}

#[test]
fn a_calibration_that_cannot_be_used_is_bad_input_to_whatever_ends_by_itself() {
    let damaged = file("format = 2");
    let rows = file("{\"id\": 1, \"prompt\": \"hi\"}\n");
    for (calibration, reason) in [(path(&damaged), ":1: "), ("/nowhere/calibration.toml", "No such file")] {
        let config = file(&format!("[calibration]\npath = \"{calibration}\"\n"));
        for (arguments, code) in [
            (&["explain", "hi"][..], 2),
            (&["classify", path(&rows)], 2),
            (&["ask", "hi"], 2),
            (&["evaluate", "--suite", "zh-en"], 2),
            (&["check"], 1),
        ] {
            let output = thinkgate(&[arguments, &["--config", path(&config)]].concat());
            let told = err(&output);
            assert_eq!(output.status.code(), Some(code), "{arguments:?}: {told}");
            for words in [path(&config), "calibration.path", calibration, reason] {
                assert!(told.contains(words), "{arguments:?}: no {words:?} in {told}");
            }
            assert_eq!(out(&output), "", "{arguments:?}");
        }
    }
}

#[test]
fn the_classifier_inside_the_binary_votes_unless_turned_off() {
    let version = |config: &str| {
        let config = file(config);
        let output = thinkgate(&["explain", "--json", "--config", path(&config), "hi"]);
        let decision: Value = serde_json::from_str(&out(&output)).expect("JSON");
        decision["versions"]["classifier"].clone()
    };
    assert!(version("").is_string());
    assert_eq!(version("[classifier]\nenabled = true\n"), version(""));
    assert_eq!(version("[classifier]\nenabled = false\n"), Value::Null);
}

#[test]
fn a_port_in_use_is_said_plainly() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("bound").to_string();
    let output = thinkgate(&["serve", "--listen", &address]);
    assert_eq!(output.status.code(), Some(2));
    assert!(err(&output).contains("another program has it"), "{}", err(&output));
}

#[test]
fn an_open_door_to_the_network_must_be_meant() {
    let output = thinkgate(&["--listen", "0.0.0.0:0"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(err(&output).contains("--insecure-no-auth"), "{}", err(&output));
}

#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_thinkgate"))
        .args(["classify", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    drop(child.stdout.take());
    let mut stdin = child.stdin.take().expect("piped");
    for _ in 0..2000 {
        // The other side ending early is the point.
        if stdin.write_all(b"{\"prompt\": \"hi\"}\n").is_err() {
            break;
        }
    }
    drop(stdin);
    let output = child.wait_with_output().expect("ends");
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
}
