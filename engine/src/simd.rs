//! Which vector instructions does this machine have, and how are they called?
//!
//! The only module with unsafe code. A [`Kernel`] is written once, over [`Simd`]; [`run`] compiles it for every instruction set
//! and picks one at run time. A value of an instruction set's type exists only where its instructions do, so that kernels
//! need no unsafe code of their own. Other architectures get the plain version, whose arrays of eight the compiler turns
//! into their own vectors.

use half::f16;
use half::slice::HalfFloatSliceExt;

/// A loop over long rows, to be compiled for every instruction set. `run` must be `#[inline(always)]`, as all it calls with
/// `simd`, or it is compiled for the plain set.
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
}

#[cfg(target_arch = "x86_64")]
#[expect(unsafe_code, reason = "intrinsics; every type here proves that its instructions exist")]
mod x86 {
    use std::arch::x86_64::*;

    use half::f16;

    use super::{Kernel, Simd};

    /// Eight lanes, fused multiplication and half precision: every x86 since 2013.
    #[derive(Clone, Copy)]
    pub(super) struct Avx2(());

    /// Sixteen lanes.
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
            (is_x86_feature_detected!("avx512f") && Avx2::detect().is_some()).then_some(Avx512(()))
        }

        pub(super) fn run<K: Kernel>(self, kernel: K) -> K::Output {
            #[target_feature(enable = "avx512f,avx2,fma,f16c")]
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
            let values = simd.load(&numbers);
            let quarters = simd.mul(values, simd.splat(0.25));
            let results = [
                simd.load_f16(&halves),
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
        let expected = [&numbers[..], &rounded, &powers, &kept, &[0.0, 0.0]].concat();
        for found in run_on_all(Corners) {
            assert_eq!(found, expected);
        }
    }
}
