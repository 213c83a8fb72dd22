struct scatter_Dims {
    uint d0;  // N
    uint d1;  // 64*N
};

// a.tl:10 scatter
[[max_total_threads_per_threadgroup(256)]]
kernel void scatter(
    device const half* in0 [[buffer(0)]],
    device const int* in1 [[buffer(1)]],
    device const half* in2 [[buffer(2)]],
    device half* out [[buffer(3)]],
    device atomic_uint* status [[buffer(4)]],
    constant scatter_Dims& dims [[buffer(5)]],
    uint group [[threadgroup_position_in_grid]],
    uint groups [[threadgroups_per_grid]],
    uint tid [[thread_index_in_threadgroup]],
    uint threads [[threads_per_threadgroup]])
{
    for (uint k = group * threads + tid; k < 3u; k += groups * threads) {
        const int id = in1[k];
        if (uint(id < 0 ? id + int(dims.d0) : id) >= dims.d0) {
            atomic_store_explicit(status, 1u, memory_order_relaxed);
        }
    }
    for (uint at = group * threads + tid; at < dims.d1; at += groups * threads) {
        const uint row = at / 64u;
        const uint j = at % 64u;
        int from = -1;
        for (uint k = 3u; from < 0 && k > 0u;) {
            --k;
            const int id = in1[k];
            if (uint(id < 0 ? id + int(dims.d0) : id) == row) from = int(k);
        }
        if (from < 0) {
            out[at] = half(float(in0[row * 64u + j]));
        } else {
            out[at] = half(float(in2[uint(from) * 64u + j]));
        }
    }
}
