//! Which vector instructions does this machine have, and how are they called?
//!
//! The only module with unsafe code. A [`Kernel`] is written once, over [`Simd`]; [`run`] compiles it for every instruction set
//! and picks one at run time. A value of an instruction set's type exists only where its instructions do, so that kernels
//! need no unsafe code of their own. Other architectures get the plain version, whose arrays of eight the compiler turns
//! into their own vectors.

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

#[cfg(target_arch = "x86_64")]
#[expect(unsafe_code, reason = "intrinsics; every type here proves that its instructions exist")]
mod x86 {
    use std::arch::x86_64::*;

    use half::{bf16, f16};

    use super::{Kernel, Simd};

    /// Eight lanes, fused multiplication and half precision: every x86 since 2013.
    #[derive(Clone, Copy)]
    pub(super) struct Avx2(());

    /// Sixteen lanes, and products of bytes.
    #[derive(Clone, Copy)]
    pub(super) struct Avx512(());

    impl Avx2 {
        pub(super) fn detect() -> Option<Avx2> {
            let there = is_x86_feature_detected!("avx2")
                && is_x86_feature_detected!("fma")
                && is_x86_feature_detected!("f16c");
            there.then_some(Avx2(()))
        }

        pub(super) fn run<K: Kernel>(self, kernel: K) -> K::Output {
            #[target_feature(enable = "avx2,fma,f16c")]
            fn compiled<K: Kernel>(simd: Avx2, kernel: K) -> K::Output {
                kernel.run(simd)
            }
            // SAFETY: `detect` has found the instructions.
            unsafe { compiled(self, kernel) }
        }
    }

    impl Avx512 {
        pub(super) fn detect() -> Option<Avx512> {
            let there = is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512vnni")
                && Avx2::detect().is_some();
            there.then_some(Avx512(()))
        }

        pub(super) fn run<K: Kernel>(self, kernel: K) -> K::Output {
            #[target_feature(enable = "avx512f,avx512bw,avx512vnni,avx2,fma,f16c")]
            fn compiled<K: Kernel>(simd: Avx512, kernel: K) -> K::Output {
                kernel.run(simd)
            }
            // SAFETY: `detect` has found the instructions.
            unsafe { compiled(self, kernel) }
        }
    }

    // SAFETY, for all blocks below: the instructions exist, for a value of the type does; and where memory is read or
    // written, the assertion before it says that it belongs to the slice.
    impl Simd for Avx2 {
        const LANES: usize = 8;
        const REGISTERS: usize = 8;
        type F32s = __m256;

