//! How are safetensors files read?
//!
//! One file or several with an index, from disk or from memory: headers first, then tensor by tensor. What a header or an
//! index claims is checked before anything is allocated for it.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use half::{bf16, f16};
use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};
use serde::de::{Error as _, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::config::ConfigFile;
use crate::products::Numbers;
use crate::weights::{LoadError, NamedFile, WEIGHTS, WEIGHTS_INDEX, read_text_file};

/// The limit that the format sets itself.
const MAX_HEADER: u64 = 100_000_000;

/// The tensors of safetensors files.
pub struct Safetensors {
    shards: Vec<Shard>,
    /// Tensor name to shard; what is left at the end has no place in the model.
    places: BTreeMap<String, usize>,
}

/// One safetensors file.
struct Shard {
    name: String,
    source: Source,
    header: HashMap<String, TensorInfo>,
    /// Where the data begins; the header's offsets count from here.
    data_start: u64,
}

enum Source {
    File(File),
    Bytes(Cow<'static, [u8]>),
}

impl Safetensors {
    pub(crate) fn open_folder(folder: &Path) -> Result<Safetensors, LoadError> {
        match read_text_file(&folder.join(WEIGHTS_INDEX))? {
            Some(index) => Self::open_sharded(folder, &index),
            None => Self::from_shards(vec![Shard::open(folder, WEIGHTS)?]),
        }
    }

    pub(crate) fn open_embedded(files: &[NamedFile]) -> Result<Safetensors, LoadError> {
        let shard = |(name, bytes): &NamedFile| {
            refuse_pickled_name(name)?;
            Shard::read(name, Source::Bytes(bytes.clone()), bytes.len() as u64)
        };
        Self::from_shards(files.iter().map(shard).collect::<Result<_, _>>()?)
    }

    fn open_sharded(folder: &Path, index: &[u8]) -> Result<Safetensors, LoadError> {
        let map = parse_index(index)?;
        let names: BTreeSet<&str> = map.values().map(String::as_str).collect();
        let shards = names.into_iter().map(|name| Shard::open(folder, name)).collect::<Result<_, _>>()?;
        let weights = Self::from_shards(shards)?;
        weights.check_index(&map)?;
        Ok(weights)
    }

    fn from_shards(shards: Vec<Shard>) -> Result<Safetensors, LoadError> {
        let mut places = BTreeMap::new();
        for (number, shard) in shards.iter().enumerate() {
            for tensor in shard.header.keys() {
                if places.insert(tensor.clone(), number).is_some() {
                    return Err(shard.damaged(format!("tensor {tensor} is also in another file")));
                }
            }
        }
        Ok(Safetensors { shards, places })
    }

    /// The index must tell the truth, or a stale shard could be mixed in unnoticed.
    fn check_index(&self, map: &BTreeMap<String, String>) -> Result<(), LoadError> {
        for (tensor, file) in map {
            let found = self.places.get(tensor).map(|place| &self.shards[*place].name);
            if found != Some(file) {
                return Err(LoadError::Missing { file: file.clone(), tensor: tensor.clone() });
            }
        }
        Ok(())
    }

    /// The numbers of a tensor, row by row. Each tensor can be taken once.
    pub(crate) fn take(&mut self, tensor: &str, shape: &[usize]) -> Result<Numbers, LoadError> {
        let Some(place) = self.places.remove(tensor) else {
            return Err(LoadError::Missing { file: self.name().to_owned(), tensor: tensor.to_owned() });
        };
        self.shards[place].values(tensor, shape)
    }

    /// The first file's name, for complaints about a tensor that is nowhere.
    pub(crate) fn name(&self) -> &str {
        self.shards.first().map_or(WEIGHTS, |shard| &shard.name)
    }

    pub(crate) fn skip(&mut self, tensor: &str) {
        self.places.remove(tensor);
    }

    pub(crate) fn finish(self) -> Result<(), LoadError> {
        // Old exports store this constant, which follows from rope_theta.
        match self.places.iter().find(|(tensor, _)| !tensor.ends_with("rotary_emb.inv_freq")) {
            None => Ok(()),
            Some((tensor, place)) => {
                Err(LoadError::Unexpected { file: self.shards[*place].name.clone(), tensor: tensor.clone() })
            }
        }
    }
}

fn refuse_pickled_name(name: &str) -> Result<(), LoadError> {
    if [".bin", ".pt", ".pth", ".pkl", ".ckpt"].iter().any(|ending| name.ends_with(ending)) {
        return Err(LoadError::Pickle { file: name.to_owned() });
    }
    Ok(())
}

pub(crate) fn parse_index(bytes: &[u8]) -> Result<BTreeMap<String, String>, LoadError> {
    let file = ConfigFile::parse(WEIGHTS_INDEX, bytes)?;
    let map = file.get("weight_map").and_then(|value| serde_json::from_value(value.clone()).ok());
    let map: BTreeMap<String, String> =
        map.ok_or_else(|| file.refuse("weight_map", "not a map", "tensor names and their files"))?;
    match map.values().find(|name| !is_plain_file_name(name)) {
        Some(name) => Err(file.refuse("weight_map", name, "a .safetensors file in the same folder")),
        None => Ok(map),
    }
}

/// An index must not make us read files elsewhere, nor files of another kind.
fn is_plain_file_name(name: &str) -> bool {
    name.ends_with(".safetensors") && !name.contains(['/', '\\']) && !name.starts_with('.')
}

impl Shard {
    fn open(folder: &Path, name: &str) -> Result<Shard, LoadError> {
        let path = folder.join(name);
        let failed = |source| LoadError::Io { file: path.display().to_string(), source };
        let file = File::open(&path).map_err(failed)?;
        let length = file.metadata().map_err(failed)?.len();
        Shard::read(name, Source::File(file), length)
    }

    fn read(name: &str, source: Source, length: u64) -> Result<Shard, LoadError> {
        let mut shard = Shard { name: name.to_owned(), source, header: HashMap::new(), data_start: 0 };
        let header = shard.read_header(length)?;
        if shard.data_start + header.data_len() as u64 != length {
            return Err(shard.damaged("the header does not match the file's length (truncated?)"));
        }
        shard.header = header.tensors().into_iter().map(|(name, info)| (name, info.clone())).collect();
        Ok(shard)
    }

    /// Eight bytes of length, then JSON. Deserialising it checks that offsets, shapes and types agree.
    fn read_header(&mut self, length: u64) -> Result<Metadata, LoadError> {
        if length < 8 {
            return Err(self.damaged("shorter than its own length field"));
        }
        let size = self.bytes(0, 8)?;
        let size = u64::from_le_bytes(size.as_ref().try_into().expect("eight bytes were read"));
        if size > MAX_HEADER || size > length - 8 {
            return Err(self.damaged(format!("the header claims {size} bytes")));
        }
        self.data_start = 8 + size;
        let json = self.bytes(8, size as usize)?.into_owned();
        serde_json::from_slice::<Distinct>(&json).map_err(|error| self.damaged(error))?;
        serde_json::from_slice(&json).map_err(|error| self.damaged(error))
    }

    fn values(&mut self, tensor: &str, shape: &[usize]) -> Result<Numbers, LoadError> {
        let info = self.header.get(tensor).expect("places only names tensors from headers").clone();
        self.check(tensor, &info, shape)?;
        let (start, end) = info.data_offsets;
        let bytes = self.bytes(self.data_start + start as u64, end - start)?;
        Ok(numbers(info.dtype, &bytes))
    }

    fn check(&self, tensor: &str, info: &TensorInfo, shape: &[usize]) -> Result<(), LoadError> {
        if info.shape != shape {
            return Err(LoadError::Shape {
                file: self.name.clone(),
                tensor: tensor.to_owned(),
                found: info.shape.clone(),
                expected: shape.to_vec(),
            });
        }
        if !matches!(info.dtype, Dtype::F32 | Dtype::F16 | Dtype::BF16) {
            return Err(LoadError::Type {
                file: self.name.clone(),
                tensor: tensor.to_owned(),
                found: info.dtype.to_string(),
            });
        }
        Ok(())
    }

    /// Bytes of the file. Callers ask only for ranges that lie inside the file's length.
    fn bytes(&mut self, start: u64, length: usize) -> Result<Cow<'_, [u8]>, LoadError> {
        match &mut self.source {
            Source::Bytes(bytes) => {
                let start = start as usize;
                Ok(Cow::Borrowed(&bytes[start..start + length]))
            }
            Source::File(file) => read_range(file, start, length)
                .map(Cow::Owned)
                .map_err(|source| LoadError::Io { file: self.name.clone(), source }),
        }
    }

    fn damaged(&self, reason: impl ToString) -> LoadError {
        LoadError::Damaged { file: self.name.clone(), reason: reason.to_string() }
    }
}

/// An object that names nothing twice, as the format demands; the library would take the last of the two, and other
/// readers the first.
struct Distinct;

impl<'de> Deserialize<'de> for Distinct {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_map(Distinct)
    }
}

impl<'de> Visitor<'de> for Distinct {
    type Value = Distinct;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Distinct, A::Error> {
        let mut names = BTreeSet::new();
        while let Some((name, IgnoredAny)) = map.next_entry::<String, _>()? {
            if let Some(twice) = names.replace(name) {
                return Err(A::Error::custom(format!("tensor {twice} is there twice")));
            }
        }
        Ok(Distinct)
    }
}

fn read_range(file: &mut File, start: u64, length: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; length];
    file.seek(SeekFrom::Start(start))?;
    file.read_exact(&mut bytes)?;
    Ok(bytes)
}

pub(crate) fn numbers(dtype: Dtype, bytes: &[u8]) -> Numbers {
    let (pairs, quads) = (bytes.as_chunks::<2>().0.iter(), bytes.as_chunks::<4>().0.iter());
    match dtype {
        Dtype::F16 => Numbers::F16(pairs.map(|pair| f16::from_le_bytes(*pair)).collect()),
        Dtype::BF16 => Numbers::Bf16(pairs.map(|pair| bf16::from_le_bytes(*pair)).collect()),
        _ => Numbers::F32(quads.map(|quad| f32::from_le_bytes(*quad)).collect()),
    }
}
