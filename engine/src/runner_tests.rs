//! The loop and the thinking rules, under a model that says what the test wants.

use std::collections::VecDeque;
use std::sync::Mutex;

use super::*;
use crate::cache::KvCache;
use crate::config::ModelConfig;
use crate::constraint::Constraints;
use crate::model::Wanted;
use crate::repetition::Repetition;
use crate::request::{AnswerFormat, Chat, Finish, FinishReason, Request, TokenLogprobs};
use crate::sampler::Recipe;
use crate::sequence::{Drawing, Limits, Phase, Thinking, Vocabulary};
use crate::tokenizer::{Tokenizer, tests::pico};
use crate::tools::ToolCall;

/// Answers each request for logits with the next token of its script, then with `filler` for ever.
struct Scripted {
    config: ModelConfig,
    script: Mutex<VecDeque<u32>>,
    filler: u32,
    /// Tokens of every span of every step.
    steps: Arc<Mutex<Vec<Vec<usize>>>>,
    fault: Fault,
}

#[derive(Clone, Copy, PartialEq)]
enum Fault {
    None,
    Panic,
    Error,
    NotFinite,
}

impl Decoder for Scripted {
    fn config(&self) -> &ModelConfig {
        &self.config
    }

    fn forward(&self, spans: &mut [Span<'_>]) -> Result<Output, EngineError> {
        self.steps.lock().unwrap().push(spans.iter().map(|span| span.tokens.len()).collect());
        match self.fault {
            Fault::Panic => panic!("scripted"),
            Fault::Error => return Err(EngineError::Compute("scripted".to_owned())),
            Fault::None | Fault::NotFinite => {}
        }
        let mut logits = Vec::new();
        for span in spans {
            span.cache.advance(span.tokens.len());
            if span.wanted == Wanted::Last {
                logits.extend(self.say());
            }
        }
        Ok(Output { logits, gates: Vec::new() })
    }
}

impl Scripted {
    fn say(&self) -> Vec<f32> {
        let token = self.script.lock().unwrap().pop_front().unwrap_or(self.filler);
        let mut logits = vec![0.0; self.config.vocab];
        logits[token as usize] = if self.fault == Fault::NotFinite { f32::NAN } else { 1.0 };
        logits
    }
}

/// An engine thread around a scripted model.
struct Stage {
    handle: RunnerHandle,
    config: ModelConfig,
    vocabulary: Vocabulary,
    steps: Arc<Mutex<Vec<Vec<usize>>>>,
    cut_loops: bool,
}

struct Setup {
    script: Vec<u32>,
    filler: u32,
    fault: Fault,
    options: Options,
    context: usize,
}

impl Default for Setup {
    fn default() -> Self {
        let tokenizer = pico();
        Setup {
            script: Vec::new(),
            filler: tokenizer.encode_text("a").unwrap()[0],
            fault: Fault::None,
            options: Options::default(),
            context: 1024,
        }
    }
}

impl Setup {
    fn script(script: Vec<u32>) -> Setup {
        Setup { script, ..Setup::default() }
    }

    fn start(self) -> Stage {
        let tokenizer = Arc::new(pico());
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../models/pico-dense/config.json");
        let mut config = ModelConfig::parse(&std::fs::read(path).unwrap()).unwrap();
        config.context_length = self.context;
        let steps = Arc::new(Mutex::new(Vec::new()));
        let model = Scripted {
            config: config.clone(),
            script: Mutex::new(self.script.into()),
            filler: self.filler,
            steps: Arc::clone(&steps),
            fault: self.fault,
        };
        let thinking = Thinking::find(&tokenizer);
        let end_tokens = [tokenizer.marker_id("<|im_end|>").unwrap()].into();
        let handle = RunnerHandle::spawn(model, &self.options, 1).unwrap();
        let vocabulary = Vocabulary { tokenizer, thinking, end_tokens };
        Stage { handle, config, vocabulary, steps, cut_loops: self.options.cut_loops }
    }
}

impl Stage {
    fn submit(&self, prompt: usize, request: Request) -> Result<Generation, SubmitError> {
        let prompt = vec![5; prompt];
        let permit = self.handle.reserve()?;
        let phase = Phase::after(&prompt, request.chat.thinking, self.vocabulary.thinking.as_ref());
        let limits = Limits::new(&request, self.config.context_length, self.cut_loops);
        let cache = KvCache::new(&self.config);
        let drawing = self.drawing(&request);
        let sequence = Sequence::new(prompt, phase, cache, drawing, limits, self.vocabulary.clone());
        self.handle.submit(permit, sequence)
    }

