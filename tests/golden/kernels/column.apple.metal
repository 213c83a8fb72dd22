struct column_Dims {
    uint d0;  // N
};

// a.tl:3 sum
[[max_total_threads_per_threadgroup(256)]]
kernel void column(
    device const half* in0 [[buffer(0)]],
    device half* out [[buffer(1)]],
    constant column_Dims& dims [[buffer(2)]],
    uint group [[threadgroup_position_in_grid]],
    uint groups [[threadgroups_per_grid]],
    uint tid [[thread_index_in_threadgroup]],
    uint threads [[threads_per_threadgroup]])
{
    for (uint at = group * threads + tid; at < dims.d0; at += groups * threads) {
        float v0_sum = 0.0f;
        for (uint r = 0u; r < 33u; ++r) {
            const float x0 = float(in0[at + r * dims.d0]);
            v0_sum += x0;
        }
        const float v0 = v0_sum;
        out[at] = half(v0);
    }
}
