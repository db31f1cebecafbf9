//! Tiny models of every family against the reference implementation, from safetensors and from GGUF.
//!
//! `fixtures/families.json` holds what transformers says (`fixtures/make_families.py`) of weights that both sides
//! compute. Logits of size three over two layers in f32 differ by the order of additions: about 1e-5.
#![expect(clippy::unwrap_used, reason = "a failed set-up is a failed test")]

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::{Path, PathBuf};

use candle_core::quantized::gguf_file::{self, Value as Setting};
use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{Device, Tensor};
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde_json::Value;
use thinkgate_engine::cache::KvCache;
use thinkgate_engine::model::{Decoder, GateRecord, Model, Span, Wanted};
use thinkgate_engine::weights::Checkpoint;
use thinkgate_engine::{Chat, Engine, Event, LoadError, ModelFiles, Options, Request, Sampling};

/// The tolerance leaves room for other machines' kernels.
const TOLERANCE: f32 = 2e-4;

/// How the tensor of a name is stored.
type Kind<'a> = &'a dyn Fn(&str) -> GgmlDType;

/// A tensor's shape and values.
type Values = (Vec<usize>, Vec<f32>);

fn families() -> BTreeMap<String, Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/families.json");
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn numbers(value: &Value) -> Vec<usize> {
    value.as_array().unwrap().iter().map(|number| number.as_u64().unwrap() as usize).collect()
}

/// The same weights as in the script.
fn values(name: &str, shape: &[usize]) -> Vec<f32> {
    let seed = crc32(name.as_bytes());
    let even =
        |at: u32| f64::from(at.wrapping_add(seed).wrapping_mul(2_654_435_761)) / f64::from(1_u32 << 31) - 1.0;
    let scale = 2.0 / (*shape.last().unwrap() as f64).sqrt();
    let scaled = |at| if name.contains("norm") { 1.0 + 0.3 * even(at) } else { even(at) * scale };
    (0..shape.iter().product::<usize>() as u32).map(|at| scaled(at) as f32).collect()
}

fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, byte: &u8| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xEDB8_8320 & (crc & 1).wrapping_neg()))
    };
    !bytes.iter().fold(u32::MAX, step)
}

fn tensors(family: &Value) -> BTreeMap<String, Values> {
    let shapes = family["tensors"].as_object().unwrap().iter();
    shapes.map(|(name, shape)| (name.clone(), (numbers(shape), values(name, &numbers(shape))))).collect()
}

fn safetensors_checkpoint(family: &Value) -> Checkpoint {
    let tensors = tensors(family);
    let bytes: BTreeMap<&str, (Vec<usize>, Vec<u8>)> = tensors
        .iter()
        .map(|(name, (shape, values))| {
            (name.as_str(), (shape.clone(), values.iter().flat_map(|value| value.to_le_bytes()).collect()))
        })
        .collect();
    let views = bytes.iter().map(|(name, (shape, bytes))| {
        (*name, TensorView::new(Dtype::F32, shape.clone(), bytes.as_slice()).unwrap())
    });
    let file = safetensors::serialize(views, None).unwrap();
    Checkpoint::open_embedded(ModelFiles {
        config_json: Cow::Owned(family["config"].to_string().into_bytes()),
        weights: vec![("model.safetensors".to_owned(), Cow::Owned(file))],
        ..ModelFiles::default()
    })
    .unwrap()
}

fn logits(model: &Model, family: &Value) -> Vec<f32> {
    let tokens: Vec<u32> = numbers(&family["ids"]).into_iter().map(|id| id as u32).collect();
    let mut cache = KvCache::new(model.config());
    let span = Span { tokens: &tokens, cache: &mut cache, wanted: Wanted::All };
    model.forward(&mut [span]).unwrap().logits
}

fn model_of(checkpoint: &Checkpoint) -> Model {
    Model::load(checkpoint.config().unwrap(), checkpoint.weights().unwrap()).unwrap()
}

