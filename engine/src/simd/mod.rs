//! Which vector instructions does this machine have, and how are they called?
//!
//! A [`Kernel`] is written once, over [`Simd`]; [`run`] compiles it for every instruction set and picks one at run time. A
//! value of an instruction set's type exists only where its instructions do, so that kernels need no unsafe code of their
//! own; `x86` is the only module that has some. Other architectures get the plain version, whose arrays of eight the
//! compiler turns into their own vectors.

#[cfg(target_arch = "x86_64")]
#[expect(unsafe_code, reason = "intrinsics; every type here proves that its instructions exist")]
mod x86;

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};

/// A loop over long rows, to be compiled for every instruction set. `run` must be `#[inline(always)]`, as all it calls with
/// `simd`: what is not inlined is compiled for the plain set, and calls a function for every instruction. That holds for
/// closures too, which nothing forces inline, so kernels say `for` (one `map` made a product five times slower).
pub(crate) trait Kernel {
    type Output;
    fn run<S: Simd>(self, simd: S) -> Self::Output;
}

/// The operations of one instruction set, on [`Simd::LANES`] numbers at a time.
pub(crate) trait Simd: Copy {
    const LANES: usize;
    /// Vectors that an inner loop may keep in registers, its other operands aside.
    const REGISTERS: usize;
    type F32s: Copy;

    fn splat(self, value: f32) -> Self::F32s;
    /// The first lanes of a slice that is at least as long; so with the other loads, and with `store`.
    fn load(self, from: &[f32]) -> Self::F32s;
    fn load_f16(self, from: &[f16]) -> Self::F32s;
    fn load_bf16(self, from: &[bf16]) -> Self::F32s;
    fn store(self, values: Self::F32s, to: &mut [f32]);
    fn add(self, left: Self::F32s, right: Self::F32s) -> Self::F32s;
    fn sub(self, left: Self::F32s, right: Self::F32s) -> Self::F32s;
    fn mul(self, left: Self::F32s, right: Self::F32s) -> Self::F32s;
    fn div(self, left: Self::F32s, right: Self::F32s) -> Self::F32s;
    fn max(self, left: Self::F32s, right: Self::F32s) -> Self::F32s;
    fn min(self, left: Self::F32s, right: Self::F32s) -> Self::F32s;
    /// `left * right + plus`
    fn mul_add(self, left: Self::F32s, right: Self::F32s, plus: Self::F32s) -> Self::F32s;
    /// To the nearest whole number.
    fn round(self, values: Self::F32s) -> Self::F32s;
    /// Two to the power of whole numbers from -126 to 127.
    fn power_of_two(self, exponents: Self::F32s) -> Self::F32s;
    /// Zero where `values` lies below `limit`, and `then` elsewhere.
    fn zero_below(self, limit: f32, values: Self::F32s, then: Self::F32s) -> Self::F32s;
    fn sum(self, values: Self::F32s) -> f32;
    fn highest(self, values: Self::F32s) -> f32;

    /// Four bytes in each lane.
    type Quads: Copy;

    /// Every lane the same four bytes.
    fn splat_quad(self, quad: i32) -> Self::Quads;
    fn load_quads(self, from: &[u8]) -> Self::Quads;
    fn and(self, left: Self::Quads, right: Self::Quads) -> Self::Quads;
    fn or(self, left: Self::Quads, right: Self::Quads) -> Self::Quads;
    /// Within pairs of bytes; the caller masks what comes over from the neighbour.
    fn shift_left<const BITS: u32>(self, quads: Self::Quads) -> Self::Quads;
    fn shift_right<const BITS: u32>(self, quads: Self::Quads) -> Self::Quads;
    /// Adds the four products of each lane, `weights` up to 127 without a sign and `by` with one, to its number.
    fn dot_small(self, sums: Self::Quads, weights: Self::Quads, by: Self::Quads) -> Self::Quads;
    /// The same for weights up to 255.
    fn dot(self, sums: Self::Quads, weights: Self::Quads, by: Self::Quads) -> Self::Quads;
    /// Lanes as whole numbers.
    fn to_f32(self, quads: Self::Quads) -> Self::F32s;
    fn widen_u8(self, from: &[u8]) -> Self::F32s;
    fn widen_i8(self, from: &[i8]) -> Self::F32s;
    /// Whole numbers from -127 to 127.
    fn store_i8(self, values: Self::F32s, to: &mut [i8]);
}

