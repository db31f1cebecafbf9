//! Where do the numbers come from, and are they the ones the config promises?
//!
//! A checkpoint is a Hugging Face folder (see [`crate::shards`]), the same files as bytes in memory, or one GGUF file (see
//! [`crate::gguf`]).
//! Tensors are read one at a time and kept in the precision they have, so that a load never holds more than the finished
//! weights and one tensor. Names, shapes and types are checked before any arithmetic; what the
//! tensors mean is left to [`crate::model`].

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::config::{ConfigFile, ModelConfig};
use crate::gguf::{self, Gguf};
use crate::prompt::Template;
use crate::sampler::ModeDefaults;
use crate::shards::{Safetensors, parse_index};
use crate::tensor::{Matrix, Stored};

const CONFIG: &str = "config.json";
const GENERATION_CONFIG: &str = "generation_config.json";
const TOKENIZER: &str = "tokenizer.json";
const TOKENIZER_CONFIG: &str = "tokenizer_config.json";
const CHAT_TEMPLATE: &str = "chat_template.jinja";
pub(crate) const WEIGHTS: &str = "model.safetensors";
pub(crate) const WEIGHTS_INDEX: &str = "model.safetensors.index.json";

/// Settings and tokenizers larger than this are not what they claim to be.
const MAX_TEXT_FILE: u64 = 256 << 20;

