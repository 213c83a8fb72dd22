// Pairs of kernels: `bad_*` breaks a rule of the GPU, on a line that says which (`//!`; a race has two
// ends), and `good_*` is its nearest relative that does not. 64 threads; a and o have 64 floats.
#include <metal_simdgroup_matrix>
#include <metal_stdlib>
using namespace metal;

#define KERNEL(name) kernel void name(device const float* a [[buffer(0)]], device float* o [[buffer(1)]], uint i [[thread_position_in_grid]], uint lane [[thread_index_in_simdgroup]])
#define KERNEL_Z(name) kernel void name(device const float* a [[buffer(0)]], device float* o [[buffer(1)]], device const float* z [[buffer(7)]], uint i [[thread_position_in_grid]])
#define TOGETHER threadgroup_barrier(mem_flags::mem_threadgroup)

// ---- bounds -------------------------------------------------------------------------------------
KERNEL(bad_read_behind) {
  o[i] = a[i + 1];  //! out-of-bounds
}
KERNEL(good_read_behind) {
  o[i] = a[min(i + 1, 63u)];
}
KERNEL(bad_read_before) {
  o[i] = a[int(i) - 1];  //! out-of-bounds
}
KERNEL(good_read_before) {
  o[i] = a[max(int(i) - 1, 0)];
}
KERNEL(bad_write_far) {
  if (i == 9u) o[1u << 24] = a[i];  //! out-of-bounds
  o[i] = a[i];
}
KERNEL(good_write_far) {
  if (i == 64u) o[1u << 24] = a[i];
  o[i] = a[i];
}
KERNEL(bad_half_of_a_vector) {
  if (i == 15u) *(device float4*)(o + 61) = float4(0.0f);  //! out-of-bounds
  o[i] = a[i];
}
KERNEL(good_half_of_a_vector) {
  if (i < 16u) *(device float4*)(o + 4u * i) = *(device const float4*)(a + 4u * i);
}
KERNEL(bad_threadgroup_array) {
  threadgroup float s[48];
  if (i < 48u) s[i] = a[i];
  TOGETHER;
  o[i] = s[i];  //! out-of-bounds
}
KERNEL(good_threadgroup_array) {
  threadgroup float s[64];
  s[i] = a[i];
  TOGETHER;
  o[i] = s[i];
}
KERNEL(bad_other_variable) {
  threadgroup float s[64];
  threadgroup float t[64];
  threadgroup float* p = s;
  s[i] = t[i] = a[i];
  TOGETHER;
  o[i] = p[64u + i];  //! out-of-bounds
}
KERNEL(good_other_variable) {
  threadgroup float s[64], t[64];
  threadgroup float* p = t;
  s[i] = t[i] = a[i];
  TOGETHER;
  o[i] = p[i] + s[i];
}
KERNEL(bad_array) {
  float t[8] = {};
  o[i] = a[i] + t[i % 9u];  //! out-of-bounds
}
KERNEL(good_array) {
  float t[8] = {};
  o[i] = a[i] + t[i % 8u];
}
KERNEL(bad_element) {
  float4 v = float4(a[i]);
  v[int(i % 5u)] = 0.0f;  //! out-of-bounds
  o[i] = v.x;
}
KERNEL(good_element) {
  float4 v = float4(a[i]);
  v[int(i % 4u)] = 0.0f;
  o[i] = v.x;
}
KERNEL(bad_array_of_vectors) {
  float4 t[2];
  for (uint k = 0u; k <= 2u; ++k) t[k] = float4(a[i]);  //! out-of-bounds
  o[i] = t[0].x + t[1].y;
}
KERNEL(good_array_of_vectors) {
  float4 t[2];
  for (uint k = 0u; k < 2u; ++k) t[k] = float4(a[i]);
  o[i] = t[0].x + t[1].y;
}
KERNEL(bad_array_of_matrices) {
  simdgroup_float8x8 t[2][3];
  for (uint k = 0u; k <= 3u; ++k)
    for (uint n = 0u; n < 2u; ++n)
      t[n][k] = make_filled_simdgroup_matrix<float, 8, 8>(1.0f);  //! out-of-bounds
  o[i] = a[i] + t[1][2].thread_elements()[0];
}
KERNEL(good_array_of_matrices) {
  simdgroup_float8x8 t[2][3];
  for (uint k = 0u; k < 3u; ++k)
    for (uint n = 0u; n < 2u; ++n)
      t[n][k] = make_filled_simdgroup_matrix<float, 8, 8>(1.0f);
  o[i] = a[i] + t[1][2].thread_elements()[0];
}
KERNEL(bad_read_only) {
  ((device float*)a)[i] = 1.0f;  //! read-only
  o[i] = a[i];
}
KERNEL(good_read_only) {
  o[i] = 1.0f;
  o[i] = a[i];
}
KERNEL_Z(bad_unbound) {
  o[i] = a[i] + z[i];  //! null-pointer
}
KERNEL_Z(good_unbound) {
  o[i] = a[i];
  if (i > 64u) o[i] = z[i];
}