/// Runs a kernel on the best instructions there are.
pub(crate) fn run<K: Kernel>(kernel: K) -> K::Output {
    #[cfg(target_arch = "x86_64")]
    {
        if let Some(simd) = x86::Avx512::detect() {
            return simd.run(kernel);
        }
        if let Some(simd) = x86::Avx2::detect() {
            return simd.run(kernel);
        }
    }
    kernel.run(Plain)
}

/// Whether products of bytes have instructions of their own here.
pub(crate) fn has_byte_products() -> bool {
    #[cfg(target_arch = "x86_64")]
    return x86::Avx2::detect().is_some();
    #[cfg(not(target_arch = "x86_64"))]
    false
}

/// Runs a kernel on every instruction set of this machine.
#[cfg(test)]
pub(crate) fn run_on_all<K: Kernel + Copy>(kernel: K) -> Vec<K::Output> {
    let mut outputs = vec![kernel.run(Plain)];
    #[cfg(target_arch = "x86_64")]
    {
        outputs.extend(x86::Avx2::detect().map(|simd| simd.run(kernel)));
        outputs.extend(x86::Avx512::detect().map(|simd| simd.run(kernel)));
    }
    outputs
}

/// What every machine can do.
#[derive(Clone, Copy)]
struct Plain;

type Eight = [f32; 8];

#[inline(always)]
fn pairwise(left: Eight, right: Eight, of: impl Fn(f32, f32) -> f32) -> Eight {
    std::array::from_fn(|lane| of(left[lane], right[lane]))
}

impl Simd for Plain {
    const LANES: usize = 8;
    const REGISTERS: usize = 8;
    type F32s = Eight;

    #[inline(always)]
    fn splat(self, value: f32) -> Eight {
        [value; 8]
    }
    #[inline(always)]
    fn load(self, from: &[f32]) -> Eight {
        *from.first_chunk().expect("a kernel loads whole vectors")
    }
    #[inline(always)]
    fn load_f16(self, from: &[f16]) -> Eight {
        let mut values = [0.0; 8];
        from[..8].convert_to_f32_slice(&mut values);
        values
    }
    #[inline(always)]
    fn load_bf16(self, from: &[bf16]) -> Eight {
        let mut values = [0.0; 8];
        from[..8].convert_to_f32_slice(&mut values);
        values
    }
    #[inline(always)]
    fn store(self, values: Eight, to: &mut [f32]) {
        to[..8].copy_from_slice(&values);
    }
    #[inline(always)]
    fn add(self, left: Eight, right: Eight) -> Eight {
        pairwise(left, right, |left, right| left + right)
    }
    #[inline(always)]
    fn sub(self, left: Eight, right: Eight) -> Eight {
        pairwise(left, right, |left, right| left - right)
    }
    #[inline(always)]
    fn mul(self, left: Eight, right: Eight) -> Eight {
        pairwise(left, right, |left, right| left * right)
    }
    #[inline(always)]
    fn div(self, left: Eight, right: Eight) -> Eight {
        pairwise(left, right, |left, right| left / right)
    }
    #[inline(always)]
    fn max(self, left: Eight, right: Eight) -> Eight {
        pairwise(left, right, f32::max)
    }
    #[inline(always)]
    fn min(self, left: Eight, right: Eight) -> Eight {
        pairwise(left, right, f32::min)
    }
    #[inline(always)]
    fn mul_add(self, left: Eight, right: Eight, plus: Eight) -> Eight {
        // Rounded twice: one rounding is a function call where the instruction is missing.
        std::array::from_fn(|lane| left[lane] * right[lane] + plus[lane])
    }
    #[inline(always)]
    fn round(self, values: Eight) -> Eight {
        // Adding half of 2^24 leaves no room for a fraction.
        values.map(|value| (value + 12_582_912.0) - 12_582_912.0)
    }
    #[inline(always)]
    fn power_of_two(self, exponents: Eight) -> Eight {
        exponents.map(|exponent| f32::from_bits(((exponent as i32 + 127) as u32) << 23))
    }
    #[inline(always)]
    fn zero_below(self, limit: f32, values: Eight, then: Eight) -> Eight {
        pairwise(values, then, |value, then| if value < limit { 0.0 } else { then })
    }
    #[inline(always)]
    fn sum(self, values: Eight) -> f32 {
        values.iter().sum()
    }
    #[inline(always)]
    fn highest(self, values: Eight) -> f32 {
        values.into_iter().fold(f32::NEG_INFINITY, f32::max)
    }