/// Why a model could not be loaded. Every variant names the file; most name the key or the tensor.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A file is missing or unreadable.
    #[error("{file}: {source}")]
    Io {
        /// Path of the file, as given.
        file: String,
        /// What the system said.
        source: io::Error,
    },
    /// A file is not JSON.
    #[error("{file}: not valid JSON: {source}")]
    Json {
        /// Name of the file.
        file: String,
        /// Where it stops being JSON.
        source: serde_json::Error,
    },
    /// A setting is missing, out of range, or asks for what the engine does not do.
    #[error("{file}: {key} = {value}, expected {expected}")]
    Config {
        /// Name of the file.
        file: String,
        /// The setting.
        key: String,
        /// What the file says.
        value: String,
        /// What would be accepted.
        expected: String,
    },
    /// The weights are in a format that can run code when read.
    #[error("{file}: pickled weights can run code and are not read; convert them to safetensors")]
    Pickle {
        /// Name of the file.
        file: String,
    },
    /// A weights file is damaged.
    #[error("{file}: damaged safetensors: {reason}")]
    Damaged {
        /// Name of the file.
        file: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A GGUF file is damaged, or holds what the reader does not know.
    #[error("{file}: this GGUF file cannot be read: {reason}")]
    Gguf {
        /// Path of the file, as given.
        file: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A tensor that the config calls for is nowhere.
    #[error("{file}: tensor {tensor} is missing")]
    Missing {
        /// Name of the file that should hold it.
        file: String,
        /// Name of the tensor.
        tensor: String,
    },
    /// A tensor has another shape than the config says.
    #[error("{file}: tensor {tensor} has shape {found:?}, the config says {expected:?}")]
    Shape {
        /// Name of the file.
        file: String,
        /// Name of the tensor.
        tensor: String,
        /// The shape in the file.
        found: Vec<usize>,
        /// The shape that follows from the config.
        expected: Vec<usize>,
    },
    /// A tensor has a type other than f32, f16 or bf16.
    #[error("{file}: tensor {tensor} has type {found}, expected F32, F16 or BF16")]
    Type {
        /// Name of the file.
        file: String,
        /// Name of the tensor.
        tensor: String,
        /// The type in the file.
        found: String,
    },
    /// A tensor that this architecture has no place for: the config and the weights do not belong together.
    #[error("{file}: tensor {tensor} has no place in this model")]
    Unexpected {
        /// Name of the file.
        file: String,
        /// Name of the tensor.
        tensor: String,
    },
    /// The tokenizer cannot be used.
    #[error("{file}: {reason}")]
    Tokenizer {
        /// Name of the file.
        file: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The chat template is missing or does not compile.
    #[error("{file}: {reason}")]
    Template {
        /// Name of the file.
        file: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The engine's threads could not be started.
    #[error("the engine's threads could not be started: {0}")]
    Thread(io::Error),
}

/// A file's name and its bytes.
pub type NamedFile = (String, Cow<'static, [u8]>);

/// The files of a model, in memory.
#[derive(Clone, Debug, Default)]
pub struct ModelFiles {
    /// `config.json`
    pub config_json: Cow<'static, [u8]>,
    /// `generation_config.json`, if the model has one.
    pub generation_config_json: Option<Cow<'static, [u8]>>,
    /// `tokenizer.json`
    pub tokenizer_json: Cow<'static, [u8]>,
    /// `tokenizer_config.json`; holds the chat template unless `chat_template` does.
    pub tokenizer_config_json: Cow<'static, [u8]>,
    /// `chat_template.jinja`, if the model has one.
    pub chat_template: Option<Cow<'static, [u8]>>,
    /// The safetensors files, by name.
    pub weights: Vec<NamedFile>,
}

/// A model's files, wherever they are.
pub enum Checkpoint {
    /// A folder as `save_pretrained` writes it.
    Folder(PathBuf),
    /// The same files as bytes.
    Embedded(Box<ModelFiles>),
    /// One file in llama.cpp's format.
    Gguf(Box<Gguf>),
}

/// What `generation_config.json` adds.
#[derive(Debug, Default)]
pub(crate) struct GenerationConfig {
    pub(crate) eos_token_ids: Vec<u32>,
    pub(crate) sampling: ModeDefaults,
}

impl Checkpoint {
    /// A folder, or one `.gguf` file.
    pub fn open(path: &Path) -> Result<Checkpoint, LoadError> {
        if path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("gguf")) {
            return Ok(Checkpoint::Gguf(Box::new(Gguf::open(path)?)));
        }
        Checkpoint::open_folder(path)
    }

    /// Points at a folder; the files are read when asked for.
    pub fn open_folder(folder: &Path) -> Result<Checkpoint, LoadError> {
        let checkpoint = Checkpoint::Folder(folder.to_owned());
        checkpoint.refuse_pickle(folder)?;
        Ok(checkpoint)
    }

    /// Takes files that are already in memory.
    pub fn open_embedded(files: ModelFiles) -> Result<Checkpoint, LoadError> {
        Ok(Checkpoint::Embedded(Box::new(files)))
    }

    /// Reads and checks `config.json`.
    pub fn config(&self) -> Result<ModelConfig, LoadError> {
        match self {
            Checkpoint::Gguf(file) => file.config(),
            _ => ModelConfig::parse(&self.required(CONFIG)?),
        }
    }

    /// Opens the weights and reads their headers.
    pub fn weights(&self) -> Result<Weights, LoadError> {
        match self {
            Checkpoint::Folder(folder) => Safetensors::open_folder(folder).map(Weights::Safetensors),
            Checkpoint::Embedded(files) => {
                Safetensors::open_embedded(&files.weights).map(Weights::Safetensors)
            }
            Checkpoint::Gguf(file) => file.tensors().map(Weights::Gguf),
        }
    }

    pub(crate) fn generation_config(&self) -> Result<GenerationConfig, LoadError> {
        if let Checkpoint::Gguf(_) = self {
            return Ok(GenerationConfig::default()); // its end tokens stand in the config
        }
        let Some(bytes) = self.optional(GENERATION_CONFIG)? else { return Ok(GenerationConfig::default()) };
        let file = ConfigFile::parse(GENERATION_CONFIG, &bytes)?;
        Ok(GenerationConfig {
            eos_token_ids: file.token_ids("eos_token_id")?,
            sampling: ModeDefaults::parse(&file)?,
        })
    }

    pub(crate) fn tokenizer(&self) -> Result<Cow<'_, [u8]>, LoadError> {
        match self {
            Checkpoint::Gguf(file) => file.tokenizer().map(Cow::Owned),
            _ => self.required(TOKENIZER),
        }
    }

    /// The template's own file wins over the copy in the tokenizer's settings, as in transformers.
    pub(crate) fn chat_template(&self) -> Result<String, LoadError> {
        if let Checkpoint::Gguf(file) = self {
            return file.chat_template();
        }
        if let Some(bytes) = self.optional(CHAT_TEMPLATE)? {
            return String::from_utf8(bytes.into_owned()).map_err(|source| LoadError::Template {
                file: CHAT_TEMPLATE.to_owned(),
                reason: source.to_string(),
            });
        }
        let settings = ConfigFile::parse(TOKENIZER_CONFIG, &self.required(TOKENIZER_CONFIG)?)?;
        settings.text("chat_template")?.map(str::to_owned).ok_or_else(|| LoadError::Template {
            file: TOKENIZER_CONFIG.to_owned(),
            reason: "holds no chat_template, and there is no chat_template.jinja".to_owned(),
        })
    }

    /// Does the model's chat template render tools?
    pub fn takes_tools(&self) -> Result<bool, LoadError> {
        Ok(Template::from_checkpoint(self, std::iter::empty())?.takes_tools())
    }

    /// The text of `bos_token` or `eos_token`, where the files name one.
    pub(crate) fn marker(&self, name: &str) -> Result<Option<String>, LoadError> {
        if let Checkpoint::Gguf(file) = self {
            return file.marker(name);
        }
        let Some(bytes) = self.optional(TOKENIZER_CONFIG)? else { return Ok(None) };
        let settings = ConfigFile::parse(TOKENIZER_CONFIG, &bytes)?;
        let marker = settings.get(name).map(|marker| marker.get("content").unwrap_or(marker));
        Ok(marker.and_then(|text| text.as_str()).map(str::to_owned))
    }

    fn required(&self, name: &str) -> Result<Cow<'_, [u8]>, LoadError> {
        self.optional(name)?
            .ok_or_else(|| LoadError::Io { file: self.path(name), source: io::ErrorKind::NotFound.into() })
    }

    fn optional(&self, name: &str) -> Result<Option<Cow<'_, [u8]>>, LoadError> {
        match self {
            Checkpoint::Folder(folder) => Ok(read_text_file(&folder.join(name))?.map(Cow::Owned)),
            Checkpoint::Embedded(files) => Ok(files.named(name).map(Cow::Borrowed)),
            Checkpoint::Gguf(_) => Ok(None), // one file holds everything
        }
    }

    fn path(&self, name: &str) -> String {
        match self {
            Checkpoint::Folder(folder) => folder.join(name).display().to_string(),
            Checkpoint::Embedded(_) | Checkpoint::Gguf(_) => name.to_owned(),
        }
    }

    /// A folder with only pickled weights gets an answer that says so, not "file not found".
    fn refuse_pickle(&self, folder: &Path) -> Result<(), LoadError> {
        if folder.join(WEIGHTS).exists() || folder.join(WEIGHTS_INDEX).exists() {
            return Ok(());
        }
        let names =
            ["pytorch_model.bin", "pytorch_model.bin.index.json", "model.pt", "model.pth", "model.pkl"];
        match names.iter().find(|name| folder.join(name).exists()) {
            Some(name) => Err(LoadError::Pickle { file: self.path(name) }),
            None => Ok(()),
        }
    }
}

