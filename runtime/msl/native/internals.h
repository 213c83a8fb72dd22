// What Metal's own headers are made of, for libraries that call it too: functions with an argument more
// for how fast they may be, and those of simdgroups.
#pragma once

#define TLC_INTERNAL_1(name) \
  template <class T> inline T __metal_##name(T x, int) { return metal::name(x); }
#define TLC_INTERNAL_2(name) \
  template <class T, class U> inline T __metal_##name(T x, U y, int) { return metal::name(x, y); }
#define TLC_INTERNAL_3(name, same) \
  template <class T> inline T __metal_##name(T x, T y, T z, int) { return metal::same(x, y, z); }
#define TLC_INTERNAL_LANES(name) \
  template <class T, class... A> inline T __metal_##name(T x, A... a) { return metal::name(x, a...); }
TLC_INTERNAL_1(acos) TLC_INTERNAL_1(acosh) TLC_INTERNAL_1(asin) TLC_INTERNAL_1(asinh) TLC_INTERNAL_1(atan)
TLC_INTERNAL_1(atanh) TLC_INTERNAL_1(ceil) TLC_INTERNAL_1(cos) TLC_INTERNAL_1(cosh) TLC_INTERNAL_1(cospi)
TLC_INTERNAL_1(exp) TLC_INTERNAL_1(exp10) TLC_INTERNAL_1(exp2) TLC_INTERNAL_1(fabs) TLC_INTERNAL_1(floor)
TLC_INTERNAL_1(fract) TLC_INTERNAL_1(log) TLC_INTERNAL_1(log10) TLC_INTERNAL_1(log2) TLC_INTERNAL_1(rint)
TLC_INTERNAL_1(round) TLC_INTERNAL_1(rsqrt) TLC_INTERNAL_1(sin) TLC_INTERNAL_1(sinh) TLC_INTERNAL_1(sinpi)
TLC_INTERNAL_1(sqrt) TLC_INTERNAL_1(tan) TLC_INTERNAL_1(tanh) TLC_INTERNAL_1(tanpi) TLC_INTERNAL_1(trunc)
TLC_INTERNAL_2(atan2) TLC_INTERNAL_2(divide) TLC_INTERNAL_2(fmax) TLC_INTERNAL_2(fmin) TLC_INTERNAL_2(fmod)
TLC_INTERNAL_2(ldexp) TLC_INTERNAL_2(pow) TLC_INTERNAL_2(powr)
TLC_INTERNAL_3(fmax3, fmax3) TLC_INTERNAL_3(fmin3, fmin3) TLC_INTERNAL_3(fmedian3, median3)
template <class T> inline T __metal_fma(T x, T y, T z) { return metal::fma(x, y, z); }
template <class T> inline T __metal_nextafter(T x, T y) { return metal::nextafter(x, y); }
template <class T> inline T __metal_frexp(T x, int* e) { return metal::frexp(x, *e); }

TLC_INTERNAL_LANES(simd_broadcast) TLC_INTERNAL_LANES(simd_shuffle) TLC_INTERNAL_LANES(simd_shuffle_xor)
TLC_INTERNAL_LANES(simd_shuffle_up) TLC_INTERNAL_LANES(simd_shuffle_down)
TLC_INTERNAL_LANES(simd_shuffle_rotate_up) TLC_INTERNAL_LANES(simd_shuffle_rotate_down)
TLC_INTERNAL_LANES(simd_shuffle_and_fill_up) TLC_INTERNAL_LANES(simd_shuffle_and_fill_down)
TLC_INTERNAL_LANES(simd_sum) TLC_INTERNAL_LANES(simd_product) TLC_INTERNAL_LANES(simd_max)
TLC_INTERNAL_LANES(simd_min) TLC_INTERNAL_LANES(simd_prefix_inclusive_sum)
TLC_INTERNAL_LANES(simd_prefix_exclusive_sum) TLC_INTERNAL_LANES(simd_prefix_inclusive_product)
TLC_INTERNAL_LANES(simd_prefix_exclusive_product)
inline float __metal_simd_xor(float x) { return as_type<float>(metal::simd_xor(as_type<uint>(x))); }
inline ushort __metal_get_simdgroup_size(ushort) { return tlc::simd_width; }
inline ushort __metal_get_thread_index_in_simdgroup(ushort) { return (ushort)tlc_thread->lane; }
