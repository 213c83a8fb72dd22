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
        v16 v0_wide[2] = {splat16(as_type<float>(0xff800000u)), splat16(as_type<float>(0xff800000u))};
        for (uint base = 0u; base + 32u <= 130u; base += 32u) {
            #pragma clang loop unroll(full)
            for (uint u = 0u; u < 2u; ++u) {
                const uint j = base + 16u * u;
                const v16 x0 = ld16(x0_row + j);
                v0_wide[u] = max16(v0_wide[u], x0);
            }
        }
        for (uint u = 0u; u < 2u; ++u) {
            v0_acc[2u * u] = low8(v0_wide[u]);
            v0_acc[2u * u + 1u] = high8(v0_wide[u]);
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
        v16 v4_wide[2] = {splat16(0.0f), splat16(0.0f)};
        for (uint base = 0u; base + 32u <= 130u; base += 32u) {
            #pragma clang loop unroll(full)
            for (uint u = 0u; u < 2u; ++u) {
                const uint j = base + 16u * u;
                const v16 x0 = ld16(x0_row + j);
                const v16 v2 = x0 - join16(v0, v0);
                const v16 v3 = exp16(v2);
                st16(v3_kept + j, v3);
                v4_wide[u] = v4_wide[u] + v3;
            }
        }
        for (uint u = 0u; u < 2u; ++u) {
            v4_acc[2u * u] = low8(v4_wide[u]);
            v4_acc[2u * u + 1u] = high8(v4_wide[u]);
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
        const f8 v5_inverse = tlc_inverse8(v4);
        for (uint base = 0u; base + 32u <= 130u; base += 32u) {
            #pragma clang loop unroll(full)
            for (uint u = 0u; u < 2u; ++u) {
                const uint j = base + 16u * u;
                const v16 v3 = ld16(v3_kept + j);
                const v16 v6 = tlc_over16(v3, join16(v4, v4), join16(v5_inverse, v5_inverse));
                st16(out_row + j, v6);
            }
        }
        for (uint j = 130u / 32u * 32u; j < 130u; j += 8u) {
            const uint n = min(8u, 130u - j);
            const f8 v3 = ld8(v3_kept + j);
            const f8 v6 = tlc_over8(v3, v4, v5_inverse);
            st8n(out_row + j, v6, n);
        }
    }
}
