struct scatter_Dims {
    uint d0;  // N
};

// a.tl:10 scatter
kernel void scatter(
    device const half* in0 [[buffer(0)]],
    device const int* in1 [[buffer(1)]],
    device const half* in2 [[buffer(2)]],
    device half* out [[buffer(3)]],
    device uint* status [[buffer(4)]],
    constant scatter_Dims& dims [[buffer(5)]],
    uint group [[threadgroup_position_in_grid]],
    uint groups [[threadgroups_per_grid]])
{
    const uint share = tlc_share(dims.d0, groups, 1u);
    const uint begin = group * share;
    const uint end = min(dims.d0, begin + share);
    for (uint k = 0u; group == 0u && k < 3u; ++k) {
        const int id = in1[k];
        if (uint(id < 0 ? id + int(dims.d0) : id) >= dims.d0) *status = 1u;
    }
    for (uint row = begin; row < end; ++row) {
        int from = -1;
        for (uint k = 3u; from < 0 && k-- > 0u;) {
            const int id = in1[k];
            if (uint(id < 0 ? id + int(dims.d0) : id) == row) from = int(k);
        }
        for (uint j = 0u; j < 64u; ++j) {
            if (from < 0) {
                out[row * 64u + j] = half(float(in0[row * 64u + j]));
            } else {
                out[row * 64u + j] = half(float(in2[uint(from) * 64u + j]));
            }
        }
    }
}
