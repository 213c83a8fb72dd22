// What threads do together: barriers, functions of a simdgroup and of a quad, 8x8 matrices, atomics.
#pragma once

namespace tlc {
template <class T> T given(const Thread* thread) {
  T v;
  __builtin_memcpy(&v, thread->in, sizeof(T));
  return v;
}
template <class T> void give(Thread* thread, const T& v) { __builtin_memcpy(thread->out, &v, sizeof(T)); }
inline bool takes_part(const Simdgroup* group, u32 lane) { return group->active >> lane & 1; }

// Every lane hands in a value; one of them calls `f(simdgroup)`, which gives each its result.
template <class R, class X, class F> R together(const char* what, const X& x, F f) {
  static_assert(sizeof(X) <= 64 && sizeof(R) <= 64, "more than a lane can hand over");
  Thread* me = tlc_thread;
  __builtin_memcpy(me->in, &x, sizeof(X));
  if (tlc_meet(what)) {
    f(me->simdgroup);
    tlc_leave();
  }
  R r;
  __builtin_memcpy(&r, me->out, sizeof(R));
  return r;
}
// In pairs of neighbours, then of pairs: an order that a GPU may well use, and always the same.
template <class T, class F> T reduce(const char* what, const T& x, F f) {
  return together<T>(what, x, [f](Simdgroup* group) {
    T a[simd_width];
    int n = 0;
    for (u32 i = 0; i < simd_width; i++)
      if (takes_part(group, i)) a[n++] = given<T>(group->lane[i]);
    for (; n > 1; n = (n + 1) / 2) {
      for (int i = 0; i < n / 2; i++) a[i] = f(a[2 * i], a[2 * i + 1]);
      if (n & 1) a[n / 2] = a[n - 1];
    }
    for (u32 i = 0; i < simd_width; i++)
      if (takes_part(group, i)) give(group->lane[i], a[0]);
  });
}
template <class T> struct Moved {
  T value;
  u32 by;
};
// Lane i gets the value of lane source(i, by). Metal leaves open what a lane gets from one that is not
// there: its own value here, and a report when `exact` says that the program named the lane.
template <class T, class F> T shuffle(const char* what, const T& x, u32 by, bool exact, F source) {
  return together<T>(what, Moved<T>{x, by}, [=](Simdgroup* group) {
    for (u32 i = 0; i < simd_width; i++) {
      if (!takes_part(group, i)) continue;
      const auto mine = given<Moved<T>>(group->lane[i]);
      const int from = source((int)i, (int)mine.by);
      const bool there = from >= 0 && from < (int)simd_width && takes_part(group, (u32)from);
      if (exact && !there) tlc_complain("inactive-lane", what);
      give(group->lane[i], there ? given<Moved<T>>(group->lane[from]).value : mine.value);
    }
  });
}
template <class T, class F> T scan(const char* what, const T& x, T first, bool inclusive, F f) {
  return together<T>(what, x, [=](Simdgroup* group) {
    T sum = first;
    for (u32 i = 0; i < simd_width; i++) {
      if (!takes_part(group, i)) continue;
      const T next = f(sum, given<T>(group->lane[i]));
      give(group->lane[i], inclusive ? next : sum);
      sum = next;
    }
  });
}
template <class T>
using lane_value =
    metal::enable_if_t<metal::is_arithmetic_v<T> || is_vector<T>::value, int>;
}  // namespace tlc

