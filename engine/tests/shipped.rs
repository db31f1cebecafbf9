//! Are the shipped models as good as their card says, when this engine runs them?
//!
//! Questions and answers are those of `models/eval`, made by `models/recipe`. Bounds lie four standard errors of the
//! sample below the figures in `models/README.md`.
#![expect(clippy::unwrap_used, reason = "a failed set-up is a failed test")]

use std::path::Path;

use serde_json::Value;
use thinkgate_engine::{Chat, Engine, Event, Generation, Options, Request, Sampling};

const MODELS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../models");
/// One test question in so many is asked.
const EVERY: usize = 23;

struct Question {
    level: u64,
    messages: Vec<Value>,
    answer: String,
}

fn questions() -> Vec<Question> {
    let lines = std::fs::read_to_string(Path::new(MODELS).join("eval/single.jsonl")).unwrap();
    let rows = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    // Only answers that are compared as text.
    rows.filter(|row| row["checker"]["type"] == "exact")
        .step_by(EVERY)
        .map(|row| Question {
            level: row["level"].as_u64().unwrap(),
            messages: row["messages"].as_array().unwrap().clone(),
            answer: row["checker"]["answer"].as_str().unwrap().to_owned(),
        })
        .collect()
}

fn answer(mut generation: Generation) -> String {
    let mut answer = String::new();
    loop {
        match generation.blocking_next().expect("the last event is Finished or Failed") {
            Event::Reasoning(_) => {}
            Event::Answer(text) => answer.push_str(&text),
            Event::Finished(_) => return answer.trim().to_owned(),
            Event::ToolCall(_) | Event::Token(_) => panic!("not asked for"),
            Event::Failed(error) => panic!("{error}"),
        }
    }
}

/// The share of questions of these levels answered right.
fn accuracy(engine: &Engine, questions: &[Question], levels: &[u64], thinking: bool) -> f64 {
    let asked: Vec<&Question> =
        questions.iter().filter(|question| levels.contains(&question.level)).collect();
    let right = asked.iter().filter(|question| {
        let request = Request {
            chat: Chat { messages: question.messages.clone(), thinking, ..Chat::default() },
            max_tokens: Some(200),
            sampling: Sampling { temperature: Some(0.0), ..Sampling::default() },
            ..Request::default()
        };
        answer(engine.submit(request).unwrap()) == question.answer
    });
    let share = right.count() as f64 / asked.len() as f64;
    println!("levels {levels:?}, thinking {thinking}: {share:.3} of {}", asked.len());
    share
}

fn hold(model: &str, thinking: f64, gain: f64) {
    let engine = Engine::open(&Path::new(MODELS).join(model), Options::default()).unwrap();
    let questions = questions();
    assert!(questions.len() > 140);
    let all = accuracy(&engine, &questions, &[1, 2, 3], true);
    assert!(all >= thinking, "{model}: {all}");
    let (with, without) =
        (accuracy(&engine, &questions, &[2, 3], true), accuracy(&engine, &questions, &[2, 3], false));
    assert!(with - without >= gain, "{model}: thinking must pay on hard questions: {with} and {without}");
}

#[test]
fn the_dense_model_is_as_good_as_its_card_says() {
    hold("pico-dense", 0.67, 0.28);
}

#[test]
fn the_moe_is_as_good_as_its_card_says() {
    hold("pico-moe", 0.89, 0.34);
}
