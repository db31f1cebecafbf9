//! "Where are the numbers?" Safetensors to f32 tensors, each checked against the shape the config demands.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use safetensors::{Dtype, SafeTensors};

use crate::error::LoadError;

/// The files of a model in Hugging Face layout.
#[derive(Debug, Clone, Default)]
pub struct ModelFiles {
    /// `config.json`.
    pub config_json: Cow<'static, [u8]>,
    /// `generation_config.json`.
    pub generation_config_json: Option<Cow<'static, [u8]>>,
    /// `tokenizer.json`.
    pub tokenizer_json: Cow<'static, [u8]>,
    /// `tokenizer_config.json`.
    pub tokenizer_config_json: Cow<'static, [u8]>,
    /// `chat_template.jinja`, which outranks the template in `tokenizer_config.json`.
    pub chat_template: Option<Cow<'static, [u8]>>,
    /// Every safetensors file, by name.
    pub weights: Vec<(String, Cow<'static, [u8]>)>,
}

const INDEX: &str = "model.safetensors.index.json";

impl ModelFiles {
    /// Reads a folder. Files are read, not mapped: a mapped file that shrinks takes the process down.
    ///
    /// # Errors
    /// A needed file is missing or cannot be read.
    pub fn read(folder: &Path) -> Result<Self, LoadError> {
        let needed = |name: &str| read(&folder.join(name)).map(Cow::Owned);
        let optional = |name: &str| {
            let path = folder.join(name);
            if path.exists() { read(&path).map(|bytes| Some(Cow::Owned(bytes))) } else { Ok(None) }
        };
        Ok(ModelFiles {
            config_json: needed("config.json")?,
            generation_config_json: optional("generation_config.json")?,
            tokenizer_json: needed("tokenizer.json")?,
            tokenizer_config_json: needed("tokenizer_config.json")?,
            chat_template: optional("chat_template.jinja")?,
            weights: weight_files(folder)?
                .into_iter()
                .map(|name| Ok((name.clone(), Cow::Owned(read(&folder.join(&name))?))))
                .collect::<Result<_, LoadError>>()?,
        })
    }
}

fn read(path: &Path) -> Result<Vec<u8>, LoadError> {
    std::fs::read(path).map_err(|source| LoadError::Read { file: path.display().to_string(), source })
}

/// One file, or the shards that the index names.
fn weight_files(folder: &Path) -> Result<Vec<String>, LoadError> {
    let unusable = |file: &str, reason: String| LoadError::File { file: file.to_owned(), reason };
    if folder.join(INDEX).exists() {
        let index: serde_json::Value = serde_json::from_slice(&read(&folder.join(INDEX))?)
            .map_err(|error| unusable(INDEX, format!("not JSON: {error}")))?;
        let map = index.get("weight_map").and_then(serde_json::Value::as_object);
        let map = map.ok_or_else(|| unusable(INDEX, "weight_map: missing".into()))?;
        let names: BTreeMap<&str, ()> =
            map.values().filter_map(|name| name.as_str()).map(|name| (name, ())).collect();
        // A name with a folder in it could point anywhere.
        if let Some(name) =
            names.keys().find(|name| name.contains(['/', '\\']) || !name.ends_with(".safetensors"))
        {
            return Err(unusable(
                INDEX,
                format!("{name:?}: expected the name of a safetensors file beside it"),
            ));
        }
        return Ok(names.into_keys().map(str::to_owned).collect());
    }
    if folder.join("model.safetensors").exists() {
        return Ok(vec!["model.safetensors".to_owned()]);
    }
    let pickles = ["pytorch_model.bin", "pytorch_model.bin.index.json", "model.pt", "consolidated.00.pth"];
    let reason = match pickles.iter().find(|name| folder.join(name).exists()) {
        Some(name) => format!("holds {name}, which can run code when loaded; convert it to safetensors"),
        None => "no model.safetensors in it".to_owned(),
    };
    Err(unusable(&folder.display().to_string(), reason))
}

/// Named tensors of all files.
pub(crate) struct Weights<'a> {
    files: Vec<(&'a str, SafeTensors<'a>)>,
    owner: HashMap<String, usize>,
}

impl<'a> Weights<'a> {
    pub(crate) fn open(files: &'a [(String, Cow<'static, [u8]>)]) -> Result<Self, LoadError> {
        let mut out = Weights { files: Vec::new(), owner: HashMap::new() };
        for (name, bytes) in files {
            let tensors = SafeTensors::deserialize(bytes).map_err(|error| LoadError::File {
                file: name.clone(),
                reason: format!("not usable: {error}"),
            })?;
            for tensor in tensors.names() {
                out.owner.insert(tensor.to_owned(), out.files.len());
            }
            out.files.push((name, tensors));
        }
        Ok(out)
    }

    /// The tensor as f32, which holds f16 and bf16 exactly.
    pub(crate) fn get(&self, name: &str, shape: &[usize]) -> Result<Tensor, LoadError> {
        let Some(at) = self.owner.get(name) else {
            let file = self.files.first().map_or("model.safetensors", |(file, _)| file).to_owned();
            return Err(LoadError::Tensor { file, tensor: name.to_owned(), reason: "missing".into() });
        };
        let (file, tensors) = &self.files[*at];
        let fault =
            |reason: String| LoadError::Tensor { file: (*file).to_owned(), tensor: name.to_owned(), reason };
        let view = tensors.tensor(name).map_err(|error| fault(error.to_string()))?;
        if view.shape() != shape {
            return Err(fault(format!("shape {:?}; the config demands {shape:?}", view.shape())));
        }
        let dtype = match view.dtype() {
            Dtype::F32 => DType::F32,
            Dtype::F16 => DType::F16,
            Dtype::BF16 => DType::BF16,
            other => return Err(fault(format!("type {other:?}; supported are F32, F16 and BF16"))),
        };
        Tensor::from_raw_buffer(view.data(), dtype, shape, &Device::Cpu)
            .and_then(|tensor| tensor.to_dtype(DType::F32))
            .map_err(|error| fault(error.to_string()))
    }

    /// The tensor's numbers, for weights that are used elementwise.
    pub(crate) fn numbers(&self, name: &str, length: usize) -> Result<Vec<f32>, LoadError> {
        let tensor = self.get(name, &[length])?;
        tensor.to_vec1().map_err(|error| LoadError::Tensor {
            file: String::new(),
            tensor: name.to_owned(),
            reason: error.to_string(),
        })
    }
}
