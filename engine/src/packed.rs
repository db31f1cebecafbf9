//! How is a quantised matrix multiplied without being widened?
//!
//! Sixteen rows are packed into tiles in which the same four columns of every row lie side by side, so that one instruction
//! multiplies them by the same four activations, rounded to eight bits. A tile takes the bits that the file takes, and replaces
//! them: the matrix library would keep both, and its own tiles are a third larger. For `Q4_K`, `Q6_K` and `Q8_0`, in
//! which nearly all files are; the rest is the library's.

use candle_core::quantized::GgmlDType;
use half::f16;

use crate::simd::{self, Kernel, Simd};
use crate::workers;

/// Rows of a tile.
const ROWS: usize = 16;
/// Bytes of four columns of all its rows.
const QUADS: usize = 4 * ROWS;
/// Columns of a block of the K kinds.
const SUPER: usize = 256;
/// Columns of two blocks of `Q8_0`.
const PAIR: usize = 64;

/// A quantised matrix (rows, columns).
pub(crate) struct Packed {
    tiles: Tiles, // (rows / ROWS, blocks of a row)
    rows: usize,
    columns: usize,
}

enum Tiles {
    Q4K(Vec<TileQ4K>),
    Q6K(Vec<TileQ6K>),
    Q8(Vec<TileQ8>),
}

/// `step * scale * quant - minimum_step * minimum`, with one scale and one minimum for 32 columns.
#[derive(Clone, Copy)]
#[repr(C, align(64))] // so that no load of a vector touches two lines of the cache
struct TileQ4K {
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
struct TileQ6K {
    /// The four lower bits: eight columns each, as above.
    low: [[u8; QUADS]; 32],
    /// The two upper bits: sixteen columns each, the first four lowest.
    high: [[u8; QUADS]; 16],
    scales: [[i8; ROWS]; 16],
    steps: [f16; ROWS],
}

/// `step * (quant - 128)`, with a step for 32 columns; two such blocks.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct TileQ8 {
    quants: [[u8; QUADS]; 16],
    steps: [[f16; ROWS]; 2],
}

impl Packed {
    /// Packs the blocks of a file, unless another way is faster for them on this machine.
    pub(crate) fn new(kind: GgmlDType, bytes: &[u8], rows: usize, columns: usize) -> Option<Packed> {
        let tile_columns = if kind == GgmlDType::Q8_0 { PAIR } else { SUPER };
        let whole = rows.is_multiple_of(ROWS) && columns.is_multiple_of(tile_columns);
        if !simd::has_byte_products() || !whole {
            return None;
        }
        let row_bytes = columns / kind.block_size() * kind.type_size();
        let tiles = match kind {
            GgmlDType::Q4K => Tiles::Q4K(pack(bytes, row_bytes, TileQ4K::of)),
            GgmlDType::Q6K => Tiles::Q6K(pack(bytes, row_bytes, TileQ6K::of)),
            GgmlDType::Q8_0 => Tiles::Q8(pack(bytes, row_bytes, TileQ8::of)),
            _ => return None,
        };
        Some(Packed { tiles, rows, columns })
    }

    /// `input` (n, columns) to (n, rows).
    pub(crate) fn apply(&self, input: &[f32]) -> Vec<f32> {
        let inputs = input.len() / self.columns;
        let (block, offset) = self.rounding();
        let each = self.columns * 16;
        let input = workers::share(inputs, inputs * each, |row| {
            simd::run(Round { values: &input[row * self.columns..(row + 1) * self.columns], block, offset })
        });
        let mut output = vec![0.0; inputs * self.rows]; // (n, rows)
        let work = inputs * self.rows * self.columns / 4; // products of bytes are quicker than others
        if inputs < MANY {
            self.apply_by_rows(&input, &mut output, work);
        } else {
            workers::share_rows(&mut output, PANEL * self.rows, work, |panel, output| {
                let input = &input[panel * PANEL..(panel * PANEL + PANEL).min(inputs)];
                self.multiply(0, input, output, self.rows);
            });
        }
        output
    }

    /// Columns of activations that share a step; columns of weights that share a scale, and their offset.
    fn rounding(&self) -> (usize, (usize, i32)) {
        match self.tiles {
            Tiles::Q4K(_) => (SUPER, (32, 0)),
            Tiles::Q6K(_) => (SUPER, (16, 32)),
            Tiles::Q8(_) => (32, (32, 128)),
        }
    }

