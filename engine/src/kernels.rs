//! How are the loops between the matrix products done quickly?
//!
//! Attention over blocks of keys and values, the feed-forward layer's curve, sums of products. Written once for all
//! instruction sets (see [`crate::simd`]); what the results mean is the layers' business.

use half::{bf16, f16};

use crate::cache::BLOCK;
use crate::simd::{self, Kernel, Simd};

/// A number as it is kept; all arithmetic is f32's.
pub(crate) trait Element: Copy + Send + Sync {
    fn load<S: Simd>(simd: S, from: &[Self]) -> S::F32s;
    fn widen(self) -> f32;
}

impl Element for f32 {
    #[inline(always)]
    fn load<S: Simd>(simd: S, from: &[f32]) -> S::F32s {
        simd.load(from)
    }
    #[inline(always)]
    fn widen(self) -> f32 {
        self
    }
}

impl Element for f16 {
    #[inline(always)]
    fn load<S: Simd>(simd: S, from: &[f16]) -> S::F32s {
        simd.load_f16(from)
    }
    #[inline(always)]
    fn widen(self) -> f32 {
        self.to_f32()
    }
}

impl Element for bf16 {
    #[inline(always)]
    fn load<S: Simd>(simd: S, from: &[bf16]) -> S::F32s {
        simd.load_bf16(from)
    }
    #[inline(always)]
    fn widen(self) -> f32 {
        self.to_f32()
    }
}

/// Keys (head_dim, BLOCK) and values (BLOCK, head_dim) of one head in one block. Keys lie across, so that a vector holds one
/// number of every position: scores then need no sum over lanes.
pub(crate) type HeadBlock<'a, E> = (&'a [E], &'a [E]);

/// Blocks that are scored before any value is read. The scores of a tile stay in the nearest cache; only between tiles
/// are earlier results scaled down to a new highest score.
const TILE: usize = 16;
const TILE_POSITIONS: usize = TILE * BLOCK;

/// What some query heads of one or several neighbouring tokens see of one key and value head.
#[derive(Clone, Copy)]
pub(crate) struct Attend<'a, E> {
    /// (tokens, heads of the group, head_dim), multiplied by the scale of scores.
    pub(crate) queries: &'a [f32],
    /// Query heads per token.
    pub(crate) group: usize,
    pub(crate) head_dim: usize,
    /// Position of the first token; it sees itself and everything before.
    pub(crate) position: usize,
    /// As many as the last token sees.
    pub(crate) blocks: &'a [HeadBlock<'a, E>],
}

impl<E: Element> Attend<'_, E> {
    /// (tokens, heads of the group, head_dim)
    pub(crate) fn mix(self) -> Vec<f32> {
        simd::run(self)
    }
}

impl<E: Element> Kernel for Attend<'_, E> {
    type Output = Vec<f32>;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> Vec<f32> {
        let rows = self.queries.len() / self.head_dim; // a token's heads, then the next token's
        let panels = panels::<S>(rows);
        let packed = pack(self.queries, self.head_dim, &panels);
        let mut out = vec![0.0; self.queries.len()]; // (rows, head_dim)
        let mut scores = vec![0.0; rows * TILE_POSITIONS]; // (rows, TILE_POSITIONS)
        let mut running = vec![Running { highest: f32::NEG_INFINITY, sum: 0.0 }; rows];
        for (number, tile) in self.blocks.chunks(TILE).enumerate() {
            score(simd, &packed, self.head_dim, tile, &panels, &mut scores);
            let positions = tile.len() * BLOCK;
            let each = scores.chunks_exact_mut(TILE_POSITIONS).zip(out.chunks_exact_mut(self.head_dim));
            for ((row, (scores, out)), running) in each.enumerate().zip(&mut running) {
                let seen = self.position + row / self.group + 1;
                let here = seen.saturating_sub(number * TILE_POSITIONS).min(positions);
                scores[here..positions].fill(f32::NEG_INFINITY);
                running.weigh(simd, &mut scores[..positions], out);
            }
            mix(simd, &scores, tile, self.head_dim, &panels, &mut out);
        }
        for (out, running) in out.chunks_exact_mut(self.head_dim).zip(&running) {
            scale(simd, out, 1.0 / running.sum);
        }
        out
    }
}

