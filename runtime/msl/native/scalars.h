// Scalar types, constants, and the type traits of Metal.
#pragma once

typedef unsigned char uchar;
typedef unsigned short ushort;
typedef unsigned int uint;
typedef unsigned long ulong;
typedef signed char int8_t;
typedef short int16_t;
typedef int int32_t;
typedef long int64_t;
typedef unsigned char uint8_t;
typedef unsigned short uint16_t;
typedef unsigned int uint32_t;
typedef unsigned long uint64_t;
typedef unsigned long size_t;
typedef long ptrdiff_t;
typedef unsigned long uintptr_t;
typedef long intptr_t;
typedef _Float16 half;
typedef __bf16 bfloat;

#define INFINITY (__builtin_inff())
#define NAN (__builtin_nanf(""))
#define HUGE_VALF (__builtin_inff())
#define HUGE_VALH ((half)__builtin_inff())
#define FLT_MAX 3.402823466e+38f
#define FLT_MIN 1.175494351e-38f
#define FLT_EPSILON 1.19209290e-07f
#define FLT_DIG 6
#define FLT_MANT_DIG 24
#define FLT_MAX_EXP 128
#define FLT_MIN_EXP (-125)
#define HALF_MAX ((half)65504.0f)
#define HALF_MIN ((half)6.103515625e-05f)
#define HALF_EPSILON ((half)0.0009765625f)
#define MAXFLOAT FLT_MAX
#define MAXHALF HALF_MAX
#define CHAR_BIT 8
#define CHAR_MAX 127
#define CHAR_MIN (-128)
#define SCHAR_MAX 127
#define SCHAR_MIN (-128)
#define UCHAR_MAX 255
#define SHRT_MAX 32767
#define SHRT_MIN (-32768)
#define USHRT_MAX 65535
#define INT_MAX 2147483647
#define INT_MIN (-2147483647 - 1)
#define UINT_MAX 4294967295u
#define LONG_MAX 9223372036854775807L
#define LONG_MIN (-9223372036854775807L - 1L)
#define ULONG_MAX 18446744073709551615UL
#define INT32_MAX INT_MAX
#define UINT8_MAX 255
#define UINT16_MAX 65535
#define UINT32_MAX UINT_MAX
#define M_E_F 2.71828182845904523536f
#define M_LOG2E_F 1.44269504088896340736f
#define M_LOG10E_F 0.43429448190325182765f
#define M_LN2_F 0.69314718055994530942f
#define M_LN10_F 2.30258509299404568402f
#define M_PI_F 3.14159265358979323846f
#define M_PI_2_F 1.57079632679489661923f
#define M_PI_4_F 0.78539816339744830962f
#define M_1_PI_F 0.31830988618379067154f
#define M_2_PI_F 0.63661977236758134308f
#define M_2_SQRTPI_F 1.12837916709551257390f
#define M_SQRT2_F 1.41421356237309504880f
#define M_SQRT1_2_F 0.70710678118654752440f
#define M_PI_H ((half)M_PI_F)
#define M_E_H ((half)M_E_F)
#define METAL_FUNC inline __attribute__((always_inline))
#define METAL_INTERNAL METAL_FUNC
#define METAL_CONST
#define assert(condition) ((void)0)

