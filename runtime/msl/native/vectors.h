// Vectors, packed vectors and matrices, as classes: a vector type of clang has no constructors.
//
// Swizzles are properties. TLC_SWIZZLES holds those that the kernel text uses (see swizzles.py).
#pragma once

namespace metal {
template <class T, int N> struct vec;
template <class T, int N> struct packed_vec;
}  // namespace metal

namespace tlc {
using metal::packed_vec;
using metal::vec;

template <class T> struct width { static constexpr int value = 1; };
template <class T, int N> struct width<vec<T, N>> { static constexpr int value = N; };
template <class T, int N> struct width<packed_vec<T, N>> { static constexpr int value = N; };
template <class T> struct is_vector : metal::bool_constant<(width<T>::value > 1)> {};

// Writes a scalar or the elements of a vector behind what is there.
template <class T, class A> constexpr void append(T* to, int& at, const A& a) {
  if constexpr (width<A>::value == 1) {
    to[at++] = convert<T>(a);
  } else {
    for (int i = 0; i < width<A>::value; i++) to[at++] = convert<T>(a.e[i]);
  }
}
template <class A> using only_scalar = metal::enable_if_t<metal::is_arithmetic_v<A>, int>;
template <class T, class A>
using other_scalar = metal::enable_if_t<metal::is_arithmetic_v<A> && !__is_same(T, A), int>;

constexpr void check_element(int i, int count) {
#ifdef TLC_CHECKED
  if (!__builtin_is_constant_evaluated() && (unsigned)i >= (unsigned)count)
    tlc_complain("out-of-bounds", "there is no such element of a vector");
#endif
}
constexpr void check_alignment(const void* place, unsigned long align) {
#ifdef TLC_CHECKED
  if (!__builtin_is_constant_evaluated() && ((address)place & (align - 1)))
    tlc_check_alignment(place, align);
#endif
}
}  // namespace tlc

// In checked mode copies are written out: a copy that the compiler makes checks no alignment. Types in
// a union must be copied by the compiler.
#if defined(TLC_CHECKED) && !defined(TLC_HAS_UNIONS)
#define TLC_COPIES(V)                                        \
  constexpr V(const V& o) : e{} {                            \
    tlc::check_alignment(&o, alignof(V));                    \
    for (int i = 0; i < count; i++) e[i] = o.e[i];           \
  }                                                          \
  constexpr V& operator=(const V& o) {                       \
    tlc::check_alignment(&o, alignof(V));                    \
    tlc::check_alignment(this, alignof(V));                  \
    for (int i = 0; i < count; i++) e[i] = o.e[i];           \
    return *this;                                            \
  }