    /// Few inputs: every piece of work takes some of the matrix's rows.
    fn apply_by_rows(&self, input: &[Rounded], output: &mut [f32], work: usize) {
        let width = self.rows.div_ceil(PIECES).next_multiple_of(ROWS);
        if input.len() == 1 {
            return workers::share_rows(output, width, work, |piece, output| {
                let own = output.len();
                self.multiply(piece * width, input, output, own);
            });
        }
        let pieces = workers::share(self.rows.div_ceil(width), work, |piece| {
            let own = width.min(self.rows - piece * width);
            let mut output = vec![0.0; input.len() * own]; // (n, own)
            self.multiply(piece * width, input, &mut output, own);
            output
        });
        for (piece, values) in pieces.iter().enumerate() {
            let values = values.chunks_exact(values.len() / input.len());
            for (output, values) in output.chunks_exact_mut(self.rows).zip(values) {
                output[piece * width..piece * width + values.len()].copy_from_slice(values);
            }
        }
    }

    /// `input` times the rows from `first` on, to `output` (n, width).
    fn multiply(&self, first: usize, input: &[Rounded], output: &mut [f32], width: usize) {
        match &self.tiles {
            Tiles::Q4K(tiles) => self.multiply_tiles(tiles, SUPER, first, input, output, width),
            Tiles::Q6K(tiles) => self.multiply_tiles(tiles, SUPER, first, input, output, width),
            Tiles::Q8(tiles) => self.multiply_tiles(tiles, PAIR, first, input, output, width),
        }
    }

    fn multiply_tiles<T: Tile>(
        &self,
        tiles: &[T],
        block: usize,
        first: usize,
        input: &[Rounded],
        output: &mut [f32],
        width: usize,
    ) {
        let blocks = self.columns / block;
        let tiles = &tiles[first / ROWS * blocks..(first + width) / ROWS * blocks];
        simd::run(Multiply { tiles, blocks, input, output, width });
    }

    /// Widens one row onto the end of `into`.
    pub(crate) fn append_row(&self, row: usize, into: &mut Vec<f32>) {
        fn append<T: Tile>(tiles: &[T], blocks: usize, row: usize, into: &mut Vec<f32>) {
            let tiles = &tiles[row / ROWS * blocks..(row / ROWS + 1) * blocks];
            tiles.iter().for_each(|tile| tile.append_row(row % ROWS, into));
        }
        match &self.tiles {
            Tiles::Q4K(tiles) => append(tiles, self.columns / SUPER, row, into),
            Tiles::Q6K(tiles) => append(tiles, self.columns / SUPER, row, into),
            Tiles::Q8(tiles) => append(tiles, self.columns / PAIR, row, into),
        }
    }
}

/// Pieces that a matrix is cut into for few inputs, so that a thread that is held up delays little.
const PIECES: usize = 16;
/// Inputs from which on every piece of work takes some of the inputs and the whole matrix.
const MANY: usize = 64;
const PANEL: usize = 32;

/// Tiles of all rows from the rows' blocks.
fn pack<T>(bytes: &[u8], row_bytes: usize, of: impl Fn([&[u8]; ROWS]) -> T) -> Vec<T>
where
    T: Tile,
{
    let mut tiles = Vec::with_capacity(bytes.len() / (T::BLOCK_BYTES * ROWS));
    for rows in bytes.chunks_exact(ROWS * row_bytes) {
        for at in (0..row_bytes).step_by(T::BLOCK_BYTES) {
            tiles.push(of(std::array::from_fn(|row| {
                let start = row * row_bytes + at;
                &rows[start..start + T::BLOCK_BYTES]
            })));
        }
    }
    tiles
}

/// A row of activations in whole numbers: four columns to a quad.
struct Rounded {
    quads: Vec<i32>, // (columns / 4)
    steps: Vec<f32>, // (columns / block)
    /// Sums of columns: what a minimum or an offset of the weights is multiplied by.
    sums: Vec<f32>, // (columns / 32)
    /// The same in whole numbers, times what the weights are offset by: where sums of products begin.
    begins: Vec<i32>, // (columns / how many share a scale)
}

struct Round<'a> {
    values: &'a [f32],
    /// Columns that share a step.
    block: usize,
    /// Columns of the weights that share a scale, and how much their quants are above zero.
    offset: (usize, i32),
}

