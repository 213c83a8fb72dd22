// What large Metal libraries use, in kernels that each show one thing: the tests compare with numpy.
#include <metal_simdgroup>
#include <metal_simdgroup_matrix>
#include <metal_stdlib>
using namespace metal;

// ---- templates, instances by host name, buffers without an index --------------------------------
#define ROWS 2
#define instantiate(name, function, ...) \
  template [[host_name(name)]] [[kernel]] decltype(function<__VA_ARGS__>) function<__VA_ARGS__>;

template <typename T, int N = 4> struct Sum {
  T parts[N];
  METAL_FUNC Sum() thread { for (int i = 0; i < N; i++) parts[i] = T(0); }
  METAL_FUNC void add(int i, T v) thread { parts[i % N] += v; }
  METAL_FUNC T total() const thread {
    T t = T(0);
#pragma unroll
    for (int i = 0; i < N; i++) t += parts[i];
    return t;
  }
};
template <typename T> METAL_FUNC T load(const device T* p, uint i) { return p[i]; }
template <typename T> METAL_FUNC T load(const threadgroup T* q, uint i) { return q[i]; }
template <typename T> METAL_FUNC T load(const constant T* p, uint i) { return p[i]; }

template <typename T, int N>
[[kernel]] void row_sums(
    const device T* x, device T* y, const constant uint& n, threadgroup T* shared [[threadgroup(0)]],
    uint3 group [[threadgroup_position_in_grid]], uint3 place [[thread_position_in_threadgroup]],
    uint3 size [[threads_per_threadgroup]]) {
  Sum<T, N> sum;
  for (uint i = place.x; i < n; i += size.x) sum.add(int(i), load(x, group.x * n + i));
  shared[place.x] = sum.total();
  threadgroup_barrier(mem_flags::mem_threadgroup);
  if (place.x == 0) {
    T t = T(0);
    for (uint i = 0; i < size.x; i++) t += load(shared, i);
    y[group.x] = t;
  }
}
instantiate("row_sums_" "f32", row_sums, float, ROWS * 2)
instantiate("row_sums_f16", row_sums, half, 1)
template [[host_name("row_sums_i32")]] kernel void row_sums<int, 2>(
    const device int*, device int*, const constant uint&, threadgroup int*, uint3, uint3, uint3);

// ---- functions as arguments of templates, blocks of quantised numbers, elements of matrices -----
typedef struct {
  half scale;
  uint8_t nibbles[16];
} block;
static_assert(sizeof(block) == 18, "the block has no gaps");
template <typename type4x4> void unpack(device const block* from, short half_, thread type4x4& to) {
  device const uint16_t* pairs = (device const uint16_t*)from + 1;
  const ushort mask = half_ ? 0x00F0 : 0x000F;
  const float low = half_ ? (from->scale / 16.h) : from->scale, high = low / 256.f;
  float4x4 t;
  for (int i = 0; i < 8; i++) {
    t[i / 2][2 * (i % 2) + 0] = low * (pairs[i] & mask) - 8.f * from->scale;
    t[i / 2][2 * (i % 2) + 1] = high * (pairs[i] & (mask << 8)) - 8.f * from->scale;
  }
  to = (type4x4)t;
}
template <typename T, short parts, void (*unpack_one)(device const T*, short, thread float4x4&)>
kernel void get_rows(constant uint& columns, device const void* table, device const int32_t* rows, device float* out,
                     uint3 group [[threadgroup_position_in_grid]], ushort at [[thread_index_in_threadgroup]],
                     ushort3 size [[threads_per_threadgroup]]) {
  const int64_t row = rows[group.x];
  for (int64_t i = at; i < columns / 16; i += size.x) {
    float4x4 t;
    device const char* start = (device const char*)table + row * (columns / 32 * sizeof(T));
    unpack_one((device const T*)start + i / parts, i % parts, t);
    *((device float4x4*)((device char*)out + group.x * columns * sizeof(float)) + i) = t;
  }
}
typedef decltype(get_rows<block, 2, unpack>) get_rows_t;
template [[host_name("get_rows_block")]] kernel get_rows_t get_rows<block, 2, unpack>;

enum scaling { by_mean = 0, by_sum = 1 };
template <typename T4, scaling S>
kernel void normalised(device const T4* x [[buffer(0)]], device T4* y [[buffer(1)]], constant int32_t& n [[buffer(2)]],
                       threadgroup float* sums [[threadgroup(0)]], uint group [[threadgroup_position_in_grid]],
                       ushort at [[thread_index_in_threadgroup]], ushort simd [[simdgroup_index_in_threadgroup]],
                       ushort lane [[thread_index_in_simdgroup]], ushort size [[threads_per_threadgroup]]) {
  if (simd == 0) sums[lane] = 0.0f;
  x += group * (n / 4), y += group * (n / 4);
  float sum = 0.0f;
  for (int i = at; i < n / 4; i += size) sum += dot(float4(x[i]), float4(x[i]));
  sum = simd_sum(sum);
  threadgroup_barrier(mem_flags::mem_threadgroup);
  if (simd_is_first()) sums[simd] = sum;
  threadgroup_barrier(mem_flags::mem_threadgroup);
  sum = simd_sum(sums[lane]);
  float scale;
  if constexpr (S == by_mean) {
    scale = 1.0f / sqrt(sum / n);
  } else {
    scale = rsqrt(sum);
  }
  for (int i = at; i < n / 4; i += size) y[i] = T4(float4(x[i]) * scale);
}
typedef decltype(normalised<float4, by_mean>) normalised_t;
template [[host_name("mean_f32")]] kernel normalised_t normalised<float4, by_mean>;
template [[host_name("sum_f16")]] kernel decltype(normalised<half4, by_sum>) normalised<half4, by_sum>;

