//! The classifier as one file: a header in JSON, the tables, and a checksum over both.
//!
//! Layout: `TGCLF1\n`, length of the header (u32, little endian), header, rarity (u8 by bucket), weights (i8 by bucket
//! and head), SHA-256 of all before it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::features::{self, BUCKETS, Features};
use super::{Blend, Canary, Classifier, Data, HEADS};
use crate::conversation::Conversation;
use crate::reading::Reading;
use crate::signals;

const MAGIC: &[u8] = b"TGCLF1\n";
const CHECKSUM: usize = 32;
/// Rounding of sums in another order moves an output by far less.
const CANARY_TOLERANCE: f32 = 1e-3;

/// Why a classifier cannot be used.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum ArtefactError {
    /// Some other file.
    #[error("not a classifier: it does not start with TGCLF1")]
    Magic,
    /// It ends early or late.
    #[error("{found} bytes, expected {expected}: cut off, or something was added")]
    Length {
        /// Bytes there are.
        found: usize,
        /// Bytes the header calls for.
        expected: usize,
    },
    /// A byte changed.
    #[error("its checksum does not agree: the file is damaged")]
    Checksum,
    /// The header cannot be read.
    #[error("its header: {0}")]
    Header(String),
    /// Made for another program.
    #[error("made for another version of the program: {what} is {found}, expected {expected}")]
    Mismatch {
        /// What differs.
        what: &'static str,
        /// As the file says.
        found: String,
        /// As this program has it.
        expected: String,
    },
    /// It answers otherwise than when it was made.
    #[error("{text:?} gives {found} for {head}, expected {expected}: it does not work as it was trained")]
    Canary {
        /// The prompt.
        text: String,
        /// The output that differs.
        head: &'static str,
        /// What it gives.
        found: f32,
        /// What it gave when it was made.
        expected: f32,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    features: u32,
    buckets: usize,
    measured: Vec<String>,
    heads: Vec<String>,
    data: Data,
    centre: Vec<f32>,
    scale: Vec<f32>,
    dense: Vec<Vec<f32>>,
    bias: Vec<f32>,
    step: Vec<f32>,
    rarity_step: f32,
    blend: BTreeMap<String, Blend>,
    canaries: Vec<Canary>,
}

/// The classifier as bytes; the same classifier gives the same bytes.
///
/// # Panics
/// A table has another size than the header can say; training makes none such.
#[must_use]
pub fn write(classifier: &Classifier) -> Vec<u8> {
    assert_eq!((classifier.rarity.len(), classifier.weights.len()), (BUCKETS, BUCKETS * HEADS.len()));
    let header = Header {
        features: features::VERSION,
        buckets: BUCKETS,
        measured: features::dense_names().collect(),
        heads: HEADS.map(str::to_owned).to_vec(),
        data: classifier.data.clone(),
        centre: classifier.centre.clone(),
        scale: classifier.scale.clone(),
        dense: classifier.dense.clone(),
        bias: classifier.bias.clone(),
        step: classifier.step.clone(),
        rarity_step: classifier.rarity_step,
        blend: classifier.blend.clone(),
        canaries: classifier.canaries.clone(),
    };
    let header = serde_json::to_vec(&header).expect("strings and finite numbers");
    let mut bytes = MAGIC.to_vec();
    bytes.extend(u32::try_from(header.len()).expect("kilobytes").to_le_bytes());
    bytes.extend(&header);
    bytes.extend(&classifier.rarity);
    bytes.extend(classifier.weights.iter().map(|weight| weight.cast_unsigned()));
    bytes.extend(Sha256::digest(&bytes));
    bytes
}

/// Reads and checks a classifier.
///
/// # Errors
/// It is damaged, made for another version, or does not answer as when it was made.
pub fn read(bytes: &[u8]) -> Result<Classifier, ArtefactError> {
    let rest = bytes.strip_prefix(MAGIC).ok_or(ArtefactError::Magic)?;
    let too_short = ArtefactError::Length { found: bytes.len(), expected: MAGIC.len() + 4 + CHECKSUM };
    let (length, rest) = rest.split_first_chunk::<4>().ok_or(too_short)?;
    let header_length = u32::from_le_bytes(*length) as usize;
    let tables = BUCKETS * (1 + HEADS.len());
    let expected = MAGIC.len() + 4 + header_length + tables + CHECKSUM;
    if bytes.len() != expected {
        return Err(ArtefactError::Length { found: bytes.len(), expected });
    }
    let (content, checksum) = bytes.split_at(bytes.len() - CHECKSUM);
    let digest = Sha256::digest(content);
    if digest.as_slice() != checksum {
        return Err(ArtefactError::Checksum);
    }
    let (header, rest) = rest.split_at(header_length);
    let header: Header =
        serde_json::from_slice(header).map_err(|error| ArtefactError::Header(error.to_string()))?;
    agrees(&header)?;
    let (rarity, rest) = rest.split_at(BUCKETS);
    let classifier = Classifier {
        data: header.data,
        centre: header.centre,
        scale: header.scale,
        dense: header.dense,
        bias: header.bias,
        step: header.step,
        rarity_step: header.rarity_step,
        rarity: rarity.to_vec(),
        weights: rest[..BUCKETS * HEADS.len()].iter().map(|weight| weight.cast_signed()).collect(),
        blend: header.blend,
        canaries: header.canaries,
        version: digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect(),
    };
    check_canaries(&classifier)?;
    Ok(classifier)
}