    fn drawing(&self, request: &Request) -> Drawing {
        let Vocabulary { tokenizer, end_tokens, .. } = &self.vocabulary;
        let constraints = Constraints::new(Arc::clone(tokenizer), Arc::clone(end_tokens));
        let constraint = constraints.compile(&request.answer_format).unwrap();
        Drawing { sampler: Recipe::greedy().sampler(), answer: None, constraint }
    }

    /// Holds the model's next step back until all are submitted, so that they share steps on any machine.
    fn submit_together<const N: usize>(&self, requests: [(usize, Request); N]) -> [Generation; N] {
        let _hold = self.steps.lock().unwrap();
        requests.map(|(prompt, request)| self.submit(prompt, request).unwrap())
    }

    fn run(&self, request: Request) -> Outcome {
        read(self.submit(4, request).unwrap())
    }
}

#[derive(Debug, Default)]
struct Outcome {
    reasoning: String,
    answer: String,
    pieces: Vec<String>,
    calls: Vec<ToolCall>,
    tokens: Vec<TokenLogprobs>,
    end: Option<Result<Finish, EngineError>>,
}

impl Outcome {
    fn finish(&self) -> &Finish {
        self.end.as_ref().expect("every generation ends").as_ref().expect("and this one ends well")
    }

    fn error(&self) -> &EngineError {
        self.end.as_ref().expect("every generation ends").as_ref().expect_err("and this one fails")
    }
}

fn read(mut generation: Generation) -> Outcome {
    let mut outcome = Outcome::default();
    while let Some(event) = generation.blocking_next() {
        assert!(outcome.end.is_none(), "nothing follows the last event");
        match event {
            Event::Reasoning(text) => {
                outcome.reasoning.push_str(&text);
                outcome.pieces.push(text);
            }
            Event::Answer(text) => {
                outcome.answer.push_str(&text);
                outcome.pieces.push(text);
            }
            Event::ToolCall(call) => outcome.calls.push(call),
            Event::Token(token) => outcome.tokens.push(token),
            Event::Finished(finish) => outcome.end = Some(Ok(finish)),
            Event::Failed(error) => outcome.end = Some(Err(error)),
        }
    }
    outcome
}

/// Encodes text in which markers mean themselves.
fn script(text: &str) -> Vec<u32> {
    let tokenizer: Tokenizer = pico();
    tokenizer.encode_prompt(&crate::prompt::Rendered::for_test(text, '\u{F0000}')).unwrap()
}

fn thinking(max_tokens: usize) -> Request {
    let chat = Chat { thinking: true, ..Chat::default() };
    Request { chat, max_tokens: Some(max_tokens), ..Request::default() }
}

fn direct(max_tokens: usize) -> Request {
    Request { max_tokens: Some(max_tokens), ..Request::default() }
}

#[test]
fn reasoning_and_answer_are_told_apart_by_token_and_trimmed() {
    let stage = Setup::script(script("<think>\nI add.\n</think>\n\nIt is 4.<|im_end|>")).start();
    let outcome = stage.run(thinking(100));
    assert_eq!((outcome.reasoning.as_str(), outcome.answer.as_str()), ("I add.", "It is 4."));
    let finish = outcome.finish();
    assert_eq!(finish.reason, FinishReason::Stop);
    assert!(!finish.closed_thinking && !finish.budget_exhausted, "the model closed it itself");
    assert_eq!(finish.prompt_tokens, 4);
    assert_eq!(finish.reasoning_tokens, script("\nI add.\n").len());
    assert_eq!(finish.completion_tokens, script("<think>\nI add.\n</think>\n\nIt is 4.<|im_end|>").len());
}

#[test]
fn blank_reasoning_counts_as_none() {
    let outcome = Setup::script(script("<think>\n\n</think>\n\nhi<|im_end|>")).start().run(thinking(100));
    assert_eq!((outcome.reasoning.as_str(), outcome.answer.as_str()), ("", "hi"));
    assert_eq!(outcome.finish().reasoning_tokens, 0);
}

#[test]
fn written_out_tags_are_text() {
    let stage = Setup::script(pico().encode_text("<think> is a tag</think>!").unwrap()).start();
    let outcome = stage.run(thinking(17));
    assert!(outcome.answer.starts_with("<think> is a tag</think>!"), "{}", outcome.answer);
    assert_eq!(outcome.reasoning, "");
}

#[test]
fn with_thinking_off_the_markers_cannot_be_drawn() {
    let outcome = Setup::script(script("<think></think>")).start().run(direct(4));
    assert_eq!(outcome.reasoning, "");
    assert!(!outcome.finish().closed_thinking);
}

fn with_tools(request: Request) -> Request {
    let chat = Chat { tools: Some(serde_json::json!([{"name": "f"}])), ..request.chat };
    Request { chat, ..request }
}

const CALL: &str = "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": 1}}\n</tool_call>";

