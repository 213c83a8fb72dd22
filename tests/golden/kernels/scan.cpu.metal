struct scan_Dims {
    uint d0;  // N
};

// a.tl:9 cumsum
kernel void scan(
    device const half* in0 [[buffer(0)]],
    device half* out [[buffer(1)]],
    constant scan_Dims& dims [[buffer(2)]],
    uint group [[threadgroup_position_in_grid]],
    uint groups [[threadgroups_per_grid]])
{
    const uint share = tlc_share(dims.d0, groups, 1u);
    const uint begin = group * share;
    const uint end = min(dims.d0, begin + share);
    for (uint row = begin; row < end; ++row) {
        float total = 0.0f;
        for (uint j = 0u; j < 100u; ++j) {
            total += float(in0[row * 100u + j]);
            out[row * 100u + j] = half(total);
        }
    }
}