// ---- races in threadgroup memory ----------------------------------------------------------------
KERNEL(bad_no_barrier) {
  threadgroup float s[64];
  s[i] = a[i];
  o[i] = s[63u - i];  //! data-race
}
KERNEL(good_no_barrier) {
  threadgroup float s[64];
  s[i] = a[i];
  TOGETHER;
  o[i] = s[63u - i];
}
KERNEL(bad_flag) {
  threadgroup float s[64];
  s[i] = a[i];
  threadgroup_barrier(mem_flags::mem_device);
  o[i] = s[63u - i];  //! data-race
}
KERNEL(good_flag) {
  threadgroup float s[64];
  s[i] = a[i];
  threadgroup_barrier(mem_flags::mem_device | mem_flags::mem_threadgroup);
  o[i] = s[63u - i];
}
KERNEL(bad_loop) {
  threadgroup float s[64];
  float sum = 0.0f;
  for (uint k = 0u; k < 2u; ++k) {
    s[i] = a[i] * float(k + 1u);  //! data-race
    TOGETHER;
    sum += s[63u - i];
  }
  o[i] = sum;
}
KERNEL(good_loop) {
  threadgroup float s[64];
  float sum = 0.0f;
  for (uint k = 0u; k < 2u; ++k) {
    TOGETHER;
    s[i] = a[i] * float(k + 1u);
    TOGETHER;
    sum += s[63u - i];
  }
  o[i] = sum;
}
KERNEL(bad_simdgroup_only) {
  threadgroup float s[64];
  s[i] = a[i];
  simdgroup_barrier(mem_flags::mem_threadgroup);
  o[i] = s[i ^ 32u];  //! data-race
}
KERNEL(good_simdgroup_only) {
  threadgroup float s[64];
  s[i] = a[i];
  simdgroup_barrier(mem_flags::mem_threadgroup);
  o[i] = s[i ^ 1u];
}
KERNEL(bad_one_writer) {
  threadgroup float s;
  s = a[i];  //! data-race
  TOGETHER;
  o[i] = s;
}
KERNEL(good_one_writer) {
  threadgroup float s;
  if (i == 0u) s = a[i];
  TOGETHER;
  o[i] = s;
}
KERNEL(bad_neighbour_bytes) {
  threadgroup uchar s[64];
  threadgroup ushort* pairs = (threadgroup ushort*)s;
  s[i] = uchar(1);  //! data-race
  if (i < 32u) pairs[i] = ushort(3);  //! data-race
  TOGETHER;
  o[i] = float(s[i]);
}
KERNEL(good_neighbour_bytes) {
  threadgroup uchar s[64];
  s[i] = uchar(i);
  TOGETHER;
  o[i] = float(s[i]);
}
KERNEL(bad_mixed_atomic) {
  threadgroup atomic_uint count;
  if (i == 0u) atomic_store_explicit(&count, 0u, memory_order_relaxed);
  TOGETHER;
  atomic_fetch_add_explicit(&count, 1u, memory_order_relaxed);  //! data-race
  o[i] = a[i] + float(*(threadgroup uint*)&count);  //! data-race
}
KERNEL(good_mixed_atomic) {
  threadgroup atomic_uint count;
  if (i == 0u) atomic_store_explicit(&count, 0u, memory_order_relaxed);
  TOGETHER;
  atomic_fetch_add_explicit(&count, 1u, memory_order_relaxed);
  TOGETHER;
  o[i] = a[i] + float(*(threadgroup uint*)&count);
}

// ---- races in device memory, in launches of two threadgroups ------------------------------------
KERNEL(bad_two_groups) {
  o[i / 2u] = a[i];  //! data-race
  o[i / 2u + 32u] = a[i];
}
KERNEL(good_two_groups) {
  o[i] = a[i / 2u];
}
KERNEL(bad_other_group) {
  o[i] = a[i];
  threadgroup_barrier(mem_flags::mem_device);
  o[i] += o[63u - i];  //! data-race
}
KERNEL(good_other_group) {
  o[i] = a[i];
  o[i] += o[i];
}