/// The largest difference to what the reference says.
fn worst(found: &[f32], family: &Value) -> f32 {
    let vocab = family["config"]["vocab_size"].as_u64().unwrap() as usize;
    let rows = numbers(&family["positions"]).into_iter().zip(family["logits"].as_array().unwrap());
    let differences = rows.flat_map(|(position, row)| {
        let row = row.as_array().unwrap().iter().zip(&found[position * vocab..]);
        row.map(|(expected, found)| (found - expected.as_f64().unwrap() as f32).abs())
    });
    differences.fold(0.0, f32::max)
}

#[test]
fn every_family_agrees_with_the_reference() {
    for (name, family) in families() {
        let worst = worst(&logits(&model_of(&safetensors_checkpoint(&family)), &family), &family);
        println!("{name}: largest difference to the reference {worst:e}");
        assert!(worst <= TOLERANCE, "{name}: {worst}");
    }
}

/// A file of its own for one test, removed with the value.
struct TempFile(PathBuf);

impl TempFile {
    fn new(name: &str) -> TempFile {
        TempFile(std::env::temp_dir().join(format!("thinkgate-{}-{name}.gguf", std::process::id())))
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// What llama.cpp's converter calls a tensor, and which slice of it this is.
fn gguf_name(name: &str) -> (String, Option<usize>) {
    let fixed = [
        ("model.embed_tokens.weight", "token_embd.weight"),
        ("model.norm.weight", "output_norm.weight"),
        ("lm_head.weight", "output.weight"),
    ];
    if let Some((_, theirs)) = fixed.iter().find(|(ours, _)| *ours == name) {
        return ((*theirs).to_owned(), None);
    }
    let mut parts: Vec<&str> = name.split('.').skip(2).collect();
    let layer = parts.remove(0);
    let kind = parts.pop().unwrap();
    let (part, expert) = match parts.as_slice() {
        ["mlp", "experts", expert, projection] => {
            return (
                format!("blk.{layer}.ffn_{}_exps.{kind}", projection.trim_end_matches("_proj")),
                Some(expert.parse().unwrap()),
            );
        }
        ["input_layernorm"] => ("attn_norm".to_owned(), None),
        ["post_attention_layernorm"] => ("ffn_norm".to_owned(), None),
        ["self_attn", "o_proj"] => ("attn_output".to_owned(), None),
        ["self_attn", part] => (format!("attn_{}", part.trim_end_matches("_proj")), None),
        ["mlp", "gate"] => ("ffn_gate_inp".to_owned(), None),
        ["mlp", part] => (format!("ffn_{}", part.trim_end_matches("_proj")), None),
        other => panic!("{other:?}"),
    };
    (format!("blk.{layer}.{part}.{kind}"), expert)
}

/// The rows of llama's queries and keys as the converter orders them: pairs side by side.
fn side_by_side(values: &[f32], rows: usize, heads: usize) -> Vec<f32> {
    let (width, half) = (values.len() / rows, rows / heads / 2);
    let order = (0..heads).flat_map(|head| {
        (0..half).flat_map(move |pair| [2 * head * half + pair, 2 * head * half + half + pair])
    });
    order.flat_map(|row| &values[row * width..(row + 1) * width]).copied().collect()
}

fn gguf_tensors(config: &Value, tensors: BTreeMap<String, Values>) -> BTreeMap<String, Values> {
    let mut out: BTreeMap<String, Values> = BTreeMap::new();
    for (name, (shape, mut values)) in tensors {
        let heads = [("q_proj.weight", "num_attention_heads"), ("k_proj.weight", "num_key_value_heads")];
        let heads = heads.iter().find(|(end, _)| name.ends_with(end) && config["model_type"] == "llama");
        if let Some((_, heads)) = heads {
            values = side_by_side(&values, shape[0], config[*heads].as_u64().unwrap() as usize);
        }
        match gguf_name(&name) {
            (theirs, None) => {
                out.insert(theirs, (shape, values));
            }
            (theirs, Some(expert)) => {
                let experts = config["num_experts"].as_u64().unwrap() as usize;
                let size = values.len();
                let (_, all) = out
                    .entry(theirs)
                    .or_insert_with(|| ([vec![experts], shape].concat(), vec![0.0; experts * size]));
                all[expert * size..(expert + 1) * size].copy_from_slice(&values);
            }
        }
    }
    out
}

/// The converter's names, stated a second time: a table shared with the reader would agree with its own mistakes.
fn settings(config: &Value) -> Vec<(String, Setting)> {
    let architecture = match config["model_type"].as_str().unwrap() {
        "qwen3_moe" => "qwen3moe",
        other => other,
    };
    let mut settings = vec![("general.architecture".to_owned(), Setting::String(architecture.to_owned()))];
    let mut add = |ours: &str, theirs: &str| {
        if let Some(value) = config[theirs].as_u64() {
            settings.push((format!("{architecture}.{ours}"), Setting::U32(value as u32)));
        } else if let Some(value) = config[theirs].as_f64() {
            settings.push((format!("{architecture}.{ours}"), Setting::F32(value as f32)));
        }
    };
    for (ours, theirs) in [
        ("block_count", "num_hidden_layers"),
        ("embedding_length", "hidden_size"),
        ("feed_forward_length", "intermediate_size"),
        ("attention.head_count", "num_attention_heads"),
        ("attention.head_count_kv", "num_key_value_heads"),
        ("attention.key_length", "head_dim"),
        ("attention.layer_norm_rms_epsilon", "rms_norm_eps"),
        ("rope.freq_base", "rope_theta"),
        ("context_length", "max_position_embeddings"),
        ("expert_count", "num_experts"),
        ("expert_used_count", "num_experts_per_tok"),
        ("expert_feed_forward_length", "moe_intermediate_size"),
    ] {
        add(ours, theirs);
    }
    settings
}

/// Writes a GGUF file; `kind` says how each matrix is stored.
fn write_gguf(
    path: &Path,
    settings: &[(String, Setting)],
    tensors: BTreeMap<String, Values>,
    kind: impl Fn(&str) -> GgmlDType,
) {
    let stored: Vec<(String, QTensor)> = tensors
        .into_iter()
        .map(|(name, (shape, values))| {
            // As llama.cpp's converter does: norms and gates are small, and a rounded gate wakes another expert.
            let plain = shape.len() == 1 || name.contains("ffn_gate_inp");
            let kind = if plain { GgmlDType::F32 } else { kind(&name) };
            let tensor = Tensor::from_vec(values, shape, &Device::Cpu).unwrap();
            (name, QTensor::quantize(&tensor, kind).unwrap())
        })
        .collect();
    let settings: Vec<(&str, &Setting)> = settings.iter().map(|(key, value)| (key.as_str(), value)).collect();
    let tensors: Vec<(&str, &QTensor)> =
        stored.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
    gguf_file::write(&mut File::create(path).unwrap(), &settings, &tensors).unwrap();
}

#[test]
fn every_family_reads_the_same_from_gguf() {
    for (at, (name, family)) in families().into_iter().enumerate() {
        if family["config"]["decoder_sparse_step"].as_u64() == Some(2)
            || family["config"]["norm_topk_prob"] == false && name.starts_with("qwen3_moe,")
        {
            continue; // GGUF has no words for these
        }
        let file = TempFile::new(&format!("family-{at}"));
        write_gguf(
            &file.0,
            &settings(&family["config"]),
            gguf_tensors(&family["config"], tensors(&family)),
            |_| GgmlDType::F32,
        );
        let worst = worst(&logits(&model_of(&Checkpoint::open(&file.0).unwrap()), &family), &family);
        assert!(worst <= TOLERANCE, "{name}: {worst}");
    }
}

fn shipped(model: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../models").join(model)
}

/// A shipped model as one file, with its vocabulary and template.
fn shipped_as_gguf(model: &str, path: &Path, kind: impl Fn(&str) -> GgmlDType) {
    let folder = shipped(model);
    let json =
        |name: &str| -> Value { serde_json::from_slice(&std::fs::read(folder.join(name)).unwrap()).unwrap() };
    let (config, tokenizer) = (json("config.json"), json("tokenizer.json"));
    let weights = std::fs::read(folder.join("model.safetensors")).unwrap();
    let weights = safetensors::SafeTensors::deserialize(&weights).unwrap();
    let tensors = weights.tensors().into_iter().map(|(name, view)| {
        let values =
            view.data().as_chunks::<2>().0.iter().map(|pair| half::f16::from_le_bytes(*pair).to_f32());
        (name, (view.shape().to_vec(), values.collect()))
    });
    let mut settings = settings(&config);
    settings.extend(vocabulary(&tokenizer));
    let end = config["eos_token_id"].as_u64().unwrap() as u32;
    settings.push(("tokenizer.ggml.eos_token_id".into(), Setting::U32(end)));
    let template = std::fs::read_to_string(folder.join("chat_template.jinja"))
        .ok()
        .unwrap_or_else(|| json("tokenizer_config.json")["chat_template"].as_str().unwrap().to_owned());
    settings.push(("tokenizer.chat_template".into(), Setting::String(template)));
    write_gguf(path, &settings, gguf_tensors(&config, tensors.collect()), kind);
}

fn vocabulary(tokenizer: &Value) -> Vec<(String, Setting)> {
    let mut tokens: BTreeMap<u64, (String, i32)> = BTreeMap::new();
    for (token, id) in tokenizer["model"]["vocab"].as_object().unwrap() {
        tokens.insert(id.as_u64().unwrap(), (token.clone(), 1));
    }
    for marker in tokenizer["added_tokens"].as_array().unwrap() {
        let kind = if marker["special"] == true { 3 } else { 4 };
        tokens.insert(marker["id"].as_u64().unwrap(), (marker["content"].as_str().unwrap().to_owned(), kind));
    }
    let merge = |merge: &Value| match merge {
        Value::Array(pair) => format!("{} {}", pair[0].as_str().unwrap(), pair[1].as_str().unwrap()),
        other => other.as_str().unwrap().to_owned(),
    };
    let merges = tokenizer["model"]["merges"].as_array().unwrap().iter().map(merge).map(Setting::String);
    vec![
        ("tokenizer.ggml.model".into(), Setting::String("gpt2".into())),
        ("tokenizer.ggml.pre".into(), Setting::String("qwen2".into())),
        (
            "tokenizer.ggml.tokens".into(),
            Setting::Array(tokens.values().map(|(token, _)| Setting::String(token.clone())).collect()),
        ),
        (
            "tokenizer.ggml.token_type".into(),
            Setting::Array(tokens.values().map(|(_, kind)| Setting::I32(*kind)).collect()),
        ),
        ("tokenizer.ggml.merges".into(), Setting::Array(merges.collect())),
    ]
}

/// Llama's templates open the text themselves, by a name that the file resolves.
#[test]
fn a_template_may_write_the_borders_of_the_text_by_name() {
    let mut files = ModelFiles::read(&shipped("pico-dense")).unwrap();
    files.chat_template = Some(Cow::Borrowed(b"{{ bos_token }}{{ messages[0].content }}{{ eos_token }}"));
    let settings = |bos: Value| serde_json::json!({"bos_token": bos, "eos_token": "<|im_end|>"}).to_string();
    let user = "{{ bos_token }} <|im_start|>";
    let chat =
        Chat { messages: vec![serde_json::json!({"role": "user", "content": user})], ..Chat::default() };
    for bos in ["<|im_start|>".into(), serde_json::json!({"content": "<|im_start|>", "lstrip": false})] {
        files.tokenizer_config_json = Cow::Owned(settings(bos).into_bytes());
        let engine = Engine::load_embedded(files.clone(), Options::default()).unwrap();
        assert_eq!(engine.render(&chat).unwrap(), format!("<|im_start|>{user}<|im_end|>"));
        let ids = engine.encode(&chat).unwrap();
        let markers = |text: &str| ids.iter().filter(|id| engine.token_text(**id) == text).count();
        assert_eq!(
            (markers("<|im_start|>"), markers("<|im_end|>")),
            (1, 1),
            "what the user typed stays text"
        );
    }
}

fn ask(engine: &Engine, prompt: &str, thinking: bool) -> String {
    let chat = Chat {
        messages: vec![serde_json::json!({"role": "user", "content": prompt})],
        thinking,
        ..Chat::default()
    };
    let sampling = Sampling { temperature: Some(0.0), ..Sampling::default() };
    let mut generation = engine.submit(Request { chat, sampling, ..Request::default() }).unwrap();
    let mut text = String::new();
    while let Some(event) = generation.blocking_next() {
        match event {
            Event::Reasoning(more) | Event::Answer(more) => text.push_str(&more),
            Event::Finished(_) => break,
            Event::ToolCall(_) | Event::Token(_) => panic!("not asked for"),
            Event::Failed(error) => panic!("{error}"),
        }
    }
    text
}

#[test]
fn a_shipped_model_says_the_same_from_one_file() {
    for model in ["pico-dense", "pico-moe"] {
        let file = TempFile::new(model);
        shipped_as_gguf(model, &file.0, |_| GgmlDType::F16);
        let from_file = Engine::open(&file.0, Options::default()).unwrap();
        let from_folder = Engine::open(&shipped(model), Options::default()).unwrap();
        assert_eq!(from_file.info(), from_folder.info());
        for (prompt, thinking) in
            [("已知x²+2x+1=0，求x的值", true), ("What is 37*48?", true), ("你好", false)]
        {
            assert_eq!(
                ask(&from_file, prompt, thinking),
                ask(&from_folder, prompt, thinking),
                "{model}: {prompt}"
            );
        }
    }
}

/// The experts at work on every position, whatever their order: (positions, layers).
fn woken(gates: &[GateRecord], positions: usize) -> Vec<Vec<BTreeSet<usize>>> {
    let of = |position: usize, gate: &GateRecord| {
        gate.choices[position].iter().map(|(expert, _)| *expert).collect()
    };
    (0..positions).map(|position| gates.iter().map(|gate| of(position, gate)).collect()).collect()
}

/// Over the positions where the `same` experts worked. Rounding may tip a gate that was of two minds; what that changes is
/// another expert's word, not rounding, so those positions are counted and not measured.
fn root_mean_square_difference(found: &[f32], full: &[f32], same: &[bool]) -> f32 {
    let vocab = full.len() / same.len();
    let rows = found.chunks_exact(vocab).zip(full.chunks_exact(vocab)).zip(same).filter(|(_, same)| **same);
    let differences =
        rows.flat_map(|((found, full), _)| found.iter().zip(full).map(|(found, full)| found - full));
    let (sum, count) = differences.fold((0.0, 0), |(sum, count), it| (sum + it * it, count + 1));
    (sum / count as f32).sqrt()
}

/// What every format costs in logits of size 20, measured, with some room; and that mixed ones are put together right.
#[test]
fn quantised_weights_stay_near_the_full_ones() {
    let prompt = Chat {
        messages: vec![serde_json::json!({"role": "user", "content": "What is 37*48?"})],
        thinking: true,
        ..Chat::default()
    };
    for model in ["pico-dense", "pico-moe"] {
        let tokens = Engine::open(&shipped(model), Options::default()).unwrap().encode(&prompt).unwrap();
        let all = |checkpoint: &Checkpoint| {
            let model = model_of(checkpoint);
            let mut cache = KvCache::new(model.config());
            let span = Span { tokens: &tokens, cache: &mut cache, wanted: Wanted::All };
            let output = model.forward(&mut [span]).unwrap();
            (output.logits, woken(&output.gates, tokens.len()))
        };
        let (full, experts) = all(&Checkpoint::open(&shipped(model)).unwrap());
        let spread = (full.iter().map(|logit| logit * logit).sum::<f32>() / full.len() as f32).sqrt();
        let mixed = |name: &str| {
            if name.contains("_v") || name.contains("down") { GgmlDType::Q6K } else { GgmlDType::Q4K }
        };
        let kinds: [(&str, Kind<'_>, f32); 7] = [
            ("F16", &|_| GgmlDType::F16, 0.0),
            ("Q8_0", &|_| GgmlDType::Q8_0, 0.03),
            ("Q6_K", &|_| GgmlDType::Q6K, 0.06),
            ("Q5_K", &|_| GgmlDType::Q5K, 0.12),
            ("Q4_1", &|_| GgmlDType::Q4_1, 0.25),
            ("Q4_0", &|_| GgmlDType::Q4_0, 0.3),
            ("Q4_K and Q6_K", &mixed, 0.25),
        ];
        for (name, kind, most) in kinds {
            let file = TempFile::new(&format!("{model}-{}", name.replace(' ', "")));
            shipped_as_gguf(model, &file.0, kind);
            let (found, chosen) = all(&Checkpoint::open(&file.0).unwrap());
            let same: Vec<bool> = experts.iter().zip(&chosen).map(|(full, found)| full == found).collect();
            let relative = root_mean_square_difference(&found, &full, &same) / spread;
            let tipped = same.iter().filter(|same| !**same).count();
            println!(
                "{model} {name}: {relative:.4} of the logits' spread, {tipped} of {} positions tipped",
                same.len()
            );
            assert!(relative <= most, "{model} {name}: {relative}");
            assert!(tipped <= same.len() / 2, "{model} {name}: {tipped}");
        }
    }
}

#[test]
fn damaged_files_are_refused_with_a_reason() {
    let file = TempFile::new("whole");
    shipped_as_gguf("pico-dense", &file.0, |_| GgmlDType::Q8_0);
    let whole = std::fs::read(&file.0).unwrap();
    let damaged = TempFile::new("damaged");
    let open = |bytes: &[u8]| {
        std::fs::write(&damaged.0, bytes).unwrap();
        Engine::open(&damaged.0, Options::default()).map(|_| ())
    };
    open(&whole).unwrap();
    for length in [0, 3, 4, 11, 24, 100, 5_000, whole.len() / 2, whole.len() - 1] {
        let error = open(&whole[..length]).unwrap_err();
        assert!(matches!(error, LoadError::Gguf { .. }), "{length}: {error}");
        assert!(error.to_string().contains("damaged.gguf"), "{error}");
    }
    for at in [0, 4, 8, 16] {
        let mut bytes = whole.clone();
        bytes[at..at + 4].copy_from_slice(&[0xFE; 4]);
        assert!(matches!(open(&bytes).unwrap_err(), LoadError::Gguf { .. }), "{at}");
    }
}

#[test]
fn settings_are_checked_by_the_names_the_file_has() {
    let config: Value = families().remove("qwen3").unwrap();
    let file = TempFile::new("settings");
    let refused = |key: &str, value: Setting| {
        let mut settings = settings(&config["config"]);
        settings.retain(|(known, _)| known != key);
        settings.push((key.to_owned(), value));
        write_gguf(&file.0, &settings, gguf_tensors(&config["config"], tensors(&config)), |_| GgmlDType::F32);
        let checkpoint = Checkpoint::open(&file.0)?;
        Model::load(checkpoint.config()?, checkpoint.weights()?).map(|_| ())
    };
    for (key, value) in [
        ("qwen3.block_count", Setting::U32(1 << 31)),
        ("qwen3.attention.head_count_kv", Setting::U32(0)),
        ("qwen3.attention.head_count", Setting::U32(3)),
        ("qwen3.embedding_length", Setting::String("wide".into())),
        ("qwen3.rope.scaling.type", Setting::String("yarn".into())),
        ("qwen3.rope.dimension_count", Setting::U32(8)),
        ("qwen3.rope.scaling.factor", Setting::F32(4.0)),
        ("tokenizer.ggml.eos_token_id", Setting::String("</s>".into())),
        ("general.architecture", Setting::String("gemma3".into())),
    ] {
        let error = refused(key, value).unwrap_err();
        // Three heads are too few for two key heads, which is the key that is named then.
        let named = if key.ends_with("head_count") { "qwen3.attention.head_count_kv" } else { key };
        assert!(matches!(&error, LoadError::Config { key, .. } if key == named), "{key}: {error}");
    }
    let wider = refused("qwen3.embedding_length", Setting::U32(32)).unwrap_err();
    assert!(matches!(wider, LoadError::Shape { .. }), "{wider}");
    let fewer = refused("qwen3.block_count", Setting::U32(1)).unwrap_err();
    assert!(
        matches!(&fewer, LoadError::Unexpected { tensor, .. } if tensor.starts_with("blk.1.")),
        "{fewer}"
    );
    let nonsense = refused("general.alignment", Setting::U32(0)).unwrap_err();
    assert!(matches!(nonsense, LoadError::Gguf { .. }), "{nonsense}");
    let more = refused("qwen3.block_count", Setting::U32(3)).unwrap_err();
    assert!(matches!(more, LoadError::Missing { .. }), "{more}");
}