impl ModelFiles {
    /// Reads a folder into memory; [`Checkpoint::open_folder`] needs less of it.
    pub fn read(folder: &Path) -> Result<ModelFiles, LoadError> {
        let checkpoint = Checkpoint::open_folder(folder)?;
        let own = |name: &str| Ok::<_, LoadError>(checkpoint.required(name)?.into_owned().into());
        let own_if_there = |name: &str| {
            Ok::<_, LoadError>(checkpoint.optional(name)?.map(|bytes| bytes.into_owned().into()))
        };
        Ok(ModelFiles {
            config_json: own(CONFIG)?,
            generation_config_json: own_if_there(GENERATION_CONFIG)?,
            tokenizer_json: own(TOKENIZER)?,
            tokenizer_config_json: own(TOKENIZER_CONFIG)?,
            chat_template: own_if_there(CHAT_TEMPLATE)?,
            weights: read_weight_files(folder)?,
        })
    }

    fn named(&self, name: &str) -> Option<&[u8]> {
        match name {
            CONFIG => Some(&self.config_json),
            GENERATION_CONFIG => self.generation_config_json.as_deref(),
            TOKENIZER => Some(&self.tokenizer_json),
            TOKENIZER_CONFIG => Some(&self.tokenizer_config_json),
            CHAT_TEMPLATE => self.chat_template.as_deref(),
            _ => None,
        }
    }
}