#[test]
fn calls_are_taken_out_of_an_answer_whose_chat_has_tools() {
    let text = format!("I look.\n{CALL}\n{CALL}<|im_end|>");
    let outcome = Setup::script(script(&text)).start().run(with_tools(direct(300)));
    assert_eq!(outcome.answer, "I look.");
    let call = ToolCall { name: "f".to_owned(), arguments: "{\"a\":1}".to_owned() };
    assert_eq!(outcome.calls, [call.clone(), call.clone()]);
    assert_eq!(outcome.finish().reason, FinishReason::ToolCalls);

    let one = Request { one_call: true, ..with_tools(direct(300)) };
    assert_eq!(Setup::script(script(&text)).start().run(one).calls, [call]);

    let outcome = Setup::script(script(&text)).start().run(direct(300));
    assert_eq!(
        (outcome.answer, outcome.calls),
        (format!("I look.\n{CALL}\n{CALL}"), vec![]),
        "no tools, no calls"
    );
}

#[test]
fn a_call_cut_off_by_the_limit_is_shown_as_text() {
    let outcome = Setup::script(script(CALL)).start().run(with_tools(direct(script(CALL).len() - 9)));
    assert!(CALL.starts_with(&outcome.answer) && !outcome.answer.is_empty(), "{}", outcome.answer);
    assert_eq!(outcome.finish().reason, FinishReason::Length);
}

#[test]
fn a_format_holds_the_answer_and_leaves_thinking_free() {
    let format =
        AnswerFormat::Json(serde_json::json!({"type": "object", "properties": {"x": {"type": "integer"}}}));
    let held = |request| Request { answer_format: format.clone(), ..request };
    // It ends with the object, though the script would go on.
    let stage = Setup::script(script("<think>\nI {add.\n</think>{\"x\": 4} and so on")).start();
    let outcome = stage.run(held(thinking(100)));
    assert_eq!((outcome.reasoning.as_str(), outcome.answer.as_str()), ("I {add.", "{\"x\": 4}"));
    assert_eq!(outcome.finish().reason, FinishReason::Stop);
    let gap = script("\n\n").len();
    let written = script("<think>\nI {add.\n</think>{\"x\": 4}").len();
    assert_eq!(outcome.finish().completion_tokens, written + gap);
    // What the format does not admit cannot be drawn, thinking or not.
    for request in [thinking(50), direct(50)] {
        let yes = AnswerFormat::Grammar("start: \"yes\"".to_owned());
        let outcome =
            Setup::script(script("It is 4.")).start().run(Request { answer_format: yes, ..request });
        assert_eq!((outcome.answer.as_str(), outcome.reasoning.as_str()), ("yes", ""));
    }
    // A limit cuts it like any answer.
    let outcome = Setup::script(script("{\"x\": 123456789")).start().run(held(direct(5)));
    assert_eq!(outcome.finish().reason, FinishReason::Length);
}

#[test]
fn tokens_of_the_answer_are_reported_with_those_they_beat() {
    let stage = Setup::script(script("<think>\nI add.\n</think>It is 4.<|im_end|>")).start();
    let outcome = stage.run(Request { logprobs: Some(2), ..thinking(100) });
    let bytes: Vec<u8> = outcome.tokens.iter().flat_map(|token| token.drawn.bytes.clone()).collect();
    assert_eq!(
        String::from_utf8(bytes).unwrap(),
        "It is 4.",
        "the end has no bytes, reasoning is not reported"
    );
    for token in &outcome.tokens {
        assert_eq!(token.likeliest.len(), 2);
        assert_eq!(token.likeliest[0], token.drawn, "greedy");
        assert!(token.likeliest[1].logprob < token.drawn.logprob && token.drawn.logprob <= 0.0);
    }
    assert!(stage.run(thinking(100)).tokens.is_empty(), "not asked for");
}

