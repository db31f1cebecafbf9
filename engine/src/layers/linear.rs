//! A matrix product without bias, as every projection of these models is.

use candle_core::{Device, Result, Tensor};

use crate::error::LoadError;
use crate::weights::Weights;

/// y = x Wᵀ.
#[derive(Debug, Clone)]
pub(crate) struct Linear {
    weight: Tensor, // (outputs, inputs)
    inputs: usize,
}

impl Linear {
    pub(crate) fn load(
        weights: &Weights<'_>,
        name: &str,
        outputs: usize,
        inputs: usize,
    ) -> std::result::Result<Self, LoadError> {
        Ok(Linear { weight: weights.get(name, &[outputs, inputs])?, inputs })
    }

    /// Shares a weight that is already loaded.
    pub(crate) fn sharing(weight: &Tensor, inputs: usize) -> Self {
        Linear { weight: weight.clone(), inputs }
    }

    /// `x`: (rows, inputs) → (rows, outputs), both flat.
    pub(crate) fn forward(&self, x: &[f32]) -> Result<Vec<f32>> {
        let rows = x.len() / self.inputs;
        let x = Tensor::from_slice(x, (rows, self.inputs), &Device::Cpu)?;
        x.matmul(&self.weight.t()?)?.flatten_all()?.to_vec1() // (rows, outputs)
    }
}
