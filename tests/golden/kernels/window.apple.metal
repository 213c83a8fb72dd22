struct window_Dims {
    uint d0;  // (W+1//2)
    uint d1;  // W
    uint d2;  // 120*W
    uint d3;  // 15*W
    uint d4;  // 64*(W+1//2)*N
};

// a.tl:12 max_pool2d
[[max_total_threads_per_threadgroup(256)]]
kernel void window(
    device const half* in0 [[buffer(0)]],
    device half* out [[buffer(1)]],
    constant window_Dims& dims [[buffer(2)]],
    uint group [[threadgroup_position_in_grid]],
    uint groups [[threadgroups_per_grid]],
    uint tid [[thread_index_in_threadgroup]],
    uint threads [[threads_per_threadgroup]])
{
    for (uint at = group * threads + tid; at < dims.d4; at += groups * threads) {
        const uint x = at % dims.d0;
        const uint y = at / dims.d0 % 8u;
        const uint o = at / dims.d0 / 8u % 8u;
        const uint b = at / dims.d0 / 8u / 8u;
        const uint c = o;
        const uint plane = b * dims.d2 + c * dims.d3;
        float result = as_type<float>(0xff800000u);
        for (uint u = 0u; u < 3u; ++u) {
            const int row = int(y * 2u + u * 1u) - 1;
            for (uint v = 0u; v < 3u; ++v) {
                const int column = int(x * 2u + v * 1u) - 1;
                const bool real = row >= 0 && row < int(15u) && column >= 0 && column < int(dims.d1);
                const float element = real ? float(in0[plane + uint(row) * dims.d1 + uint(column)]) : as_type<float>(0xff800000u);
                result = tlc_max(result, element);
            }
        }
        out[at] = half(result);
    }
}