namespace metal {
enum class mem_flags : uint {
  mem_none = 0,
  mem_device = 1,
  mem_threadgroup = 2,
  mem_texture = 4,
  mem_threadgroup_imageblock = 8,
  mem_object_data = 16,
};
constexpr mem_flags operator|(mem_flags a, mem_flags b) { return (mem_flags)((uint)a | (uint)b); }
constexpr mem_flags operator&(mem_flags a, mem_flags b) { return (mem_flags)((uint)a & (uint)b); }
enum memory_order {
  memory_order_relaxed,
  memory_order_acquire,
  memory_order_release,
  memory_order_acq_rel,
  memory_order_seq_cst,
};
enum thread_scope {
  thread_scope_thread,
  thread_scope_simdgroup,
  thread_scope_threadgroup,
  thread_scope_device,
  thread_scope_system,
};
inline void threadgroup_barrier(mem_flags f) { tlc_threadgroup_barrier((uint)f); }
inline void threadgroup_barrier(mem_flags f, thread_scope) { tlc_threadgroup_barrier((uint)f); }
inline void simdgroup_barrier(mem_flags f) { tlc_simdgroup_barrier((uint)f); }
inline void atomic_thread_fence(mem_flags, memory_order, thread_scope = thread_scope_device) {}

#define TLC_LANES template <class T, tlc::lane_value<T> = 0> inline
#define TLC_REDUCE(name, e) \
  TLC_LANES T name(T x) { return tlc::reduce(#name, x, [](T a, T b) { return T(e); }); }
TLC_REDUCE(simd_sum, a + b) TLC_REDUCE(simd_product, a * b)
TLC_REDUCE(simd_max, max(a, b)) TLC_REDUCE(simd_min, min(a, b))
TLC_REDUCE(simd_and, a & b) TLC_REDUCE(simd_or, a | b) TLC_REDUCE(simd_xor, a ^ b)
#undef TLC_REDUCE
inline bool simd_any(bool x) { return tlc::reduce("simd_any", x, [](bool a, bool b) { return a || b; }); }
inline bool simd_all(bool x) { return tlc::reduce("simd_all", x, [](bool a, bool b) { return a && b; }); }
#define TLC_SHUFFLE(name, exact, e) \
  TLC_LANES T name(T x, ushort by) { return tlc::shuffle(#name, x, by, exact, [](int i, int k) { return e; }); }
TLC_SHUFFLE(simd_shuffle, true, k) TLC_SHUFFLE(simd_broadcast, true, k)
TLC_SHUFFLE(simd_shuffle_xor, false, i ^ k)
TLC_SHUFFLE(simd_shuffle_up, false, i - k) TLC_SHUFFLE(simd_shuffle_down, false, i + k)
TLC_SHUFFLE(simd_shuffle_rotate_up, false, (i - k) & 31)
TLC_SHUFFLE(simd_shuffle_rotate_down, false, (i + k) & 31)
TLC_SHUFFLE(quad_shuffle, true, (i & ~3) | (k & 3)) TLC_SHUFFLE(quad_broadcast, true, (i & ~3) | (k & 3))
TLC_SHUFFLE(quad_shuffle_xor, false, (i & ~3) | ((i ^ k) & 3))
TLC_SHUFFLE(quad_shuffle_up, false, (i & 3) < k ? -1 : i - k)
TLC_SHUFFLE(quad_shuffle_down, false, (i & 3) + k > 3 ? -1 : i + k)
TLC_SHUFFLE(quad_shuffle_rotate_up, false, (i & ~3) | ((i - k) & 3))
TLC_SHUFFLE(quad_shuffle_rotate_down, false, (i & ~3) | ((i + k) & 3))
#undef TLC_SHUFFLE
TLC_LANES T simd_shuffle_and_fill_up(T x, T fill, ushort by, ushort modulo = 32) {
  const T moved = simd_shuffle_up(x, by);
  const uint lane = tlc_thread->lane, in = lane % modulo;
  const T filled = simd_shuffle(fill, (ushort)(lane - in + (in + modulo - by) % modulo));
  return in < by ? filled : moved;
}
TLC_LANES T simd_shuffle_and_fill_down(T x, T fill, ushort by, ushort modulo = 32) {
  const T moved = simd_shuffle_down(x, by);
  const uint lane = tlc_thread->lane, in = lane % modulo;
  const T filled = simd_shuffle(fill, (ushort)(lane - in + (in + by) % modulo));
  return in + by >= modulo ? filled : moved;
}
TLC_LANES T simd_broadcast_first(T x) {
  return tlc::together<T>("simd_broadcast_first", x, [](tlc::Simdgroup* group) {
    const T first = tlc::given<T>(group->lane[__builtin_ctz(group->active)]);
    for (uint i = 0; i < 32; i++)
      if (tlc::takes_part(group, i)) tlc::give(group->lane[i], first);
  });
}
#define TLC_SCAN(name, first, inclusive, e) \
  TLC_LANES T name(T x) { return tlc::scan(#name, x, T(first), inclusive, [](T a, T b) { return T(e); }); }
TLC_SCAN(simd_prefix_inclusive_sum, 0, true, a + b) TLC_SCAN(simd_prefix_exclusive_sum, 0, false, a + b)
TLC_SCAN(simd_prefix_inclusive_product, 1, true, a * b)
TLC_SCAN(simd_prefix_exclusive_product, 1, false, a * b)
#undef TLC_SCAN
#define TLC_QUAD(name, e)                      \
  TLC_LANES T name(T x) {                      \
    T a = x, b = quad_shuffle_xor(x, 1);       \
    a = T(e), b = quad_shuffle_xor(a, 2);      \
    return T(e);                               \
  }
TLC_QUAD(quad_sum, a + b) TLC_QUAD(quad_product, a * b) TLC_QUAD(quad_max, max(a, b))
TLC_QUAD(quad_min, min(a, b)) TLC_QUAD(quad_and, a & b) TLC_QUAD(quad_or, a | b) TLC_QUAD(quad_xor, a ^ b)
#undef TLC_QUAD
inline bool quad_any(bool x) { return quad_or((uint)x) != 0u; }
inline bool quad_all(bool x) { return quad_and((uint)x) != 0u; }

struct simd_vote {
  typedef ulong vote_t;
  ulong lanes;
  constexpr simd_vote(ulong v = 0) : lanes(v) {}
  explicit constexpr operator ulong() const { return lanes; }
  bool any() const { return lanes != 0; }
  bool all() const { return lanes == 0xffffffffu; }
};
inline simd_vote simd_ballot(bool x) {
  return tlc::together<ulong>("simd_ballot", x, [](tlc::Simdgroup* group) {
    ulong lanes = 0;
    for (uint i = 0; i < 32; i++)
      if (tlc::takes_part(group, i) && tlc::given<bool>(group->lane[i])) lanes |= 1ul << i;
    for (uint i = 0; i < 32; i++)
      if (tlc::takes_part(group, i)) tlc::give(group->lane[i], lanes);
  });
}
inline simd_vote simd_active_threads_mask() { return simd_ballot(true); }
inline bool simd_is_first() {
  return (uint)__builtin_ctzl(simd_ballot(true).lanes) == tlc_thread->lane;
}
inline bool simd_is_helper_thread() { return false; }

// ---- 8x8 matrices, two elements to a lane, laid out as libraries that reach for them expect ------
template <class T, int C, int R> struct simdgroup_matrix {
  static_assert(C == 8 && R == 8, "matrices of a simdgroup are 8x8");
  typedef T value_type;
  typedef vec<T, 2> storage_type;
  storage_type own;
#ifdef TLC_CHECKED
  simdgroup_matrix() : own(numeric_limits<T>::quiet_NaN()) {}
#else
  simdgroup_matrix() = default;
#endif
  static uint row() { return (tlc_thread->lane / 4 & 4) + tlc_thread->lane / 2 % 4; }
  static uint column() { return (tlc_thread->lane / 4 & 2) * 2 + tlc_thread->lane % 2 * 2; }
  explicit simdgroup_matrix(T d) {
    own = storage_type(row() == column() ? d : T(0), row() == column() + 1 ? d : T(0));
  }
  storage_type& thread_elements() { return own; }
  const storage_type& thread_elements() const { return own; }
};
typedef simdgroup_matrix<float, 8, 8> simdgroup_float8x8;
typedef simdgroup_matrix<half, 8, 8> simdgroup_half8x8;
typedef simdgroup_matrix<bfloat, 8, 8> simdgroup_bfloat8x8;
template <class T, int C, int R = C> simdgroup_matrix<T, C, R> make_filled_simdgroup_matrix(T v) {
  simdgroup_matrix<T, C, R> m;
  m.own = vec<T, 2>(v);
  return m;
}
template <class T, int C, int R = C> simdgroup_matrix<T, C, R> make_diagonal_simdgroup_matrix(T v) {
  return simdgroup_matrix<T, C, R>(v);
}
}  // namespace metal

namespace tlc {
struct Place {
  const void* at;
  u64 stride, x, y;
  bool transposed;
};
struct Origin {  // how far into memory a matrix begins; a number means both ways
  u64 x, y;
  constexpr Origin(u64 both) : x(both), y(both) {}
  constexpr Origin(vec<ulong, 2> o) : x(o.e[0]), y(o.e[1]) {}
};
// All lanes must be there and name the same memory.
inline void check_place(const char* what, const Place& place) {
#ifdef TLC_CHECKED
  together<char>(what, place, [what](Simdgroup* group) {
    if (group->active != ~0u) tlc_complain("matrix-divergence", what);
    const Place first = given<Place>(group->lane[__builtin_ctz(group->active)]);
    bool same = true;
    for (u32 i = 0; i < simd_width; i++) {
      if (!takes_part(group, i)) continue;
      const Place p = given<Place>(group->lane[i]);
      same &= p.at == first.at && p.stride == first.stride && p.x == first.x && p.y == first.y &&
              p.transposed == first.transposed;
    }
    if (!same) tlc_complain("matrix-nonuniform", what);
  });
#endif
}
struct Factors {
  float a[2], b[2], c[2];
};
struct Products {
  float d[2];
};
inline void multiply(Simdgroup* group) {
  float a[8][8], b[8][8], d[8][8];
  for (u32 l = 0; l < simd_width; l++) {
    const u32 r = (l / 4 & 4) + l / 2 % 4, c = (l / 4 & 2) * 2 + l % 2 * 2;
    const auto f = given<Factors>(group->lane[l]);
    for (int j = 0; j < 2; j++) a[r][c + j] = f.a[j], b[r][c + j] = f.b[j], d[r][c + j] = f.c[j];
  }
  for (int i = 0; i < 8; i++)
    for (int k = 0; k < 8; k++)
      for (int j = 0; j < 8; j++) d[i][j] = __builtin_fmaf(a[i][k], b[k][j], d[i][j]);
  for (u32 l = 0; l < simd_width; l++) {
    const u32 r = (l / 4 & 4) + l / 2 % 4, c = (l / 4 & 2) * 2 + l % 2 * 2;
    give(group->lane[l], Products{{d[r][c], d[r][c + 1]}});
  }
}
}  // namespace tlc

namespace metal {
template <class T, class U>
inline void simdgroup_load(simdgroup_matrix<T, 8, 8>& m, const U* from, ulong stride = 8,
                           tlc::Origin o = 0, bool transposed = false) {
  static_assert(is_same_v<T, remove_cv_t<U>>, "simdgroup_load: the elements have another type");
  tlc::check_place("simdgroup_load", {from, stride, o.x, o.y, transposed});
  const ulong r = m.row(), c = m.column();
  for (ulong j = 0; j < 2; j++)
    m.own.e[j] = transposed ? from[(o.y + c + j) * stride + o.x + r] : from[(o.y + r) * stride + o.x + c + j];
}
template <class T, class U>
inline void simdgroup_store(const simdgroup_matrix<T, 8, 8>& m, U* to, ulong stride = 8,
                            tlc::Origin o = 0, bool transposed = false) {
  static_assert(is_same_v<T, U>, "simdgroup_store: the elements have another type");
  tlc::check_place("simdgroup_store", {to, stride, o.x, o.y, transposed});
  const ulong r = m.row(), c = m.column();
  for (ulong j = 0; j < 2; j++)
    (transposed ? to[(o.y + c + j) * stride + o.x + r] : to[(o.y + r) * stride + o.x + c + j]) = m.own.e[j];
}
template <class T, class A, class B, class U>
inline void simdgroup_multiply_accumulate(
    simdgroup_matrix<T, 8, 8>& d, const simdgroup_matrix<A, 8, 8>& a,
    const simdgroup_matrix<B, 8, 8>& b, const simdgroup_matrix<U, 8, 8>& c) {
  const tlc::Factors f{{(float)a.own.e[0], (float)a.own.e[1]},
                       {(float)b.own.e[0], (float)b.own.e[1]},
                       {(float)c.own.e[0], (float)c.own.e[1]}};
  const auto products = tlc::together<tlc::Products>(
      "simdgroup_multiply_accumulate", f, [](tlc::Simdgroup* group) {
        if (group->active == ~0u) tlc::multiply(group);
        else tlc_complain("matrix-divergence", "simdgroup_multiply_accumulate");
      });
  d.own.e[0] = (T)products.d[0], d.own.e[1] = (T)products.d[1];
}
template <class T, class A, class B>
inline void simdgroup_multiply(simdgroup_matrix<T, 8, 8>& d, const simdgroup_matrix<A, 8, 8>& a,
                               const simdgroup_matrix<B, 8, 8>& b) {
  simdgroup_multiply_accumulate(d, a, b, make_filled_simdgroup_matrix<T, 8, 8>(T(0)));
}
#define TLC_OPERATOR(op)                                                                     \
  template <class T> inline simdgroup_matrix<T, 8, 8> operator op(                           \
      simdgroup_matrix<T, 8, 8> a, const simdgroup_matrix<T, 8, 8>& b) {                     \
    a.own = a.own op b.own;                                                                  \
    return a;                                                                                \
  }
TLC_OPERATOR(+) TLC_OPERATOR(-)
#undef TLC_OPERATOR
template <class T> inline simdgroup_matrix<T, 8, 8> operator*(
    const simdgroup_matrix<T, 8, 8>& a, const simdgroup_matrix<T, 8, 8>& b) {
  simdgroup_matrix<T, 8, 8> d;
  simdgroup_multiply(d, a, b);
  return d;
}

// ---- atomics: one fiber runs at a time, so a load and a store behind it are whole ----------------
template <class T> struct atomic { T value; };
typedef atomic<int> atomic_int;
typedef atomic<uint> atomic_uint;
typedef atomic<bool> atomic_bool;
typedef atomic<float> atomic_float;
typedef atomic<ulong> atomic_ulong;
}  // namespace metal

namespace tlc {
// By builtins, which are not taken for plain accesses.
template <class T> T load(const volatile metal::atomic<T>* p) {
  T v;
  __atomic_load(&p->value, &v, __ATOMIC_RELAXED);
  return v;
}
template <class T> void store(volatile metal::atomic<T>* p, T v) { __atomic_store(&p->value, &v, __ATOMIC_RELAXED); }
}  // namespace tlc

namespace metal {
template <class T> inline T atomic_load_explicit(const volatile atomic<T>* p, memory_order) {
  tlc_atomic((const void*)p, sizeof(T), true, false);
  return tlc::load(p);
}
template <class T, class V> inline void atomic_store_explicit(volatile atomic<T>* p, V v, memory_order) {
  tlc_atomic((const void*)p, sizeof(T), false, true);
  tlc::store(p, (T)v);
}
template <class T, class V>
inline bool atomic_compare_exchange_weak_explicit(
    volatile atomic<T>* p, T* expected, V v, memory_order, memory_order) {
  tlc_atomic((const void*)p, sizeof(T), true, true);
  const T old = tlc::load(p);
  const bool same = __builtin_memcmp(&old, expected, sizeof(T)) == 0;
  if (same) tlc::store(p, (T)v);
  else *expected = old;
  return same;
}
#define TLC_FETCH(name, expr)                                                       \
  template <class T, class V>                                                       \
  inline T atomic_##name##_explicit(volatile atomic<T>* p, V v, memory_order) {     \
    tlc_atomic((const void*)p, sizeof(T), true, true);                              \
    const T a = tlc::load(p), b = (T)v;                                             \
    tlc::store(p, (T)(expr));                                                       \
    return a;                                                                       \
  }
TLC_FETCH(exchange, b) TLC_FETCH(fetch_add, a + b) TLC_FETCH(fetch_sub, a - b)
TLC_FETCH(fetch_max, a > b ? a : b) TLC_FETCH(fetch_min, a < b ? a : b)
TLC_FETCH(fetch_and, a & b) TLC_FETCH(fetch_or, a | b) TLC_FETCH(fetch_xor, a ^ b)
#undef TLC_FETCH

struct os_log {
  constexpr os_log(const char*, const char*) {}
  template <class... A> void log(A...) const {}
  template <class... A> void log_debug(A...) const {}
  template <class... A> void log_info(A...) const {}
  template <class... A> void log_error(A...) const {}
};
}  // namespace metal
using metal::memory_order_relaxed;
