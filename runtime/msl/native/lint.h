// What the lint takes for `#include <metal_stdlib>`: declarations only, read by clang as C++ for OpenCL
// 2021, which knows address spaces, has vectors built in and forbids most of what Metal forbids.
//
// Functions are sets of overloads, as Metal's specification lists them: `max(half, float)` and `sqrt(int)`
// are ambiguous here as they are there.
#pragma OPENCL EXTENSION cl_khr_fp16 : enable
#pragma OPENCL EXTENSION __cl_clang_function_pointers : enable  // arguments of templates may be functions
#define device __global
#define threadgroup __local
#define thread __private
#define constant __constant
typedef unsigned char uchar;
typedef unsigned short ushort;
typedef unsigned int uint;
typedef unsigned long ulong;
typedef unsigned long size_t;
typedef long ptrdiff_t;
typedef signed char int8_t;
typedef short int16_t;
typedef int int32_t;
typedef long int64_t;
typedef uchar uint8_t;
typedef ushort uint16_t;
typedef uint uint32_t;
typedef ulong uint64_t;
#if __METAL_VERSION__ >= 310
typedef __bf16 bfloat;
#endif
#define INFINITY (__builtin_inff())
#define NAN (__builtin_nanf(""))
#define HUGE_VALF (__builtin_inff())
#define FLT_MAX 3.402823466e+38f
#define FLT_MIN 1.175494351e-38f
#define FLT_EPSILON 1.19209290e-07f
#define HALF_MAX ((half)65504.0f)
#define HALF_MIN ((half)6.103515625e-05f)
#define MAXFLOAT FLT_MAX
#define MAXHALF HALF_MAX
#define INT_MAX 2147483647
#define INT_MIN (-2147483647 - 1)
#define UINT_MAX 4294967295u
#define CHAR_BIT 8
#define SHRT_MAX 32767
#define USHRT_MAX 65535
#define UCHAR_MAX 255
#define M_E_F 2.71828182845904523536f
#define M_LOG2E_F 1.44269504088896340736f
#define M_LN2_F 0.69314718055994530942f
#define M_LN10_F 2.30258509299404568402f
#define M_PI_F 3.14159265358979323846f
#define M_PI_2_F 1.57079632679489661923f
#define M_1_PI_F 0.31830988618379067154f
#define M_2_SQRTPI_F 1.12837916709551257390f
#define M_SQRT2_F 1.41421356237309504880f
#define M_SQRT1_2_F 0.70710678118654752440f
#define METAL_FUNC inline
#define is_function_constant_defined(name) true

namespace metal {
template <class T, int N> using vec = T __attribute__((ext_vector_type(N)));
}
#define LINT_VECTORS(T)        \
  typedef metal::vec<T, 2> T##2; \
  typedef metal::vec<T, 3> T##3; \
  typedef metal::vec<T, 4> T##4;
LINT_VECTORS(char) LINT_VECTORS(uchar) LINT_VECTORS(short) LINT_VECTORS(ushort) LINT_VECTORS(int)
LINT_VECTORS(uint) LINT_VECTORS(long) LINT_VECTORS(ulong) LINT_VECTORS(float) LINT_VECTORS(half)
#if __METAL_VERSION__ >= 310
LINT_VECTORS(bfloat)
#endif
typedef int2 bool2;  // OpenCL has no vectors of bool; comparisons give vectors of int
typedef int3 bool3;
typedef int4 bool4;
#define LINT_PACKED(T, N, ...)           \
  struct packed_##T##N {                 \
    T __VA_ARGS__;                       \
    packed_##T##N() = default;           \
    packed_##T##N(T##N);                 \
    operator T##N() const;               \
    operator T##N() const constant;      \
  };
#define LINT_PACKED_VECTORS(T) LINT_PACKED(T, 2, x, y) LINT_PACKED(T, 3, x, y, z) LINT_PACKED(T, 4, x, y, z, w)
LINT_PACKED_VECTORS(float) LINT_PACKED_VECTORS(half) LINT_PACKED_VECTORS(int) LINT_PACKED_VECTORS(uint)
LINT_PACKED_VECTORS(short) LINT_PACKED_VECTORS(ushort) LINT_PACKED_VECTORS(char) LINT_PACKED_VECTORS(uchar)

