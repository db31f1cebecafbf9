//! How is a matrix of plain numbers multiplied?
//!
//! Weights stay as the checkpoint has them, in half precision most often, and widen in registers: for few rows of
//! activations reading the weights is what takes time, and half of it is saved; for many rows a widened vector serves
//! several of them.

use half::{bf16, f16};

use crate::kernels::Element;
use crate::simd::{self, Kernel, Simd};
use crate::workers;

/// Numbers as a checkpoint keeps them.
pub(crate) enum Numbers {
    F32(Vec<f32>),
    F16(Vec<f16>),
    Bf16(Vec<bf16>),
}

impl Numbers {
    /// `input` (n, columns) to (n, rows), these being (rows, columns).
    pub(crate) fn apply(&self, input: &[f32], columns: usize) -> Vec<f32> {
        match self {
            Numbers::F32(weights) => apply(weights, input, columns),
            Numbers::F16(weights) => apply(weights, input, columns),
            Numbers::Bf16(weights) => apply(weights, input, columns),
        }
    }

    /// Every f16 and bf16 value is an f32 value too, so this loses nothing.
    pub(crate) fn append_widened(&self, range: std::ops::Range<usize>, into: &mut Vec<f32>) {
        match self {
            Numbers::F32(values) => into.extend_from_slice(&values[range]),
            Numbers::F16(values) => into.extend(values[range].iter().map(|value| value.widen())),
            Numbers::Bf16(values) => into.extend(values[range].iter().map(|value| value.widen())),
        }
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            Numbers::F32(values) => values.len(),
            Numbers::F16(values) => values.len(),
            Numbers::Bf16(values) => values.len(),
        }
    }
}

/// Rows of the matrix that a piece of work takes.
const PIECE: usize = 64;

fn apply<E: Element>(weights: &[E], input: &[f32], columns: usize) -> Vec<f32> {
    let (rows, inputs) = (weights.len() / columns, input.len() / columns);
    let work = weights.len() * inputs;
    let mut output = vec![0.0; inputs * rows]; // (n, rows)
    if inputs == 1 {
        workers::share_rows(&mut output, PIECE, work, |piece, output| {
            let weights = &weights[piece * PIECE * columns..][..output.len() * columns];
            simd::run(Multiply { weights, input, columns, output });
        });
        return output;
    }
    let pieces = workers::share(rows.div_ceil(PIECE), work, |piece| {
        let weights = &weights[piece * PIECE * columns..rows.min((piece + 1) * PIECE) * columns];
        let mut output = vec![0.0; inputs * weights.len() / columns]; // (n, piece)
        simd::run(Multiply { weights, input, columns, output: &mut output });
        output
    });
    for (piece, values) in pieces.iter().enumerate() {
        let values = values.chunks_exact(values.len() / inputs);
        for (output, values) in output.chunks_exact_mut(rows).zip(values) {
            output[piece * PIECE..piece * PIECE + values.len()].copy_from_slice(values);
        }
    }
    output
}

struct Multiply<'a, E> {
    weights: &'a [E], // (rows, columns)
    input: &'a [f32], // (n, columns)
    columns: usize,
    output: &'a mut [f32], // (n, rows)
}

impl<E: Element> Kernel for Multiply<'_, E> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        let (rows, inputs) = (self.weights.len() / self.columns, self.input.len() / self.columns);
        // Sums that registers hold: 4 by 4 of 32 registers, 4 by 2 of 16.
        let wide = if S::REGISTERS >= 16 { 4 } else { 2 };
        let mut input = 0;
        while input < inputs {
            let together = if inputs - input >= wide { wide } else { 1 };
            let mut row = 0;
            while row < rows {
                let taken = match (together, rows - row) {
                    (4, 4..) => self.tile::<S, 4, 4>(simd, row, input),
                    (2, 4..) => self.tile::<S, 4, 2>(simd, row, input),
                    (1, 4..) if inputs > 1 => self.tile::<S, 4, 1>(simd, row, input),
                    (4, _) => self.tile::<S, 1, 4>(simd, row, input),
                    (2, _) => self.tile::<S, 1, 2>(simd, row, input),
                    _ => self.single(simd, row, input),
                };
                row += taken;
            }
            input += together;
        }
    }
}

