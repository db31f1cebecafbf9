use thinkgate::config::{Config, Source};
use thinkgate::policy::Architecture;

use crate::support::parse;

const FAULTY: &str = r#"
[server]
listen = "localhost"
liste = "x"

[policy]
preset = "fastest"

[[models]]
name = "a"
architecture = "sparse"
upstream = { url = "ftp://x", dialect = "sglan", model_id = "m", api_key_env = "UNSET" }

[[models]]
name = "a"
path = "models/pico-moe"
architecture = "dense"
total_params = "lots"

[[models]]
name = "auto:x"
upstream = { url = "http://127.0.0.1:9/v1", dialect = "generic", model_id = "some/model", timeout = 3 }

[presets.careful]
unsure = "maybe"

[limits]
body_bytes = 3
drain_ms = "soon"

[[keys]]
sha256 = "12"

[log]
format = "xml"

[calibration]
gain_per_1000_tokens = 2
"#;

#[test]
fn every_fault_is_reported_at_once_with_line_key_value_and_what_would_do() {
    let error = parse(FAULTY).expect_err("faulty");
    let report = error.to_string();
    for line in [
        "thinkgate.toml:3: server.listen: expected an address such as \"127.0.0.1:8080\", got \"localhost\"",
        "thinkgate.toml:4: server.liste: unknown key; did you mean listen?",
        "thinkgate.toml:7: policy.preset: no preset \"fastest\"; known are api, careful, debug",
        "thinkgate.toml:11: models[0].architecture: expected one of dense, moe, got \"sparse\"",
        "thinkgate.toml:12: models[0].upstream.url: expected a base address",
        "thinkgate.toml:12: models[0].upstream.dialect: expected one of vllm, sglang, llama-cpp, ollama",
        "thinkgate.toml:12: models[0].upstream.api_key_env: environment variable UNSET is not set",
        "thinkgate.toml:17: models[1].architecture: \"dense\", but the model is moe",
        "thinkgate.toml:18: models[1].total_params: expected a parameter count such as \"30.5B\"",
        "thinkgate.toml:21: models[2].name: \"auto:x\" is an alias",
        "thinkgate.toml:22: models[2].upstream.timeout: unknown key; did you mean timeouts?",
        "models[2].thinking: dialect generic cannot switch thinking",
        "thinkgate.toml:25: presets.careful.unsure: expected one of on, off, got \"maybe\"",
        "thinkgate.toml:28: limits.body_bytes: expected a whole number from 1024",
        "thinkgate.toml:29: limits.drain_ms: expected a whole number",
        "thinkgate.toml:32: keys[0].sha256: expected 64 hexadecimal digits",
        "thinkgate.toml:35: log.format: expected one of text, json, got \"xml\"",
        "thinkgate.toml:38: calibration.gain_per_1000_tokens: expected a number from 0 to 1, got 2",
    ] {
        assert!(report.contains(line), "no {line:?} in\n{report}");
    }
}

#[test]
fn a_gain_without_profiles_to_ask_it_of_is_a_fault() {
    let error = parse("[calibration]\ngain_per_1000_tokens = 0.1\n").expect_err("no path").to_string();
    assert!(error.contains("calibration.gain_per_1000_tokens: says nothing without path"), "{error}");
}

#[test]
fn text_that_is_not_toml_is_reported_with_its_line() {
    let error = parse("[server]\nlisten = \n").expect_err("not TOML");
    assert_eq!(error.faults[0].line, Some(2), "{error}");
}

#[test]
fn an_empty_configuration_is_the_embedded_pair() {
    let config = parse("").expect("valid");
    let names: Vec<&str> = config.models.iter().map(|model| model.profile.name.as_str()).collect();
    assert_eq!(names, ["pico-dense", "pico-moe"]);
    assert!(config.listen.ip().is_loopback());
}

#[test]
fn the_catalogue_fills_in_what_is_known() {
    let config = parse(
        "[[models]]\nname = \"large\"\n\
         upstream = { url = \"https://h/v1/\", dialect = \"vllm\", model_id = \"Qwen/Qwen3-30B-A3B\" }",
    )
    .expect("valid");
    let model = &config.models[0];
    assert_eq!(model.profile.architecture, Architecture::Moe);
    assert_eq!(model.profile.active_params, Some(3_300_000_000));
    assert!(model.profile.skill.is_some());
    let Source::Upstream(upstream) = &model.source else { panic!("an upstream") };
    assert_eq!(upstream.url.as_str(), "https://h/v1");
}

#[test]
fn a_folder_tells_its_own_shape() {
    let config = parse("[[models]]\nname = \"local\"\npath = \"models/pico-moe\"").expect("valid");
    let profile = &config.models[0].profile;
    assert_eq!(profile.architecture, Architecture::Moe);
    assert_eq!((profile.total_params, profile.context_length), (Some(7_481_856), Some(1024)));
}

#[test]
fn a_dense_model_s_every_parameter_is_active() {
    let config = parse(
        "[[models]]\nname = \"x\"\narchitecture = \"dense\"\ntotal_params = \"7B\"\n\
         upstream = { url = \"http://127.0.0.1:9/v1\", dialect = \"vllm\", model_id = \"m\" }",
    )
    .expect("valid");
    assert_eq!(config.models[0].profile.active_params, Some(7_000_000_000));
}

#[test]
fn the_gateway_does_not_call_itself() {
    let error = parse(
        "[server]\nlisten = \"127.0.0.1:9000\"\n[[models]]\nname = \"x\"\narchitecture = \"dense\"\n\
         upstream = { url = \"http://localhost:9000/v1\", dialect = \"vllm\", model_id = \"m\" }",
    )
    .expect_err("a circle");
    assert!(error.to_string().contains("in circles"), "{error}");
}

#[test]
fn the_example_is_valid_and_says_the_defaults() {
    let text = include_str!("../../thinkgate.example.toml");
    let commented: String =
        text.lines().map(|line| line.strip_prefix("#: ").unwrap_or(line).to_owned() + "\n").collect();
    let shown = parse(text).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(shown.limits, Config::default().limits);
    assert_eq!(shown.listen, Config::default().listen);
    parse(&commented).unwrap_or_else(|error| panic!("with every example line in force: {error}"));
}

#[test]
fn the_engines_limits_belong_to_models_that_it_runs() {
    let local = |engine: &str| {
        parse(&format!("[[models]]\nname = \"a\"\ncatalogue = \"pico-moe\"\nengine = {{ {engine} }}\n"))
    };
    let config = local("cache_bytes = 2097152, threads = 1, cut_loops = false").expect("valid");
    let engine = config.models[0].engine;
    assert_eq!((engine.cache_bytes, engine.threads, engine.max_running), (Some(2 << 20), Some(1), 8));
    assert!(!engine.cut_loops && local("threads = 1").expect("valid").models[0].engine.cut_loops);
    let error = local("cache_bytes = 5, thread = 2").expect_err("faulty").to_string();
    assert!(error.contains("models[0].engine.cache_bytes: expected a whole number from 1048576"), "{error}");
    assert!(error.contains("models[0].engine.thread: unknown key; did you mean threads?"), "{error}");
    let elsewhere = "[[models]]\nname = \"b\"\nengine = { threads = 1 }\n\
                     upstream = { url = \"http://127.0.0.1:9/v1\", dialect = \"vllm\", model_id = \"Qwen/Qwen3-8B\" }\n";
    let error = parse(elsewhere).expect_err("faulty").to_string();
    assert!(error.contains("models[0].engine: is for models of the built-in engine"), "{error}");
}
