//! How do sixteen rows of each kind lie in a tile, and how are they multiplied?

use half::f16;

use super::{QUADS, ROWS, Rounded, SUPER, Tile, pieces};
use crate::simd::Simd;

/// `step * scale * quant - minimum_step * minimum`, with one scale and one minimum for 32 columns.
#[derive(Clone, Copy)]
#[repr(C, align(64))] // so that no load of a vector touches two lines of the cache
pub(super) struct TileQ4K {
    /// Eight columns each: four in the lower halves of the bytes, four in the upper.
    quants: [[u8; QUADS]; 32],
    scales: [[u8; ROWS]; 8],
    minima: [[u8; ROWS]; 8],
    steps: [f16; ROWS],
    minimum_steps: [f16; ROWS],
}

/// `step * scale * (quant - 32)`, with one scale for 16 columns.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct TileQ6K {
    /// The four lower bits: eight columns each, as above.
    low: [[u8; QUADS]; 32],
    /// The two upper bits: sixteen columns each, the first four lowest.
    high: [[u8; QUADS]; 16],
    scales: [[i8; ROWS]; 16],
    steps: [f16; ROWS],
}

/// `step * quant + minimum`, with a step and a minimum for 32 columns; two such blocks.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct TileQ4 {
    /// Eight columns each, as in [`TileQ4K`].
    quants: [[u8; QUADS]; 8],
    steps: [[f16; ROWS]; 2],
    minima: [[f16; ROWS]; 2],
}

/// `step * (quant - 128)`, with a step for 32 columns; two such blocks.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct TileQ8 {
    quants: [[u8; QUADS]; 16],
    steps: [[f16; ROWS]; 2],
}

impl Tile for TileQ4K {
    #[inline(always)]
    fn add<S: Simd, const N: usize>(
        &self,
        simd: S,
        part: usize,
        input: &[&Rounded; N],
        at: usize,
        totals: &mut [S::F32s; N],
    ) {
        let steps = simd.load_f16(&self.steps[part..]);
        let minimum_steps = simd.sub(simd.splat(0.0), simd.load_f16(&self.minimum_steps[part..]));
        let half = simd.splat_quad(0x0f0f_0f0f);
        let mut sums = [simd.splat(0.0); N];
        for group in 0..8 {
            let quads: [&[i32; 8]; N] = pieces(input, |input| &input.quads, at * 8 + group);
            let input_sums: [&[f32; 1]; N] = pieces(input, |input| &input.sums, at * 8 + group);
            let mut products = [simd.splat_quad(0); N];
            for pair in 0..4 {
                let both = simd.load_quads(&self.quants[group * 4 + pair][4 * part..]);
                let low = simd.and(both, half);
                let high = simd.and(simd.shift_right::<4>(both), half);
                for number in 0..N {
                    let [first, second] = [quads[number][2 * pair], quads[number][2 * pair + 1]];
                    products[number] = simd.dot_small(products[number], low, simd.splat_quad(first));
                    products[number] = simd.dot_small(products[number], high, simd.splat_quad(second));
                }
            }
            let scales = simd.mul(steps, simd.widen_u8(&self.scales[group][part..]));
            let minima = simd.mul(minimum_steps, simd.widen_u8(&self.minima[group][part..]));
            for number in 0..N {
                sums[number] = simd.mul_add(minima, simd.splat(input_sums[number][0]), sums[number]);
                sums[number] = simd.mul_add(simd.to_f32(products[number]), scales, sums[number]);
            }
        }
        for number in 0..N {
            totals[number] = simd.mul_add(sums[number], simd.splat(input[number].steps[at]), totals[number]);
        }
    }

    fn append_row(&self, row: usize, into: &mut Vec<f32>) {
        let (step, minimum_step) = (self.steps[row].to_f32(), self.minimum_steps[row].to_f32());
        for group in 0..8 {
            let scale = step * f32::from(self.scales[group][row]);
            let minimum = minimum_step * f32::from(self.minima[group][row]);
            for quants in &self.quants[group * 4..group * 4 + 4] {
                let bytes = &quants[row * 4..row * 4 + 4];
                let quants = bytes.iter().map(|byte| byte & 0xf).chain(bytes.iter().map(|byte| byte >> 4));
                into.extend(quants.map(|quant| scale * f32::from(quant) - minimum));
            }
        }
    }
}