/// Rows that an inner loop treats together: as many as registers allow, fewer for the rest.
#[inline(always)]
fn panels<S: Simd>(rows: usize) -> Vec<usize> {
    let mut panels = Vec::new();
    let mut left = rows;
    for size in [8, 4, 2, 1] {
        while left >= size && (size == 1 || size * (BLOCK / S::LANES) <= S::REGISTERS) {
            panels.push(size);
            left -= size;
        }
    }
    panels
}

/// Queries (rows, head_dim) to (head_dim, rows of the panel), panel by panel.
fn pack(queries: &[f32], head_dim: usize, panels: &[usize]) -> Vec<f32> {
    let mut packed = Vec::with_capacity(queries.len());
    let mut rest = queries;
    for size in panels {
        let panel;
        (panel, rest) = rest.split_at(size * head_dim);
        for at in 0..head_dim {
            packed.extend((0..*size).map(|row| panel[row * head_dim + at]));
        }
    }
    packed
}

/// Scores of all rows and the positions of a tile.
#[inline(always)]
fn score<S: Simd, E: Element>(
    simd: S,
    packed: &[f32], // (head_dim, panel), panel by panel
    head_dim: usize,
    tile: &[HeadBlock<'_, E>],
    panels: &[usize],
    scores: &mut [f32], // (rows, TILE_POSITIONS)
) {
    for (at, (keys, _)) in tile.iter().enumerate() {
        let (mut queries, mut rows) = (packed, &mut scores[at * BLOCK..]);
        for size in panels {
            let panel;
            (panel, queries) = queries.split_at(size * head_dim);
            match size {
                8 => score_panel::<S, E, 8, 1>(simd, panel, keys, rows),
                4 => score_panel::<S, E, 4, 2>(simd, panel, keys, rows),
                2 => score_panel::<S, E, 2, 4>(simd, panel, keys, rows),
                _ => score_panel::<S, E, 1, 4>(simd, panel, keys, rows),
            }
            let below = rows;
            rows = below.split_at_mut((size * TILE_POSITIONS).min(below.len())).1;
        }
    }
}

/// One block's scores of `ROWS` rows. Where rows are few, `STEPS` sums run side by side, for a sum waits for its last addition.
#[inline(always)]
fn score_panel<S: Simd, E: Element, const ROWS: usize, const STEPS: usize>(
    simd: S,
    queries: &[f32], // (head_dim, ROWS)
    keys: &[E],      // (head_dim, BLOCK)
    scores: &mut [f32],
) {
    for part in (0..BLOCK).step_by(S::LANES) {
        let mut sums = [[simd.splat(0.0); ROWS]; STEPS];
        let several = queries.chunks_exact(ROWS * STEPS).zip(keys.chunks_exact(BLOCK * STEPS));
        for (queries, keys) in several {
            for step in 0..STEPS {
                let keys = E::load(simd, &keys[step * BLOCK + part..step * BLOCK + part + S::LANES]);
                for row in 0..ROWS {
                    let query = simd.splat(queries[step * ROWS + row]);
                    sums[step][row] = simd.mul_add(query, keys, sums[step][row]);
                }
            }
        }
        let rest = queries.chunks_exact(ROWS * STEPS).remainder().chunks_exact(ROWS);
        for (queries, keys) in rest.zip(keys.chunks_exact(BLOCK * STEPS).remainder().chunks_exact(BLOCK)) {
            let keys = E::load(simd, &keys[part..part + S::LANES]);
            for row in 0..ROWS {
                sums[0][row] = simd.mul_add(simd.splat(queries[row]), keys, sums[0][row]);
            }
        }
        for row in 0..ROWS {
            let mut sum = sums[0][row];
            for sums in &sums[1..] {
                sum = simd.add(sum, sums[row]);
            }
            simd.store(sum, &mut scores[row * TILE_POSITIONS + part..]);
        }
    }
}

/// What a row has seen in the tiles so far.
#[derive(Clone, Copy)]
struct Running {
    highest: f32,
    /// Of the weights, relative to the highest score.
    sum: f32,
}

impl Running {
    /// Turns a tile's scores into weights relative to the highest score so far, and scales `out` (head_dim) to it.
    #[inline(always)]
    fn weigh<S: Simd>(&mut self, simd: S, scores: &mut [f32], out: &mut [f32]) {
        let highest = highest(simd, scores).max(self.highest);
        let before = if self.sum == 0.0 { 0.0 } else { (self.highest - highest).exp() };
        if before != 1.0 {
            scale(simd, out, before);
        }
        let (shift, mut sum) = (simd.splat(highest), simd.splat(0.0));
        for scores in scores.chunks_exact_mut(S::LANES) {
            let weight = exp(simd, simd.sub(simd.load(scores), shift));
            simd.store(weight, scores);
            sum = simd.add(sum, weight);
        }
        *self = Running { highest, sum: self.sum * before + simd.sum(sum) };
    }
}

/// Adds the values of a tile, weighted, to every row of `out` (rows, head_dim).
#[inline(always)]
fn mix<S: Simd, E: Element>(
    simd: S,
    weights: &[f32], // (rows, TILE_POSITIONS)
    tile: &[HeadBlock<'_, E>],
    head_dim: usize,
    panels: &[usize],
    out: &mut [f32],
) {
    let (mut weights, mut out) = (weights, out);
    for size in panels {
        let (panel, rows);
        (panel, weights) = weights.split_at(size * TILE_POSITIONS);
        (rows, out) = out.split_at_mut(size * head_dim);
        match size {
            8 => mix_panel::<S, E, 8, 2>(simd, panel, tile, head_dim, rows),
            4 => mix_panel::<S, E, 4, 2>(simd, panel, tile, head_dim, rows),
            2 => mix_panel::<S, E, 2, 4>(simd, panel, tile, head_dim, rows),
            _ => mix_panel::<S, E, 1, 4>(simd, panel, tile, head_dim, rows),
        }
    }
}

/// `ROWS` rows, `WIDE` vectors of their columns at a time; then single vectors, then single columns.
#[inline(always)]
fn mix_panel<S: Simd, E: Element, const ROWS: usize, const WIDE: usize>(
    simd: S,
    weights: &[f32], // (ROWS, TILE_POSITIONS)
    tile: &[HeadBlock<'_, E>],
    head_dim: usize,
    out: &mut [f32], // (ROWS, head_dim)
) {
    let mut column = 0;
    while column + WIDE * S::LANES <= head_dim {
        mix_columns::<S, E, ROWS, WIDE>(simd, weights, tile, head_dim, column, out);
        column += WIDE * S::LANES;
    }
    while column + S::LANES <= head_dim {
        mix_columns::<S, E, ROWS, 1>(simd, weights, tile, head_dim, column, out);
        column += S::LANES;
    }
    for column in column..head_dim {
        for (weights, out) in weights.chunks_exact(TILE_POSITIONS).zip(out.chunks_exact_mut(head_dim)) {
            let values = tile.iter().flat_map(|(_, values)| values.chunks_exact(head_dim));
            let products = values.zip(weights).map(|(value, weight)| value[column].widen() * weight);
            out[column] += products.sum::<f32>();
        }
    }
}

#[inline(always)]
fn mix_columns<S: Simd, E: Element, const ROWS: usize, const WIDE: usize>(
    simd: S,
    weights: &[f32], // (ROWS, TILE_POSITIONS)
    tile: &[HeadBlock<'_, E>],
    head_dim: usize,
    column: usize,
    out: &mut [f32], // (ROWS, head_dim)
) {
    let mut sums = [[simd.splat(0.0); WIDE]; ROWS];
    for row in 0..ROWS {
        for wide in 0..WIDE {
            sums[row][wide] = simd.load(&out[row * head_dim + column + wide * S::LANES..]);
        }
    }
    for (at, (_, values)) in tile.iter().enumerate() {
        let weights: [&[f32; BLOCK]; ROWS] = std::array::from_fn(|row| {
            let weights = &weights[row * TILE_POSITIONS + at * BLOCK..];
            weights.first_chunk().expect("a tile has whole blocks of weights")
        });
        for (position, values) in values.chunks_exact(head_dim).enumerate().take(BLOCK) {
            let values = &values[column..column + WIDE * S::LANES];
            let mut vectors = [simd.splat(0.0); WIDE];
            for wide in 0..WIDE {
                vectors[wide] = E::load(simd, &values[wide * S::LANES..(wide + 1) * S::LANES]);
            }
            for row in 0..ROWS {
                let weight = simd.splat(weights[row][position]);
                for wide in 0..WIDE {
                    sums[row][wide] = simd.mul_add(weight, vectors[wide], sums[row][wide]);
                }
            }
        }
    }
    for row in 0..ROWS {
        for wide in 0..WIDE {
            simd.store(sums[row][wide], &mut out[row * head_dim + column + wide * S::LANES..]);
        }
    }
}

#[inline(always)]
fn highest<S: Simd>(simd: S, values: &[f32]) -> f32 {
    let vectors = values.chunks_exact(S::LANES);
    let rest = vectors.remainder().iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut all = simd.splat(f32::NEG_INFINITY);
    for values in vectors {
        all = simd.max(all, simd.load(values));
    }
    simd.highest(all).max(rest)
}

#[inline(always)]
fn scale<S: Simd>(simd: S, values: &mut [f32], by: f32) {
    let factor = simd.splat(by);
    let mut vectors = values.chunks_exact_mut(S::LANES);
    for values in &mut vectors {
        simd.store(simd.mul(simd.load(values), factor), values);
    }
    vectors.into_remainder().iter_mut().for_each(|value| *value *= by);
}

/// Below this, e to the x is not a normal number; it counts as nothing.
const SMALLEST: f32 = -87.0;
/// Above this, e to the x is no number.
const LARGEST: f32 = 88.0;

/// e to the x, at most 1.2e-7 of it off (measured over all of -87 to 88). Zero below, and the largest power above.
#[inline(always)]
fn exp<S: Simd>(simd: S, x: S::F32s) -> S::F32s {
    // x = n ln 2 + r with |r| ≤ ln 2 / 2, and e^r by its series; ln 2 in two parts, or the difference would lose digits.
    let bounded = simd.max(simd.min(x, simd.splat(LARGEST)), simd.splat(SMALLEST));
    let n = simd.round(simd.mul(bounded, simd.splat(std::f32::consts::LOG2_E)));
    let r = simd.mul_add(n, simd.splat(-0.693_359_4), bounded);
    let r = simd.mul_add(n, simd.splat(2.121_944_4e-4), r);
    let series = [1.987_569_1e-4, 1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 0.166_666_66, 0.5, 1.0, 1.0];
    let first = simd.splat(series[0]);
    let mut power = first;
    for term in &series[1..] {
        power = simd.mul_add(power, r, simd.splat(*term));
    }
    simd.zero_below(SMALLEST, x, simd.mul(power, simd.power_of_two(n)))
}

#[inline(always)]
fn silu<S: Simd>(simd: S, x: S::F32s) -> S::F32s {
    simd.div(x, simd.add(simd.splat(1.0), exp(simd, simd.sub(simd.splat(0.0), x))))
}

/// `silu(gate) * up` for one token.
pub(crate) struct SiluTimes<'a> {
    /// The gate's values and behind them what they let through: (2 * out).
    pub(crate) gate_up: &'a [f32],
    pub(crate) out: &'a mut [f32],
}

impl Kernel for SiluTimes<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let (gate, up) = self.gate_up.split_at(self.out.len());
        let mut out = self.out.chunks_exact_mut(S::LANES);
        let mut inputs = gate.chunks_exact(S::LANES).zip(up.chunks_exact(S::LANES));
        for (out, (gate, up)) in (&mut out).zip(&mut inputs) {
            simd.store(simd.mul(silu(simd, simd.load(gate)), simd.load(up)), out);
        }
        let rest = out.into_remainder();
        let done = gate.len() - rest.len();
        for (out, (gate, up)) in rest.iter_mut().zip(gate[done..].iter().zip(&up[done..])) {
            *out = gate / (1.0 + (-gate).exp()) * up;
        }
    }
}

/// Sum of products.
pub(crate) struct Dot<'a>(pub(crate) &'a [f32], pub(crate) &'a [f32]);

impl Kernel for Dot<'_> {
    type Output = f32;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> f32 {
        let Dot(left, right) = self;
        let mut sum = simd.splat(0.0);
        for (left, right) in left.chunks_exact(S::LANES).zip(right.chunks_exact(S::LANES)) {
            sum = simd.mul_add(simd.load(left), simd.load(right), sum);
        }
        let done = left.len() / S::LANES * S::LANES;
        let rest = left[done..].iter().zip(&right[done..]).map(|(left, right)| left * right);
        simd.sum(sum) + rest.sum::<f32>()
    }
}