#else
#define TLC_COPIES(V)
#endif
#define TLC_ELEMENT(name, i)                                       \
  constexpr T get_##name() const { return e[i]; }                  \
  constexpr void put_##name(T t) { e[i] = t; }                     \
  __declspec(property(get = get_##name, put = put_##name)) T name;
#define TLC_ELEMENTS TLC_ELEMENT(x, 0) TLC_ELEMENT(y, 1) TLC_ELEMENT(z, 2) TLC_ELEMENT(w, 3)
#ifndef TLC_SWIZZLES
#define TLC_SWIZZLES
#endif

namespace metal {
template <class T, int N> struct alignas((N == 3 ? 4 : N) * sizeof(T)) vec {
  static_assert(N >= 2 && N <= 4, "a vector has 2, 3 or 4 elements");
  static constexpr int count = N;
  typedef T value_type;
  T e[N];
  vec() = default;
  TLC_COPIES(vec)
  constexpr vec(T a) : e{} { for (int i = 0; i < N; i++) e[i] = a; }
  template <class S, tlc::other_scalar<T, S> = 0> constexpr vec(S a) : vec(tlc::convert<T>(a)) {}
  template <class U, class = enable_if_t<!__is_same(U, T)>>
  explicit constexpr vec(const vec<U, N>& o) : e{} { int at = 0; tlc::append(e, at, o); }
  template <class U, class = enable_if_t<!__is_same(U, T)>>
  explicit constexpr vec(const packed_vec<U, N>& o) : e{} { int at = 0; tlc::append(e, at, o); }
  template <class A, class B, class... C> constexpr vec(A a, B b, C... c) : e{} {
    constexpr int given = tlc::width<A>::value + tlc::width<B>::value + (0 + ... + tlc::width<C>::value);
    static_assert(given <= N, "too many elements for this vector");  // {a, b, c} leaves the rest 0
    int at = 0;
    tlc::append(e, at, a), tlc::append(e, at, b), (tlc::append(e, at, c), ...);
  }
  constexpr T& operator[](int i) { tlc::check_element(i, N); return e[i]; }
  constexpr const T& operator[](int i) const { tlc::check_element(i, N); return e[i]; }
  TLC_ELEMENTS
  TLC_SWIZZLES
};

template <class T, int N> struct packed_vec {
  static constexpr int count = N;
  T e[N];
  packed_vec() = default;
  constexpr packed_vec(T a) : e{} { for (int i = 0; i < N; i++) e[i] = a; }
  template <class S, tlc::other_scalar<T, S> = 0>
  constexpr packed_vec(S a) : packed_vec(tlc::convert<T>(a)) {}
  constexpr packed_vec(const vec<T, N>& o) : e{} { int at = 0; tlc::append(e, at, o); }
  template <class U, class = enable_if_t<!__is_same(U, T)>>
  explicit constexpr packed_vec(const vec<U, N>& o) : e{} { int at = 0; tlc::append(e, at, o); }
  template <class A, class B, class... C> constexpr packed_vec(A a, B b, C... c) : e{} {
    int at = 0;
    tlc::append(e, at, a), tlc::append(e, at, b), (tlc::append(e, at, c), ...);
  }
  constexpr operator vec<T, N>() const {
    vec<T, N> r{};
    for (int i = 0; i < N; i++) r.e[i] = e[i];
    return r;
  }
  constexpr T& operator[](int i) { tlc::check_element(i, N); return e[i]; }
  constexpr const T& operator[](int i) const { tlc::check_element(i, N); return e[i]; }
  TLC_ELEMENTS
  TLC_SWIZZLES
};

#define TLC_BINARY(R, op, apply)                                                              \
  template <class T, int N> constexpr vec<R, N> operator op(vec<T, N> a, vec<T, N> b) {       \
    vec<R, N> r{};                                                                            \
    for (int i = 0; i < N; i++) r.e[i] = (R)(a.e[i] op b.e[i]);                               \
    return r;                                                                                 \
  }                                                                                           \
  template <class T, int N, class S, tlc::only_scalar<S> = 0>                                 \
  constexpr vec<R, N> operator op(vec<T, N> a, S b) { return a op vec<T, N>(b); }             \
  template <class T, int N, class S, tlc::only_scalar<S> = 0>                                 \
  constexpr vec<R, N> operator op(S a, vec<T, N> b) { return vec<T, N>(a) op b; }             \
  template <class T, int N> constexpr vec<R, N> operator op(packed_vec<T, N> a, packed_vec<T, N> b) { \
    return vec<T, N>(a) op vec<T, N>(b);                                                      \
  }                                                                                           \
  template <class T, int N> constexpr vec<R, N> operator op(packed_vec<T, N> a, vec<T, N> b) { \
    return vec<T, N>(a) op b;                                                                 \
  }                                                                                           \
  template <class T, int N> constexpr vec<R, N> operator op(vec<T, N> a, packed_vec<T, N> b) { \
    return a op vec<T, N>(b);                                                                 \
  }                                                                                           \
  template <class T, int N, class S, tlc::only_scalar<S> = 0>                                 \
  constexpr vec<R, N> operator op(packed_vec<T, N> a, S b) { return vec<T, N>(a) op b; }      \
  template <class T, int N, class S, tlc::only_scalar<S> = 0>                                 \
  constexpr vec<R, N> operator op(S a, packed_vec<T, N> b) { return a op vec<T, N>(b); }
#define TLC_ARITHMETIC(op)                                                                    \
  TLC_BINARY(T, op, )                                                                         \
  template <class T, int N, class S> constexpr vec<T, N>& operator op##=(vec<T, N>& a, const S& b) { \
    return a = a op b;                                                                        \
  }                                                                                           \
  template <class T, int N, class S>                                                          \
  constexpr packed_vec<T, N>& operator op##=(packed_vec<T, N>& a, const S& b) {               \
    return a = packed_vec<T, N>(a op b);                                                      \
  }
TLC_ARITHMETIC(+) TLC_ARITHMETIC(-) TLC_ARITHMETIC(*) TLC_ARITHMETIC(/) TLC_ARITHMETIC(%)
TLC_ARITHMETIC(&) TLC_ARITHMETIC(|) TLC_ARITHMETIC(^) TLC_ARITHMETIC(<<) TLC_ARITHMETIC(>>)
TLC_BINARY(bool, <, ) TLC_BINARY(bool, >, ) TLC_BINARY(bool, <=, ) TLC_BINARY(bool, >=, )
TLC_BINARY(bool, ==, ) TLC_BINARY(bool, !=, ) TLC_BINARY(bool, &&, ) TLC_BINARY(bool, ||, )
#undef TLC_ARITHMETIC
#undef TLC_BINARY
#define TLC_UNARY(R, op)                                              \
  template <class T, int N> constexpr vec<R, N> operator op(vec<T, N> a) { \
    vec<R, N> r{};                                                    \
    for (int i = 0; i < N; i++) r.e[i] = (R)(op a.e[i]);              \
    return r;                                                         \
  }
TLC_UNARY(T, +) TLC_UNARY(T, -) TLC_UNARY(T, ~) TLC_UNARY(bool, !)
#undef TLC_UNARY
template <class T, int N> constexpr vec<T, N>& operator++(vec<T, N>& a) { return a += T(1); }
template <class T, int N> constexpr vec<T, N>& operator--(vec<T, N>& a) { return a -= T(1); }

// C columns of R elements.
template <class T, int C, int R> struct matrix {
  vec<T, R> columns[C];
  matrix() = default;
  explicit constexpr matrix(T d) : columns{} {
    for (int c = 0; c < C; c++)
      for (int r = 0; r < R; r++) columns[c].e[r] = c == r ? d : T(0);
  }
  template <class U, class = enable_if_t<!__is_same(U, T)>>
  explicit constexpr matrix(const matrix<U, C, R>& o) : columns{} {
    for (int c = 0; c < C; c++) columns[c] = vec<T, R>(o.columns[c]);
  }
  template <class A, class B, class... D> constexpr matrix(A a, B b, D... d) : columns{} {
    if constexpr (sizeof...(D) + 2 == C) {
      int at = 0;
      columns[at++] = vec<T, R>(a), columns[at++] = vec<T, R>(b);
      ((columns[at++] = vec<T, R>(d)), ...);
    } else {
      static_assert(sizeof...(D) + 2 == C * R, "wrong number of elements for this matrix");
      const T all[] = {T(a), T(b), T(d)...};
      for (int i = 0; i < C * R; i++) columns[i / R].e[i % R] = all[i];
    }
  }
  constexpr vec<T, R>& operator[](int c) { tlc::check_element(c, C); return columns[c]; }
  constexpr const vec<T, R>& operator[](int c) const { tlc::check_element(c, C); return columns[c]; }
};
#define TLC_MATRIX(op)                                                                        \
  template <class T, int C, int R>                                                            \
  constexpr matrix<T, C, R> operator op(matrix<T, C, R> a, const matrix<T, C, R>& b) {        \
    for (int c = 0; c < C; c++) a.columns[c] op##= b.columns[c];                              \
    return a;                                                                                 \
  }                                                                                           \
  template <class T, int C, int R>                                                            \
  constexpr matrix<T, C, R>& operator op##=(matrix<T, C, R>& a, const matrix<T, C, R>& b) {   \
    return a = a op b;                                                                        \
  }
