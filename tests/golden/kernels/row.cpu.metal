struct row_Dims {
    uint d0;  // N
};

// a.tl:2 softmax
kernel void row(
    device const float* in0 [[buffer(0)]],
    device float* out [[buffer(1)]],
    constant row_Dims& dims [[buffer(2)]],
    uint group [[threadgroup_position_in_grid]],
    uint groups [[threadgroups_per_grid]])
{
    const uint share = tlc_share(dims.d0, groups, 1u);
    const uint begin = group * share;
    const uint end = min(dims.d0, begin + share);
    float v3_kept[136];
    for (uint row = begin; row < end; ++row) {
        device const float* x0_row = in0 + row * 130u;
        device float* out_row = out + row * 130u;

        // reduce_max
        f8 v0_acc[4];
        for (uint u = 0u; u < 4u; ++u) v0_acc[u] = splat8(as_type<float>(0xff800000u));
        for (uint base = 0u; base + 32u <= 130u; base += 32u) {
            #pragma clang loop unroll(full)
            for (uint u = 0u; u < 4u; ++u) {
                const uint j = base + 8u * u;
                const f8 x0 = ld8(x0_row + j);
                v0_acc[u] = max8(v0_acc[u], x0);
            }
        }
        for (uint j = 130u / 32u * 32u; j < 130u; j += 8u) {
            const uint n = min(8u, 130u - j);
            const f8 x0 = ld8n(x0_row + j, n);
            v0_acc[0] = max8(v0_acc[0], select8(splat8(as_type<float>(0xff800000u)), x0, iota8() < int(n)));
        }
        const f8 v0 = splat8(hmax8(max8(max8(v0_acc[0], v0_acc[1]), max8(v0_acc[2], v0_acc[3]))));

        // reduce_sum
        f8 v4_acc[4];
        for (uint u = 0u; u < 4u; ++u) v4_acc[u] = splat8(0.0f);
        for (uint base = 0u; base + 32u <= 130u; base += 32u) {
            #pragma clang loop unroll(full)
            for (uint u = 0u; u < 4u; ++u) {
                const uint j = base + 8u * u;
                const f8 x0 = ld8(x0_row + j);
                const f8 v2 = x0 - v0;
                const f8 v3 = exp8(v2);
                st8(v3_kept + j, v3);
                v4_acc[u] = v4_acc[u] + v3;
            }
        }
        for (uint j = 130u / 32u * 32u; j < 130u; j += 8u) {
            const uint n = min(8u, 130u - j);
            const f8 x0 = ld8n(x0_row + j, n);
            const f8 v2 = x0 - v0;
            const f8 v3 = exp8(v2);
            st8(v3_kept + j, v3);
            v4_acc[0] = v4_acc[0] + select8(splat8(0.0f), v3, iota8() < int(n));
        }
        const f8 v4 = splat8(hsum8((v4_acc[0] + v4_acc[1]) + (v4_acc[2] + v4_acc[3])));

        // result
        for (uint base = 0u; base + 32u <= 130u; base += 32u) {
            #pragma clang loop unroll(full)
            for (uint u = 0u; u < 4u; ++u) {
                const uint j = base + 8u * u;
                const f8 v3 = ld8(v3_kept + j);
                const f8 v6 = v3 / v4;
                st8(out_row + j, v6);
            }
        }
        for (uint j = 130u / 32u * 32u; j < 130u; j += 8u) {
            const uint n = min(8u, 130u - j);
            const f8 v3 = ld8(v3_kept + j);
            const f8 v6 = v3 / v4;
            st8n(out_row + j, v6, n);
        }
    }
}