namespace metal {
template <class T, T v> struct integral_constant {
  static constexpr T value = v;
  typedef T value_type;
  typedef integral_constant type;
  constexpr operator T() const { return v; }
  constexpr T operator()() const { return v; }
};
template <bool b> using bool_constant = integral_constant<bool, b>;
typedef bool_constant<true> true_type;
typedef bool_constant<false> false_type;

template <class A, class B> struct is_same : false_type {};
template <class A> struct is_same<A, A> : true_type {};
template <bool b, class T = void> struct enable_if {};
template <class T> struct enable_if<true, T> { typedef T type; };
template <bool b, class T, class F> struct conditional { typedef T type; };
template <class T, class F> struct conditional<false, T, F> { typedef F type; };
template <class T> struct remove_const { typedef __remove_const(T) type; };
template <class T> struct remove_volatile { typedef __remove_volatile(T) type; };
template <class T> struct remove_cv { typedef __remove_cv(T) type; };
template <class T> struct remove_reference { typedef __remove_reference_t(T) type; };
template <class T> struct remove_pointer { typedef __remove_pointer(T) type; };
template <class T> struct decay { typedef __decay(T) type; };
template <class T> struct make_unsigned { typedef __make_unsigned(T) type; };
template <class T> struct make_signed { typedef __make_signed(T) type; };
template <class T> struct add_const { typedef const T type; };
template <class T> struct type_identity { typedef T type; };
template <bool b, class T = void> using enable_if_t = typename enable_if<b, T>::type;
template <bool b, class T, class F> using conditional_t = typename conditional<b, T, F>::type;
template <class T> using remove_const_t = __remove_const(T);
template <class T> using remove_volatile_t = __remove_volatile(T);
template <class T> using remove_cv_t = __remove_cv(T);
template <class T> using remove_reference_t = __remove_reference_t(T);
template <class T> using remove_pointer_t = __remove_pointer(T);
template <class T> using remove_cvref_t = __remove_cvref(T);
template <class T> using remove_addrspace_t = __remove_cv(T);  // address spaces are gone here
template <class T> using decay_t = __decay(T);
template <class T> using make_unsigned_t = __make_unsigned(T);
template <class T> using make_signed_t = __make_signed(T);

template <class T> struct is_void : is_same<remove_cv_t<T>, void> {};
template <class T> struct is_integral : bool_constant<__is_integral(T)> {};
template <class T>
struct is_floating_point
    : bool_constant<__is_same(remove_cv_t<T>, float) || __is_same(remove_cv_t<T>, half) ||
                    __is_same(remove_cv_t<T>, bfloat)> {};
template <class T>
struct is_arithmetic : bool_constant<is_integral<T>::value || is_floating_point<T>::value> {};
template <class T> struct is_scalar : is_arithmetic<T> {};
template <class T> struct is_unsigned : bool_constant<__is_unsigned(T)> {};
template <class T>
struct is_signed : bool_constant<is_floating_point<T>::value || __is_signed(T)> {};
template <class T> struct is_const : bool_constant<__is_const(T)> {};
template <class T> struct is_pointer : bool_constant<__is_pointer(T)> {};
template <class T> struct is_reference : bool_constant<__is_reference(T)> {};
template <class T> struct is_class : bool_constant<__is_class(T)> {};
template <class T> struct is_enum : bool_constant<__is_enum(T)> {};
template <class A, class B> struct is_convertible : bool_constant<__is_convertible(A, B)> {};
template <class A, class B> struct is_base_of : bool_constant<__is_base_of(A, B)> {};
#define TLC_TRAIT(name) template <class T> inline constexpr bool name##_v = name<T>::value;
TLC_TRAIT(is_void) TLC_TRAIT(is_integral) TLC_TRAIT(is_floating_point) TLC_TRAIT(is_arithmetic)
TLC_TRAIT(is_scalar) TLC_TRAIT(is_unsigned) TLC_TRAIT(is_signed) TLC_TRAIT(is_const)
TLC_TRAIT(is_pointer) TLC_TRAIT(is_reference) TLC_TRAIT(is_class) TLC_TRAIT(is_enum)
#undef TLC_TRAIT
template <class A, class B> inline constexpr bool is_same_v = is_same<A, B>::value;
template <class A, class B> inline constexpr bool is_convertible_v = is_convertible<A, B>::value;
template <class A, class B> inline constexpr bool is_base_of_v = is_base_of<A, B>::value;

template <class... B> struct conjunction : bool_constant<(B::value && ...)> {};
template <class... B> struct disjunction : bool_constant<(B::value || ...)> {};
template <class B> struct negation : bool_constant<!B::value> {};
template <class... B> struct _conjunction : conjunction<B...> {};
template <class... B> struct _disjunction : disjunction<B...> {};
template <class T> T&& declval() noexcept;
template <class T> constexpr remove_reference_t<T>&& move(T&& t) {
  return static_cast<remove_reference_t<T>&&>(t);
}
template <class T> constexpr T&& forward(remove_reference_t<T>& t) { return static_cast<T&&>(t); }
template <class T, T... i> struct integer_sequence {};
template <size_t... i> using index_sequence = integer_sequence<size_t, i...>;
template <size_t n> using make_index_sequence = __make_integer_seq<integer_sequence, size_t, n>;

template <class T> struct numeric_limits;
template <> struct numeric_limits<float> {
  static constexpr bool is_signed = true, is_integer = false;
  static constexpr int digits = 24, max_exponent = 128, min_exponent = -125;
  static constexpr float max() { return FLT_MAX; }
  static constexpr float lowest() { return -FLT_MAX; }
  static constexpr float min() { return FLT_MIN; }
  static constexpr float infinity() { return __builtin_inff(); }
  static constexpr float quiet_NaN() { return __builtin_nanf(""); }
  static constexpr float epsilon() { return FLT_EPSILON; }
};
template <> struct numeric_limits<half> {
  static constexpr bool is_signed = true, is_integer = false;
  static constexpr int digits = 11, max_exponent = 16, min_exponent = -13;
  static constexpr half max() { return HALF_MAX; }
  static constexpr half lowest() { return -HALF_MAX; }
  static constexpr half min() { return HALF_MIN; }
  static constexpr half infinity() { return (half)__builtin_inff(); }
  static constexpr half quiet_NaN() { return (half)__builtin_nanf(""); }
  static constexpr half epsilon() { return HALF_EPSILON; }
};
template <> struct numeric_limits<bfloat> {
  static constexpr bool is_signed = true, is_integer = false;
  static constexpr int digits = 8, max_exponent = 128, min_exponent = -125;
  static constexpr bfloat bits(ushort b) { return __builtin_bit_cast(bfloat, b); }
  static constexpr bfloat max() { return bits(0x7f7f); }
  static constexpr bfloat lowest() { return bits(0xff7f); }
  static constexpr bfloat min() { return bits(0x0080); }
  static constexpr bfloat infinity() { return bits(0x7f80); }
  static constexpr bfloat quiet_NaN() { return bits(0x7fc0); }
  static constexpr bfloat epsilon() { return bits(0x3c00); }
};
#define TLC_LIMITS(T, low, high)                                      \
  template <> struct numeric_limits<T> {                              \
    static constexpr bool is_signed = T(-1) < T(0), is_integer = true; \
    static constexpr int digits = 8 * sizeof(T) - is_signed;          \
    static constexpr T max() { return high; }                         \
    static constexpr T min() { return low; }                          \
    static constexpr T lowest() { return low; }                       \
  };
TLC_LIMITS(bool, false, true)
TLC_LIMITS(char, -128, 127) TLC_LIMITS(int8_t, -128, 127) TLC_LIMITS(uchar, 0, 255)
TLC_LIMITS(short, -32768, 32767) TLC_LIMITS(ushort, 0, 65535)
TLC_LIMITS(int, INT_MIN, INT_MAX) TLC_LIMITS(uint, 0u, UINT_MAX)
TLC_LIMITS(long, LONG_MIN, LONG_MAX) TLC_LIMITS(ulong, 0ul, ULONG_MAX)
#undef TLC_LIMITS
}  // namespace metal

