//! Rotary position embedding, the variant that pairs channel i with channel i + half.

/// Sines and cosines for every position up to the longest seen.
#[derive(Debug, Clone)]
pub(crate) struct Rope {
    inverse: Vec<f64>, // (head_dim / 2)
    table: Vec<f32>,   // (positions, head_dim / 2, 2): cosine and sine
    positions: usize,
}

impl Rope {
    #[expect(clippy::cast_precision_loss, reason = "small indices")]
    pub(crate) fn new(theta: f64, head_dim: usize) -> Self {
        let inverse = (0..head_dim / 2).map(|i| theta.powf(-2.0 * i as f64 / head_dim as f64)).collect();
        Rope { inverse, table: Vec::new(), positions: 0 }
    }

    /// Makes the table cover `positions`.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        reason = "angles are computed in f64 and kept in f32, as the reference does"
    )]
    pub(crate) fn cover(&mut self, positions: usize) {
        while self.positions < positions {
            for inverse in &self.inverse {
                // The reference multiplies in f32.
                let angle = self.positions as f32 * (*inverse as f32);
                self.table.extend([angle.cos(), angle.sin()]);
            }
            self.positions += 1;
        }
    }

    /// Turns every head of one token's `x`, (heads, head_dim), to `position`.
    pub(crate) fn turn(&self, x: &mut [f32], position: usize) {
        let half = self.inverse.len();
        let row = &self.table[position * half * 2..(position + 1) * half * 2]; // (half, 2)
        for head in x.chunks_exact_mut(half * 2) {
            let (low, high) = head.split_at_mut(half);
            for ((a, b), turn) in low.iter_mut().zip(high).zip(row.chunks_exact(2)) {
                (*a, *b) = (*a * turn[0] - *b * turn[1], *b * turn[0] + *a * turn[1]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turning_keeps_lengths_and_products_depend_on_distance() {
        let mut rope = Rope::new(10_000.0, 8);
        rope.cover(64);
        let x = [0.3, -1.0, 0.5, 0.2, 0.9, 0.1, -0.4, 0.7];
        let y = [0.1, 0.2, -0.3, 0.4, 0.5, -0.6, 0.7, 0.8];
        let dot = |at: usize, from: usize| {
            let (mut a, mut b) = (x, y);
            rope.turn(&mut a, at);
            rope.turn(&mut b, from);
            a.iter().zip(&b).map(|(a, b)| a * b).sum::<f32>()
        };
        assert!((dot(5, 3) - dot(42, 40)).abs() < 1e-5, "same distance, same product");
    }
}