    type Quads = [i32; 8];

    #[inline(always)]
    fn splat_quad(self, quad: i32) -> [i32; 8] {
        [quad; 8]
    }
    #[inline(always)]
    fn load_quads(self, from: &[u8]) -> [i32; 8] {
        let quads = from.as_chunks::<4>().0;
        std::array::from_fn(|lane| i32::from_le_bytes(quads[lane]))
    }
    #[inline(always)]
    fn and(self, left: [i32; 8], right: [i32; 8]) -> [i32; 8] {
        std::array::from_fn(|lane| left[lane] & right[lane])
    }
    #[inline(always)]
    fn or(self, left: [i32; 8], right: [i32; 8]) -> [i32; 8] {
        std::array::from_fn(|lane| left[lane] | right[lane])
    }
    #[inline(always)]
    fn shift_left<const BITS: u32>(self, quads: [i32; 8]) -> [i32; 8] {
        quads.map(|quad| quad << BITS)
    }
    #[inline(always)]
    fn shift_right<const BITS: u32>(self, quads: [i32; 8]) -> [i32; 8] {
        quads.map(|quad| (quad as u32 >> BITS) as i32)
    }
    #[inline(always)]
    fn dot_small(self, sums: [i32; 8], weights: [i32; 8], by: [i32; 8]) -> [i32; 8] {
        self.dot(sums, weights, by)
    }
    #[inline(always)]
    fn dot(self, sums: [i32; 8], weights: [i32; 8], by: [i32; 8]) -> [i32; 8] {
        std::array::from_fn(|lane| {
            let pairs = weights[lane].to_le_bytes().into_iter().zip(by[lane].to_le_bytes());
            sums[lane] + pairs.map(|(weight, by)| i32::from(weight) * i32::from(by as i8)).sum::<i32>()
        })
    }
    #[inline(always)]
    fn to_f32(self, quads: [i32; 8]) -> Eight {
        quads.map(|quad| quad as f32)
    }
    #[inline(always)]
    fn widen_u8(self, from: &[u8]) -> Eight {
        std::array::from_fn(|lane| f32::from(from[lane]))
    }
    #[inline(always)]
    fn widen_i8(self, from: &[i8]) -> Eight {
        std::array::from_fn(|lane| f32::from(from[lane]))
    }
    #[inline(always)]
    fn store_i8(self, values: Eight, to: &mut [i8]) {
        for (to, value) in to[..8].iter_mut().zip(values) {
            *to = value as i8;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One vector of every operation that is not plain arithmetic.
    #[derive(Clone, Copy)]
    struct Corners;

    impl Kernel for Corners {
        type Output = Vec<f32>;

        #[inline(always)]
        fn run<S: Simd>(self, simd: S) -> Vec<f32> {
            let numbers: Vec<f32> = (0..S::LANES).map(|lane| lane as f32 - 3.0).collect();
            let halves: Vec<f16> = numbers.iter().map(|number| f16::from_f32(*number)).collect();
            let short: Vec<bf16> = numbers.iter().map(|number| bf16::from_f32(*number)).collect();
            let values = simd.load(&numbers);
            let quarters = simd.mul(values, simd.splat(0.25));
            let results = [
                simd.load_f16(&halves),
                simd.load_bf16(&short),
                simd.round(quarters),
                simd.power_of_two(values),
                simd.zero_below(0.5, values, simd.splat(7.0)),
            ];
            let mut out = vec![0.0; S::LANES];
            let mut first_eight = Vec::new();
            for result in results {
                simd.store(result, &mut out);
                first_eight.extend_from_slice(&out[..8]);
            }
            first_eight.push(simd.sum(values) - numbers.iter().sum::<f32>());
            first_eight.push(simd.highest(values) - numbers[S::LANES - 1]);
            first_eight
        }
    }

    #[test]
    fn every_instruction_set_means_the_same() {
        let numbers = [-3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0, 4.0];
        let rounded = [-1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0]; // halves go to the even neighbour
        let powers = [0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0];
        let kept = [0.0, 0.0, 0.0, 0.0, 7.0, 7.0, 7.0, 7.0];
        let expected = [&numbers[..], &numbers, &rounded, &powers, &kept, &[0.0, 0.0]].concat();
        for found in run_on_all(Corners) {
            assert_eq!(found, expected);
        }
    }
}