// ---- memory that nobody has written -------------------------------------------------------------
KERNEL(bad_unwritten_threadgroup) {
  threadgroup float s[128];
  s[i] = a[i];
  TOGETHER;
  o[i] = s[i + 64u];  //! uninitialised-read
}
KERNEL(good_unwritten_threadgroup) {
  threadgroup float s[128];
  s[i] = s[i + 64u] = a[i];
  TOGETHER;
  o[i] = s[i + 64u];
}
KERNEL(bad_unwritten_output) {
  o[i] += a[i];  //! uninitialised-read
}
KERNEL(good_unwritten_output) {
  o[i] = 0.0f;
  o[i] += a[i];
}
KERNEL(bad_hole) {
  if (i != 17u) o[i] = a[i];  //! unwritten-output
}
KERNEL(good_hole) {
  o[i] = i != 17u ? a[i] : 0.0f;
}
KERNEL(bad_private_branch) {
  float t;
  if (a[i] >= 0.0f) t = a[i];
  if (a[i] > 1e9f) t = 0.0f;
  float u[4];
  u[i % 4u] = t;
  if (u[2] > 3.0f) t = 1.0f;  //! uninitialised-value
  o[i] = t;
}
KERNEL(good_private_branch) {
  float t = 0.0f;
  if (a[i] >= 0.0f) t = a[i];
  float u[4] = {t, t, t, t};
  u[i % 4u] = t;
  if (u[2] > 3.0f) t = 1.0f;
  o[i] = t;
}
KERNEL(bad_private_stored) {
  float t[4];
  for (uint k = 0u; k < i % 5u; ++k) t[k] = a[i];
  o[i] = t[3];  //! uninitialised-value
}
KERNEL(good_private_stored) {
  float t[4];
  for (uint k = 0u; k < 4u; ++k) t[k] = a[i];
  o[i] = t[i % 4u];
}
KERNEL(bad_private_shared) {
  float t[4];
  for (uint k = 0u; k < i % 5u; ++k) t[k] = a[i];
  o[i] = simd_sum(t[3]);  //! uninitialised-value
}
KERNEL(good_private_shared) {
  float t[4] = {};
  for (uint k = 0u; k < i % 5u; ++k) t[k] = a[i];
  o[i] = simd_sum(t[3]);
}

// ---- threads that do not come together ----------------------------------------------------------
KERNEL(bad_barrier_in_branch) {
  if (i < 40u) TOGETHER;  //! barrier-divergence
  o[i] = a[i];
}
KERNEL(good_barrier_in_branch) {
  if (i < 80u) TOGETHER;
  o[i] = a[i];
}
KERNEL(bad_early_return) {
  if (i == 63u) return;
  TOGETHER;  //! barrier-divergence
  o[i] = a[i];
}
KERNEL(good_early_return) {
  TOGETHER;
  if (i == 64u) return;
  o[i] = a[i];
}
KERNEL(bad_two_barriers) {
  if (i < 32u) {
    TOGETHER;  //! barrier-divergence
  } else {
    o[i] = 1.0f;
    TOGETHER;
  }
  o[i] = a[i];
}
KERNEL(good_two_barriers) {
  if (i < 64u) {
    TOGETHER;
  } else {
    o[i] = 1.0f;
    TOGETHER;
  }
  o[i] = a[i];
}
KERNEL(bad_lanes_in_branch) {
  float v = a[i];
  if (lane % 2u == 0u) {
    v = simd_sum(v);  //! simdgroup-divergence
  }
  o[i] = simd_max(v);
}
KERNEL(good_lanes_in_branch) {
  float v = a[i];
  if (i < 32u) {
    v = simd_sum(v);
  }
  o[i] = simd_max(v);
}
KERNEL(bad_lanes_return) {
  o[i] = a[i];
  if (lane > 20u) return;
  o[i] = simd_sum(a[i]);  //! exited-lanes
}
KERNEL(good_lanes_return) {
  o[i] = a[i];
  if (i > 31u) return;
  o[i] = simd_sum(a[i]);
}
KERNEL(bad_lane_away) {
  o[i] = a[i];
  if (lane > 20u) return;
  o[i] = simd_shuffle(a[i], 25);  //! inactive-lane
}
KERNEL(good_lane_away) {
  o[i] = simd_shuffle(a[i], 25);
}
KERNEL(bad_matrix_places) {
  simdgroup_float8x8 m;
  simdgroup_load(m, a + lane % 2u, 4);  //! matrix-nonuniform
  o[i] = a[i] + m.thread_elements()[0];
}
KERNEL(good_matrix_places) {
  simdgroup_float8x8 m;
  simdgroup_load(m, a, 4);
  o[i] = a[i] + m.thread_elements()[0];
}
KERNEL(bad_matrix_lanes) {
  simdgroup_float8x8 m = make_filled_simdgroup_matrix<float, 8, 8>(1.0f);
  o[i] = a[i];
  if (lane == 31u) return;
  simdgroup_multiply_accumulate(m, m, m, m);  //! matrix-divergence
  o[i] += m.thread_elements()[0];
}
KERNEL(good_matrix_lanes) {
  simdgroup_float8x8 m = make_filled_simdgroup_matrix<float, 8, 8>(1.0f);
  simdgroup_multiply_accumulate(m, m, m, m);
  o[i] = a[i] + m.thread_elements()[0];
}

