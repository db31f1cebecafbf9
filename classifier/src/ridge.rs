//! Weighted ridge and logistic regression over sparse rows, by conjugate gradients.

use thinkgate::classifier::features::BUCKETS;

/// Rows as the model multiplies them: words of unit length, measured numbers, one.
#[derive(Debug, Clone, Default)]
pub struct Matrix {
    /// Where each row's words start in `words`; one more than there are rows.
    starts: Vec<usize>,
    words: Vec<(u32, f32)>,
    dense: Vec<f32>,
    width: usize,
}

impl Matrix {
    /// For rows with this many measured numbers.
    #[must_use]
    pub fn new(width: usize) -> Self {
        Matrix { starts: vec![0], width, ..Matrix::default() }
    }

    /// Appends a row.
    pub fn push(&mut self, words: &[(u32, f32)], dense: &[f32]) {
        assert_eq!(dense.len(), self.width, "every row has the same measured numbers");
        self.words.extend(words);
        self.starts.push(self.words.len());
        self.dense.extend(dense);
    }

    /// Words and measured numbers of a row.
    #[must_use]
    pub fn row(&self, row: usize) -> (&[(u32, f32)], &[f32]) {
        let words = &self.words[self.starts[row]..self.starts[row + 1]];
        (words, &self.dense[row * self.width..][..self.width])
    }

    /// What these weights say of a row.
    #[must_use]
    pub fn output(&self, row: usize, weights: &Weights) -> f64 {
        let (words, dense) = self.row(row);
        let said: f64 =
            words.iter().map(|(bucket, value)| weights.0[*bucket as usize] * f64::from(*value)).sum();
        let measured: f64 =
            weights.dense().iter().zip(dense).map(|(weight, value)| weight * f64::from(*value)).sum();
        said + measured + weights.bias()
    }

    fn add(&self, row: usize, factor: f64, into: &mut [f64]) {
        let (words, dense) = self.row(row);
        for (bucket, value) in words {
            into[*bucket as usize] += factor * f64::from(*value);
        }
        for (slot, value) in into[BUCKETS..].iter_mut().zip(dense) {
            *slot += factor * f64::from(*value);
        }
        into[BUCKETS + self.width] += factor;
    }
}

/// A fitted head: by bucket, by measured number, bias.
#[derive(Debug, Clone)]
pub struct Weights(pub Vec<f64>);

impl Weights {
    /// Weights of the measured numbers.
    #[must_use]
    pub fn dense(&self) -> &[f64] {
        &self.0[BUCKETS..self.0.len() - 1]
    }

    /// Output where nothing was seen.
    #[must_use]
    pub fn bias(&self) -> f64 {
        self.0[self.0.len() - 1]
    }
}

/// A row to fit: its index, the target, its weight.
pub type Point = (usize, f64, f64);

const ITERATIONS: usize = 120;
/// Relative residual at which another iteration changes no shipped digit.
const ENOUGH: f64 = 1e-4;

/// The weights that minimise sum weight (output - target)^2 + penalty |weights|^2; the bias is free, the weights of
/// the measured numbers in `blind_to` stay 0.
#[must_use]
pub fn fit(matrix: &Matrix, points: &[Point], penalty: f64, blind_to: &[usize]) -> Weights {
    let nothing = Weights(vec![0.0; BUCKETS + matrix.width + 1]);
    fit_from(nothing, matrix, points, penalty, blind_to)
}

const NEWTON_STEPS: usize = 8;
/// Least curvature of a row, so that one that is as good as certain neither counts for nothing nor pulls without bound.
const LEAST_CURVATURE: f64 = 0.01;

/// The weights whose output is the log-odds of the target, a share of 0..=1: those that minimise sum weight
/// log-loss(target, output) + penalty / 2 |weights|^2. Otherwise as [`fit`].
#[must_use]
pub fn fit_log_odds(matrix: &Matrix, points: &[Point], penalty: f64, blind_to: &[usize]) -> Weights {
    let mut weights = Weights(vec![0.0; BUCKETS + matrix.width + 1]);
    for _ in 0..NEWTON_STEPS {
        let linear = |(row, target, weight): &Point| {
            let output = matrix.output(*row, &weights);
            let share = 1.0 / (1.0 + (-output).exp());
            let curvature = (share * (1.0 - share)).max(LEAST_CURVATURE);
            (*row, output + (target - share) / curvature, weight * curvature)
        };
        let points: Vec<Point> = points.iter().map(linear).collect();
        weights = fit_from(weights, matrix, &points, penalty, blind_to);
    }
    weights
}

