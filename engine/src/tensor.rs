//! How are a weight matrix and a few rows of activations multiplied?
//!
//! Activations are plain `Vec<f32>` rows between the products, because norms, rotations and softmax are clearer, and for one
//! token faster, as loops over slices. Plain numbers go to [`crate::products`], the usual quantised formats to
//! [`crate::packed`], other ones to the matrix library; which of them a weight is in, nothing else in the crate knows.

use std::borrow::Cow;

use candle_core::quantized::{GgmlDType, QMatMul, QStorage, QTensor};
use candle_core::{Device, Module, Tensor};

use crate::packed::Packed;
use crate::products::Numbers;
use crate::request::EngineError;

/// Rows of a weight as a file stores them.
pub(crate) enum Stored {
    Plain(Numbers),
    /// Quantised in blocks that lie within a row.
    Blocks(GgmlDType, Vec<u8>),
}

/// A weight of a linear layer, `(out, in)` as checkpoints store it. Layers that read the same input are stacked, so that
/// they are one product; those that are stored differently stay apart.
pub(crate) struct Matrix {
    parts: Vec<Part>,
    rows: usize,
    columns: usize,
}

struct Part {
    weight: Weight, // (out of this part, in)
    rows: usize,
}

enum Weight {
    Plain(Numbers),
    Packed(Packed),
    Library(QMatMul),
}

impl Matrix {
    #[cfg(test)]
    pub(crate) fn new(values: Vec<f32>, rows: usize, columns: usize) -> Matrix {
        Matrix::stack(vec![(Stored::Plain(Numbers::F32(values)), rows)], columns)
            .expect("the loader has checked that the values fill the shape")
    }

    /// One matrix of several layers' rows. The loader has checked that they fill the shape.
    pub(crate) fn stack(layers: Vec<(Stored, usize)>, columns: usize) -> Result<Matrix, candle_core::Error> {
        let mut stacked: Vec<(Stored, usize)> = Vec::new();
        for (layer, rows) in layers {
            let below = match stacked.last_mut() {
                Some((above, height)) => match above.append(layer) {
                    None => {
                        *height += rows;
                        continue;
                    }
                    Some(layer) => layer,
                },
                None => layer,
            };
            stacked.push((below, rows));
        }
        let rows = stacked.iter().map(|(_, rows)| rows).sum();
        let parts = stacked.into_iter().map(|(stored, rows)| Part::new(stored, rows, columns));
        Ok(Matrix { parts: parts.collect::<Result<_, _>>()?, rows, columns })
    }

    /// `input` (n, in) to (n, out).
    pub(crate) fn apply(&self, input: &[f32]) -> Result<Vec<f32>, EngineError> {
        if let [part] = self.parts.as_slice() {
            return part.apply(input, self.columns);
        }
        let mut output = vec![0.0; input.len() / self.columns * self.rows]; // (n, out)
        let mut first = 0;
        for part in &self.parts {
            let values = part.apply(input, self.columns)?; // (n, out of this part)
            for (into, from) in output.chunks_exact_mut(self.rows).zip(values.chunks_exact(part.rows)) {
                into[first..first + part.rows].copy_from_slice(from);
            }
            first += part.rows;
        }
        Ok(output)
    }

    /// Copies one row to the end of `into`; the embedding look-up.
    pub(crate) fn append_row(&self, row: usize, into: &mut Vec<f32>) -> Result<(), EngineError> {
        let mut row = row;
        for part in &self.parts {
            if row < part.rows {
                return part.append_row(row, self.columns, into);
            }
            row -= part.rows;
        }
        Err(EngineError::Compute(format!("row {row} beyond a matrix of {}", self.rows)))
    }

    pub(crate) fn rows(&self) -> usize {
        self.rows
    }
}

impl Stored {
    /// Puts rows below these, or gives them back where they are stored otherwise.
    fn append(&mut self, below: Stored) -> Option<Stored> {
        match (self, below) {
            (Stored::Plain(Numbers::F32(above)), Stored::Plain(Numbers::F32(below))) => above.extend(below),
            (Stored::Plain(Numbers::F16(above)), Stored::Plain(Numbers::F16(below))) => above.extend(below),
            (Stored::Plain(Numbers::Bf16(above)), Stored::Plain(Numbers::Bf16(below))) => above.extend(below),
            (Stored::Blocks(of, above), Stored::Blocks(kind, below)) if *of == kind => above.extend(below),
            (_, below) => return Some(below),
        }
        None
    }
}

impl Part {
    fn new(stored: Stored, rows: usize, columns: usize) -> Result<Part, candle_core::Error> {
        let weight = match stored {
            Stored::Plain(numbers) => Weight::Plain(numbers),
            Stored::Blocks(kind, bytes) => quantised(kind, bytes, rows, columns)?,
        };
        Ok(Part { weight, rows })
    }

    /// `input` (n, columns) to (n, rows).
    fn apply(&self, input: &[f32], columns: usize) -> Result<Vec<f32>, EngineError> {
        Ok(match &self.weight {
            Weight::Plain(weight) => weight.apply(input, columns),
            Weight::Packed(weight) => weight.apply(input),
            Weight::Library(weight) => {
                let input = Tensor::from_slice(input, (input.len() / columns, columns), &Device::Cpu)?;
                weight.forward(&input)?.flatten_all()?.to_vec1()?
            }
        })
    }

    fn append_row(&self, row: usize, columns: usize, into: &mut Vec<f32>) -> Result<(), EngineError> {
        match &self.weight {
            Weight::Plain(weight) => weight.append_widened(row * columns..(row + 1) * columns, into),
            Weight::Packed(weight) => weight.append_row(row, into),
            Weight::Library(weight) => {
                let at = Tensor::from_slice(&[row as u32], 1, &Device::Cpu)?;
                into.extend(weight.embedding(&at)?.flatten_all()?.to_vec1::<f32>()?);
            }
        }
        Ok(())
    }
}

/// The library multiplies some formats without vector instructions, at a tenth of the speed; those become `Q8_0`, whose
/// steps are finer.
fn quantised(
    kind: GgmlDType,
    bytes: Vec<u8>,
    rows: usize,
    columns: usize,
) -> Result<Weight, candle_core::Error> {
    if let Some(packed) = Packed::new(kind, &bytes, rows, columns) {
        return Ok(Weight::Packed(packed));
    }
    let storage = QStorage::from_data(Cow::Owned(bytes), &Device::Cpu, kind)?;
    let weight = QTensor::new(storage, (rows, columns))?;
    if matches!(kind, GgmlDType::Q4_1 | GgmlDType::Q5_0 | GgmlDType::Q5_1) {
        let finer = QTensor::quantize(&weight.dequantize(&Device::Cpu)?, GgmlDType::Q8_0)?;
        return quantised(GgmlDType::Q8_0, finer.data()?.into_owned(), rows, columns);
    }
    Ok(Weight::Library(QMatMul::from_qtensor(weight)?))
}

impl From<candle_core::Error> for EngineError {
    fn from(error: candle_core::Error) -> EngineError {
        EngineError::Compute(error.to_string())
    }
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
    fn softmax_survives_large_scores() {
        let mut scores = [1000.0, 1000.0];
        softmax(&mut scores);
        assert_eq!(scores, [0.5, 0.5]);
    }
}