TLC_MATRIX(+) TLC_MATRIX(-)
#undef TLC_MATRIX
template <class T, int C, int R, class S, tlc::only_scalar<S> = 0>
constexpr matrix<T, C, R> operator*(matrix<T, C, R> a, S s) {
  for (int c = 0; c < C; c++) a.columns[c] *= s;
  return a;
}
template <class T, int C, int R, class S, tlc::only_scalar<S> = 0>
constexpr matrix<T, C, R> operator*(S s, const matrix<T, C, R>& a) { return a * s; }
template <class T, int C, int R>
constexpr vec<T, R> operator*(const matrix<T, C, R>& a, const vec<T, C>& v) {
  vec<T, R> r(T(0));
  for (int c = 0; c < C; c++) r += a.columns[c] * v.e[c];
  return r;
}
template <class T, int C, int R>
constexpr vec<T, C> operator*(const vec<T, R>& v, const matrix<T, C, R>& a) {
  vec<T, C> r(T(0));
  for (int c = 0; c < C; c++)
    for (int i = 0; i < R; i++) r.e[c] += v.e[i] * a.columns[c].e[i];
  return r;
}
template <class T, int C, int R, int K>
constexpr matrix<T, K, R> operator*(const matrix<T, C, R>& a, const matrix<T, K, C>& b) {
  matrix<T, K, R> r{};
  for (int k = 0; k < K; k++) r.columns[k] = a * b.columns[k];
  return r;
}
template <class T, int C, int R> constexpr matrix<T, R, C> transpose(const matrix<T, C, R>& a) {
  matrix<T, R, C> r{};
  for (int c = 0; c < C; c++)
    for (int i = 0; i < R; i++) r.columns[i].e[c] = a.columns[c].e[i];
  return r;
}