#[test]
fn groups_take_turns_and_urgent_requests_go_first_in_theirs() {
    let stage =
        Setup { options: Options { max_running: 1, ..Options::default() }, ..Setup::script(vec![]) }.start();
    let asks = |group, priority| Request { group, priority, ..direct(3) };
    // Its reader does not read yet, so it keeps the only place until the others have come.
    let mut first = stage.submit(20, Request { group: 3, ..direct(500) }).unwrap();
    first.blocking_next();
    // Prompts of different lengths tell whose turn each step was.
    let others =
        stage.submit_together([(10, asks(1, 0)), (11, asks(1, 0)), (12, asks(1, -1)), (13, asks(2, 0))]);
    read(first).finish();
    others.map(read).iter().for_each(|outcome| {
        outcome.finish();
    });
    let prompts: Vec<usize> =
        stage.steps.lock().unwrap().iter().flatten().copied().filter(|tokens| *tokens >= 10).collect();
    assert_eq!(prompts, [20, 12, 13, 10, 11], "the urgent one, then the other group's");
}

#[test]
fn a_loop_is_reported() {
    let looped = |text: &str| {
        let outcome = Setup::script(script(text)).start().run(direct(script(text).len()));
        outcome.finish().repetition.map(|repetition| repetition.period)
    };
    let passage = " ab cd";
    assert_eq!(looped(&passage.repeat(40)), Some(script(passage).len()));
    assert_eq!(looped("one two three"), None);
}

const SENTENCE: &str = "\n\nConsidering the limited time by the user, I have to give the solution based on the \
                        thinking directly now.";

/// Tokens of the closing sentence, the marker and the line break.
fn closing_length() -> usize {
    script(&format!("{SENTENCE}\n</think>\n\n")).len()
}

fn bare_closing_length() -> usize {
    script("</think>\n\n").len()
}

#[test]
fn a_spent_budget_closes_the_block_with_the_sentence() {
    let stage = Setup::script(script("<think>one two three")).start();
    let outcome = stage.run(Request { thinking_budget: Some(2), ..thinking(3 + closing_length() + 5) });
    let finish = outcome.finish();
    assert!(finish.budget_exhausted && finish.closed_thinking);
    assert_eq!(finish.reasoning_tokens, 2, "the sentence is not counted against the budget");
    assert_eq!(
        finish.completion_tokens,
        3 + closing_length() + 5,
        "but the limit holds for all that was sent"
    );
    let own = outcome.reasoning.strip_suffix(SENTENCE).expect("the sentence ends the reasoning");
    assert!("one two three".starts_with(own) && !own.is_empty(), "{own:?}");
    assert!(!outcome.answer.is_empty());
}

#[test]
fn a_budget_holds_where_the_sentence_would_not_fit() {
    let stage = Setup::script(script("<think>")).start();
    let max_tokens = 1 + 2 + bare_closing_length() + 5; // marker, reasoning, closing, answer
    let outcome = stage.run(Request { thinking_budget: Some(2), ..thinking(max_tokens) });
    assert_eq!((outcome.reasoning.as_str(), outcome.answer.as_str()), ("aa", "aaaaa"));
    assert_eq!(outcome.finish().completion_tokens, max_tokens);
    assert!(outcome.finish().budget_exhausted);
}

#[test]
fn a_budget_that_is_not_spent_changes_nothing() {
    let stage = Setup::script(script("<think>\nok\n</think>\n\nyes<|im_end|>")).start();
    let outcome = stage.run(Request { thinking_budget: Some(50), ..thinking(100) });
    assert!(!outcome.finish().budget_exhausted);
    assert_eq!(outcome.reasoning, "ok");
}

#[test]
fn thinking_is_closed_in_time_to_leave_the_reserve() {
    let max_tokens = 1 + 5 + closing_length() + 8; // marker, reasoning, closing, reserve
    let stage = Setup::script(script("<think>")).start();
    let outcome = stage.run(Request { reserve_answer: 8, ..thinking(max_tokens) });
    let finish = outcome.finish();
    assert!(finish.closed_thinking && !finish.budget_exhausted);
    assert_eq!((finish.reasoning_tokens, finish.completion_tokens), (5, max_tokens));
    assert_eq!(outcome.answer, "aaaaaaaa");
}

#[test]
fn a_reserve_holds_where_the_sentence_would_not_fit() {
    let stage = Setup::script(script("<think>")).start();
    let max_tokens = 1 + 3 + bare_closing_length() + 8; // marker, reasoning, closing, reserve
    let outcome = stage.run(Request { reserve_answer: 8, ..thinking(max_tokens) });
    assert_eq!((outcome.reasoning.as_str(), outcome.answer.as_str()), ("aaa", "aaaaaaaa"));
    assert_eq!(outcome.finish().completion_tokens, max_tokens);
}

