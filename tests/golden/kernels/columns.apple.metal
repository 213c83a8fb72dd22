struct columns_Dims {
    uint d0;  // T
    uint d1;  // 64*T
};

// a.tl:5 matmul
[[max_total_threads_per_threadgroup(256)]]
kernel void columns(
    device const half* in0 [[buffer(0)]],
    device const half* in1 [[buffer(1)]],
    device half* out [[buffer(2)]],
    constant columns_Dims& dims [[buffer(3)]],
    uint group [[threadgroup_position_in_grid]],
    uint groups [[threadgroups_per_grid]],
    uint lane [[thread_index_in_simdgroup]],
    uint simdgroup [[simdgroup_index_in_threadgroup]],
    uint simdgroups [[simdgroups_per_threadgroup]])
{
    threadgroup float partial[1024];
    for (uint work = group; work < 4u; work += groups) {
        const uint n0 = work % 2u * 32u;
        const uint b = work / 2u;
        float sums[1];
        #pragma clang loop unroll(full)
        for (uint r = 0u; r < 1u; ++r) sums[r] = 0.0f;
        for (uint k = simdgroup; k < dims.d0; k += simdgroups) {
            const uint n = min(n0 + lane, 63u);
            const float w = float(in1[b * dims.d1 + n + k * 64u]);
            #pragma clang loop unroll(full)
            for (uint m = 0u; m < 1u; ++m) {
                sums[m] = fma(w, float(in0[b * dims.d0 + m * dims.d0 + k]), sums[m]);
            }
        }
        #pragma clang loop unroll(full)
        for (uint m = 0u; m < 1u; ++m) {
            partial[simdgroup * 32u + lane] = sums[m];
            threadgroup_barrier(mem_flags::mem_threadgroup);
            const uint n = n0 + lane;
            if (simdgroup == 0u && n < 64u) {
                float sum = 0.0f;
                for (uint s = 0u; s < simdgroups; ++s) sum += partial[s * 32u + lane];
                out[b * 64u + m * 64u + n] = half(sum);
            }
            threadgroup_barrier(mem_flags::mem_threadgroup);
        }
    }
}