fn read_weight_files(folder: &Path) -> Result<Vec<NamedFile>, LoadError> {
    let names = match read_text_file(&folder.join(WEIGHTS_INDEX))? {
        Some(index) => parse_index(&index)?.into_values().collect(),
        None => BTreeSet::from([WEIGHTS.to_owned()]),
    };
    let read = |name: String| {
        let path = folder.join(&name);
        let failed = |source| LoadError::Io { file: path.display().to_string(), source };
        Ok((name, Cow::Owned(std::fs::read(&path).map_err(failed)?)))
    };
    names.into_iter().map(read).collect()
}

pub(crate) fn read_text_file(path: &Path) -> Result<Option<Vec<u8>>, LoadError> {
    let failed = |source| LoadError::Io { file: path.display().to_string(), source };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let mut bytes = Vec::new();
    file.take(MAX_TEXT_FILE + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > MAX_TEXT_FILE {
        return Err(failed(io::Error::new(io::ErrorKind::FileTooLarge, "larger than 256 MiB")));
    }
    Ok(Some(bytes))
}

/// The tensors of a checkpoint under their Hugging Face names, each to be taken once.
pub enum Weights {
    /// From one file or several.
    Safetensors(Safetensors),
    /// From one file.
    Gguf(gguf::Tensors),
}

impl Weights {
    /// One matrix of the rows of several tensors, all `columns` wide.
    pub(crate) fn matrix(
        &mut self,
        tensors: &[(String, usize)],
        columns: usize,
    ) -> Result<Matrix, LoadError> {
        let rows = |(tensor, rows): &(String, usize)| Ok((self.stored(tensor, &[*rows, columns])?, *rows));
        let layers = tensors.iter().map(rows).collect::<Result<_, LoadError>>()?;
        Matrix::stack(layers, columns)
            .map_err(|error| LoadError::Damaged { file: self.file_name(), reason: error.to_string() })
    }

    /// The values of a small tensor as f32.
    pub(crate) fn take(&mut self, tensor: &str, shape: &[usize]) -> Result<Vec<f32>, LoadError> {
        match self.stored(tensor, shape)? {
            Stored::Plain(numbers) => {
                let mut values = Vec::with_capacity(numbers.len());
                numbers.append_widened(0..numbers.len(), &mut values);
                Ok(values)
            }
            Stored::Blocks(kind, _) => Err(LoadError::Type {
                file: self.file_name(),
                tensor: tensor.to_owned(),
                found: format!("{kind:?}"),
            }),
        }
    }

    fn stored(&mut self, tensor: &str, shape: &[usize]) -> Result<Stored, LoadError> {
        match self {
            Weights::Safetensors(files) => files.take(tensor, shape).map(Stored::Plain),
            Weights::Gguf(file) => file.take(tensor, shape),
        }
    }

    /// Leaves a tensor out on purpose.
    pub(crate) fn skip(&mut self, tensor: &str) {
        match self {
            Weights::Safetensors(files) => files.skip(tensor),
            Weights::Gguf(file) => file.skip(tensor),
        }
    }

    /// Everything must have been used: a leftover tensor means that config and weights disagree.
    pub(crate) fn finish(self) -> Result<(), LoadError> {
        match self {
            Weights::Safetensors(files) => files.finish(),
            Weights::Gguf(file) => match file.leftover() {
                None => Ok(()),
                Some(tensor) => {
                    Err(LoadError::Unexpected { file: file.name().to_owned(), tensor: tensor.clone() })
                }
            },
        }
    }

    fn file_name(&self) -> String {
        match self {
            Weights::Safetensors(files) => files.name().to_owned(),
            Weights::Gguf(file) => file.name().to_owned(),
        }
    }
}