        #[inline(always)]
        fn splat(self, value: f32) -> __m256 {
            unsafe { _mm256_set1_ps(value) }
        }
        #[inline(always)]
        fn load(self, from: &[f32]) -> __m256 {
            assert!(from.len() >= 8);
            unsafe { _mm256_loadu_ps(from.as_ptr()) }
        }
        #[inline(always)]
        fn load_f16(self, from: &[f16]) -> __m256 {
            assert!(from.len() >= 8);
            unsafe { _mm256_cvtph_ps(_mm_loadu_si128(from.as_ptr().cast())) }
        }
        #[inline(always)]
        fn load_bf16(self, from: &[bf16]) -> __m256 {
            assert!(from.len() >= 8);
            unsafe {
                let halves = _mm256_cvtepu16_epi32(_mm_loadu_si128(from.as_ptr().cast()));
                _mm256_castsi256_ps(_mm256_slli_epi32::<16>(halves))
            }
        }
        #[inline(always)]
        fn store(self, values: __m256, to: &mut [f32]) {
            assert!(to.len() >= 8);
            unsafe { _mm256_storeu_ps(to.as_mut_ptr(), values) }
        }
        #[inline(always)]
        fn add(self, left: __m256, right: __m256) -> __m256 {
            unsafe { _mm256_add_ps(left, right) }
        }
        #[inline(always)]
        fn sub(self, left: __m256, right: __m256) -> __m256 {
            unsafe { _mm256_sub_ps(left, right) }
        }
        #[inline(always)]
        fn mul(self, left: __m256, right: __m256) -> __m256 {
            unsafe { _mm256_mul_ps(left, right) }
        }
        #[inline(always)]
        fn div(self, left: __m256, right: __m256) -> __m256 {
            unsafe { _mm256_div_ps(left, right) }
        }
        #[inline(always)]
        fn max(self, left: __m256, right: __m256) -> __m256 {
            unsafe { _mm256_max_ps(left, right) }
        }
        #[inline(always)]
        fn min(self, left: __m256, right: __m256) -> __m256 {
            unsafe { _mm256_min_ps(left, right) }
        }
        #[inline(always)]
        fn mul_add(self, left: __m256, right: __m256, plus: __m256) -> __m256 {
            unsafe { _mm256_fmadd_ps(left, right, plus) }
        }
        #[inline(always)]
        fn round(self, values: __m256) -> __m256 {
            unsafe { _mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(values) }
        }
        #[inline(always)]
        fn power_of_two(self, exponents: __m256) -> __m256 {
            unsafe {
                let biased = _mm256_add_epi32(_mm256_cvtps_epi32(exponents), _mm256_set1_epi32(127));
                _mm256_castsi256_ps(_mm256_slli_epi32::<23>(biased))
            }
        }
        #[inline(always)]
        fn zero_below(self, limit: f32, values: __m256, then: __m256) -> __m256 {
            unsafe { _mm256_and_ps(_mm256_cmp_ps::<_CMP_NLT_UQ>(values, _mm256_set1_ps(limit)), then) }
        }
        #[inline(always)]
        fn sum(self, values: __m256) -> f32 {
            unsafe {
                let four = _mm_add_ps(_mm256_castps256_ps128(values), _mm256_extractf128_ps::<1>(values));
                let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
                _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)))
            }
        }
        #[inline(always)]
        fn highest(self, values: __m256) -> f32 {
            unsafe {
                let four = _mm_max_ps(_mm256_castps256_ps128(values), _mm256_extractf128_ps::<1>(values));
                let two = _mm_max_ps(four, _mm_movehl_ps(four, four));
                _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)))
            }
        }

        type Quads = __m256i;

        #[inline(always)]
        fn splat_quad(self, quad: i32) -> __m256i {
            unsafe { _mm256_set1_epi32(quad) }
        }
        #[inline(always)]
        fn load_quads(self, from: &[u8]) -> __m256i {
            assert!(from.len() >= 32);
            unsafe { _mm256_loadu_si256(from.as_ptr().cast()) }
        }
        #[inline(always)]
        fn and(self, left: __m256i, right: __m256i) -> __m256i {
            unsafe { _mm256_and_si256(left, right) }
        }
        #[inline(always)]
        fn or(self, left: __m256i, right: __m256i) -> __m256i {
            unsafe { _mm256_or_si256(left, right) }
        }
        #[inline(always)]
        fn shift_left<const BITS: u32>(self, quads: __m256i) -> __m256i {
            unsafe { _mm256_sll_epi16(quads, _mm_cvtsi32_si128(BITS as i32)) }
        }
        #[inline(always)]
        fn shift_right<const BITS: u32>(self, quads: __m256i) -> __m256i {
            unsafe { _mm256_srl_epi16(quads, _mm_cvtsi32_si128(BITS as i32)) }
        }
        #[inline(always)]
        fn dot_small(self, sums: __m256i, weights: __m256i, by: __m256i) -> __m256i {
            unsafe {
                let pairs = _mm256_maddubs_epi16(weights, by); // 2 * 127 * 127 fits sixteen bits
                _mm256_add_epi32(sums, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)))
            }
        }
        #[inline(always)]
        fn dot(self, sums: __m256i, weights: __m256i, by: __m256i) -> __m256i {
            unsafe {
                let even = _mm256_madd_epi16(
                    _mm256_and_si256(weights, _mm256_set1_epi16(0xff)),
                    _mm256_srai_epi16::<8>(_mm256_slli_epi16::<8>(by)),
                );
                let odd = _mm256_madd_epi16(_mm256_srli_epi16::<8>(weights), _mm256_srai_epi16::<8>(by));
                _mm256_add_epi32(sums, _mm256_add_epi32(even, odd))
            }
        }
        #[inline(always)]
        fn to_f32(self, quads: __m256i) -> __m256 {
            unsafe { _mm256_cvtepi32_ps(quads) }
        }
        #[inline(always)]
        fn widen_u8(self, from: &[u8]) -> __m256 {
            assert!(from.len() >= 8);
            unsafe { _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64(from.as_ptr().cast()))) }
        }
        #[inline(always)]
        fn widen_i8(self, from: &[i8]) -> __m256 {
            assert!(from.len() >= 8);
            unsafe { _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(from.as_ptr().cast()))) }
        }
        #[inline(always)]
        fn store_i8(self, values: __m256, to: &mut [i8]) {
            assert!(to.len() >= 8);
            unsafe {
                let whole = _mm256_cvtps_epi32(values);
                let pairs =
                    _mm_packs_epi32(_mm256_castsi256_si128(whole), _mm256_extracti128_si256::<1>(whole));
                _mm_storel_epi64(to.as_mut_ptr().cast(), _mm_packs_epi16(pairs, pairs));
            }
        }
    }

    impl Simd for Avx512 {
        const LANES: usize = 16;
        const REGISTERS: usize = 16;
        type F32s = __m512;

        #[inline(always)]
        fn splat(self, value: f32) -> __m512 {
            unsafe { _mm512_set1_ps(value) }
        }
        #[inline(always)]
        fn load(self, from: &[f32]) -> __m512 {
            assert!(from.len() >= 16);
            unsafe { _mm512_loadu_ps(from.as_ptr()) }
        }
        #[inline(always)]
        fn load_f16(self, from: &[f16]) -> __m512 {
            assert!(from.len() >= 16);
            unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(from.as_ptr().cast())) }
        }
        #[inline(always)]
        fn load_bf16(self, from: &[bf16]) -> __m512 {
            assert!(from.len() >= 16);
            unsafe {
                let halves = _mm512_cvtepu16_epi32(_mm256_loadu_si256(from.as_ptr().cast()));
                _mm512_castsi512_ps(_mm512_slli_epi32::<16>(halves))
            }
        }
        #[inline(always)]
        fn store(self, values: __m512, to: &mut [f32]) {
            assert!(to.len() >= 16);
            unsafe { _mm512_storeu_ps(to.as_mut_ptr(), values) }
        }
        #[inline(always)]
        fn add(self, left: __m512, right: __m512) -> __m512 {
            unsafe { _mm512_add_ps(left, right) }
        }
        #[inline(always)]
        fn sub(self, left: __m512, right: __m512) -> __m512 {
            unsafe { _mm512_sub_ps(left, right) }
        }
        #[inline(always)]
        fn mul(self, left: __m512, right: __m512) -> __m512 {
            unsafe { _mm512_mul_ps(left, right) }
        }
        #[inline(always)]
        fn div(self, left: __m512, right: __m512) -> __m512 {
            unsafe { _mm512_div_ps(left, right) }
        }
        #[inline(always)]
        fn max(self, left: __m512, right: __m512) -> __m512 {
            unsafe { _mm512_max_ps(left, right) }
        }
        #[inline(always)]
        fn min(self, left: __m512, right: __m512) -> __m512 {
            unsafe { _mm512_min_ps(left, right) }
        }
        #[inline(always)]
        fn mul_add(self, left: __m512, right: __m512, plus: __m512) -> __m512 {
            unsafe { _mm512_fmadd_ps(left, right, plus) }
        }
        #[inline(always)]
        fn round(self, values: __m512) -> __m512 {
            unsafe { _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(values) }
        }
        #[inline(always)]
        fn power_of_two(self, exponents: __m512) -> __m512 {
            unsafe {
                let biased = _mm512_add_epi32(_mm512_cvtps_epi32(exponents), _mm512_set1_epi32(127));
                _mm512_castsi512_ps(_mm512_slli_epi32::<23>(biased))
            }
        }
        #[inline(always)]
        fn zero_below(self, limit: f32, values: __m512, then: __m512) -> __m512 {
            unsafe {
                let kept = _mm512_cmp_ps_mask::<_CMP_NLT_UQ>(values, _mm512_set1_ps(limit));
                _mm512_maskz_mov_ps(kept, then)
            }
        }
        #[inline(always)]
        fn sum(self, values: __m512) -> f32 {
            unsafe { _mm512_reduce_add_ps(values) }
        }
        #[inline(always)]
        fn highest(self, values: __m512) -> f32 {
            unsafe { _mm512_reduce_max_ps(values) }
        }

        type Quads = __m512i;

        #[inline(always)]
        fn splat_quad(self, quad: i32) -> __m512i {
            unsafe { _mm512_set1_epi32(quad) }
        }
        #[inline(always)]
        fn load_quads(self, from: &[u8]) -> __m512i {
            assert!(from.len() >= 64);
            unsafe { _mm512_loadu_si512(from.as_ptr().cast()) }
        }
        #[inline(always)]
        fn and(self, left: __m512i, right: __m512i) -> __m512i {
            unsafe { _mm512_and_si512(left, right) }
        }
        #[inline(always)]
        fn or(self, left: __m512i, right: __m512i) -> __m512i {
            unsafe { _mm512_or_si512(left, right) }
        }
        #[inline(always)]
        fn shift_left<const BITS: u32>(self, quads: __m512i) -> __m512i {
            unsafe { _mm512_slli_epi16::<BITS>(quads) }
        }
        #[inline(always)]
        fn shift_right<const BITS: u32>(self, quads: __m512i) -> __m512i {
            unsafe { _mm512_srli_epi16::<BITS>(quads) }
        }
        #[inline(always)]
        fn dot_small(self, sums: __m512i, weights: __m512i, by: __m512i) -> __m512i {
            self.dot(sums, weights, by)
        }
        #[inline(always)]
        fn dot(self, sums: __m512i, weights: __m512i, by: __m512i) -> __m512i {
            unsafe { _mm512_dpbusd_epi32(sums, weights, by) }
        }
        #[inline(always)]
        fn to_f32(self, quads: __m512i) -> __m512 {
            unsafe { _mm512_cvtepi32_ps(quads) }
        }
        #[inline(always)]
        fn widen_u8(self, from: &[u8]) -> __m512 {
            assert!(from.len() >= 16);
            unsafe { _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128(from.as_ptr().cast()))) }
        }
        #[inline(always)]
        fn widen_i8(self, from: &[i8]) -> __m512 {
            assert!(from.len() >= 16);
            unsafe { _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(from.as_ptr().cast()))) }
        }
        #[inline(always)]
        fn store_i8(self, values: __m512, to: &mut [i8]) {
            assert!(to.len() >= 16);
            unsafe {
                let bytes = _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(values));
                _mm_storeu_si128(to.as_mut_ptr().cast(), bytes);
            }
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
