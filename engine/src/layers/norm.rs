//! How are rows brought to a common scale?
//!
//! RMSNorm: divide by the root of the mean square, multiply by a learned gain. Used on the residual stream and,
//! head by head, on queries and keys.

use crate::kernels::Dot;
use crate::simd;
use crate::weights::{LoadError, Weights};

pub(crate) struct RmsNorm {
    gain: Vec<f32>, // (width)
    eps: f32,
}

impl RmsNorm {
    pub(crate) fn load(weights: &mut Weights, name: &str, width: usize, eps: f32) -> Result<Self, LoadError> {
        Ok(RmsNorm { gain: weights.take(&format!("{name}.weight"), &[width])?, eps })
    }

    /// (rows, width) to the same shape.
    pub(crate) fn apply(&self, rows: &[f32]) -> Vec<f32> {
        let mut rows = rows.to_vec(); // (rows, width)
        self.apply_in_place(&mut rows);
        rows
    }

    /// The same without a copy.
    pub(crate) fn apply_in_place(&self, rows: &mut [f32]) {
        for row in rows.chunks_exact_mut(self.gain.len()) {
            let mean_square = simd::run(Dot(row, row)) / row.len() as f32;
            let scale = 1.0 / (mean_square + self.eps).sqrt();
            for (value, gain) in row.iter_mut().zip(&self.gain) {
                *value = *value * scale * gain;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_normalised_row_has_mean_square_one_before_its_gain() {
        let norm = RmsNorm { gain: vec![1.0, 2.0], eps: 0.0 };
        let mut rows = vec![3.0, 3.0, -1.0, 1.0];
        norm.apply_in_place(&mut rows);
        assert_eq!(rows, [1.0, 2.0, -1.0, 2.0]); // the roots are whole numbers, so nothing is rounded
    }
}
