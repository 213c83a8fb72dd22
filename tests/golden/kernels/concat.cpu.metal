struct concat_Dims {
    uint d0;  // N
    uint d1;  // N+3
    uint d2;  // 4*N
};

// a.tl:7 concat
kernel void concat(
    device const half* in0 [[buffer(0)]],
    device const half* in1 [[buffer(1)]],
    device half* out [[buffer(2)]],
    constant concat_Dims& dims [[buffer(3)]],
    uint group [[threadgroup_position_in_grid]],
    uint groups [[threadgroups_per_grid]])
{
    {  // operand 0
        const uint share = tlc_share(dims.d2, groups, 32u);
        const uint begin = group * share;
        const uint end = min(dims.d2, begin + share);
        for (uint at = begin; at < end;) {
            const uint row = at / dims.d0;
            uint j = at % dims.d0;
            const uint last = min(dims.d0, j + (end - at));
            at += last - j;
            device const half* x0_row = in0 + row * dims.d0;
            device half* out_row = out + row * dims.d1;
            for (; j + 8u <= last; j += 8u) {
                const f8 x0 = ld8(x0_row + j);
                st8(out_row + j, x0);
            }
            if (j < last) {
                const uint n = last - j;
                const f8 x0 = ld8n(x0_row + j, n);
                st8n(out_row + j, x0, n);
            }
        }
    }
    {  // operand 1
        const uint share = tlc_share(12u, groups, 32u);
        const uint begin = group * share;
        const uint end = min(12u, begin + share);
        for (uint at = begin; at < end;) {
            const uint row = at / 3u;
            uint j = at % 3u;
            const uint last = min(3u, j + (end - at));
            at += last - j;
            device const half* x1_row = in1 + row * 3u;
            device half* out_row = out + dims.d0 + row * dims.d1;
            if (j < last) {
                const uint n = last - j;
                const f8 x1 = ld8n(x1_row + j, n);
                st8n(out_row + j, x1, n);
            }
        }
    }
}
