struct column_Dims {
    uint d0;  // N
};

// a.tl:3 sum
kernel void column(
    device const half* in0 [[buffer(0)]],
    device half* out [[buffer(1)]],
    constant column_Dims& dims [[buffer(2)]],
    uint group [[threadgroup_position_in_grid]],
    uint groups [[threadgroups_per_grid]])
{
    const uint share = tlc_share(dims.d0, groups, 32u);
    const uint begin = group * share;
    const uint end = min(dims.d0, begin + share);
    device half* out_row = out;
    uint j = begin;
    for (; j + 32u <= end; j += 32u) {
        f8 v0_acc[4];
        for (uint u = 0u; u < 4u; ++u) v0_acc[u] = splat8(0.0f);
        for (uint r = 0u; r < 33u; ++r) {
            device const half* x0_row = in0 + r * dims.d0;
            #pragma clang loop unroll(full)
            for (uint u = 0u; u < 4u; ++u) {
                const uint k = j + 8u * u;
                const f8 x0 = ld8(x0_row + k);
                v0_acc[u] = v0_acc[u] + x0;
            }
        }
        #pragma clang loop unroll(full)
        for (uint u = 0u; u < 4u; ++u) {
            const uint k = j + 8u * u;
            const f8 v0 = v0_acc[u];
            st8(out_row + k, v0);
        }
    }
    for (uint k = j; k < end; k += 8u) {
        const uint n = min(8u, end - k);
        f8 v0_acc = splat8(0.0f);
        for (uint r = 0u; r < 33u; ++r) {
            device const half* x0_row = in0 + r * dims.d0;
            const f8 x0 = ld8n(x0_row + k, n);
            v0_acc = v0_acc + x0;
        }
        const f8 v0 = v0_acc;
        st8n(out_row + k, v0, n);
    }
}
