struct convolution_Dims {
    uint d0;  // 4*N
};

// a.tl:11 conv2d
[[max_total_threads_per_threadgroup(128)]]
kernel void convolution(
    device const half* in0 [[buffer(0)]],
    device const half* in1 [[buffer(1)]],
    device half* out [[buffer(2)]],
    constant convolution_Dims& dims [[buffer(3)]],
    uint group [[threadgroup_position_in_grid]],
    uint groups [[threadgroups_per_grid]],
    uint tid [[thread_index_in_threadgroup]],
    uint threads [[threads_per_threadgroup]],
    uint lane [[thread_index_in_simdgroup]],
    uint simdgroup [[simdgroup_index_in_threadgroup]],
    uint simdgroups [[simdgroups_per_threadgroup]])
{
    threadgroup half left[1280];
    threadgroup half right[1280];
    threadgroup float finished[512];
    for (uint tile = group; tile < dims.d0; tile += groups) {
        const uint m1 = 0u;
        const uint n0 = tile % 2u * 32u;
        const uint g = tile / 2u % 2u;
        const uint b = tile / 2u / 2u;
        const uint m0 = g * 3u + m1;
        const uint m_end = (g + 1u) * 3u;
        for (uint turn = 0u; turn < 4u; turn += simdgroups) {
            const uint part = turn + simdgroup;
            const bool active = part < 4u;
            const uint part_m = part / 2u * 16u;
            const uint part_n = part % 2u * 16u;
            simdgroup_float8x8 sums[2][2];
            #pragma clang loop unroll(full)
            for (uint i = 0u; i < 2u; ++i)
                #pragma clang loop unroll(full)
                for (uint j = 0u; j < 2u; ++j)
                    sums[i][j] = make_filled_simdgroup_matrix<float, 8, 8>(0.0f);

            for (uint k0 = 0u; k0 < 36u; k0 += 32u) {
                for (uint i = tid; i < 256u; i += threads) {
                    const uint line = i / 8u;
                    const uint at = i % 8u * 4u;
                    threadgroup half* to = left + line * 40u + at;
                    const uint m = m0 + line;
                    const uint k = k0 + at;
                    if (m < 6u && k < 36u) {
                        *(threadgroup half4*)to = *(device const half4*)(in1 + m * 36u + k);
                    } else {
                        for (uint c = 0u; c < 4u; ++c) to[c] = 0.0h;
                    }
                }
                for (uint i = tid; i < 1024u; i += threads) {
                    const uint line = i / 32u;
                    const uint at = i % 32u;
                    threadgroup half* to = right + line * 40u + at;
                    const uint n = n0 + at;
                    const uint k = k0 + line;
                    const uint c = k / 9u;
                    const uint p = k % 9u;
                    const int y = int(n / 7u * 2u + p / 3u * 1u) - 1;
                    const int x = int(n % 7u * 2u + p % 3u * 1u) - 1;
                    if (n < 49u && k < 36u && y >= 0 && y < int(14u) && x >= 0 && x < int(14u)) {
                        to[0] = half(float(in0[b * 1568u + g * 784u + c * 196u + uint(y) * 14u + uint(x)]));
                    } else {
                        for (uint c = 0u; c < 1u; ++c) to[c] = 0.0h;
                    }
                }
                threadgroup_barrier(mem_flags::mem_threadgroup);
                if (active) {
                    #pragma clang loop unroll(full)
                    for (uint k = 0u; k < 32u; k += 8u) {
                        simdgroup_half8x8 a[2];
                        #pragma clang loop unroll(full)
                        for (uint i = 0u; i < 2u; ++i)
                            simdgroup_load(a[i], left + (part_m + 8u * i) * 40u + k, ulong(40));
                        simdgroup_half8x8 b8[2];
                        #pragma clang loop unroll(full)
                        for (uint j = 0u; j < 2u; ++j)
                            simdgroup_load(b8[j], right + k * 40u + part_n + 8u * j, ulong(40));
                        #pragma clang loop unroll(full)
                        for (uint i = 0u; i < 2u; ++i)
                            #pragma clang loop unroll(full)
                            for (uint j = 0u; j < 2u; ++j)
                                simdgroup_multiply_accumulate(sums[i][j], a[i], b8[j], sums[i][j]);
                    }
                }
                threadgroup_barrier(mem_flags::mem_threadgroup);
            }

            // what follows the product, 8 rows of each part at a time
            if (active) {
                threadgroup float* mine = finished + part * 128u;
                #pragma clang loop unroll(full)
                for (uint i = 0u; i < 2u; ++i) {
                    #pragma clang loop unroll(full)
                    for (uint j = 0u; j < 2u; ++j)
                        simdgroup_store(sums[i][j], mine + 8u * j, ulong(16));
                    simdgroup_barrier(mem_flags::mem_threadgroup);
                    for (uint e = lane; e < 128u; e += 32u) {
                        const uint m = m0 + part_m + 8u * i + e / 16u;
                        const uint n = n0 + part_n + e % 16u;
                        if (m < m_end && n < 49u) {
                            const float sum = mine[e];
                            out[b * 294u + m * 49u + n] = half(sum);
                        }
                    }
                    simdgroup_barrier(mem_flags::mem_threadgroup);
                }
            }
        }
    }
}