namespace tlc {
// C++ has no conversion between the two 16-bit floats; Metal has one.
template <class T, class U> constexpr T convert(const U& u) {
  typedef metal::remove_cv_t<U> from;
  constexpr bool through_float = (__is_same(T, bfloat) && __is_same(from, half)) ||
                                 (__is_same(T, half) && __is_same(from, bfloat));
  if constexpr (through_float) {
    return (T)(float)u;
  } else {
    return (T)u;
  }
}
template <class T, class U> constexpr T static_cast_(U&& u) {
  if constexpr (metal::is_arithmetic_v<metal::remove_cvref_t<T>> &&
                metal::is_arithmetic_v<metal::remove_cvref_t<U>> && !metal::is_reference_v<T>) {
    return convert<metal::remove_cv_t<T>>(u);
  } else {
    return static_cast<T>(static_cast<U&&>(u));
  }
}
// An index of an array A, or of what is no array; translate.py puts it into subscripts.
template <class A> struct Extent { static constexpr unsigned long value = ~0ul; };
template <class T, unsigned long n> struct Extent<T[n]> { static constexpr unsigned long value = n; };
template <class A, class I> constexpr I within(const I& i) {
#ifdef TLC_CHECKED
  if constexpr (__is_integral(I)) {
    if ((unsigned long)(long)i >= Extent<metal::remove_cvref_t<A>>::value) {
      tlc_complain("out-of-bounds", "an array index is out of bounds");
      return I(0);
    }
  }
#endif
  return i;
}
}  // namespace tlc