namespace metal {
template <class T, T v> struct integral_constant {
  static constexpr constant T value = v;
  typedef T value_type;
};
template <bool b> using bool_constant = integral_constant<bool, b>;
typedef bool_constant<true> true_type;
typedef bool_constant<false> false_type;
template <bool b, class T = void> struct enable_if {};
template <class T> struct enable_if<true, T> { typedef T type; };
template <bool b, class T = void> using enable_if_t = typename enable_if<b, T>::type;
template <bool b, class T, class F> struct conditional { typedef T type; };
template <class T, class F> struct conditional<false, T, F> { typedef F type; };
template <bool b, class T, class F> using conditional_t = typename conditional<b, T, F>::type;
template <class T> using remove_const_t = __remove_const(T);
template <class T> using remove_cv_t = __remove_cv(T);
template <class T> using remove_reference_t = __remove_reference_t(T);
template <class T> using make_unsigned_t = __make_unsigned(T);
template <class T> using make_signed_t = __make_signed(T);
template <class T, class U> struct is_same : bool_constant<__is_same(T, U)> {};
template <class T> struct is_integral : bool_constant<__is_integral(T)> {};
template <class T> struct is_floating_point : bool_constant<__is_floating_point(T)> {};
template <class T> struct is_arithmetic : bool_constant<__is_arithmetic(T)> {};
template <class T> struct is_signed : bool_constant<__is_signed(T)> {};
template <class T> struct is_unsigned : bool_constant<__is_unsigned(T)> {};
template <class T, class U> constexpr constant bool is_same_v = __is_same(T, U);
template <class T> constexpr constant bool is_integral_v = is_integral<T>::value;
template <class T> constexpr constant bool is_floating_point_v = is_floating_point<T>::value;
template <class T> constexpr constant bool is_arithmetic_v = is_arithmetic<T>::value;
template <class T> constexpr constant bool is_signed_v = is_signed<T>::value;
template <class T> constexpr constant bool is_unsigned_v = is_unsigned<T>::value;

// `float4(...)` arrives as `metal::lint_make<float4>(...)`: as many elements as the vector has, or one
template <class T> struct LintWidth { enum { n = 1 }; };
template <class T, int N> struct LintWidthOf { enum { n = N }; };
#define LINT_WIDTH(T)                                \
  template <> struct LintWidth<T##2> : LintWidthOf<T, 2> {}; \
  template <> struct LintWidth<T##3> : LintWidthOf<T, 3> {}; \
  template <> struct LintWidth<T##4> : LintWidthOf<T, 4> {};
LINT_WIDTH(char) LINT_WIDTH(uchar) LINT_WIDTH(short) LINT_WIDTH(ushort) LINT_WIDTH(int)
LINT_WIDTH(uint) LINT_WIDTH(long) LINT_WIDTH(ulong) LINT_WIDTH(float) LINT_WIDTH(half)
#if __METAL_VERSION__ >= 310
LINT_WIDTH(bfloat)
#endif
#define LINT_COUNT "a vector is made of as many elements as it has"
template <class V, class A> constexpr V lint_make(A a) {
  static_assert(LintWidth<A>::n == 1 || LintWidth<A>::n == LintWidth<V>::n, LINT_COUNT);
  return V();
}
template <class V, class A, class B> constexpr V lint_make(A a, B b) {
  static_assert(LintWidth<A>::n + LintWidth<B>::n == LintWidth<V>::n, LINT_COUNT);
  return V();
}
template <class V, class A, class B, class C> constexpr V lint_make(A a, B b, C c) {
  static_assert(LintWidth<A>::n + LintWidth<B>::n + LintWidth<C>::n == LintWidth<V>::n, LINT_COUNT);
  return V();
}
template <class V, class A, class B, class C, class D> constexpr V lint_make(A a, B b, C c, D d) {
  static_assert(LintWidth<A>::n + LintWidth<B>::n + LintWidth<C>::n + LintWidth<D>::n == LintWidth<V>::n,
                LINT_COUNT);
  return V();
}
// `T(...)`, where T is a name for some type: a vector, a number or a structure
template <class V, class... A> constexpr V lint_value(A... a) {
  if constexpr (LintWidth<V>::n > 1 && sizeof...(A) > 0) return lint_make<V>(a...);
  else return V(a...);
}

// `(T)x` arrives as `(metal::lint_cast<T>())->*x`
template <class V> struct LintCast {};
template <class V> constexpr LintCast<V> lint_cast() { return {}; }
template <class V, class A> constexpr V operator->*(LintCast<V>, A a) { return lint_value<V>(a); }
template <class V, class U> constexpr LintCast<V> operator->*(LintCast<V> v, LintCast<U>) { return v; }
template <class V> constexpr LintCast<V> operator-(LintCast<V> v) { return v; }

#define LINT_1_4(F, T) F(T) F(T##2) F(T##3) F(T##4)
#define LINT_FLOATS(F) LINT_1_4(F, float) LINT_1_4(F, half)
#define LINT_SMALL_INTEGERS(F)                                                          \
  LINT_1_4(F, char) LINT_1_4(F, uchar) LINT_1_4(F, short) LINT_1_4(F, ushort) LINT_1_4(F, int) LINT_1_4(F, uint)
#define LINT_INTEGERS(F) LINT_SMALL_INTEGERS(F) LINT_1_4(F, long) LINT_1_4(F, ulong)

#define LINT_MATH(T)                                                                    \
  T sin(T); T cos(T); T tan(T); T asin(T); T acos(T); T atan(T); T sinh(T); T cosh(T);  \
  T tanh(T); T asinh(T); T acosh(T); T atanh(T); T exp(T); T exp2(T); T exp10(T);       \
  T log(T); T log2(T); T log10(T); T sqrt(T); T rsqrt(T); T floor(T); T ceil(T);        \
  T trunc(T); T rint(T); T round(T); T fabs(T); T fract(T); T sinpi(T); T cospi(T);     \
  T atan2(T, T); T pow(T, T); T powr(T, T); T fmod(T, T); T copysign(T, T); T fmax(T, T); \
  T fmin(T, T); T fdim(T, T); T fma(T, T, T);
LINT_FLOATS(LINT_MATH)
namespace fast { LINT_FLOATS(LINT_MATH) }
namespace precise { LINT_FLOATS(LINT_MATH) }
#define LINT_COMMON(T) \
  T abs(T); T max(T, T); T min(T, T); T max3(T, T, T); T min3(T, T, T); T clamp(T, T, T);
LINT_FLOATS(LINT_COMMON) LINT_INTEGERS(LINT_COMMON)
#define LINT_FLOAT_COMMON(T) \
  T saturate(T); T mix(T, T, T); T sign(T); T step(T, T); T smoothstep(T, T, T); T ldexp(T, int);
LINT_FLOATS(LINT_FLOAT_COMMON)
#define LINT_INTEGER(T)                                                                 \
  T popcount(T); T clz(T); T ctz(T); T rotate(T, T); T addsat(T, T); T subsat(T, T); T mulhi(T, T); \
  T reverse_bits(T); T extract_bits(T, uint, uint); T absdiff(T, T);
LINT_INTEGERS(LINT_INTEGER)
#define LINT_CLASSES(T, B) B isnan(T); B isinf(T); B isfinite(T); B isnormal(T); B signbit(T);
LINT_CLASSES(float, bool) LINT_CLASSES(float2, bool2) LINT_CLASSES(float3, bool3) LINT_CLASSES(float4, bool4)
LINT_CLASSES(half, bool) LINT_CLASSES(half2, bool2) LINT_CLASSES(half3, bool3) LINT_CLASSES(half4, bool4)
#define LINT_SELECT(T)                                                                  \
  T select(T, T, bool); T##2 select(T##2, T##2, bool2); T##3 select(T##3, T##3, bool3); \
  T##4 select(T##4, T##4, bool4);
LINT_SELECT(float) LINT_SELECT(half) LINT_SELECT(int) LINT_SELECT(uint) LINT_SELECT(short) LINT_SELECT(ushort)
LINT_SELECT(char) LINT_SELECT(uchar)
bool any(bool2); bool any(bool3); bool any(bool4);
bool all(bool2); bool all(bool3); bool all(bool4);
#define LINT_GEOMETRY(T)                                                                \
  T dot(T##2, T##2); T dot(T##3, T##3); T dot(T##4, T##4); T length(T##2); T length(T##3); \
  T length(T##4); T##2 normalize(T##2); T##3 normalize(T##3); T##4 normalize(T##4); T##3 cross(T##3, T##3);
LINT_GEOMETRY(float) LINT_GEOMETRY(half)
template <class To, class From> To lint_as_type(From f) {
  static_assert(sizeof(To) == sizeof(From), "as_type between types of different sizes");
  return To();
}

template <class T, int C, int R> struct matrix {
  vec<T, R> columns[C];
  matrix() = default;
  explicit matrix(T);
  template <class... A> explicit matrix(A...);
  vec<T, R>& operator[](int);
  vec<T, R> operator[](int) const;
  vec<T, R> operator[](int) const constant;
};
template <class T, int C, int K, int R> matrix<T, C, R> operator*(matrix<T, K, R>, matrix<T, C, K>);
template <class T, int C, int R> vec<T, R> operator*(matrix<T, C, R>, vec<T, C>);
template <class T, int C, int R> vec<T, C> operator*(vec<T, R>, matrix<T, C, R>);
template <class T, int C, int R> matrix<T, C, R> operator*(matrix<T, C, R>, T);
template <class T, int C, int R> matrix<T, C, R> operator+(matrix<T, C, R>, matrix<T, C, R>);
template <class T, int C, int R> matrix<T, C, R> operator-(matrix<T, C, R>, matrix<T, C, R>);
template <class T, int C, int R> matrix<T, R, C> transpose(matrix<T, C, R>);
template <class T, int N> T determinant(matrix<T, N, N>);
// a kernel may only point to types that are complete
#define LINT_MATRIX(T, C, R) template struct matrix<T, C, R>; typedef matrix<T, C, R> T##C##x##R;
#define LINT_MATRICES(T)                                                              \
  LINT_MATRIX(T, 2, 2) LINT_MATRIX(T, 2, 3) LINT_MATRIX(T, 2, 4) LINT_MATRIX(T, 3, 2) \
  LINT_MATRIX(T, 3, 3) LINT_MATRIX(T, 3, 4) LINT_MATRIX(T, 4, 2) LINT_MATRIX(T, 4, 3) LINT_MATRIX(T, 4, 4)
LINT_MATRICES(float) LINT_MATRICES(half)

enum class mem_flags : uint { mem_none = 0, mem_device = 1, mem_threadgroup = 2, mem_texture = 4 };
mem_flags operator|(mem_flags, mem_flags);
enum memory_order {
  memory_order_relaxed,
#if __METAL_VERSION__ >= 320
  memory_order_acquire,
  memory_order_release,
  memory_order_acq_rel,
  memory_order_seq_cst,
#endif
};
void threadgroup_barrier(mem_flags);
void simdgroup_barrier(mem_flags);
#define LINT_LANES(T)                                                                   \
  T simd_sum(T); T simd_product(T); T simd_max(T); T simd_min(T);                       \
  T simd_prefix_inclusive_sum(T); T simd_prefix_exclusive_sum(T);                       \
  T simd_prefix_inclusive_product(T); T simd_prefix_exclusive_product(T);               \
  T simd_broadcast(T, ushort); T simd_broadcast_first(T); T simd_shuffle(T, ushort);    \
  T simd_shuffle_xor(T, ushort); T simd_shuffle_up(T, ushort); T simd_shuffle_down(T, ushort); \
  T simd_shuffle_rotate_up(T, ushort); T simd_shuffle_rotate_down(T, ushort);           \
  T quad_sum(T); T quad_max(T); T quad_min(T); T quad_broadcast(T, ushort); T quad_shuffle(T, ushort); \
  T quad_shuffle_xor(T, ushort); T quad_shuffle_up(T, ushort); T quad_shuffle_down(T, ushort);
LINT_FLOATS(LINT_LANES) LINT_SMALL_INTEGERS(LINT_LANES)
#if __METAL_VERSION__ >= 240
#define LINT_FILL(T) T simd_shuffle_and_fill_up(T, T, ushort); T simd_shuffle_and_fill_down(T, T, ushort);
LINT_FLOATS(LINT_FILL) LINT_SMALL_INTEGERS(LINT_FILL)
#endif
#define LINT_BITS(T) T simd_and(T); T simd_or(T); T simd_xor(T);
LINT_SMALL_INTEGERS(LINT_BITS)
bool simd_any(bool);
bool simd_all(bool);
bool simd_is_first();
struct simd_vote {
  typedef ulong vote_t;
  vote_t v;
  explicit simd_vote(vote_t = 0);
  explicit operator vote_t() const;
  bool any() const;
  bool all() const;
};
simd_vote simd_ballot(bool);
simd_vote simd_active_threads_mask();

#if __METAL_VERSION__ >= 230
template <class T, int C, int R> struct simdgroup_matrix {
  vec<T, 2> own;
  simdgroup_matrix();
  explicit simdgroup_matrix(T d);
  thread vec<T, 2>& thread_elements() thread;
};
typedef simdgroup_matrix<float, 8, 8> simdgroup_float8x8;
typedef simdgroup_matrix<half, 8, 8> simdgroup_half8x8;
template <class T, int C, int R = C> simdgroup_matrix<T, C, R> make_filled_simdgroup_matrix(T);
template <class T, int C, int R = C> simdgroup_matrix<T, C, R> make_diagonal_simdgroup_matrix(T);
#define LINT_LOADS(T, A)                                                                \
  void simdgroup_load(thread simdgroup_matrix<T, 8, 8>& m, const A T* from, ulong stride = 8, \
                      ulong2 origin = 0, bool transposed = false);                      \
  void simdgroup_store(simdgroup_matrix<T, 8, 8> m, A T* to, ulong stride = 8, ulong2 origin = 0, \
                       bool transposed = false);
LINT_LOADS(float, device) LINT_LOADS(float, threadgroup) LINT_LOADS(half, device) LINT_LOADS(half, threadgroup)
#if __METAL_VERSION__ >= 310
typedef simdgroup_matrix<bfloat, 8, 8> simdgroup_bfloat8x8;
LINT_LOADS(bfloat, device) LINT_LOADS(bfloat, threadgroup)
#endif
template <class T, class A, class B, class U> void simdgroup_multiply_accumulate(
    thread simdgroup_matrix<T, 8, 8>& d, simdgroup_matrix<A, 8, 8> a, simdgroup_matrix<B, 8, 8> b,
    simdgroup_matrix<U, 8, 8> c);
template <class T, class A, class B> void simdgroup_multiply(
    thread simdgroup_matrix<T, 8, 8>& d, simdgroup_matrix<A, 8, 8> a, simdgroup_matrix<B, 8, 8> b);
#endif

template <class T> struct atomic { T v; };
template struct atomic<int>;  // a kernel may only point to types that are complete
template struct atomic<uint>;
template struct atomic<bool>;
namespace metal = ::metal;  // for metal::atomic_int
#define atomic_int metal::atomic<int>  // OpenCL has a type of this name
#define atomic_uint metal::atomic<uint>
#define atomic_bool metal::atomic<bool>
#define LINT_ATOMIC(T, N, A)                                                            \
  T atomic_load_explicit(const volatile A N* p, memory_order);                          \
  void atomic_store_explicit(volatile A N* p, T, memory_order);                         \
  T atomic_exchange_explicit(volatile A N* p, T, memory_order);                         \
  bool atomic_compare_exchange_weak_explicit(volatile A N* p, thread T* e, T, memory_order, memory_order); \
  T atomic_fetch_add_explicit(volatile A N* p, T, memory_order);                        \
  T atomic_fetch_sub_explicit(volatile A N* p, T, memory_order);
#define LINT_ATOMIC_INTEGER(T, N, A)                                                    \
  LINT_ATOMIC(T, N, A)                                                                  \
  T atomic_fetch_max_explicit(volatile A N* p, T, memory_order);                        \
  T atomic_fetch_min_explicit(volatile A N* p, T, memory_order);                        \
  T atomic_fetch_and_explicit(volatile A N* p, T, memory_order);                        \
  T atomic_fetch_or_explicit(volatile A N* p, T, memory_order);                         \
  T atomic_fetch_xor_explicit(volatile A N* p, T, memory_order);
LINT_ATOMIC_INTEGER(int, atomic_int, device) LINT_ATOMIC_INTEGER(int, atomic_int, threadgroup)
LINT_ATOMIC_INTEGER(uint, atomic_uint, device) LINT_ATOMIC_INTEGER(uint, atomic_uint, threadgroup)
#if __METAL_VERSION__ >= 300
template struct atomic<float>;
#define atomic_float metal::atomic<float>
LINT_ATOMIC(float, atomic_float, device)
#endif
template <class T> struct numeric_limits {
  static constexpr T max() { return T(0); }
  static constexpr T min() { return T(0); }
  static constexpr T lowest() { return T(0); }
  static constexpr T infinity() { return T(0); }
  static constexpr T quiet_NaN() { return T(0); }
  static constexpr T epsilon() { return T(0); }
};
}  // namespace metal
#define as_type metal::lint_as_type