// ---- function constants -------------------------------------------------------------------------
constant bool reversed [[function_constant(0)]];
constant int factor [[function_constant(ROWS + 1)]];
constant int scale = is_function_constant_defined(factor) ? factor : 10;
constant bool has_bias = is_function_constant_defined(factor) && factor == 3;
kernel void specialised(
    device const int* x [[buffer(0)]], device int* y [[buffer(1)]],
    device const int* bias [[buffer(2), function_constant(has_bias)]],
    constant int& step [[buffer(3), function_constant(has_bias)]],
    uint i [[thread_position_in_grid]], uint n [[threads_per_grid]]) {
  const uint from = reversed ? n - 1 - i : i;
  y[i] = x[from] * scale + (has_bias ? bias[i] * step : 0);
}

// ---- vectors, packed vectors, swizzles, conversions, matrices -----------------------------------
struct Particle {
  packed_float3 position;
  float mass;
  half4 colour;
};
kernel void vectors(device const Particle* in [[buffer(0)]], device float* out [[buffer(1)]],
                    uint i [[thread_position_in_grid]]) {
  device const Particle& p = in[i];
  float3 v = p.position;
  v.xy = v.yx;
  v.z *= 2;
  float4 f = float4(v, p.mass);
  const half2 h = p.colour.bg;
  f.wx += float2(h);
  const uint4 bits = as_type<uint4>(f);
  const bool4 small = f < 1.0;
  f = select(f, float4(bits & 0xffu), small);
  const vec<int, 2> whole = vec<int, 2>(round(f.zw));
  out[4 * i] = f.x;
  out[4 * i + 1] = dot(f, float4{0.5, 1.5, -1, 2.f});
  out[4 * i + 2] = float(whole.x) + any(small) + clamp(f, -1, 1).y;
  out[4 * i + 3] = length(normalize(f.xyz)) + max(f.x, 2.5f) + fma(f.y, 2.f, 1e-3);
}
kernel void matrices(device const float4x4* a [[buffer(0)]], device float4* y [[buffer(1)]],
                     device const float2x4& b [[buffer(2)]], uint i [[thread_position_in_grid]]) {
  const float4x4 square = a[i] * transpose(a[i]);
  y[i] = square * b[0] + float4(1, 2, 3, 4) * a[i] + b[1];
}

// ---- simdgroups ---------------------------------------------------------------------------------
kernel void lanes(device const int* x [[buffer(0)]], device int* out [[buffer(1)]],
                  ushort lane [[thread_index_in_simdgroup]], uint i [[thread_index_in_threadgroup]]) {
  const int v = x[i];
  device int* o = out + i * 20;
  o[0] = simd_sum(v);
  o[1] = simd_max(v);
  o[2] = simd_min(v);
  o[3] = simd_prefix_inclusive_sum(v);
  o[4] = simd_prefix_exclusive_sum(v);
  o[5] = simd_shuffle(v, ushort((lane * 7) % 32));
  o[6] = simd_shuffle_xor(v, 5);
  o[7] = lane >= 3 ? simd_shuffle_up(v, 3) : simd_shuffle_up(v, 3) * 0;
  o[8] = simd_shuffle_rotate_down(v, 9);
  o[9] = simd_broadcast(v, 11);
  o[10] = simd_broadcast_first(v);
  o[11] = int(uint(ulong(simd_ballot(v > 50))));
  o[12] = simd_any(v > 98) + 2 * simd_all(v >= 0);
  o[13] = quad_sum(v);
  o[14] = quad_shuffle_xor(v, 2);
  o[15] = quad_broadcast(v, 3);
  o[16] = simd_shuffle_and_fill_up(v, -v, 4);
  o[17] = simd_shuffle_and_fill_down(v, -v, 30);
  o[18] = simd_and(v) + simd_or(v) * 1000 + simd_xor(v);
  o[19] = int(simd_prefix_inclusive_product(float(v % 2 + 1)));
}
kernel void products(device const half* a [[buffer(0)]], device const half* b [[buffer(1)]],
                     device float* c [[buffer(2)]], device float* d [[buffer(3)]],
                     ushort lane [[thread_index_in_simdgroup]]) {
  simdgroup_half8x8 x, y;
  simdgroup_float8x8 z = make_filled_simdgroup_matrix<float, 8, 8>(1.0f);
  simdgroup_load(x, a, 8);
  simdgroup_load(y, b, 16, ulong2(8, 0), true);
  simdgroup_multiply_accumulate(z, x, y, z);
  simdgroup_store(z, c, 8);
  const ushort quad = lane / 4;
  const ushort row = (quad & 4) + (lane / 2) % 4, column = (quad & 2) * 2 + (lane % 2) * 2;
  thread auto& own = z.thread_elements();
  d[row * 8 + column] = own[0];
  d[row * 8 + column + 1] = own[1];
}