impl TileQ4K {
    /// From the file's layout: step, step of minima, scales and minima of six bits, quants.
    pub(super) fn of(rows: [&[u8]; ROWS]) -> TileQ4K {
        let mut tile = TileQ4K {
            scales: [[0; ROWS]; 8],
            minima: [[0; ROWS]; 8],
            steps: [f16::ZERO; ROWS],
            minimum_steps: [f16::ZERO; ROWS],
            quants: [[0; QUADS]; 32],
        };
        for (row, bytes) in rows.into_iter().enumerate() {
            tile.steps[row] = half(bytes, 0);
            tile.minimum_steps[row] = half(bytes, 2);
            let (six, quants) = (&bytes[4..16], &bytes[16..144]);
            for group in 0..4 {
                tile.scales[group][row] = six[group] & 63;
                tile.minima[group][row] = six[group + 4] & 63;
                tile.scales[group + 4][row] = (six[group + 8] & 15) | (six[group] >> 6 << 4);
                tile.minima[group + 4][row] = (six[group + 8] >> 4) | (six[group + 4] >> 6 << 4);
            }
            // The lower halves of 32 bytes are one group, the upper halves the next.
            let quant = |column: usize| quants[column / 64 * 32 + column % 32] >> (column / 32 % 2 * 4) & 15;
            for (pair, packed) in tile.quants.iter_mut().enumerate() {
                for column in 0..4 {
                    packed[row * 4 + column] = quant(pair * 8 + column) | (quant(pair * 8 + column + 4) << 4);
                }
            }
        }
        tile
    }
}

impl Tile for TileQ6K {
    #[inline(always)]
    fn add<S: Simd, const N: usize>(
        &self,
        simd: S,
        part: usize,
        input: &[&Rounded; N],
        at: usize,
        totals: &mut [S::F32s; N],
    ) {
        let steps = simd.load_f16(&self.steps[part..]);
        let (low, high) = (simd.splat_quad(0x0f0f_0f0f), simd.splat_quad(0x3030_3030));
        let mut sums = [simd.splat(0.0); N];
        for group in 0..16 {
            let quads: [&[i32; 4]; N] = pieces(input, |input| &input.quads, at * 16 + group);
            let begins: [&[i32; 1]; N] = pieces(input, |input| &input.begins, at * 16 + group);
            let above = simd.load_quads(&self.high[group][4 * part..]);
            let first = simd.load_quads(&self.low[group * 2][4 * part..]);
            let second = simd.load_quads(&self.low[group * 2 + 1][4 * part..]);
            let weights = [
                simd.or(simd.and(first, low), simd.and(simd.shift_left::<4>(above), high)),
                simd.or(
                    simd.and(simd.shift_right::<4>(first), low),
                    simd.and(simd.shift_left::<2>(above), high),
                ),
                simd.or(simd.and(second, low), simd.and(above, high)),
                simd.or(
                    simd.and(simd.shift_right::<4>(second), low),
                    simd.and(simd.shift_right::<2>(above), high),
                ),
            ];
            let scales = simd.mul(steps, simd.widen_i8(&self.scales[group][part..]));
            for number in 0..N {
                let mut products = simd.splat_quad(begins[number][0]);
                for quad in 0..4 {
                    let by = simd.splat_quad(quads[number][quad]);
                    products = simd.dot_small(products, weights[quad], by);
                }
                sums[number] = simd.mul_add(simd.to_f32(products), scales, sums[number]);
            }
        }
        for number in 0..N {
            totals[number] = simd.mul_add(sums[number], simd.splat(input[number].steps[at]), totals[number]);
        }
    }