fn fit_from(start: Weights, matrix: &Matrix, points: &[Point], penalty: f64, blind_to: &[usize]) -> Weights {
    let see = |vector: &mut [f64]| blind_to.iter().for_each(|column| vector[BUCKETS + column] = 0.0);
    let size = BUCKETS + matrix.width + 1;
    // Jacobi's preconditioner: measured numbers and bias are in every row, words in few.
    let mut diagonal = vec![penalty; size];
    diagonal[size - 1] = 1e-6;
    let mut solution = start.0;
    let mut residual = vec![0.0; size];
    for (row, target, weight) in points {
        matrix.add(*row, weight * target, &mut residual);
        let (words, dense) = matrix.row(*row);
        for (bucket, value) in words {
            diagonal[*bucket as usize] += weight * f64::from(*value).powi(2);
        }
        for (slot, value) in diagonal[BUCKETS..].iter_mut().zip(dense) {
            *slot += weight * f64::from(*value).powi(2);
        }
        diagonal[size - 1] += weight;
    }
    see(&mut residual);
    let asked = norm(&residual);
    let already = applied(matrix, points, penalty, &solution);
    residual.iter_mut().zip(&already).for_each(|(left, already)| *left -= already);
    see(&mut residual);
    let mut preconditioned = divided(&residual, &diagonal);
    let mut direction = preconditioned.clone();
    let mut product = dot(&residual, &preconditioned);
    for _ in 0..ITERATIONS {
        if norm(&residual) <= ENOUGH * asked {
            break;
        }
        let mut image = applied(matrix, points, penalty, &direction);
        see(&mut image);
        let step = product / dot(&direction, &image);
        for at in 0..size {
            solution[at] += step * direction[at];
            residual[at] -= step * image[at];
        }
        preconditioned = divided(&residual, &diagonal);
        let next = dot(&residual, &preconditioned);
        let keep = next / product;
        product = next;
        for at in 0..size {
            direction[at] = preconditioned[at] + keep * direction[at];
        }
    }
    Weights(solution)
}

/// The normal equations' matrix times `direction`.
fn applied(matrix: &Matrix, points: &[Point], penalty: f64, direction: &[f64]) -> Vec<f64> {
    let mut image: Vec<f64> = direction.iter().map(|value| penalty * value).collect();
    let last = image.len() - 1;
    image[last] = 1e-6 * direction[last];
    let as_weights = Weights(direction.to_vec());
    for (row, _, weight) in points {
        let output = matrix.output(*row, &as_weights);
        matrix.add(*row, weight * output, &mut image);
    }
    image
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn norm(a: &[f64]) -> f64 {
    dot(a, a).sqrt()
}

fn divided(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| a / b).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_recovered_and_the_penalty_shrinks_it() {
        let mut matrix = Matrix::new(1);
        let points: Vec<Point> = (0..50)
            .map(|n| {
                let x = f64::from(n) / 10.0;
                matrix.push(&[], &[f64::from(n) as f32 / 10.0]);
                (n as usize, 3.0 * x + 2.0, 1.0)
            })
            .collect();
        let free = fit(&matrix, &points, 1e-6, &[]);
        assert!((free.dense()[0] - 3.0).abs() < 1e-3 && (free.bias() - 2.0).abs() < 1e-2);
        let held = fit(&matrix, &points, 100.0, &[]);
        assert!(held.dense()[0] < 2.5, "{}", held.dense()[0]);
    }

    #[test]
    fn words_and_weights_count() {
        let mut matrix = Matrix::new(0);
        matrix.push(&[(5, 1.0)], &[]);
        matrix.push(&[(5, 1.0)], &[]);
        matrix.push(&[(9, 1.0)], &[]);
        let weights = fit(&matrix, &[(0, 1.0, 3.0), (1, 0.0, 1.0), (2, 0.0, 1.0)], 1e-6, &[]);
        assert!((matrix.output(0, &weights) - 0.75).abs() < 1e-3);
        assert!(matrix.output(2, &weights).abs() < 1e-3);
        assert_eq!(weights.0[7], 0.0);
    }
}