// ---- atomics ------------------------------------------------------------------------------------
kernel void histogram(device const uint* x [[buffer(0)]], device atomic_uint* bins [[buffer(1)]],
                      device atomic_float* total [[buffer(2)]], uint i [[thread_position_in_grid]],
                      uint at [[thread_index_in_threadgroup]], uint size [[threads_per_threadgroup]]) {
  threadgroup atomic_uint local[8], most;
  if (at == 0) atomic_store_explicit(&most, 0u, memory_order_relaxed);
  for (uint k = at; k < 8; k += size) atomic_store_explicit(local + k, 0, memory_order_relaxed);
  threadgroup_barrier(mem_flags::mem_threadgroup);
  atomic_fetch_add_explicit(&local[x[i] % 8], 1u, memory_order_relaxed);
  atomic_fetch_max_explicit(&most, x[i], memory_order_relaxed);
  atomic_fetch_add_explicit(total, float(x[i]), memory_order_relaxed);
  threadgroup_barrier(mem_flags::mem_threadgroup);
  for (uint k = at; k < 8; k += size)
    atomic_fetch_add_explicit(&bins[k], atomic_load_explicit(&local[k], memory_order_relaxed), memory_order_relaxed);
  if (at == 0) {
    uint old = atomic_load_explicit(bins + 8, memory_order_relaxed);
    const uint mine = atomic_load_explicit(&most, memory_order_relaxed);
    while (old < mine && !atomic_compare_exchange_weak_explicit(
                             bins + 8, &old, mine, memory_order_relaxed, memory_order_relaxed)) {
    }
  }
}

// ---- bfloat, integers, static tables, unions, enums, namespaces, operators ----------------------
namespace library {
namespace detail {
enum class Kind : uchar { plain, twice };
constant float table[4] = {1.0f, 0.5f, 0.25f, 0.125f};
constant constexpr int offset = 3;
union Bits {
  float f;
  uint u;
};
struct Complex {
  float re, im;
  constexpr Complex(float r, float i) thread : re(r), im(i) {}
  constexpr Complex(float r, float i) threadgroup : re(r), im(i) {}
  Complex operator*(Complex o) const thread {
    return Complex(re * o.re - im * o.im, re * o.im + im * o.re);
  }
};
template <Kind kind> struct Apply;
template <> struct Apply<Kind::plain> {
  static float run(float x) { return x; }
};
template <> struct Apply<Kind::twice> {
  static float run(float x) { return 2 * x; }
};
}  // namespace detail
[[kernel]] void various(device const float* x [[buffer(0)]], device float* y [[buffer(1)]],
                        device const ushort* packed [[buffer(2)]],
                        uint i [[thread_position_in_grid]]) {
  using namespace detail;
  Bits bits;
  bits.f = x[i];
  const bfloat narrow = bfloat(x[i]);
  const Complex z = Complex(x[i], 1.0h) * Complex(0.5, -x[i]);
  const auto twice = [](float v) { return Apply<Kind::twice>::run(v); };
  y[8 * i] = float(narrow);
  y[8 * i + 1] = static_cast<float>(bits.u >> 23);
  y[8 * i + 2] = z.re + z.im;
  y[8 * i + 3] = twice(table[i % 4]) + Apply<Kind::plain>::run(float(offset));
  y[8 * i + 4] = float(as_type<half>(packed[i]));
  y[8 * i + 5] = float(popcount(bits.u) + clz(bits.u | 1u) + ctz(0x80u) + extract_bits(bits.u, 4, 6));
  y[8 * i + 6] = precise::exp(min(x[i], 1.0f)) + fast::cos(x[i]) + metal::pow(abs(x[i]), 1.5f);
  y[8 * i + 7] = float(numeric_limits<half>::max()) * sign(x[i]) + float(short(-7) >> 1) + 1.h / 3;
}
}  // namespace library

// ---- grids that do not divide -------------------------------------------------------------------
kernel void places(device uint4* out [[buffer(0)]], uint2 i [[thread_position_in_grid]],
                   uint2 grid [[threads_per_grid]], ushort2 size [[threads_per_threadgroup]],
                   uint2 group [[threadgroup_position_in_grid]], ushort simd [[simdgroup_index_in_threadgroup]],
                   ushort simds [[simdgroups_per_threadgroup]]) {
  out[i.y * grid.x + i.x] = uint4(size.x * 100 + size.y, group.x * 10 + group.y, simd, simds);
}