#[test]
fn without_a_reserve_max_tokens_may_end_inside_thinking() {
    let outcome = Setup::script(script("<think>")).start().run(thinking(5));
    let finish = outcome.finish();
    assert_eq!((finish.reason, finish.closed_thinking), (FinishReason::Length, false));
    assert_eq!((outcome.reasoning.as_str(), outcome.answer.as_str()), ("aaaa", ""));
}

#[test]
fn a_full_context_ends_with_length() {
    let stage = Setup::default().start();
    let context = stage.config.context_length;
    let outcome = read(stage.submit(context - 3, Request::default()).unwrap());
    assert_eq!((outcome.answer.as_str(), outcome.finish().reason), ("aaa", FinishReason::Length));
}

#[test]
fn a_reserve_holds_against_the_context_too() {
    let stage = Setup::script(script("<think>")).start();
    let request = Request { max_tokens: None, reserve_answer: 10, ..thinking(1) };
    let outcome = read(stage.submit(stage.config.context_length - 100, request).unwrap());
    assert!(outcome.finish().closed_thinking);
    assert!(outcome.answer.len() >= 10, "{}", outcome.answer.len());
}

#[test]
fn a_stop_string_across_tokens_ends_the_answer_and_is_not_shown() {
    let stage = Setup::script(script("<think>\nEND\n</think>\n\nyes END no")).start();
    let outcome = stage.run(Request { stop: vec![" END".to_owned()], ..thinking(100) });
    assert_eq!(outcome.reasoning, "END", "stop strings are not looked for in reasoning");
    assert_eq!(outcome.answer, "yes");
    assert_eq!(outcome.finish().stop_sequence.as_deref(), Some(" END"));
    assert_eq!(outcome.finish().reason, FinishReason::Stop);
}

#[test]
fn text_that_only_began_like_a_stop_string_comes_out_at_the_end() {
    let stage = Setup::script(script("so EN<|im_end|>")).start();
    let outcome = stage.run(Request { stop: vec!["END".to_owned()], ..direct(50) });
    assert_eq!((outcome.answer.as_str(), outcome.finish().stop_sequence.as_ref()), ("so EN", None));
}

#[test]
fn no_event_holds_half_a_character() {
    let text = "龘👩‍🚀 ü 𝄞";
    let tokens = script(&format!("{text}<|im_end|>"));
    assert!(tokens.len() > text.chars().count(), "the vocabulary must split these characters");
    let outcome = Setup::script(tokens).start().run(direct(100));
    assert_eq!(outcome.answer, text);
    assert!(outcome.pieces.iter().all(|piece| !piece.contains('\u{FFFD}')));
}

#[test]
fn a_prompt_is_read_in_chunks_while_others_write() {
    let stage = Setup::default().start();
    let [_writer, reader] = stage.submit_together([(1, direct(1000)), (700, direct(1))]);
    assert_eq!(read(reader).answer, "a");
    let steps = stage.steps.lock().unwrap();
    let shared: Vec<&Vec<usize>> = steps.iter().filter(|step| step.len() == 2).collect();
    assert!(shared.len() >= 3, "700 tokens take three steps");
    assert!(shared.iter().all(|step| step[0] == 1 && step.iter().sum::<usize>() <= STEP_TOKENS));
}

#[test]
fn running_sequences_advance_together() {
    let stage = Setup::default().start();
    for generation in stage.submit_together([(1, direct(40)), (1, direct(40))]) {
        assert_eq!(read(generation).answer.len(), 40);
    }
    let shared = stage.steps.lock().unwrap().iter().filter(|step| step.as_slice() == [1, 1]).count();
    assert!(shared >= 39, "the first may have begun one step earlier: {shared}");
}

#[test]
fn a_slow_reader_pauses_itself_only() {
    let stage = Setup::default().start();
    let slow = stage.submit(1, direct(500)).unwrap();
    // Far more tokens than the slow reader's channel holds, so it is paused on the way.
    assert_eq!(read(stage.submit(1, direct(400)).unwrap()).answer.len(), 400);
    assert_eq!(stage.handle.load().running, 1);
    assert_eq!(read(slow).answer.len(), 500, "and it goes on when its reader does");
}

