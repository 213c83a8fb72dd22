// Functions on scalars and vectors. Scalars are overloads, not templates, so that `max(half, float)`
// is as ambiguous as in Metal; half is computed in float and rounded once.
#pragma once

extern "C" {
float sinf(float); float cosf(float); float tanf(float); float asinf(float); float acosf(float);
float atanf(float); float atan2f(float, float); float sinhf(float); float coshf(float);
float tanhf(float); float asinhf(float); float acoshf(float); float atanhf(float); float expf(float);
float exp2f(float); float exp10f(float); float logf(float); float log2f(float); float log10f(float);
float powf(float, float); float fmodf(float, float); float ldexpf(float, int);
float frexpf(float, int*); float modff(float, float*); float nextafterf(float, float);
float roundf(float); float remainderf(float, float); float erff(float); float lgammaf(float);
double sin(double); double cos(double);
}

namespace tlc {
template <class T> constexpr T widened(T x) { return x; }
constexpr float widened(bfloat x) { return (float)x; }
}
namespace metal {
#define TLC_1(name, expr) \
  inline float name(float x) { return expr; } \
  inline half name(half a) { const float x = (float)a; return (half)(expr); } \
  template <class T, int N> inline vec<T, N> name(vec<T, N> v) { \
    for (int i = 0; i < N; i++) v.e[i] = name(v.e[i]); \
    return v; \
  }
#define TLC_WITH_SCALAR(name) \
  template <class T, int N, class S, tlc::only_scalar<S> = 0> \
  inline vec<T, N> name(vec<T, N> v, S u) { return name(v, vec<T, N>(u)); } \
  template <class T, int N, class S, tlc::only_scalar<S> = 0> \
  inline vec<T, N> name(S v, vec<T, N> u) { return name(vec<T, N>(v), u); }
#define TLC_VECTOR_2(name) \
  template <class T, int N> inline vec<T, N> name(vec<T, N> v, vec<T, N> u) { \
    for (int i = 0; i < N; i++) v.e[i] = name(v.e[i], u.e[i]); \
    return v; \
  } \
  TLC_WITH_SCALAR(name)
#define TLC_VECTOR_3(name) \
  template <class T, int N> \
  inline vec<T, N> name(vec<T, N> v, vec<T, N> u, vec<T, N> w) { \
    for (int i = 0; i < N; i++) v.e[i] = name(v.e[i], u.e[i], w.e[i]); \
    return v; \
  }
#define TLC_2(name, expr) \
  inline float name(float x, float y) { return expr; } \
  inline half name(half a, half b) { \
    const float x = (float)a, y = (float)b; \
    return (half)(expr); \
  } \
  TLC_VECTOR_2(name)
#define TLC_3(name, expr) \
  inline float name(float x, float y, float z) { return expr; } \
  inline half name(half a, half b, half c) { \
    const float x = (float)a, y = (float)b, z = (float)c; \
    return (half)(expr); \
  } \
  TLC_VECTOR_3(name)
#define TLC_MATH \
  TLC_1(sin, ::sinf(x)) TLC_1(cos, ::cosf(x)) TLC_1(tan, ::tanf(x)) \
  TLC_1(asin, ::asinf(x)) TLC_1(acos, ::acosf(x)) TLC_1(atan, ::atanf(x)) \
  TLC_1(sinh, ::sinhf(x)) TLC_1(cosh, ::coshf(x)) TLC_1(tanh, ::tanhf(x)) \
  TLC_1(asinh, ::asinhf(x)) TLC_1(acosh, ::acoshf(x)) TLC_1(atanh, ::atanhf(x)) \
  TLC_1(exp, ::expf(x)) TLC_1(exp2, ::exp2f(x)) TLC_1(exp10, ::powf(10.0f, x)) \
  TLC_1(log, ::logf(x)) TLC_1(log2, ::log2f(x)) TLC_1(log10, ::log10f(x)) \
  TLC_1(sinpi, (float)::sin(3.14159265358979323846 * (double)x)) \
  TLC_1(cospi, (float)::cos(3.14159265358979323846 * (double)x)) \
  TLC_1(tanpi, (float)(::sin(3.14159265358979323846 * (double)x) / \
                       ::cos(3.14159265358979323846 * (double)x))) \
  TLC_1(sqrt, __builtin_sqrtf(x)) TLC_1(rsqrt, 1.0f / __builtin_sqrtf(x)) \
  TLC_1(floor, __builtin_floorf(x)) TLC_1(ceil, __builtin_ceilf(x)) \
  TLC_1(trunc, __builtin_truncf(x)) TLC_1(rint, __builtin_rintf(x)) \
  TLC_1(round, ::roundf(x)) TLC_1(fabs, __builtin_fabsf(x)) \
  TLC_1(fract, __builtin_fminf(x - __builtin_floorf(x), 0x1.fffffep-1f)) \
  TLC_2(atan2, ::atan2f(x, y)) TLC_2(pow, ::powf(x, y)) TLC_2(powr, ::powf(x, y)) \
  TLC_2(fmod, ::fmodf(x, y)) TLC_2(divide, x / y) TLC_2(nextafter, ::nextafterf(x, y)) \
  TLC_2(copysign, __builtin_copysignf(x, y)) TLC_2(fmax, __builtin_fmaxf(x, y)) \
  TLC_2(fmin, __builtin_fminf(x, y)) TLC_2(fdim, x > y ? x - y : 0.0f) \
  TLC_3(fma, __builtin_fmaf(x, y, z)) \
  TLC_3(fmax3, __builtin_fmaxf(x, __builtin_fmaxf(y, z))) \
  TLC_3(fmin3, __builtin_fminf(x, __builtin_fminf(y, z)))
TLC_MATH
namespace fast { TLC_MATH }
namespace precise { TLC_MATH }
inline float sincos(float x, float& c) { c = ::cosf(x); return ::sinf(x); }

#define TLC_COMMON(T) \
  inline T abs(T x) { return x < T(0) ? T(-x) : x; } \
  inline T max(T a, T b) { return a > b || b != b ? a : b; } \
  inline T min(T a, T b) { return a < b || b != b ? a : b; } \
  inline T max3(T a, T b, T c) { return max(a, max(b, c)); } \
  inline T min3(T a, T b, T c) { return min(a, min(b, c)); } \
  inline T median3(T a, T b, T c) { return max(min(a, b), min(max(a, b), c)); } \
  inline T clamp(T x, T low, T high) { return min(max(x, low), high); }
#define TLC_FLOATING(T) \
  TLC_COMMON(T) \
  inline T saturate(T x) { return clamp(x, T(0), T(1)); } \
  inline T mix(T a, T b, T t) { return T(a + (b - a) * t); } \
  inline T sign(T x) { return x > T(0) ? T(1) : x < T(0) ? T(-1) : T(0); } \
  inline T step(T edge, T x) { return x < edge ? T(0) : T(1); } \
  inline T smoothstep(T a, T b, T x) { \
    const T t = saturate(T((x - a) / (b - a))); \
    return T(t * t * (T(3) - T(2) * t)); \
  } \
  inline bool isnan(T x) { return x != x; } \
  inline bool isinf(T x) { return abs(x) == numeric_limits<T>::infinity(); } \
  inline bool isfinite(T x) { return abs(x) <= numeric_limits<T>::max(); } \
  inline bool isnormal(T x) { return isfinite(x) && abs(x) >= numeric_limits<T>::min(); } \
  inline bool signbit(T x) { return __builtin_signbit((float)x); } \
  inline int ilogb(T x) { int e; ::frexpf((float)x, &e); return e - 1; } \
  inline T ldexp(T x, int e) { return (T)::ldexpf((float)x, e); } \
  inline T frexp(T x, int& e) { return (T)::frexpf((float)x, &e); } \
  inline T modf(T x, T& whole) { \
    float w; \
    const float f = ::modff((float)x, &w); \
    whole = (T)w; \
    return (T)f; \
  }
TLC_FLOATING(float) TLC_FLOATING(half)
// a bfloat is a float to functions; templates, so that a library may have functions for it
#define TLC_BFLOAT(name) \
  template <class T, class... A, enable_if_t<is_same_v<T, bfloat>, int> = 0> inline auto name(T x, A... a) { \
    return name((float)x, tlc::widened(a)...); \
  }
#define TLC_BFLOATS \
  TLC_BFLOAT(sin) TLC_BFLOAT(cos) TLC_BFLOAT(tan) TLC_BFLOAT(asin) TLC_BFLOAT(acos) TLC_BFLOAT(atan) \
  TLC_BFLOAT(sinh) TLC_BFLOAT(cosh) TLC_BFLOAT(tanh) TLC_BFLOAT(asinh) TLC_BFLOAT(acosh) \
  TLC_BFLOAT(atanh) TLC_BFLOAT(exp) TLC_BFLOAT(exp2) TLC_BFLOAT(exp10) TLC_BFLOAT(log) \
  TLC_BFLOAT(log2) TLC_BFLOAT(log10) TLC_BFLOAT(sinpi) TLC_BFLOAT(cospi) TLC_BFLOAT(tanpi) \
  TLC_BFLOAT(sqrt) TLC_BFLOAT(rsqrt) TLC_BFLOAT(floor) TLC_BFLOAT(ceil) TLC_BFLOAT(trunc) \
  TLC_BFLOAT(rint) TLC_BFLOAT(round) TLC_BFLOAT(fabs) TLC_BFLOAT(fract) TLC_BFLOAT(atan2) \
  TLC_BFLOAT(pow) TLC_BFLOAT(powr) TLC_BFLOAT(fmod) TLC_BFLOAT(divide) TLC_BFLOAT(copysign) \
  TLC_BFLOAT(fmax) TLC_BFLOAT(fmin) TLC_BFLOAT(fdim) TLC_BFLOAT(fma) TLC_BFLOAT(abs) TLC_BFLOAT(max) \
  TLC_BFLOAT(min) TLC_BFLOAT(clamp)
TLC_BFLOATS
TLC_BFLOAT(max3) TLC_BFLOAT(min3) TLC_BFLOAT(median3) TLC_BFLOAT(saturate) TLC_BFLOAT(mix)
TLC_BFLOAT(sign) TLC_BFLOAT(step) TLC_BFLOAT(smoothstep) TLC_BFLOAT(isnan) TLC_BFLOAT(isinf)
TLC_BFLOAT(isfinite) TLC_BFLOAT(isnormal) TLC_BFLOAT(signbit) TLC_BFLOAT(ilogb) TLC_BFLOAT(ldexp)
namespace fast {
TLC_COMMON(float) TLC_COMMON(half)
inline float saturate(float x) { return clamp(x, 0.0f, 1.0f); }
TLC_BFLOATS
}
namespace precise {
TLC_COMMON(float) TLC_COMMON(half)
inline float saturate(float x) { return clamp(x, 0.0f, 1.0f); }
TLC_BFLOATS
}

#define TLC_INTEGER(T) \
  TLC_COMMON(T) \
  inline T popcount(T x) { return (T)__builtin_popcountg((make_unsigned_t<T>)x); } \
  inline T clz(T x) { return (T)__builtin_clzg((make_unsigned_t<T>)x, (int)(8 * sizeof(T))); } \
  inline T ctz(T x) { return (T)__builtin_ctzg((make_unsigned_t<T>)x, (int)(8 * sizeof(T))); } \
  inline T rotate(T x, T n) { \
    typedef make_unsigned_t<T> U; \
    const uint bits = 8 * sizeof(T), k = (uint)(U)n % bits; \
    return k ? (T)(((U)x << k) | ((U)x >> (bits - k))) : x; \
  } \
  inline T reverse_bits(T x) { \
    make_unsigned_t<T> r = 0; \
    for (uint i = 0; i < 8 * sizeof(T); i++) r |= ((make_unsigned_t<T>)x >> i & 1) << (8 * sizeof(T) - 1 - i); \
    return (T)r; \
  } \
  inline T extract_bits(T x, uint at, uint bits) { \
    const uint all = 8 * sizeof(T); \
    return bits == 0 ? T(0) : (T)((T)((make_unsigned_t<T>)x << (all - at - bits)) >> (all - bits)); \
  } \
  inline T insert_bits(T base, T x, uint at, uint bits) { \
    typedef make_unsigned_t<T> U; \
    const U mask = bits == 8 * sizeof(T) ? (U)~U(0) : (U)(((U(1) << bits) - 1) << at); \
    return (T)(((U)base & ~mask) | (((U)x << at) & mask)); \
  } \
  inline make_unsigned_t<T> absdiff(T a, T b) { \
    typedef make_unsigned_t<T> U; \
    return a > b ? (U)a - (U)b : (U)b - (U)a; \
  } \
  inline T addsat(T a, T b) { \
    T r; \
    if (!__builtin_add_overflow(a, b, &r)) return r; \
    return a < T(0) ? numeric_limits<T>::min() : numeric_limits<T>::max(); \
  } \
  inline T subsat(T a, T b) { \
    T r; \
    if (!__builtin_sub_overflow(a, b, &r)) return r; \
    return is_unsigned_v<T> || a < T(0) ? numeric_limits<T>::min() : numeric_limits<T>::max(); \
  }
TLC_INTEGER(char) TLC_INTEGER(int8_t) TLC_INTEGER(uchar) TLC_INTEGER(short) TLC_INTEGER(ushort)
TLC_INTEGER(int) TLC_INTEGER(uint) TLC_INTEGER(long) TLC_INTEGER(ulong)
inline int mulhi(int a, int b) { return (int)((long)a * b >> 32); }
inline uint mulhi(uint a, uint b) { return (uint)((ulong)a * b >> 32); }
inline short mulhi(short a, short b) { return (short)((int)a * b >> 16); }
inline ushort mulhi(ushort a, ushort b) { return (ushort)((uint)a * b >> 16); }
inline long mulhi(long a, long b) { return (long)((__int128)a * b >> 64); }
inline ulong mulhi(ulong a, ulong b) { return (ulong)((unsigned __int128)a * b >> 64); }
inline int mul24(int a, int b) { return a * b; }
inline uint mul24(uint a, uint b) { return a * b; }
inline int mad24(int a, int b, int c) { return a * b + c; }
inline uint mad24(uint a, uint b, uint c) { return a * b + c; }
inline int madhi(int a, int b, int c) { return mulhi(a, b) + c; }
inline uint madhi(uint a, uint b, uint c) { return mulhi(a, b) + c; }

#define TLC_VECTOR_1(R, name) \
  template <class T, int N> inline vec<R, N> name(vec<T, N> v) { \
    vec<R, N> r{}; \
    for (int i = 0; i < N; i++) r.e[i] = name(v.e[i]); \
    return r; \
  }
TLC_VECTOR_1(T, abs) TLC_VECTOR_1(T, sign) TLC_VECTOR_1(T, saturate) TLC_VECTOR_1(T, popcount)
TLC_VECTOR_1(T, clz) TLC_VECTOR_1(T, ctz) TLC_VECTOR_1(T, reverse_bits)
TLC_VECTOR_1(bool, isnan) TLC_VECTOR_1(bool, isinf) TLC_VECTOR_1(bool, isfinite)
TLC_VECTOR_1(bool, isnormal) TLC_VECTOR_1(bool, signbit)
TLC_VECTOR_2(max) TLC_VECTOR_2(min) TLC_VECTOR_2(rotate) TLC_VECTOR_2(addsat) TLC_VECTOR_2(subsat)
TLC_VECTOR_2(mulhi) TLC_VECTOR_2(step)
TLC_VECTOR_3(max3) TLC_VECTOR_3(min3) TLC_VECTOR_3(clamp) TLC_VECTOR_3(mix) TLC_VECTOR_3(smoothstep)
template <class T, int N, class A, class B, tlc::only_scalar<A> = 0, tlc::only_scalar<B> = 0>
inline vec<T, N> clamp(vec<T, N> v, A low, B high) { return clamp(v, vec<T, N>(low), vec<T, N>(high)); }
template <class T, int N, class S, tlc::only_scalar<S> = 0>
inline vec<T, N> mix(vec<T, N> a, vec<T, N> b, S t) { return mix(a, b, vec<T, N>(t)); }

template <class T> inline enable_if_t<is_arithmetic_v<T>, T> select(T a, T b, bool c) { return c ? b : a; }
template <class T, int N> inline vec<T, N> select(vec<T, N> a, vec<T, N> b, vec<bool, N> c) {
  for (int i = 0; i < N; i++) a.e[i] = c.e[i] ? b.e[i] : a.e[i];
  return a;
}
template <class T, int N> inline vec<T, N> select(vec<T, N> a, vec<T, N> b, bool c) { return c ? b : a; }
inline bool any(bool a) { return a; }
inline bool all(bool a) { return a; }
template <int N> inline bool any(vec<bool, N> a) {
  bool r = false;
  for (int i = 0; i < N; i++) r |= a.e[i];
  return r;
}
template <int N> inline bool all(vec<bool, N> a) {
  bool r = true;
  for (int i = 0; i < N; i++) r &= a.e[i];
  return r;
}
template <class T, int N> inline T dot(vec<T, N> a, vec<T, N> b) {
  T s = a.e[0] * b.e[0];
  for (int i = 1; i < N; i++) s += a.e[i] * b.e[i];
  return s;
}
template <class T, int N> inline T length_squared(vec<T, N> a) { return dot(a, a); }
template <class T, int N> inline T length(vec<T, N> a) { return sqrt(dot(a, a)); }
template <class T, int N> inline T distance(vec<T, N> a, vec<T, N> b) { return length(a - b); }
template <class T, int N> inline vec<T, N> normalize(vec<T, N> a) { return a * rsqrt(dot(a, a)); }
template <class T> inline vec<T, 3> cross(vec<T, 3> a, vec<T, 3> b) {
  return vec<T, 3>(a.e[1] * b.e[2] - a.e[2] * b.e[1], a.e[2] * b.e[0] - a.e[0] * b.e[2],
                   a.e[0] * b.e[1] - a.e[1] * b.e[0]);
}

// packing: channels of 8 or 16 bits to numbers between 0 (or -1) and 1
inline vec<float, 4> unpack_unorm4x8_to_float(uint v) {
  return vec<float, 4>(v & 255u, v >> 8 & 255u, v >> 16 & 255u, v >> 24) / 255.0f;
}
inline vec<half, 4> unpack_unorm4x8_to_half(uint v) { return vec<half, 4>(unpack_unorm4x8_to_float(v)); }
inline vec<float, 4> unpack_snorm4x8_to_float(uint v) {
  const vec<float, 4> whole((char)v, (char)(v >> 8), (char)(v >> 16), (char)(v >> 24));
  return max(whole / 127.0f, -1.0f);
}
inline vec<float, 2> unpack_unorm2x16_to_float(uint v) {
  return vec<float, 2>(v & 65535u, v >> 16) / 65535.0f;
}
inline uint pack_float_to_unorm4x8(vec<float, 4> v) {
  const vec<float, 4> n = rint(saturate(v) * 255.0f);
  return (uint)n.e[0] | (uint)n.e[1] << 8 | (uint)n.e[2] << 16 | (uint)n.e[3] << 24;
}
inline uint pack_float_to_unorm2x16(vec<float, 2> v) {
  const vec<float, 2> n = rint(saturate(v) * 65535.0f);
  return (uint)n.e[0] | (uint)n.e[1] << 16;
}
}  // namespace metal