template <class T, size_t N> struct array {
  T __elems[N];
  constexpr T& operator[](size_t i) { return __elems[i]; }
  constexpr const T& operator[](size_t i) const { return __elems[i]; }
  constexpr size_t size() const { return N; }
  constexpr T* data() { return __elems; }
  constexpr const T* data() const { return __elems; }
  constexpr T* begin() { return __elems; }
  constexpr T* end() { return __elems + N; }
  constexpr const T* begin() const { return __elems; }
  constexpr const T* end() const { return __elems + N; }
};
template <class T> struct uniform {
  T value;
  constexpr uniform(T a) : value(a) {}
  constexpr operator T() const { return value; }
};
template <class T> constexpr uniform<T> make_uniform(T a) { return uniform<T>(a); }
}  // namespace metal

namespace tlc {
template <class To, class From> constexpr To as_type(const From& from) {
  static_assert(sizeof(To) == sizeof(From), "as_type between types of different sizes");
#if defined(TLC_CHECKED) && !defined(TLC_HAS_UNIONS)
  To to;
  __builtin_memcpy(&to, &from, sizeof(To));
  return to;
#else
  return __builtin_bit_cast(To, from);
#endif
}
}  // namespace tlc
#define as_type tlc::as_type

#define TLC_NAMES(T)                                                                          \
  typedef metal::vec<T, 2> T##2;                                                              \
  typedef metal::vec<T, 3> T##3;                                                              \
  typedef metal::vec<T, 4> T##4;                                                              \
  typedef metal::packed_vec<T, 2> packed_##T##2;                                              \
  typedef metal::packed_vec<T, 3> packed_##T##3;                                              \
  typedef metal::packed_vec<T, 4> packed_##T##4;
TLC_NAMES(bool) TLC_NAMES(char) TLC_NAMES(uchar) TLC_NAMES(short) TLC_NAMES(ushort) TLC_NAMES(int)
TLC_NAMES(uint) TLC_NAMES(long) TLC_NAMES(ulong) TLC_NAMES(float) TLC_NAMES(half) TLC_NAMES(bfloat)
#undef TLC_NAMES
#define TLC_ROWS(T, C)                                                                        \
  typedef metal::matrix<T, C, 2> T##C##x2;                                                    \
  typedef metal::matrix<T, C, 3> T##C##x3;                                                    \
  typedef metal::matrix<T, C, 4> T##C##x4;
#define TLC_NAMES(T) TLC_ROWS(T, 2) TLC_ROWS(T, 3) TLC_ROWS(T, 4)
TLC_NAMES(float) TLC_NAMES(half)
#undef TLC_NAMES
#undef TLC_ROWS
