//! How is a quantised matrix multiplied without being widened?
//!
//! Sixteen rows are packed into tiles in which the same four columns of every row lie side by side, so that one instruction
//! multiplies them by the same four activations, rounded to eight bits. A tile takes the bits that the file takes, and replaces
//! them: the matrix library would keep both, and its own tiles are a third larger. For `Q4_K`, `Q6_K`, `Q8_0`, `Q4_0` and
//! `Q4_1`, in which nearly all files are; the rest is the library's.

use candle_core::quantized::GgmlDType;

use crate::simd::{self, Kernel, Simd};
use crate::workers;

mod tiles;

use tiles::{TileQ4, TileQ4K, TileQ6K, TileQ8};

/// Rows of a tile.
const ROWS: usize = 16;
/// Bytes of four columns of all its rows.
const QUADS: usize = 4 * ROWS;
/// Columns of a block of the K kinds.
const SUPER: usize = 256;
/// Columns of two blocks of the other kinds.
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
    Q4(Vec<TileQ4>),
    Q8(Vec<TileQ8>),
}

impl Packed {
    /// Packs the blocks of a file, unless another way is faster for them on this machine.
    pub(crate) fn new(kind: GgmlDType, bytes: &[u8], rows: usize, columns: usize) -> Option<Packed> {
        let tile_columns = if kind.block_size() == SUPER { SUPER } else { PAIR };
        let whole = rows.is_multiple_of(ROWS) && columns.is_multiple_of(tile_columns);
        if !simd::has_byte_products() || !whole {
            return None;
        }
        let row_bytes = columns / kind.block_size() * kind.type_size();
        let block_bytes = tile_columns / kind.block_size() * kind.type_size();
        let tiles = match kind {
            GgmlDType::Q4K => Tiles::Q4K(pack(bytes, row_bytes, block_bytes, TileQ4K::of)),
            GgmlDType::Q6K => Tiles::Q6K(pack(bytes, row_bytes, block_bytes, TileQ6K::of)),
            GgmlDType::Q4_0 => Tiles::Q4(pack(bytes, row_bytes, block_bytes, TileQ4::centred)),
            GgmlDType::Q4_1 => Tiles::Q4(pack(bytes, row_bytes, block_bytes, TileQ4::with_minima)),
            GgmlDType::Q8_0 => Tiles::Q8(pack(bytes, row_bytes, block_bytes, TileQ8::of)),
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
            Tiles::Q4(_) => (32, (32, 0)),
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
            Tiles::Q4(tiles) => self.multiply_tiles(tiles, PAIR, first, input, output, width),
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
            Tiles::Q4(tiles) => append(tiles, self.columns / PAIR, row, into),
            Tiles::Q8(tiles) => append(tiles, self.columns / PAIR, row, into),
        }
    }
}

/// Pieces that a matrix is cut into for few inputs, so that a thread that is held up delays little.
const PIECES: usize = 16;
/// Inputs from which on every piece of work takes some of the inputs and the whole matrix.
const MANY: usize = 64;
const PANEL: usize = 32;

/// Tiles of all rows from the rows' blocks; `block_bytes` is what the file spends on one row of a tile.
fn pack<T>(bytes: &[u8], row_bytes: usize, block_bytes: usize, of: impl Fn([&[u8]; ROWS]) -> T) -> Vec<T> {
    let mut tiles = Vec::with_capacity(bytes.len() / (block_bytes * ROWS));
    for rows in bytes.chunks_exact(ROWS * row_bytes) {
        for at in (0..row_bytes).step_by(block_bytes) {
            tiles.push(of(std::array::from_fn(|row| {
                let start = row * row_bytes + at;
                &rows[start..start + block_bytes]
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

    const KINDS: [GgmlDType; 5] =
        [GgmlDType::Q4K, GgmlDType::Q6K, GgmlDType::Q4_0, GgmlDType::Q4_1, GgmlDType::Q8_0];

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
                Tiles::Q4(tiles) => run_on_all(Few(&tiles[..COLUMNS / PAIR], &round(&packed))),
                Tiles::Q8(tiles) => run_on_all(Few(&tiles[..COLUMNS / PAIR], &round(&packed))),
            };
            for output in &outputs[1..] {
                let off = output.iter().zip(&outputs[0]).map(|(left, right)| (left - right).abs());
                assert!(off.fold(0.0, f32::max) < 1e-4, "{kind:?}"); // the same whole numbers, scaled and summed in f32
            }
        }
    }
}