impl Kernel for Round<'_> {
    type Output = Rounded;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> Rounded {
        let mut bytes = vec![0_i8; self.values.len()];
        let mut steps = Vec::with_capacity(self.values.len() / self.block);
        for (values, bytes) in self.values.chunks_exact(self.block).zip(bytes.chunks_exact_mut(self.block)) {
            let mut largest = simd.splat(0.0);
            for values in values.chunks_exact(S::LANES) {
                let values = simd.load(values);
                largest = simd.max(largest, simd.max(values, simd.sub(simd.splat(0.0), values)));
            }
            let step = simd.highest(largest) / 127.0;
            let inverse = simd.splat(if step > 0.0 { 1.0 / step } else { 0.0 });
            for (values, bytes) in values.chunks_exact(S::LANES).zip(bytes.chunks_exact_mut(S::LANES)) {
                simd.store_i8(simd.round(simd.mul(simd.load(values), inverse)), bytes);
            }
            steps.push(step);
        }
        let quads = bytes.as_chunks::<4>().0.iter().map(|quad| i32::from_le_bytes(quad.map(|it| it as u8)));
        let sum = |some: &[i8]| some.iter().map(|it| i32::from(*it)).sum::<i32>();
        let (width, above) = self.offset;
        Rounded {
            quads: quads.collect(),
            steps,
            sums: bytes.chunks_exact(32).map(|some| sum(some) as f32).collect(),
            begins: bytes.chunks_exact(width).map(|some| -above * sum(some)).collect(),
        }
    }
}

/// Sixteen rows of one block of columns.
trait Tile: Sync {
    /// What the file spends on one row.
    const BLOCK_BYTES: usize;

    /// Adds to `totals` the products of the rows from `part` on with some activations, of which this is block `at`.
    fn add<S: Simd, const N: usize>(
        &self,
        simd: S,
        part: usize,
        input: &[&Rounded; N],
        at: usize,
        totals: &mut [S::F32s; N],
    );

    fn append_row(&self, row: usize, into: &mut Vec<f32>);
}

struct Multiply<'a, T> {
    tiles: &'a [T],
    /// Tiles to a row.
    blocks: usize,
    input: &'a [Rounded],
    output: &'a mut [f32], // (n, width)
    width: usize,
}

impl<T: Tile> Kernel for Multiply<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        for (number, tiles) in self.tiles.chunks_exact(self.blocks).enumerate() {
            let (mut input, mut output) = (self.input, &mut self.output[number * ROWS..]);
            while !input.is_empty() {
                let taken = match input.len() {
                    8.. if S::REGISTERS >= 16 => multiply::<S, T, 8>(simd, tiles, input, output, self.width),
                    4.. => multiply::<S, T, 4>(simd, tiles, input, output, self.width),
                    2.. => multiply::<S, T, 2>(simd, tiles, input, output, self.width),
                    _ => multiply::<S, T, 1>(simd, tiles, input, output, self.width),
                };
                input = &input[taken..];
                let below = output;
                output = below.split_at_mut((taken * self.width).min(below.len())).1;
            }
        }
    }
}

/// Sixteen rows and `N` activations.
#[inline(always)]
fn multiply<S: Simd, T: Tile, const N: usize>(
    simd: S,
    tiles: &[T],
    input: &[Rounded],
    output: &mut [f32],
    width: usize,
) -> usize {
    let input: [&Rounded; N] = std::array::from_fn(|number| &input[number]);
    for part in (0..ROWS).step_by(S::LANES) {
        let mut totals = [simd.splat(0.0); N];
        for (at, tile) in tiles.iter().enumerate() {
            tile.add(simd, part, &input, at, &mut totals);
        }
        for (number, total) in totals.into_iter().enumerate() {
            simd.store(total, &mut output[number * width + part..]);
        }
    }
    N
}