#[test]
fn dropping_a_generation_frees_its_place() {
    let options = Options { max_running: 1, max_waiting: 1, ..Options::default() };
    let stage = Setup { options, ..Setup::default() }.start();
    let mut first = stage.submit(1, direct(1000)).unwrap();
    first.blocking_next();
    let second = stage.submit(1, direct(1000)).unwrap();
    assert!(matches!(stage.submit(1, direct(1)), Err(SubmitError::Busy)));
    drop((first, second));
    // The engine notices before its next step; a third request that waits its turn proves both places free.
    let third = loop {
        match stage.submit(1, direct(3)) {
            Ok(generation) => break generation,
            Err(_) => std::thread::yield_now(),
        }
    };
    assert_eq!(read(third).answer, "aaa");
    assert_eq!((stage.handle.load().running, stage.handle.load().waiting), (0, 0));
}

#[test]
fn a_place_is_free_before_the_end_is_announced() {
    let options = Options { max_running: 1, max_waiting: 0, ..Options::default() };
    let stage = Setup { options, ..Setup::default() }.start();
    for _ in 0..50 {
        assert_eq!(read(stage.submit(1, direct(2)).unwrap()).answer, "aa");
    }
}

#[test]
fn a_panic_becomes_an_error_and_an_unhealthy_engine() {
    let stage = Setup { fault: Fault::Panic, ..Setup::default() }.start();
    let outcome = stage.run(direct(1));
    assert_eq!(*outcome.error(), EngineError::Panicked("scripted".to_owned()));
    assert!(!stage.handle.load().healthy);
    assert!(matches!(stage.submit(1, direct(1)), Err(SubmitError::Stopped)));
}

#[test]
fn an_error_fails_its_step_and_the_engine_lives() {
    let stage = Setup { fault: Fault::Error, ..Setup::default() }.start();
    for _ in 0..2 {
        assert!(matches!(stage.run(direct(1)).error(), EngineError::Compute(_)));
    }
    assert!(stage.handle.load().healthy);
}

#[test]
fn logits_that_are_not_numbers_fail_the_request() {
    let stage = Setup { fault: Fault::NotFinite, ..Setup::default() }.start();
    assert_eq!(*stage.run(direct(1)).error(), EngineError::NotFinite);
}

#[test]
fn stopping_the_engine_ends_generations_with_an_error() {
    let stage = Setup::default().start();
    let endless = stage.submit(1, direct(1000)).unwrap();
    drop(stage);
    assert_eq!(*read(endless).error(), EngineError::Stopped);
}

#[test]
fn an_endless_loop_is_cut_where_the_request_sets_no_limit() {
    let open = |request| Request { max_tokens: None, ..request };
    let setup = |text: &str| Setup { context: 4096, ..Setup::script(script(text)) };
    let begun = script("I see: ").len();
    let outcome = setup("I see: ").start().run(open(direct(1)));
    let finish = outcome.finish();
    assert_eq!((finish.reason, finish.cut_loop), (FinishReason::Length, true));
    assert_eq!(finish.repetition, Some(Repetition { period: 1, tokens: 1024 }));
    assert_eq!(finish.completion_tokens, begun + 1024);

    // Who sets a limit may want the loop; it is told of all the same. So is who has cutting turned off.
    let outcome = setup("I see: ").start().run(direct(1500));
    assert_eq!((outcome.finish().completion_tokens, outcome.finish().cut_loop), (1500, false));
    assert!(outcome.finish().repetition.is_some_and(|found| found.tokens == 1500 - begun));
    let options = Options { cut_loops: false, ..Options::default() };
    let outcome = Setup { options, ..setup("I see: ") }.start().run(open(direct(1)));
    assert_eq!((outcome.finish().completion_tokens, outcome.finish().cut_loop), (4096 - 4, false));
}

#[test]
fn an_endless_loop_of_thinking_ends_in_an_answer() {
    let opening = script("<think>");
    let script =
        [opening, vec![pico().encode_text("a").unwrap()[0]; 1024], script("It is 4.<|im_end|>")].concat();
    let request = Request { max_tokens: None, ..thinking(1) };
    let outcome = Setup { context: 4096, ..Setup::script(script) }.start().run(request);
    let finish = outcome.finish();
    assert_eq!((outcome.answer.as_str(), finish.reason), ("It is 4.", FinishReason::Stop));
    assert!(finish.closed_thinking && finish.cut_loop && !finish.budget_exhausted);
    assert_eq!(finish.repetition, Some(Repetition { period: 1, tokens: 1024 }));
    assert_eq!(finish.reasoning_tokens, 1024);
}
