//! Models that were made to do harm: whatever a file says, loading it ends in a typed error or in a model, never in a panic,
//! and takes no more memory than the file is long.
#![expect(clippy::unwrap_used, reason = "a failed set-up is a failed test")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::borrow::Cow;
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use candle_core::quantized::gguf_file::{self, Content, Value as Setting};
use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{Device, Tensor};
use serde_json::{Value, json};
use thinkgate_engine::cache::KvCache;
use thinkgate_engine::model::{Decoder, Model, Span, Wanted};
use thinkgate_engine::weights::Checkpoint;
use thinkgate_engine::{
    Chat, Engine, EngineError, Event, LoadError, ModelFiles, Options, PromptError, Request,
};

/// The system's allocator, and the largest piece that anyone has asked it for.
struct Watching;

static LARGEST: AtomicUsize = AtomicUsize::new(0);

// SAFETY: all of it is the system allocator's.
unsafe impl GlobalAlloc for Watching {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LARGEST.fetch_max(layout.size(), Ordering::Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        LARGEST.fetch_max(layout.size(), Ordering::Relaxed);
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        LARGEST.fetch_max(size, Ordering::Relaxed);
        unsafe { System.realloc(memory, layout, size) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static WATCHING: Watching = Watching;

/// The shipped models and their tokenizers stay far below.
const MOST: usize = 64 << 20;

#[track_caller]
fn nothing_large_was_asked_for() {
    let largest = LARGEST.load(Ordering::Relaxed);
    assert!(largest < MOST, "{largest} bytes at once");
}

/// A file of its own for one test, removed with the value.
struct TempFile(PathBuf);

impl TempFile {
    fn new(name: &str) -> TempFile {
        TempFile(std::env::temp_dir().join(format!("thinkgate-hostile-{}-{name}.gguf", std::process::id())))
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

const HIDDEN: usize = 8;
const VOCAB: usize = 16;
const FFN: usize = 12;

/// A mixture of one layer whose every part a few bytes of a header describe.
fn settings() -> Vec<(&'static str, Setting)> {
    let count = |number: usize| Setting::U32(u32::try_from(number).unwrap());
    vec![
        ("general.architecture", Setting::String("qwen3moe".into())),
        ("qwen3moe.block_count", count(1)),
        ("qwen3moe.embedding_length", count(HIDDEN)),
        ("qwen3moe.feed_forward_length", count(FFN)),
        ("qwen3moe.attention.head_count", count(2)),
        ("qwen3moe.attention.head_count_kv", count(1)),
        ("qwen3moe.attention.key_length", count(4)),
        ("qwen3moe.attention.layer_norm_rms_epsilon", Setting::F32(1e-6)),
        ("qwen3moe.context_length", count(32)),
        ("qwen3moe.expert_count", count(2)),
        ("qwen3moe.expert_used_count", count(1)),
        ("qwen3moe.expert_feed_forward_length", count(FFN)),
        ("tokenizer.ggml.eos_token_id", count(3)),
    ]
}

fn shapes() -> Vec<(&'static str, Vec<usize>)> {
    vec![
        ("token_embd.weight", vec![VOCAB, HIDDEN]),
        ("output_norm.weight", vec![HIDDEN]),
        ("blk.0.attn_norm.weight", vec![HIDDEN]),
        ("blk.0.attn_q.weight", vec![8, HIDDEN]),
        ("blk.0.attn_k.weight", vec![4, HIDDEN]),
        ("blk.0.attn_v.weight", vec![4, HIDDEN]),
        ("blk.0.attn_output.weight", vec![HIDDEN, 8]),
        ("blk.0.attn_q_norm.weight", vec![4]),
        ("blk.0.attn_k_norm.weight", vec![4]),
        ("blk.0.ffn_norm.weight", vec![HIDDEN]),
        ("blk.0.ffn_gate_inp.weight", vec![2, HIDDEN]),
        ("blk.0.ffn_gate_exps.weight", vec![2, FFN, HIDDEN]),
        ("blk.0.ffn_up_exps.weight", vec![2, FFN, HIDDEN]),
        ("blk.0.ffn_down_exps.weight", vec![2, HIDDEN, FFN]),
    ]
}

fn gguf(settings: &[(&str, Setting)], shapes: &[(&str, Vec<usize>)]) -> Vec<u8> {
    let tensor = |shape: &[usize]| {
        let values: Vec<f32> =
            (0..shape.iter().product::<usize>()).map(|at| (at as f32 * 0.7).sin()).collect();
        QTensor::quantize(&Tensor::from_vec(values, shape, &Device::Cpu).unwrap(), GgmlDType::F32).unwrap()
    };
    let tensors: Vec<(&str, QTensor)> = shapes.iter().map(|(name, shape)| (*name, tensor(shape))).collect();
    let tensors: Vec<(&str, &QTensor)> = tensors.iter().map(|(name, tensor)| (*name, tensor)).collect();
    let settings: Vec<(&str, &Setting)> = settings.iter().map(|(key, value)| (*key, value)).collect();
    let mut file = Cursor::new(Vec::new());
    gguf_file::write(&mut file, &settings, &tensors).unwrap();
    file.into_inner()
}

fn whole() -> Vec<u8> {
    gguf(&settings(), &shapes())
}

/// Loads a file and takes a step with what comes of it.
fn run(file: &TempFile, bytes: &[u8]) -> Result<Vec<f32>, LoadError> {
    std::fs::write(&file.0, bytes).unwrap();
    let checkpoint = Checkpoint::open(&file.0)?;
    let model = Model::load(checkpoint.config()?, checkpoint.weights()?)?;
    let mut cache = KvCache::new(model.config());
    let span = Span { tokens: &[0, 1], cache: &mut cache, wanted: Wanted::All };
    Ok(model.forward(&mut [span]).map(|output| output.logits).unwrap_or_default())
}

fn header_of(bytes: &[u8]) -> usize {
    Content::read(&mut Cursor::new(bytes)).unwrap().tensor_data_offset as usize
}

#[test]
fn a_file_cut_anywhere_is_refused() {
    let (file, whole) = (TempFile::new("cut"), whole());
    assert_eq!(run(&file, &whole).unwrap().len(), 2 * VOCAB);
    let header = header_of(&whole);
    let data = (header..whole.len()).step_by(64);
    for length in (0..header).chain(data).chain([whole.len() - 1]) {
        let error = run(&file, &whole[..length]).unwrap_err();
        assert!(matches!(error, LoadError::Gguf { .. }), "{length}: {error}");
    }
    nothing_large_was_asked_for();
}

/// Counts, lengths, types, dimensions and offsets are all among them.
#[test]
fn no_number_of_a_header_can_do_harm() {
    let (file, whole) = (TempFile::new("number"), whole());
    let mut loaded = 0;
    for at in 0..header_of(&whole) - 8 {
        for number in [0, 1, 0xFF, 0x7FFF_FFFF, u64::from(u32::MAX), 1 << 40, u64::MAX] {
            let width = if number > u64::from(u32::MAX) { 8 } else { 4 };
            let mut bytes = whole.clone();
            bytes[at..at + width].copy_from_slice(&number.to_le_bytes()[..width]);
            loaded += usize::from(run(&file, &bytes).is_ok());
        }
    }
    // A number that was the same before, a constant of norms, a longer context: some of it is harmless.
    assert!(loaded > 0);
    nothing_large_was_asked_for();
}

/// Where a tensor's entry in the header says this.
fn entry_of(bytes: &[u8], tensor: &str) -> usize {
    bytes.windows(tensor.len()).position(|window| window == tensor.as_bytes()).unwrap() + tensor.len()
}

#[test]
fn tensors_that_lie_elsewhere_are_refused() {
    let (file, whole) = (TempFile::new("offset"), whole());
    let entry = entry_of(&whole, "blk.0.attn_q.weight");
    let offset = entry + 4 + 2 * 8 + 4; // dimensions, their number, type
    let with = |number: u64| {
        let mut bytes = whole.clone();
        bytes[offset..offset + 8].copy_from_slice(&number.to_le_bytes());
        bytes
    };
    let length = whole.len() as u64;
    for beyond in [length, length - 8 * 8 * 4, u64::MAX, u64::MAX - 31, i64::MAX as u64] {
        let error = run(&file, &with(beyond)).unwrap_err();
        assert!(error.to_string().contains("attn_q.weight"), "{beyond}: {error}");
    }
    // Over another tensor, or between its numbers, lie bytes of the file all the same.
    for inside in [0, 1, 3, 32] {
        run(&file, &with(inside)).unwrap();
    }
    // The type tells how many bytes a shape takes; blocks of 256 do not fit into rows of eight.
    let mut bytes = whole.clone();
    bytes[offset - 4..offset].copy_from_slice(&12_u32.to_le_bytes());
    assert!(matches!(run(&file, &bytes).unwrap_err(), LoadError::Shape { .. }));
}

#[test]
fn settings_and_tensors_must_fit_each_other() {
    let file = TempFile::new("fit");
    for (at, (name, shape)) in shapes().into_iter().enumerate() {
        let mut without = shapes();
        without.remove(at);
        let error = run(&file, &gguf(&settings(), &without)).unwrap_err();
        // Without an embedding nobody knows how many tokens there are.
        let expected = matches!(&error, LoadError::Missing { .. })
            || (name == "token_embd.weight" && matches!(&error, LoadError::Config { .. }));
        assert!(expected, "without {name}: {error}");

        let mut other = shapes();
        other[at].1 =
            if shape.len() == 1 { vec![shape[0] + 1] } else { [&[shape[0] + 1], &shape[1..]].concat() };
        let fits = run(&file, &gguf(&settings(), &other));
        if name == "token_embd.weight" {
            fits.unwrap(); // it says how many tokens there are, and one more is one more
        } else {
            let error = fits.unwrap_err();
            assert!(matches!(&error, LoadError::Shape { .. }), "another {name}: {error}");
        }
    }
    for (key, number) in [
        ("attention.head_count", 0),
        ("attention.head_count_kv", 0),
        ("attention.key_length", 0),
        ("attention.key_length", 3),
        ("block_count", 0),
        ("expert_count", 0),
        ("expert_used_count", 0),
        ("expert_used_count", 3),
        ("context_length", 0),
        ("context_length", u32::MAX),
        ("embedding_length", u32::MAX),
        ("expert_feed_forward_length", u32::MAX),
    ] {
        let mut changed = settings();
        let setting =
            changed.iter_mut().find(|(name, _)| name.strip_prefix("qwen3moe.") == Some(key)).unwrap();
        setting.1 = Setting::U32(number);
        let error = run(&file, &gguf(&changed, &shapes())).unwrap_err();
        assert!(matches!(error, LoadError::Config { .. }), "{key} = {number}: {error}");
    }
    nothing_large_was_asked_for();
}

/// What it is called, and what it does to a file.
type Harm<'a> = (&'a str, &'a dyn Fn(&mut Value));

fn pico() -> ModelFiles {
    ModelFiles::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/pico-dense")).unwrap()
}

fn load(files: ModelFiles) -> Result<Engine, LoadError> {
    Engine::load_embedded(files, Options::default())
}

/// A safetensors file with this header, and with the data of the shipped model.
fn safetensors(change: impl FnOnce(&str) -> String) -> ModelFiles {
    let bytes = pico().weights[0].1.to_vec();
    let length = u64::from_le_bytes(*bytes.first_chunk().unwrap()) as usize;
    let header = change(std::str::from_utf8(&bytes[8..8 + length]).unwrap());
    let file = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &bytes[8 + length..]].concat();
    ModelFiles { weights: vec![("model.safetensors".to_owned(), Cow::Owned(file))], ..pico() }
}

#[test]
fn headers_of_safetensors_cannot_lie() {
    load(safetensors(str::to_owned)).unwrap();
    let with = |change: &dyn Fn(&mut Value)| {
        safetensors(|header| {
            let mut header: Value = serde_json::from_str(header).unwrap();
            change(&mut header["model.norm.weight"]);
            header.to_string()
        })
    };
    let lies: [Harm<'_>; 8] = [
        ("type", &|tensor| tensor["dtype"] = json!("F32")),
        ("type", &|tensor| tensor["dtype"] = json!("F4_AND_MORE")),
        ("shape", &|tensor| tensor["shape"] = json!([1_u64 << 62, 8])),
        ("shape", &|tensor| tensor["shape"] = json!([-1])),
        ("empty", &|tensor| tensor["data_offsets"] = json!([0, 0])),
        ("backwards", &|tensor| tensor["data_offsets"] = json!([16, 8])),
        ("beyond", &|tensor| tensor["data_offsets"] = json!([0, u64::MAX])),
        ("nothing", &|tensor| *tensor = Value::Null),
    ];
    for (what, lie) in lies {
        let error = load(with(lie)).unwrap_err();
        assert!(matches!(error, LoadError::Damaged { .. }), "{what}: {error}");
    }
    // The same name twice: readers differ in which they take.
    let twice = |header: &str| {
        let entry = r#""model.norm.weight":{"dtype":"F16","shape":[1],"data_offsets":[0,2]},"#;
        format!("{{{entry}{}", &header[1..])
    };
    let error = load(safetensors(twice)).unwrap_err();
    assert!(matches!(error, LoadError::Damaged { .. }), "{error}");
    let deep = |_: &str| "{\"a\":".repeat(100_000);
    assert!(matches!(load(safetensors(deep)).unwrap_err(), LoadError::Damaged { .. }));
    nothing_large_was_asked_for();
}

#[test]
fn weights_that_are_no_numbers_end_the_request() {
    let mut files = pico();
    let mut bytes = files.weights[0].1.to_vec();
    let length = u64::from_le_bytes(*bytes.first_chunk().unwrap()) as usize;
    bytes[8 + length..].as_chunks_mut::<2>().0.fill(half::f16::NAN.to_le_bytes());
    files.weights[0].1 = Cow::Owned(bytes);
    let engine = load(files).unwrap();
    let chat = Chat { messages: vec![json!({"role": "user", "content": "hi"})], ..Chat::default() };
    let mut generation = engine.submit(Request { chat, ..Request::default() }).unwrap();
    assert_eq!(generation.blocking_next(), Some(Event::Failed(EngineError::NotFinite)));
}

#[test]
fn tokenizers_cannot_do_harm() {
    let own: Value = serde_json::from_slice(&pico().tokenizer_json).unwrap();
    let with = |change: &dyn Fn(&mut Value)| {
        let mut json = own.clone();
        change(&mut json);
        load(ModelFiles { tokenizer_json: Cow::Owned(json.to_string().into_bytes()), ..pico() })
    };
    let harms: [Harm<'_>; 10] = [
        ("nothing", &|json| *json = json!({})),
        ("a list", &|json| *json = json!([1, 2])),
        ("no model", &|json| json["model"] = Value::Null),
        ("another model", &|json| json["model"]["type"] = json!("Dream")),
        ("a list of words", &|json| json["model"]["vocab"] = json!(["a", "b"])),
        ("an id beyond the embedding", &|json| json["model"]["vocab"]["zzz"] = json!(4_000_000_000_u32)),
        ("a negative id", &|json| json["model"]["vocab"]["zzz"] = json!(-1)),
        ("a marker beyond the embedding", &|json| json["added_tokens"][0]["id"] = json!(u32::MAX)),
        ("a merge of unknown words", &|json| json["model"]["merges"] = json!([["qqq", "rrr"]])),
        ("an expression that is none", &|json| {
            json["pre_tokenizer"] =
                json!({"type": "Split", "pattern": {"Regex": "(("}, "behavior": "Isolated", "invert": false});
        }),
    ];
    for (what, harm) in harms {
        let error = with(harm).unwrap_err();
        assert!(matches!(error, LoadError::Tokenizer { .. } | LoadError::Json { .. }), "{what}: {error}");
    }
    // Tried for ever, were there no limit: nested repetitions that fail at the last letter.
    let engine = with(&|json| {
        json["pre_tokenizer"] = json!({"type": "Split", "pattern": {"Regex": r"(?=(a+)+\1b)x"}, "behavior": "Isolated", "invert": false});
    });
    if let Ok(engine) = engine {
        let _ = engine.encode_text(&"a".repeat(64));
    }
    for garbage in [&b""[..], b"\xFF\xFE", b"[[[[[[", b"null", &[b'['; 100_000]] {
        let files = ModelFiles { tokenizer_json: Cow::Owned(garbage.to_vec()), ..pico() };
        let error = load(files).unwrap_err();
        assert!(matches!(error, LoadError::Json { .. } | LoadError::Tokenizer { .. }), "{error}");
    }
    nothing_large_was_asked_for();
}

#[test]
fn chat_templates_are_stopped() {
    let render = |source: &str| {
        let files = ModelFiles { chat_template: Some(Cow::Owned(source.as_bytes().to_vec())), ..pico() };
        load(files).unwrap().render(&Chat::default())
    };
    let loops =
        "{% for a in range(9999) %}{% for b in range(9999) %}{% set c = a * b %}{% endfor %}{% endfor %}";
    assert!(matches!(render(loops), Err(PromptError::Limit)));
    let itself = "{% macro m(n) %}{{ m(n + 1) }}{% endmacro %}{{ m(0) }}";
    assert!(matches!(render(itself), Err(PromptError::Template(_) | PromptError::Limit)));
    let wide = "{% for a in range(99999) %}{{ 'x' * 9999 }}{% endfor %}";
    assert!(matches!(render(wide), Err(PromptError::Limit)));
    for harm in [
        "{{ 'x' * 999999999999 }}",
        "{% for a in range(99999999999) %}{% endfor %}",
        "{% include 'other' %}",
        "{{ 1 // 0 }}",
        "{{ messages[0].content.nothing.at.all }}",
    ] {
        assert!(matches!(render(harm), Err(PromptError::Template(_))), "{harm}");
    }
    nothing_large_was_asked_for();
}
