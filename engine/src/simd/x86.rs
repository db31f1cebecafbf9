//! What x86-64 machines can do beyond the plain set: AVX2, and AVX-512 with its products of bytes.

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
            let pairs = _mm_packs_epi32(_mm256_castsi256_si128(whole), _mm256_extracti128_si256::<1>(whole));
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
