//! Root-mean-square normalisation.

/// One gain per channel.
#[derive(Debug, Clone)]
pub(crate) struct RmsNorm {
    gain: Vec<f32>,
    eps: f32,
}

impl RmsNorm {
    pub(crate) fn new(gain: Vec<f32>, eps: f32) -> Self {
        RmsNorm { gain, eps }
    }

    /// Normalises every run of `gain.len()` channels in place.
    pub(crate) fn apply(&self, x: &mut [f32]) {
        for row in x.chunks_exact_mut(self.gain.len()) {
            #[expect(clippy::cast_precision_loss, reason = "a channel count")]
            let mean = row.iter().map(|value| value * value).sum::<f32>() / row.len() as f32;
            let scale = 1.0 / (mean + self.eps).sqrt();
            for (value, gain) in row.iter_mut().zip(&self.gain) {
                *value *= scale * gain;
            }
        }
    }

    /// The same into a new buffer.
    pub(crate) fn applied(&self, x: &[f32]) -> Vec<f32> {
        let mut out = x.to_vec();
        self.apply(&mut out);
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_out_with_unit_mean_square() {
        let norm = RmsNorm::new(vec![1.0; 4], 0.0);
        let out = norm.applied(&[1.0, 2.0, 3.0, 4.0, -8.0, 0.0, 8.0, 0.0]);
        for row in out.chunks(4) {
            let mean = row.iter().map(|v| v * v).sum::<f32>() / 4.0;
            assert!((mean - 1.0).abs() < 1e-5, "f32 rounding only: {mean}");
        }
    }
}
