//! What sequences share, memory and beginnings, must not show in what they say.
#![expect(clippy::unwrap_used, reason = "a failed set-up is a failed test")]

use std::path::Path;

use serde_json::{Value, json};
use thinkgate_engine::{
    Chat, Engine, EngineError, Event, Finish, Generation, Options, Request, Sampling, SubmitError,
};

fn engine(model: &str, options: Options) -> Engine {
    Engine::open(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../models").join(model), options).unwrap()
}

fn user(text: &str) -> Value {
    json!({"role": "user", "content": text})
}

fn greedy(messages: &[Value], thinking: bool) -> Request {
    let sampling = Sampling { temperature: Some(0.0), ..Sampling::default() };
    Request {
        chat: Chat { messages: messages.to_vec(), thinking, ..Chat::default() },
        max_tokens: Some(120),
        sampling,
        ..Request::default()
    }
}

fn read(mut generation: Generation) -> Result<(String, Finish), EngineError> {
    let mut text = String::new();
    loop {
        match generation.blocking_next().unwrap() {
            Event::Reasoning(more) | Event::Answer(more) => text.push_str(&more),
            Event::Finished(finish) => return Ok((text, finish)),
            Event::ToolCall(_) | Event::Token(_) => panic!("not asked for"),
            Event::Failed(error) => return Err(error),
        }
    }
}

fn run(engine: &Engine, request: Request) -> (String, Finish) {
    read(engine.submit(request).unwrap()).unwrap()
}

/// Positions in a block, whole ones of which are shared.
const BLOCK: usize = 16;
/// Bytes of a key's or a value's number, as engines keep them unless told otherwise.
const HALF: usize = 2;

#[test]
fn a_second_turn_reads_only_what_is_new_and_says_the_same() {
    for model in ["pico-dense", "pico-moe"] {
        let shared = engine(model, Options::default());
        let mut messages =
            vec![user("What is 17+25? Please work it out for me, I need it for my homework today.")];
        let (text, first) = run(&shared, greedy(&messages, false));
        assert_eq!(first.cached_tokens, 0);
        messages.extend([json!({"role": "assistant", "content": text}), user("Now add 3 to that.")]);
        let (reply, second) = run(&shared, greedy(&messages, true));
        assert!(second.cached_tokens >= (first.prompt_tokens - 4) / BLOCK * BLOCK, "{model}: {second:?}");
        let (alone, fresh) = run(&engine(model, Options::default()), greedy(&messages, true));
        assert_eq!((reply, fresh.cached_tokens), (alone, 0), "{model}");
    }
}

#[test]
fn the_thinking_switch_keeps_what_was_read() {
    let engine = engine("pico-moe", Options::default());
    let question = [user(
        "Jack has 14 apples. Then Jack buys 12 more, gives 8 to Mia and loses 3. How many apples are left?",
    )];
    let (_, direct) = run(&engine, greedy(&question, false));
    let (_, thought) = run(&engine, greedy(&question, true));
    // The template differs after the question only.
    assert!(thought.cached_tokens + BLOCK > direct.prompt_tokens - 8, "{thought:?}");
}

#[test]
fn a_request_may_read_everything_itself() {
    let engine = engine("pico-moe", Options::default());
    let question = [user("What is 17+25? Please work it out for me, I need it for my homework today.")];
    run(&engine, greedy(&question, true));
    let (_, finish) =
        run(&engine, Request { read_all: true, trace_experts: 1000, ..greedy(&question, true) });
    assert_eq!(finish.cached_tokens, 0);
    assert_eq!(finish.experts.unwrap().tokens.len(), finish.prompt_tokens + finish.completion_tokens - 1);
}

fn questions() -> Vec<Vec<Value>> {
    (11..19).map(|n| vec![user(&format!("What is {n}{n} times {}?", n + 7))]).collect()
}

fn block_bytes(engine: &Engine, kv_heads: usize) -> usize {
    engine.info().layers * 2 * kv_heads * 32 * BLOCK * HALF
}

#[test]
fn too_little_memory_makes_sequences_wait_not_lie() {
    let plenty = engine("pico-moe", Options::default());
    let expected: Vec<(String, Finish)> =
        questions().iter().map(|question| run(&plenty, greedy(question, true))).collect();
    let longest =
        expected.iter().map(|(_, finish)| finish.prompt_tokens + finish.completion_tokens).max().unwrap();
    // Room for the longest and a little, while eight want to run.
    let blocks = longest.div_ceil(BLOCK) + 2;
    let cache_bytes = blocks * block_bytes(&plenty, 4);
    let tight = engine("pico-moe", Options { cache_bytes: Some(cache_bytes), ..Options::default() });
    let running: Vec<Generation> =
        questions().iter().map(|question| tight.submit(greedy(question, true)).unwrap()).collect();
    let mut most = 0;
    for (generation, (text, whole)) in running.into_iter().zip(&expected) {
        most = most.max(tight.load().cache_bytes);
        let (found, finish) = read(generation).unwrap();
        assert_eq!(&found, text);
        assert_eq!(finish.completion_tokens, whole.completion_tokens);
        let read = finish.prompt_tokens - finish.cached_tokens + finish.completion_tokens - 1;
        let counted: u32 = finish.experts.unwrap().layers[0].chosen.iter().sum();
        assert_eq!(counted as usize, 2 * read, "what was read twice is counted once");
    }
    assert!(most <= cache_bytes, "{most} of {cache_bytes}");
}

#[test]
fn a_reader_that_stops_reading_holds_up_nobody() {
    let pico = engine("pico-moe", Options::default());
    let cache_bytes = Some(14 * block_bytes(&pico, 4));
    let tight = engine("pico-moe", Options { cache_bytes, ..Options::default() });
    let long = Request {
        max_tokens: Some(190),
        ..greedy(&[user("Write out the numbers from one to a hundred, please.")], false)
    };
    let idle: Vec<Generation> = (0..3).map(|_| tight.submit(long.clone()).unwrap()).collect();
    for question in questions() {
        let request = greedy(&question, true);
        assert_eq!(run(&tight, request.clone()).0, run(&pico, request).0);
    }
    for generation in idle {
        assert_eq!(read(generation).unwrap().0, run(&pico, long.clone()).0);
    }
}

#[test]
fn a_finished_generation_that_nobody_has_let_go_of_blocks_nothing() {
    let pico = engine("pico-moe", Options::default());
    let cache_bytes = Some(9 * block_bytes(&pico, 4));
    let tight = engine("pico-moe", Options { cache_bytes, ..Options::default() });
    let running: Vec<Generation> =
        questions().iter().map(|question| tight.submit(greedy(question, false)).unwrap()).collect();
    // The last first: those before it have ended, unread.
    for generation in running.into_iter().rev() {
        read(generation).unwrap();
    }
}

#[test]
fn less_memory_than_a_context_shortens_the_context() {
    let cache_bytes = Some(5 * 3 * 2 * 2 * 32 * BLOCK * HALF);
    let engine = engine("pico-dense", Options { cache_bytes, ..Options::default() });
    assert_eq!(engine.info().context_length, 5 * BLOCK);
    let long = [user(&"one two three four five six seven ".repeat(12))];
    let refused = engine.submit(greedy(&long, false)).unwrap_err();
    assert!(matches!(refused, SubmitError::TooLong { context: 80, .. }), "{refused}");
    let (_, finish) = run(&engine, greedy(&[user("Count from one to ninety-nine.")], false));
    assert!(finish.prompt_tokens + finish.completion_tokens <= 5 * BLOCK);
}

#[test]
fn groups_do_not_know_of_each_other() {
    let engine = engine("pico-dense", Options::default());
    let question = [user("What is 17+25? Please work it out for me, I need it for my homework today.")];
    let cached = |group| run(&engine, Request { group, ..greedy(&question, false) }).1.cached_tokens;
    assert_eq!(cached(1), 0);
    assert!(cached(1) > 0);
    assert_eq!(cached(2), 0);
}

/// A small generator of chance, the same on every machine.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

#[test]
fn two_thousand_requests_some_cancelled_leave_nothing_behind() {
    let blocks = 64; // a full context of the model
    let cache_bytes = blocks * 3 * 2 * 2 * 32 * BLOCK * HALF;
    let engine = engine(
        "pico-dense",
        Options { cache_bytes: Some(cache_bytes), max_waiting: 24, ..Options::default() },
    );
    let mut chance = Chance(1);
    let mut open: Vec<Generation> = Vec::new();
    for number in 0..2000 {
        let question = format!("What is {} + {}?", chance.below(1000), number);
        let request = Request {
            max_tokens: Some(1 + chance.below(24) as usize),
            ..greedy(&[user(&question)], number % 2 == 0)
        };
        match engine.submit(request) {
            Ok(generation) => open.push(generation),
            // Places are given back before the next step, so with nothing left to drop it is a matter of waiting.
            Err(_busy) if open.is_empty() => std::thread::yield_now(),
            Err(_busy) => drop(open.remove(chance.below(open.len() as u64) as usize)),
        }
        if chance.below(3) == 0 && !open.is_empty() {
            let generation = open.swap_remove(chance.below(open.len() as u64) as usize);
            match chance.below(2) {
                0 => drop(generation),
                _ => drop(read(generation).unwrap()),
            }
        }
    }
    drop(open);
    while engine.load().running + engine.load().waiting > 0 {
        std::thread::yield_now();
    }
    // The whole memory is there again: a text that needs nearly all of it is read and answered.
    let long = "one two three four five six seven ".repeat(55);
    let tokens = engine.count_tokens(&greedy(&[user(&long)], false).chat).unwrap();
    assert!((800..1000).contains(&tokens), "{tokens}");
    run(&engine, Request { max_tokens: Some(10), ..greedy(&[user(&long)], false) });
    let load = engine.load();
    assert_eq!((load.running, load.waiting, load.healthy), (0, 0, true));
    assert!(load.cache_bytes <= cache_bytes);
}
