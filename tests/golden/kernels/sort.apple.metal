struct sort_Dims {
    uint d0;  // 100*N
};

// a.tl:8 argsort
[[max_total_threads_per_threadgroup(256)]]
kernel void sort(
    device const half* in0 [[buffer(0)]],
    device int* out [[buffer(1)]],
    constant sort_Dims& dims [[buffer(2)]],
    uint group [[threadgroup_position_in_grid]],
    uint groups [[threadgroups_per_grid]],
    uint tid [[thread_index_in_threadgroup]],
    uint threads [[threads_per_threadgroup]])
{
    for (uint at = group * threads + tid; at < dims.d0; at += groups * threads) {
        const uint row = at / 100u;
        const uint j = at % 100u;
        const uint mine = ~tlc_rank(float(in0[row * 100u + j]));
        uint before = 0u;
        for (uint k = 0u; k < 100u; ++k) {
            const uint theirs = ~tlc_rank(float(in0[row * 100u + k]));
            before += theirs < mine || (theirs == mine && k < j) ? 1u : 0u;
        }
        out[row * 100u + before] = int(j);
    }
}