/// The same short piece of every activation.
#[inline(always)]
fn pieces<'a, T, const LENGTH: usize, const N: usize>(
    input: &[&'a Rounded; N],
    of: impl Fn(&'a Rounded) -> &'a [T],
    at: usize,
) -> [&'a [T; LENGTH]; N] {
    std::array::from_fn(|number| {
        of(input[number])[at * LENGTH..].first_chunk().expect("activations are as wide as the matrix")
    })
}

impl Tile for TileQ4K {
    const BLOCK_BYTES: usize = 144;

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
    fn of(rows: [&[u8]; ROWS]) -> TileQ4K {
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
    const BLOCK_BYTES: usize = 210;

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
    fn of(rows: [&[u8]; ROWS]) -> TileQ6K {
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

impl Tile for TileQ8 {
    const BLOCK_BYTES: usize = 68;

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
    fn of(rows: [&[u8]; ROWS]) -> TileQ8 {
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

#[cfg(test)]
mod tests {
    use candle_core::quantized::QTensor;
    use candle_core::{Device, Tensor};
    use rand::rngs::SmallRng;
    use rand::{Rng, SeedableRng};

    use super::*;
    use crate::simd::run_on_all;

    const ROW_COUNT: usize = 48;
    const COLUMNS: usize = 512;

    fn numbers(random: &mut SmallRng, count: usize) -> Vec<f32> {
        (0..count).map(|_| random.random_range(-1.0..1.0)).collect()
    }

    /// The same matrix packed, and widened by the matrix library.
    fn matrix(random: &mut SmallRng, kind: GgmlDType) -> (Packed, Vec<f32>) {
        let values = numbers(random, ROW_COUNT * COLUMNS);
        let values = Tensor::from_vec(values, (ROW_COUNT, COLUMNS), &Device::Cpu).unwrap();
        let quantised = QTensor::quantize(&values, kind).unwrap();
        let widened = quantised.dequantize(&Device::Cpu).unwrap().flatten_all().unwrap();
        let packed = Packed::new(kind, &quantised.data().unwrap(), ROW_COUNT, COLUMNS).unwrap();
        (packed, widened.to_vec1().unwrap())
    }

    const KINDS: [GgmlDType; 3] = [GgmlDType::Q4K, GgmlDType::Q6K, GgmlDType::Q8_0];

    #[test]
    fn packed_rows_are_the_librarys() {
        if !simd::has_byte_products() {
            return; // nothing is packed on such machines
        }
        let mut random = SmallRng::seed_from_u64(3);
        for kind in KINDS {
            let (packed, widened) = matrix(&mut random, kind);
            let mut rows = Vec::new();
            (0..ROW_COUNT).for_each(|row| packed.append_row(row, &mut rows));
            let off = rows.iter().zip(&widened).map(|(found, expected)| (found - expected).abs());
            assert!(off.fold(0.0, f32::max) < 1e-6, "{kind:?}"); // products in another order
        }
    }

    #[test]
    fn products_are_those_of_the_widened_matrix() {
        if !simd::has_byte_products() {
            return;
        }
        let mut random = SmallRng::seed_from_u64(4);
        for kind in KINDS {
            let (packed, widened) = matrix(&mut random, kind);
            for inputs in [1, 2, 3, 7, 8, 13, 70] {
                let input = numbers(&mut random, inputs * COLUMNS);
                let output = packed.apply(&input);
                let expected = input.chunks_exact(COLUMNS).flat_map(|input| {
                    widened
                        .chunks_exact(COLUMNS)
                        .map(|row| input.iter().zip(row).map(|(x, y)| x * y).sum::<f32>())
                });
                let off = output.iter().zip(expected).map(|(found, expected)| (found - expected).abs());
                // 512 activations up to one, each off by at most half of 1/127: a few standard deviations of their sum.
                let worst = off.fold(0.0, f32::max);
                assert!(worst < 0.15, "{kind:?} {inputs}: {worst}");
            }
        }
    }

    /// Sixteen rows and three activations.
    #[derive(Clone, Copy)]
    struct Few<'a, T>(&'a [T], &'a [Rounded]);

    impl<T: Tile + Copy> Kernel for Few<'_, T> {
        type Output = Vec<f32>;

        #[inline(always)]
        fn run<S: Simd>(self, simd: S) -> Vec<f32> {
            let mut output = vec![0.0; 3 * ROWS];
            Multiply { tiles: self.0, blocks: self.0.len(), input: self.1, output: &mut output, width: ROWS }
                .run(simd);
            output
        }
    }

    #[test]
    fn every_instruction_set_multiplies_alike() {
        let mut random = SmallRng::seed_from_u64(5);
        let values = numbers(&mut random, 3 * COLUMNS);
        let round = |packed: &Packed| -> Vec<Rounded> {
            let (block, offset) = packed.rounding();
            values.chunks_exact(COLUMNS).map(|values| simd::run(Round { values, block, offset })).collect()
        };
        for kind in KINDS {
            if !simd::has_byte_products() {
                return;
            }
            let (packed, _) = matrix(&mut random, kind);
            let outputs = match &packed.tiles {
                Tiles::Q4K(tiles) => run_on_all(Few(&tiles[..COLUMNS / SUPER], &round(&packed))),
                Tiles::Q6K(tiles) => run_on_all(Few(&tiles[..COLUMNS / SUPER], &round(&packed))),
                Tiles::Q8(tiles) => run_on_all(Few(&tiles[..COLUMNS / PAIR], &round(&packed))),
            };
            for output in &outputs[1..] {
                let off = output.iter().zip(&outputs[0]).map(|(left, right)| (left - right).abs());
                assert!(off.fold(0.0, f32::max) < 1e-4, "{kind:?}"); // the same whole numbers, scaled and summed in f32
            }
        }
    }
}
