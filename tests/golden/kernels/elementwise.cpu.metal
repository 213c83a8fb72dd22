struct elementwise_Dims {
    uint d0;  // 64*N
};

// a.tl:1 tanh(x + bias)
kernel void elementwise(
    device const half* in0 [[buffer(0)]],
    device const half* in1 [[buffer(1)]],
    device half* out [[buffer(2)]],
    constant elementwise_Dims& dims [[buffer(3)]],
    uint group [[threadgroup_position_in_grid]],
    uint groups [[threadgroups_per_grid]])
{
    const uint share = tlc_share(dims.d0, groups, 32u);
    const uint begin = group * share;
    const uint end = min(dims.d0, begin + share);
    for (uint at = begin; at < end;) {
        const uint row = at / 64u;
        uint j = at % 64u;
        const uint last = min(64u, j + (end - at));
        at += last - j;
        device const half* x0_row = in0 + row * 64u;
        device half* out_row = out + row * 64u;
        for (; j + 16u <= last; j += 16u) {
            const v16 x0 = ld16(x0_row + j);
            const v16 v0 = ld16(in1 + j);
            const v16 v1 = x0 + v0;
            const v16 v2 = tanh16(v1);
            st16(out_row + j, v2);
        }
        for (; j + 8u <= last; j += 8u) {
            const f8 x0 = ld8(x0_row + j);
            const f8 v0 = ld8(in1 + j);
            const f8 v1 = x0 + v0;
            const f8 v2 = tanh8(v1);
            st8(out_row + j, v2);
        }
    }
}