/// The parts that this program must read as training wrote them.
fn agrees(header: &Header) -> Result<(), ArtefactError> {
    let measured: Vec<String> = features::dense_names().collect();
    let differs = |what, found: &dyn std::fmt::Debug, expected: &dyn std::fmt::Debug| {
        Err(ArtefactError::Mismatch { what, found: format!("{found:?}"), expected: format!("{expected:?}") })
    };
    if header.features != features::VERSION {
        return differs("version of the features", &header.features, &features::VERSION);
    }
    if header.buckets != BUCKETS {
        return differs("number of buckets", &header.buckets, &BUCKETS);
    }
    if header.measured != measured {
        return differs("list of measured numbers", &header.measured, &measured);
    }
    if header.heads != HEADS {
        return differs("list of heads", &header.heads, &HEADS);
    }
    let lengths = [header.centre.len(), header.scale.len()];
    if lengths != [measured.len(); 2] || header.dense.iter().any(|row| row.len() != measured.len()) {
        return Err(ArtefactError::Header("numbers missing for some measured number".to_owned()));
    }
    if [header.dense.len(), header.bias.len(), header.step.len()] != [HEADS.len(); 3] {
        return Err(ArtefactError::Header("numbers missing for some head".to_owned()));
    }
    if !header.blend.contains_key("en") {
        return Err(ArtefactError::Header(
            "blend: en is missing, which serves every other language".to_owned(),
        ));
    }
    Ok(())
}

fn check_canaries(classifier: &Classifier) -> Result<(), ArtefactError> {
    if classifier.canaries.is_empty() {
        return Err(ArtefactError::Header("canaries: none".to_owned()));
    }
    for canary in &classifier.canaries {
        let reading = Reading::of(&canary.text);
        let signals = signals::extract(&Conversation::of_prompt(&canary.text), 0, &reading);
        let vote = classifier.judge(&Features::of(&reading, &signals));
        for ((head, found), expected) in HEADS.into_iter().zip(vote.0).zip(&canary.outputs) {
            let distance = (found - expected).abs();
            if distance.is_nan() || distance > CANARY_TOLERANCE {
                let (text, expected) = (canary.text.clone(), *expected);
                return Err(ArtefactError::Canary { text, head, found, expected });
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shipped() -> &'static [u8] {
        include_bytes!("../../classifier/model.bin")
    }

    /// The bytes with a checksum that agrees again.
    fn resealed(mut bytes: Vec<u8>) -> Vec<u8> {
        bytes.truncate(bytes.len() - CHECKSUM);
        bytes.extend(Sha256::digest(&bytes));
        bytes
    }

    #[test]
    fn the_shipped_one_loads_and_is_written_back_the_same() {
        let classifier = read(shipped()).expect("loads");
        assert!(shipped().len() <= 4 << 20, "{}", shipped().len());
        assert_eq!(write(&classifier), shipped());
        assert!(classifier.blend.contains_key("zh"));
    }

    #[test]
    fn damage_is_told() {
        let bytes = shipped();
        assert_eq!(read(b"GGUF"), Err(ArtefactError::Magic));
        assert_eq!(read(b""), Err(ArtefactError::Magic));
        assert!(matches!(read(&bytes[..9]), Err(ArtefactError::Length { .. })));
        assert!(matches!(read(&bytes[..bytes.len() - 1]), Err(ArtefactError::Length { .. })));
        for at in [20, bytes.len() / 2, bytes.len() - 1] {
            let mut damaged = bytes.to_vec();
            damaged[at] ^= 1;
            assert_eq!(read(&damaged), Err(ArtefactError::Checksum), "byte {at}");
        }
        let mut endless = bytes.to_vec();
        endless[MAGIC.len()..MAGIC.len() + 4].fill(0xff);
        assert!(matches!(read(&endless), Err(ArtefactError::Length { .. })));
    }

    #[test]
    fn another_version_is_refused_by_name() {
        let key = b"\"features\":";
        let found = shipped().windows(key.len()).position(|window| window == key);
        let at = found.expect("in the header") + key.len();
        let mut other = shipped().to_vec();
        other[at] = b'9';
        let error = read(&resealed(other)).expect_err("refused").to_string();
        assert!(
            error.contains(&format!("version of the features is 9, expected {}", features::VERSION)),
            "{error}"
        );
    }

    #[test]
    fn one_that_answers_otherwise_is_refused() {
        let mut classifier = read(shipped()).expect("loads");
        classifier.bias[0] += 0.1;
        let error = read(&write(&classifier)).expect_err("refused");
        assert!(matches!(error, ArtefactError::Canary { head: "thinking", .. }), "{error}");
        classifier.canaries.clear();
        assert!(matches!(read(&write(&classifier)), Err(ArtefactError::Header(_))));
    }
}
