struct matmul_matvec_Dims {
    uint d0;  // N
};

// a.tl:4 linear + relu
[[max_total_threads_per_threadgroup(256)]]
kernel void matmul_matvec(
    device const half* in0 [[buffer(0)]],
    device const uchar* in1 [[buffer(1)]],
    device const half* in2 [[buffer(2)]],
    device half* out [[buffer(3)]],
    constant matmul_matvec_Dims& dims [[buffer(4)]],
    uint group [[threadgroup_position_in_grid]],
    uint groups [[threadgroups_per_grid]],
    uint lane [[thread_index_in_simdgroup]],
    uint simdgroup [[simdgroup_index_in_threadgroup]],
    uint simdgroups [[simdgroups_per_threadgroup]])
{
    for (uint work = group * simdgroups + simdgroup; work < 33u; work += groups * simdgroups) {
        const uint n0 = work * 4u;
        float sums[4][4];
        #pragma clang loop unroll(full)
        for (uint c = 0u; c < 4u; ++c)
            #pragma clang loop unroll(full)
            for (uint r = 0u; r < 4u; ++r) sums[c][r] = 0.0f;

        for (uint k = lane * 8u; k < 512u; k += 256u) {
            float x[4][8] = {};
            #pragma clang loop unroll(full)
            for (uint m = 0u; m < 4u; ++m) {
                if (m >= dims.d0) continue;
                const half4 part0 = *(device const half4*)(in0 + m * 512u + k);
                for (uint i = 0u; i < 4u; ++i) x[m][i] = float(part0[i]);
                const half4 part1 = *(device const half4*)(in0 + m * 512u + k + 4u);
                for (uint i = 0u; i < 4u; ++i) x[m][i + 4u] = float(part1[i]);
            }
            #pragma clang loop unroll(full)
            for (uint c = 0u; c < 4u; ++c) {
                const uint n = min(n0 + c, 129u);
                float w[8];
                tlc_read8_q4_0(in1, n * 512u + k, w);
                #pragma clang loop unroll(full)
                for (uint r = 0u; r < 4u; ++r)
                    #pragma clang loop unroll(full)
                    for (uint i = 0u; i < 8u; ++i) sums[c][r] = fma(w[i], x[r][i], sums[c][r]);
            }
        }
        #pragma clang loop unroll(full)
        for (uint c = 0u; c < 4u; ++c)
            #pragma clang loop unroll(full)
            for (uint r = 0u; r < 4u; ++r) sums[c][r] = simd_sum(sums[c][r]);

        // what follows the product: lane c has column n0 + c
        const uint n = n0 + lane;
        if (lane < 4u && n < 130u) {
            #pragma clang loop unroll(full)
            for (uint m = 0u; m < 4u; ++m) {
                if (m >= dims.d0) continue;
                const float low = lane == 0u ? sums[0][m] : sums[1][m];
                const float high = lane == 2u ? sums[2][m] : sums[3][m];
                const float sum = lane < 2u ? low : high;
                const float v2 = float(in2[n]);
                const float v3 = sum + v2;
                const float v4 = tlc_max(v3, 0.0f);
                out[m * 130u + n] = half(v4);
            }
        }
    }
}

struct matmul_Dims {
    uint d0;  // N
    uint d1;  // (N+31//32)
    uint d2;  // 5*(N+31//32)
};

// a.tl:4 linear + relu
[[max_total_threads_per_threadgroup(128)]]
kernel void matmul(
    device const half* in0 [[buffer(0)]],
    device const uchar* in1 [[buffer(1)]],
    device const half* in2 [[buffer(2)]],
    device half* out [[buffer(3)]],
    constant matmul_Dims& dims [[buffer(4)]],
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
    for (uint tile = group; tile < dims.d2; tile += groups) {
        const uint m0 = tile % dims.d1 * 32u;
        const uint n0 = tile / dims.d1 * 32u;
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

            for (uint k0 = 0u; k0 < 512u; k0 += 32u) {
                for (uint i = tid; i < 256u; i += threads) {
                    const uint line = i / 8u;
                    const uint at = i % 8u * 4u;
                    threadgroup half* to = left + line * 40u + at;
                    const uint m = m0 + line;
                    const uint k = k0 + at;
                    if (m < dims.d0 && k < 512u) {
                        *(threadgroup half4*)to = *(device const half4*)(in0 + m * 512u + k);
                    } else {
                        for (uint c = 0u; c < 4u; ++c) to[c] = 0.0h;
                    }
                }
                for (uint i = tid; i < 128u; i += threads) {
                    const uint line = i / 4u;
                    const uint at = i % 4u * 8u;
                    threadgroup half* to = right + line * 40u + at;
                    const uint n = n0 + line;
                    const uint k = k0 + at;
                    if (n < 130u && k < 512u) {
                        float w[8];
                        tlc_read8_q4_0(in1, n * 512u + k, w);
                        for (uint c = 0u; c < 8u; ++c) to[c] = half(w[c]);
                    } else {
                        for (uint c = 0u; c < 8u; ++c) to[c] = 0.0h;
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
                            simdgroup_load(b8[j], right + (part_n + 8u * j) * 40u + k, ulong(40), ulong2(0ul, 0ul), true);
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
                        if (m < dims.d0 && n < 130u) {
                            const float sum = mine[e];
                            const float v2 = float(in2[n]);
                            const float v3 = sum + v2;
                            const float v4 = tlc_max(v3, 0.0f);
                            out[m * 130u + n] = half(v4);
                        }
                    }
                    simdgroup_barrier(mem_flags::mem_threadgroup);
                }
            }
        }
    }
}