    fn append_row(&self, row: usize, into: &mut Vec<f32>) {
        let step = self.steps[row].to_f32();
        for column in 0..SUPER {
            let byte = row * 4 + column % 4;
            let low = self.low[column / 8][byte] >> (column / 4 % 2 * 4) & 15;
            let high = self.high[column / 16][byte] >> (column / 4 % 4 * 2) & 3;
            let scale = step * f32::from(self.scales[column / 16][row]);
            into.push(scale * (f32::from(low | (high << 4)) - 32.0));
        }
    }
}

impl TileQ6K {
    /// From the file's layout: lower halves, upper bits, scales, step.
    pub(super) fn of(rows: [&[u8]; ROWS]) -> TileQ6K {
        let mut tile = TileQ6K {
            scales: [[0; ROWS]; 16],
            steps: [f16::ZERO; ROWS],
            low: [[0; QUADS]; 32],
            high: [[0; QUADS]; 16],
        };
        for (row, bytes) in rows.into_iter().enumerate() {
            tile.steps[row] = half(bytes, 208);
            for (scales, scale) in tile.scales.iter_mut().zip(&bytes[192..208]) {
                scales[row] = *scale as i8;
            }
            // 128 columns share 64 bytes of lower halves and 32 of upper bits.
            for column in 0..SUPER {
                let (part, within) = (column / 128, column % 128);
                let low = bytes[part * 64 + within % 64] >> (within / 64 * 4) & 15;
                let high = bytes[128 + part * 32 + within % 32] >> (within / 32 * 2) & 3;
                let byte = row * 4 + column % 4;
                tile.low[column / 8][byte] |= low << (column / 4 % 2 * 4);
                tile.high[column / 16][byte] |= high << (column / 4 % 4 * 2);
            }
        }
        tile
    }
}

impl Tile for TileQ4 {
    #[inline(always)]
    fn add<S: Simd, const N: usize>(
        &self,
        simd: S,
        part: usize,
        input: &[&Rounded; N],
        at: usize,
        totals: &mut [S::F32s; N],
    ) {
        let half = simd.splat_quad(0x0f0f_0f0f);
        for block in 0..2 {
            let quads: [&[i32; 8]; N] = pieces(input, |input| &input.quads, at * 2 + block);
            let input_sums: [&[f32; 1]; N] = pieces(input, |input| &input.sums, at * 2 + block);
            let input_steps: [&[f32; 1]; N] = pieces(input, |input| &input.steps, at * 2 + block);
            let mut products = [simd.splat_quad(0); N];
            for pair in 0..4 {
                let both = simd.load_quads(&self.quants[block * 4 + pair][4 * part..]);
                let low = simd.and(both, half);
                let high = simd.and(simd.shift_right::<4>(both), half);
                for number in 0..N {
                    let [first, second] = [quads[number][2 * pair], quads[number][2 * pair + 1]];
                    products[number] = simd.dot_small(products[number], low, simd.splat_quad(first));
                    products[number] = simd.dot_small(products[number], high, simd.splat_quad(second));
                }
            }
            let steps = simd.load_f16(&self.steps[block][part..]);
            let minima = simd.load_f16(&self.minima[block][part..]);
            for number in 0..N {
                let sum = simd.mul(minima, simd.splat(input_sums[number][0]));
                let sum = simd.mul_add(simd.to_f32(products[number]), steps, sum);
                totals[number] = simd.mul_add(sum, simd.splat(input_steps[number][0]), totals[number]);
            }
        }
    }

    fn append_row(&self, row: usize, into: &mut Vec<f32>) {
        for (block, quants) in self.quants.chunks_exact(4).enumerate() {
            let (step, minimum) = (self.steps[block][row].to_f32(), self.minima[block][row].to_f32());
            for quants in quants {
                let bytes = &quants[row * 4..row * 4 + 4];
                let quants = bytes.iter().map(|byte| byte & 0xf).chain(bytes.iter().map(|byte| byte >> 4));
                into.extend(quants.map(|quant| step * f32::from(quant) + minimum));
            }
        }
    }
}

impl TileQ4 {
    /// From the layout of `Q4_1`: step, minimum, quants.
    pub(super) fn with_minima(rows: [&[u8]; ROWS]) -> TileQ4 {
        TileQ4::of(rows, 20, |bytes| (half(bytes, 0), half(bytes, 2)))
    }

