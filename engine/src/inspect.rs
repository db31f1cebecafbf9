//! Raw logits and gate choices, for the comparison with the reference implementation. Not part of the API.

use std::path::Path;

use crate::cache::KvCache;
use crate::config::ModelConfig;
use crate::error::LoadError;
use crate::model::{Model, Span};
use crate::weights::{ModelFiles, Weights};

pub use crate::layers::ffn::Gating;

/// (sequence, position, vocabulary).
pub type Logits = Vec<Vec<Vec<f32>>>;

/// A model without tokenizer or thread.
#[derive(Debug)]
pub struct Bare(Model);

impl Bare {
    /// Loads config and weights only.
    ///
    /// # Errors
    /// As [`crate::Engine::load_folder`].
    pub fn load(files: &ModelFiles) -> Result<Self, LoadError> {
        let config = ModelConfig::parse(&files.config_json)?;
        Model::load(config, &Weights::open(&files.weights)?).map(Bare)
    }

    /// Loads a folder.
    ///
    /// # Errors
    /// As [`crate::Engine::load_folder`].
    pub fn load_folder(folder: &Path) -> Result<Self, LoadError> {
        Bare::load(&ModelFiles::read(folder)?)
    }

    /// Logits of every position of every sequence, each sequence fed in chunks of at most `chunk`, all sequences
    /// packed together; and the gate's choices of the first pass.
    ///
    /// # Errors
    /// The forward pass failed.
    pub fn logits(
        &mut self,
        sequences: &[&[u32]],
        chunk: usize,
    ) -> candle_core::Result<(Logits, Vec<Gating>)> {
        let mut caches: Vec<KvCache> = sequences.iter().map(|_| KvCache::new(self.0.config.layers)).collect();
        let mut out = vec![Vec::new(); sequences.len()];
        let mut first = None;
        let mut done = 0;
        while sequences.iter().any(|sequence| done < sequence.len()) {
            let (mut tokens, mut spans, mut owners) = (Vec::new(), Vec::new(), Vec::new());
            for (cache, sequence) in sequences.iter().enumerate() {
                let piece = &sequence[done.min(sequence.len())..(done + chunk).min(sequence.len())];
                if !piece.is_empty() {
                    spans.push(Span { rows: tokens.len()..tokens.len() + piece.len(), cache });
                    owners.extend(std::iter::repeat_n(cache, piece.len()));
                    tokens.extend_from_slice(piece);
                }
            }
            let wanted: Vec<usize> = (0..tokens.len()).collect();
            let mut borrowed: Vec<&mut KvCache> = caches.iter_mut().collect();
            let pass = self.0.forward(&tokens, &spans, &wanted, &mut borrowed)?;
            for (owner, row) in owners.iter().zip(pass.logits.chunks_exact(self.0.config.vocab)) {
                out[*owner].push(row.to_vec());
            }
            first.get_or_insert(pass.gating);
            done += chunk;
        }
        Ok((out, first.unwrap_or_default()))
    }
}
