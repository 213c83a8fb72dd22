struct concat_Dims {
    uint d0;  // N
    uint d1;  // N+3
    uint d2;  // 4*N
};

// a.tl:7 concat
[[max_total_threads_per_threadgroup(256)]]
kernel void concat(
    device const half* in0 [[buffer(0)]],
    device const half* in1 [[buffer(1)]],
    device half* out [[buffer(2)]],
    constant concat_Dims& dims [[buffer(3)]],
    uint group [[threadgroup_position_in_grid]],
    uint groups [[threadgroups_per_grid]],
    uint tid [[thread_index_in_threadgroup]],
    uint threads [[threads_per_threadgroup]])
{
    // operand 0
    for (uint at = group * threads + tid; at < dims.d2; at += groups * threads) {
        const uint i0 = at / dims.d0;
        const uint i1 = at % dims.d0;
        const float x0 = float(in0[at]);
        out[i0 * dims.d1 + i1] = half(x0);
    }
    // operand 1
    for (uint at = group * threads + tid; at < 12u; at += groups * threads) {
        const uint i0 = at / 3u;
        const uint i1 = at % 3u;
        const float x1 = float(in1[at]);
        out[dims.d0 + i0 * dims.d1 + i1] = half(x1);
    }
}
