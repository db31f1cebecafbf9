//! How are a weight matrix and a few rows of activations multiplied?
//!
//! The only module that names the matrix library. Activations are plain `Vec<f32>` rows between the products,
//! because norms, rotations and softmax are clearer, and for one token faster, as loops over slices. A
//! quantised weight would be another variant of [`Matrix`] and nothing else in the crate would know.

use candle_core::{Device, Storage, Tensor};

use crate::request::EngineError;

/// A weight of a linear layer, `(out, in)` as checkpoints store it.
pub(crate) struct Matrix {
    weight: Tensor, // (out, in)
    rows: usize,
    columns: usize,
}

impl Matrix {
    pub(crate) fn new(values: Vec<f32>, rows: usize, columns: usize) -> Matrix {
        let weight = Tensor::from_vec(values, (rows, columns), &Device::Cpu)
            .expect("the loader has checked that the values fill the shape");
        Matrix { weight, rows, columns }
    }

    /// `input` (n, in) to (n, out).
    pub(crate) fn apply(&self, input: &[f32]) -> Result<Vec<f32>, EngineError> {
        let rows = input.len() / self.columns;
        let input = Tensor::from_slice(input, (rows, self.columns), &Device::Cpu)?; // (n, in)
        let output = input.matmul(&self.weight.t()?)?; // (n, out)
        Ok(output.flatten_all()?.to_vec1()?)
    }

    /// Copies one row to the end of `into`; the embedding look-up.
    pub(crate) fn append_row(&self, row: usize, into: &mut Vec<f32>) -> Result<(), EngineError> {
        let (storage, _) = self.weight.storage_and_layout();
        let Storage::Cpu(storage) = &*storage else {
            return Err(EngineError::Compute("a weight is not in main memory".to_owned()));
        };
        let values = storage.as_slice::<f32>()?; // (out, in)
        into.extend_from_slice(&values[row * self.columns..(row + 1) * self.columns]);
        Ok(())
    }

    pub(crate) fn rows(&self) -> usize {
        self.rows
    }
}

impl From<candle_core::Error> for EngineError {
    fn from(error: candle_core::Error) -> EngineError {
        EngineError::Compute(error.to_string())
    }
}

/// Sum of products, in eight lanes so that the compiler can use vector registers.
pub(crate) fn dot(left: &[f32], right: &[f32]) -> f32 {
    let (left_lanes, left_rest) = left.as_chunks::<8>();
    let (right_lanes, right_rest) = right.as_chunks::<8>();
    let mut sums = [0.0f32; 8];
    for (left, right) in left_lanes.iter().zip(right_lanes) {
        for lane in 0..8 {
            sums[lane] += left[lane] * right[lane];
        }
    }
    let rest: f32 = left_rest.iter().zip(right_rest).map(|(left, right)| left * right).sum();
    sums.iter().sum::<f32>() + rest
}

/// `target += scale * source`
pub(crate) fn add_scaled(target: &mut [f32], source: &[f32], scale: f32) {
    for (target, source) in target.iter_mut().zip(source) {
        *target += scale * source;
    }
}

/// Turns scores into probabilities, in place.
pub(crate) fn softmax(scores: &mut [f32]) {
    let highest = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut sum = 0.0;
    for score in scores.iter_mut() {
        *score = (*score - highest).exp();
        sum += *score;
    }
    for score in scores.iter_mut() {
        *score /= sum;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_matrix_multiplies_rows_by_its_transpose() {
        let matrix = Matrix::new(vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 3, 2);
        let output = matrix.apply(&[1.0, 0.0, 1.0, 1.0]).unwrap();
        assert_eq!(output, [1.0, 3.0, 5.0, 3.0, 7.0, 11.0]); // small whole numbers are exact
    }

    #[test]
    fn dot_covers_lanes_and_rest() {
        let values: Vec<f32> = (1..=11).map(|number| number as f32).collect();
        assert_eq!(dot(&values, &values), 506.0); // 1² + … + 11², exact in f32
    }

    #[test]
    fn softmax_survives_large_scores() {
        let mut scores = [1000.0, 1000.0];
        softmax(&mut scores);
        assert_eq!(scores, [0.5, 0.5]);
    }
}