// ---- limits -------------------------------------------------------------------------------------
KERNEL(bad_threadgroup_memory) {
  threadgroup float s[4096];
  s[i] = a[i];
  threadgroup float t[4097];  //! threadgroup-memory
  t[i] = a[i];
  o[i] = s[i] + t[i];
}
KERNEL(good_threadgroup_memory) {
  threadgroup float s[4096];
  threadgroup float t[4096];
  s[i] = t[i] = a[i];
  o[i] = s[i] + t[i];
}
[[max_total_threads_per_threadgroup(63)]] KERNEL(bad_threads) {  //! threads
  o[i] = a[i];
}
[[max_total_threads_per_threadgroup(64)]] KERNEL(good_threads) {
  o[i] = a[i];
}
KERNEL(bad_thread_memory) {
  float t[1 << 18];
  for (uint k = 0u; k < (1u << 18); ++k) t[k] = a[k % 64u];  //! thread-memory
  o[i] = t[i * 7u];
}
KERNEL(good_thread_memory) {
  float t[1 << 10];
  for (uint k = 0u; k < (1u << 10); ++k) t[k] = a[k % 64u];
  o[i] = t[i * 7u];
}
KERNEL(bad_loop_end) {
  uint k = i;
  while (k != 64u) k = (k + 2u) % 128u;  //! endless-loop
  o[i] = a[i] + float(k);
}
KERNEL(good_loop_end) {
  uint k = i;
  while (k != 64u) k = (k + 1u) % 128u;
  o[i] = a[i] + float(k);
}
KERNEL(bad_spin) {
  threadgroup atomic_uint flag;
  if (i == 0u) atomic_store_explicit(&flag, 0u, memory_order_relaxed);
  TOGETHER;
  while (i != 63u && atomic_load_explicit(&flag, memory_order_relaxed) == 0u) {}  //! endless-loop
  atomic_store_explicit(&flag, 1u, memory_order_relaxed);
  o[i] = a[i];
}
KERNEL(good_spin) {
  threadgroup atomic_uint flag;
  if (i == 0u) atomic_store_explicit(&flag, 1u, memory_order_relaxed);
  TOGETHER;
  while (i != 63u && atomic_load_explicit(&flag, memory_order_relaxed) == 0u) {}
  o[i] = a[i];
}

// ---- arithmetic and alignment -------------------------------------------------------------------
KERNEL(bad_alignment) {
  if (i < 15u) o[i] = (*(device const float4*)(a + 4u * i + 1u)).x;  //! misaligned
  else o[i] = a[i];
}
KERNEL(good_alignment) {
  if (i < 15u) o[i] = (*(device const packed_float4*)(a + 4u * i + 1u)).x;
  else o[i] = a[i];
}
KERNEL(bad_scalar_alignment) {
  if (i < 63u) o[i] = *(device const float*)((device const uchar*)a + 4u * i + 2u);  //! misaligned
  else o[i] = a[i];
}
KERNEL(good_scalar_alignment) {
  if (i < 63u) o[i] = float(*(device const half*)((device const uchar*)a + 4u * i + 2u));
  else o[i] = a[i];
}
KERNEL(bad_division) {
  o[i] = a[i] + float(100 / (int(i) - 5));  //! undefined
}
KERNEL(good_division) {
  o[i] = a[i] + float(100 / (int(i) - 64));
}
KERNEL(bad_shift) {
  o[i] = a[i] + float(1u << (i / 2u + 1u));  //! undefined
}
KERNEL(good_shift) {
  o[i] = a[i] + float(1u << (i / 2u));
}
KERNEL(bad_overflow) {
  o[i] = a[i] + float(int(i) * 40000000);  //! undefined
}
KERNEL(good_overflow) {
  o[i] = a[i] + float(i * 40000000u);
}
KERNEL(bad_conversion) {
  o[i] = a[i] + float(uchar(a[i] * 5.0f));  //! undefined
}
KERNEL(good_conversion) {
  o[i] = a[i] + float(uchar(a[i] * 4.0f));
}