#[cfg(test)]
mod tests {
    use rand::rngs::SmallRng;
    use rand::{Rng, SeedableRng};

    use super::*;
    use crate::simd::run_on_all;

    #[derive(Clone, Copy)]
    struct Exps<'a>(&'a [f32]);

    impl Kernel for Exps<'_> {
        type Output = Vec<f32>;

        #[inline(always)]
        fn run<S: Simd>(self, simd: S) -> Vec<f32> {
            let mut out = self.0.to_vec();
            for values in out.chunks_exact_mut(S::LANES) {
                simd.store(exp(simd, simd.load(values)), values);
            }
            out
        }
    }

    #[test]
    fn powers_are_right_to_the_last_digit_or_two() {
        let numbers: Vec<f32> = (0..1_400_000).map(|step| -87.0 + step as f32 / 8000.0).collect();
        for found in run_on_all(Exps(&numbers)) {
            let off = numbers.iter().zip(&found).map(|(number, found)| {
                let exact = f64::from(*number).exp();
                (f64::from(*found) - exact).abs() / exact
            });
            let worst = off.fold(0.0, f64::max);
            println!("exp: at most {worst:e} of the result off");
            assert!(worst < 1.2e-7, "{worst:e}");
        }
        let ends = [f32::NEG_INFINITY, -1000.0, -87.5, 0.0].repeat(4);
        for found in run_on_all(Exps(&ends)) {
            assert_eq!(found, [0.0, 0.0, 0.0, 1.0].repeat(4));
        }
        let above = [1000.0; 16];
        assert!(run_on_all(Exps(&above)).concat().iter().all(|power| power.is_finite() && *power > 1e38));
    }

    fn numbers(random: &mut SmallRng, count: usize) -> Vec<f32> {
        (0..count).map(|_| random.random_range(-1.0..1.0)).collect()
    }

    /// Attention as its definition has it, in f64. `keys` and `values` are (positions, head_dim).
    fn plainly(queries: &[f32], group: usize, width: usize, first: usize, rows: [&[f32]; 2]) -> Vec<f32> {
        let mut out = Vec::new();
        for (row, query) in queries.chunks_exact(width).enumerate() {
            let seen = first + row / group + 1;
            let score = |key: &[f32]| {
                query
                    .iter()
                    .zip(key)
                    .map(|(query, key)| f64::from(*query) * f64::from(*key))
                    .sum::<f64>()
                    .exp()
            };
            let weights: Vec<f64> = rows[0].chunks_exact(width).take(seen).map(score).collect();
            let sum: f64 = weights.iter().sum();
            out.extend((0..width).map(|column| {
                let values = rows[1].chunks_exact(width).zip(&weights);
                (values.map(|(value, weight)| f64::from(value[column]) * weight).sum::<f64>() / sum) as f32
            }));
        }
        out
    }

    /// Rows (positions, width) as blocks: across for keys.
    fn blocks(rows: &[f32], width: usize, across: bool) -> Vec<Vec<f32>> {
        let block = |rows: &[f32]| {
            let mut block = vec![0.0; BLOCK * width];
            for (position, row) in rows.chunks_exact(width).enumerate() {
                for (column, value) in row.iter().enumerate() {
                    let at = if across { column * BLOCK + position } else { position * width + column };
                    block[at] = *value;
                }
            }
            block
        };
        rows.chunks(BLOCK * width).map(block).collect()
    }

    fn halves(rows: &[f32]) -> Vec<f16> {
        rows.iter().map(|value| f16::from_f32(*value)).collect()
    }

    #[test]
    fn attention_equals_its_definition_at_all_lengths() {
        let mut random = SmallRng::seed_from_u64(1);
        let mut worst = 0.0_f32;
        for (tokens, group, width, first) in [
            (1, 1, 2, 0),
            (1, 2, 128, 0),
            (1, 3, 64, 14),
            (1, 8, 128, 600),
            (5, 2, 20, 11),
            (7, 1, 33, 250),
            (16, 2, 128, 255),
            (3, 5, 48, 511),
        ] {
            let positions = first + tokens;
            let queries = numbers(&mut random, tokens * group * width);
            // Rounded first, so that both precisions mean the same numbers.
            let rows = [(); 2].map(|()| {
                let rows = halves(&numbers(&mut random, positions * width));
                rows.iter().map(|value| value.to_f32()).collect::<Vec<f32>>()
            });
            let [keys, values] = [blocks(&rows[0], width, true), blocks(&rows[1], width, false)];
            let exact: Vec<HeadBlock<'_, f32>> =
                keys.iter().zip(&values).map(|(keys, values)| (&keys[..], &values[..])).collect();
            let half =
                [&keys, &values].map(|blocks| blocks.iter().map(|block| halves(block)).collect::<Vec<_>>());
            let half: Vec<HeadBlock<'_, f16>> =
                half[0].iter().zip(&half[1]).map(|(keys, values)| (&keys[..], &values[..])).collect();
            let expected = plainly(&queries, group, width, first, [&rows[0], &rows[1]]);
            let attend =
                Attend { queries: &queries, group, head_dim: width, position: first, blocks: &exact };
            let in_half =
                Attend { queries: &queries, group, head_dim: width, position: first, blocks: &half };
            for found in [run_on_all(attend), run_on_all(in_half)].concat() {
                let off = found.iter().zip(&expected).map(|(found, expected)| (found - expected).abs());
                worst = off.fold(worst, f32::max);
            }
        }
        println!("attention: at most {worst:e} off");
        assert!(worst < 2e-6, "{worst:e}"); // weighted means of numbers up to one, scores up to about ten
    }

    #[test]
    fn the_curve_and_the_sum_cover_vectors_and_rest() {
        let mut random = SmallRng::seed_from_u64(2);
        for width in [1, 7, 8, 16, 31, 100] {
            let gate_up: Vec<f32> =
                numbers(&mut random, 2 * width).iter().map(|value| value * 20.0).collect();
            let mut out = vec![0.0; width];
            simd::run(SiluTimes { gate_up: &gate_up, out: &mut out });
            for (at, found) in out.iter().enumerate() {
                let [gate, up] = [gate_up[at], gate_up[width + at]].map(f64::from);
                let exact = gate / (1.0 + (-gate).exp()) * up;
                assert!((f64::from(*found) - exact).abs() <= 5e-7 * exact.abs(), "{found} {exact}");
            }
            let exact: f64 = gate_up.iter().map(|value| f64::from(*value).powi(2)).sum();
            let found = f64::from(simd::run(Dot(&gate_up, &gate_up)));
            assert!((found - exact).abs() < 1e-6 * exact, "{found} {exact}");
        }
    }
}
