//! How does attention know where a token stands?
//!
//! Rotary embedding in the NeoX layout: the i-th value of a head's first half and the i-th of its second half
//! form a pair, rotated by position × theta^(-2i / head_dim). Angles are multiplied in f32, as transformers does,
//! so that long positions round alike.

use crate::config::ModelConfig;
use crate::model::Span;

pub(crate) struct Rope {
    frequencies: Vec<f32>, // (head_dim / 2)
}

/// Cosine and sine of every pair, at one position.
pub(crate) type Angles = Vec<(f32, f32)>; // (head_dim / 2)

impl Rope {
    pub(crate) fn new(config: &ModelConfig) -> Rope {
        let half = config.head_dim / 2;
        let exponent = |pair: usize| (2 * pair) as f64 / config.head_dim as f64;
        let frequencies = (0..half).map(|pair| config.rope_theta.powf(-exponent(pair)) as f32).collect();
        Rope { frequencies }
    }

    /// Of every token in a pack, in its order; all layers turn alike.
    pub(crate) fn angles_of(&self, spans: &[Span<'_>]) -> Vec<Angles> {
        let positions = |span: &Span<'_>| span.cache.positions()..span.cache.positions() + span.tokens.len();
        spans.iter().flat_map(positions).map(|position| self.angles(position)).collect()
    }

    /// Cosine and sine of every pair at one position.
    fn angles(&self, position: usize) -> Angles {
        let angle = |frequency: &f32| {
            let (sin, cos) = (position as f32 * frequency).sin_cos();
            (cos, sin)
        };
        self.frequencies.iter().map(angle).collect() // (head_dim / 2)
    }
}

/// Rotates all heads of one token: (heads, head_dim).
pub(crate) fn rotate(heads: &mut [f32], angles: &[(f32, f32)]) {
    for head in heads.chunks_exact_mut(2 * angles.len()) {
        let (first, second) = head.split_at_mut(angles.len());
        for ((x, y), (cos, sin)) in first.iter_mut().zip(second).zip(angles) {
            (*x, *y) = (*x * cos - *y * sin, *y * cos + *x * sin);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rope() -> Rope {
        Rope { frequencies: vec![1.0, 0.01] }
    }

    #[test]
    fn position_zero_changes_nothing() {
        let mut head = [1.0, 2.0, 3.0, 4.0];
        rotate(&mut head, &rope().angles(0));
        assert_eq!(head, [1.0, 2.0, 3.0, 4.0]);
    }

    #[test]
    fn scores_depend_on_distance_only() {
        let score = |query_at: usize, key_at: usize| {
            let (mut query, mut key) = ([1.0, 2.0, 3.0, 4.0], [0.5, -1.0, 2.0, 1.0]);
            rotate(&mut query, &rope().angles(query_at));
            rotate(&mut key, &rope().angles(key_at));
            query.iter().zip(key).map(|(query, key)| query * key).sum::<f32>()
        };
        // Two roundings of a sum of about 10: a few times 1e-6.
        assert!((score(3, 1) - score(13, 11)).abs() < 1e-5);
        assert!((score(3, 1) - score(3, 2)).abs() > 0.1);
    }
}