impl<E: Element> Multiply<'_, E> {
    /// One row and one input: memory is read in its order, which it is fastest in, and four sums run side by side.
    #[inline(always)]
    fn single<S: Simd>(&mut self, simd: S, row: usize, input: usize) -> usize {
        let weights = &self.weights[row * self.columns..(row + 1) * self.columns];
        let inputs = &self.input[input * self.columns..(input + 1) * self.columns];
        let whole = self.columns / (4 * S::LANES) * (4 * S::LANES);
        let mut sums = [simd.splat(0.0); 4];
        let several = weights.chunks_exact(4 * S::LANES).zip(inputs.chunks_exact(4 * S::LANES));
        for (weights, inputs) in several {
            for (step, sum) in sums.iter_mut().enumerate() {
                let lanes = step * S::LANES..(step + 1) * S::LANES;
                let weights = E::load(simd, &weights[lanes.clone()]);
                *sum = simd.mul_add(weights, simd.load(&inputs[lanes]), *sum);
            }
        }
        let sum = simd.add(simd.add(sums[0], sums[1]), simd.add(sums[2], sums[3]));
        let rest = weights[whole..].iter().zip(&inputs[whole..]);
        let rest: f32 = rest.map(|(weight, input)| weight.widen() * input).sum();
        self.output[input * (self.weights.len() / self.columns) + row] = simd.sum(sum) + rest;
        1
    }

    /// Some rows times some inputs.
    #[inline(always)]
    fn tile<S: Simd, const ROWS: usize, const INPUTS: usize>(
        &mut self,
        simd: S,
        row: usize,
        input: usize,
    ) -> usize {
        let columns = self.columns;
        let whole = columns / S::LANES * S::LANES;
        let weights: [&[E]; ROWS] =
            std::array::from_fn(|at| &self.weights[(row + at) * columns..][..columns]);
        let inputs: [&[f32]; INPUTS] =
            std::array::from_fn(|at| &self.input[(input + at) * columns..][..columns]);
        let mut sums = [[simd.splat(0.0); INPUTS]; ROWS];
        for column in (0..whole).step_by(S::LANES) {
            let mut vectors = [simd.splat(0.0); INPUTS];
            for number in 0..INPUTS {
                vectors[number] = simd.load(&inputs[number][column..column + S::LANES]);
            }
            for at in 0..ROWS {
                let weights = E::load(simd, &weights[at][column..column + S::LANES]);
                for number in 0..INPUTS {
                    sums[at][number] = simd.mul_add(weights, vectors[number], sums[at][number]);
                }
            }
        }
        let rows = self.weights.len() / columns;
        for at in 0..ROWS {
            for number in 0..INPUTS {
                let rest = weights[at][whole..].iter().zip(&inputs[number][whole..]);
                let rest: f32 = rest.map(|(weight, input)| weight.widen() * input).sum();
                self.output[(input + number) * rows + row + at] = simd.sum(sums[at][number]) + rest;
            }
        }
        ROWS
    }
}

#[cfg(test)]
mod tests {
    use rand::rngs::SmallRng;
    use rand::{Rng, SeedableRng};

    use super::*;

    #[test]
    fn products_are_right_for_all_widths_and_precisions() {
        let mut random = SmallRng::seed_from_u64(6);
        for (rows, columns, inputs) in [(1, 1, 1), (7, 33, 5), (130, 64, 1), (67, 100, 9), (4, 16, 4)] {
            let mut numbers = |count: usize| -> Vec<f32> {
                (0..count).map(|_| bf16::from_f32(random.random_range(-1.0..1.0)).to_f32()).collect()
            };
            let (weights, input) = (numbers(rows * columns), numbers(inputs * columns));
            let kept = [
                Numbers::F32(weights.clone()),
                Numbers::Bf16(weights.iter().map(|value| bf16::from_f32(*value)).collect()),
                Numbers::F16(weights.iter().map(|value| f16::from_f32(*value)).collect()),
            ];
            for kept in kept {
                let mut widened = Vec::new();
                kept.append_widened(0..kept.len(), &mut widened);
                let output = kept.apply(&input, columns);
                let expected = input.chunks_exact(columns).flat_map(|input| {
                    let product = |(x, y): (&f32, &f32)| f64::from(*x) * f64::from(*y);
                    widened
                        .chunks_exact(columns)
                        .map(move |row| input.iter().zip(row).map(product).sum::<f64>())
                });
                let off = output.iter().zip(expected).map(|(found, exact)| (f64::from(*found) - exact).abs());
                assert!(off.fold(0.0, f64::max) < 1e-5); // a hundred products of numbers up to one
            }
        }
    }
}