    /// From the layout of `Q4_0`, `step * (quant - 8)`: step, quants. Eight steps are exact in half precision as well.
    pub(super) fn centred(rows: [&[u8]; ROWS]) -> TileQ4 {
        TileQ4::of(rows, 18, |bytes| (half(bytes, 0), f16::from_f32(-8.0 * half(bytes, 0).to_f32())))
    }

    fn of(rows: [&[u8]; ROWS], block_bytes: usize, scales: impl Fn(&[u8]) -> (f16, f16)) -> TileQ4 {
        let mut tile =
            TileQ4 { quants: [[0; QUADS]; 8], steps: [[f16::ZERO; ROWS]; 2], minima: [[f16::ZERO; ROWS]; 2] };
        for (row, blocks) in rows.into_iter().enumerate() {
            for (block, bytes) in blocks.chunks_exact(block_bytes).enumerate() {
                (tile.steps[block][row], tile.minima[block][row]) = scales(bytes);
                // The lower halves of sixteen bytes come first, then the upper.
                let quants = &bytes[block_bytes - 16..];
                let quant = |column: usize| quants[column % 16] >> (column / 16 * 4) & 15;
                for (pair, packed) in tile.quants[block * 4..block * 4 + 4].iter_mut().enumerate() {
                    for column in 0..4 {
                        packed[row * 4 + column] =
                            quant(pair * 8 + column) | (quant(pair * 8 + column + 4) << 4);
                    }
                }
            }
        }
        tile
    }
}

impl Tile for TileQ8 {
    #[inline(always)]
    fn add<S: Simd, const N: usize>(
        &self,
        simd: S,
        part: usize,
        input: &[&Rounded; N],
        at: usize,
        totals: &mut [S::F32s; N],
    ) {
        for block in 0..2 {
            let quads: [&[i32; 8]; N] = pieces(input, |input| &input.quads, at * 2 + block);
            let begins: [&[i32; 1]; N] = pieces(input, |input| &input.begins, at * 2 + block);
            let input_steps: [&[f32; 1]; N] = pieces(input, |input| &input.steps, at * 2 + block);
            let mut products = [simd.splat_quad(0); N];
            for number in 0..N {
                products[number] = simd.splat_quad(begins[number][0]);
            }
            for (quad, weights) in self.quants[block * 8..block * 8 + 8].iter().enumerate() {
                let weights = simd.load_quads(&weights[4 * part..]);
                for number in 0..N {
                    let by = simd.splat_quad(quads[number][quad]);
                    products[number] = simd.dot(products[number], weights, by);
                }
            }
            let steps = simd.load_f16(&self.steps[block][part..]);
            for number in 0..N {
                let scale = simd.mul(steps, simd.splat(input_steps[number][0]));
                totals[number] = simd.mul_add(simd.to_f32(products[number]), scale, totals[number]);
            }
        }
    }

    fn append_row(&self, row: usize, into: &mut Vec<f32>) {
        for (quants, steps) in self.quants.chunks_exact(8).zip(&self.steps) {
            let quants = quants.iter().flat_map(|quants| &quants[row * 4..row * 4 + 4]);
            into.extend(quants.map(|quant| steps[row].to_f32() * (f32::from(*quant) - 128.0)));
        }
    }
}

impl TileQ8 {
    /// From the file's layout: step, quants.
    pub(super) fn of(rows: [&[u8]; ROWS]) -> TileQ8 {
        let mut tile = TileQ8 { quants: [[0; QUADS]; 16], steps: [[f16::ZERO; ROWS]; 2] };
        for (row, blocks) in rows.into_iter().enumerate() {
            for (block, bytes) in blocks.chunks_exact(34).enumerate() {
                tile.steps[block][row] = half(bytes, 0);
                for (column, quant) in bytes[2..34].iter().enumerate() {
                    tile.quants[block * 8 + column / 4][row * 4 + column % 4] = quant.wrapping_add(128);
                }
            }
        }
        tile
    }
}

fn half(bytes: &[u8], at: usize) -> f16 {
    f16::from_le_bytes([bytes[at], bytes[at + 1]])
}
