struct matmul_matvec_Dims {
    uint d0;  // N
};

// a.tl:4 linear + relu
kernel void matmul_matvec(
    device const half* in0 [[buffer(0)]],
    device const uchar* in1 [[buffer(1)]],
    device const half* in2 [[buffer(2)]],
    device half* out [[buffer(3)]],
    constant matmul_matvec_Dims& dims [[buffer(4)]],
    uint group [[threadgroup_position_in_grid]],
    uint groups [[threadgroups_per_grid]])
{
    const uint m0 = 0u;
    const uint height = dims.d0;
    float left[16 * 512];
    float sums[16 * 48];
    char low[16 * 512], high[16 * 512];
    float steps[16 * 16], totals[16 * 16];
    TLC_ALIGNED float planes[8192];
    TLC_ALIGNED int starts[512];
    TLC_ALIGNED float factors[512], less[512];
    for (uint work = group; work < 3u; work += groups) {
        const uint n0 = work * 48u;
        const uint width = min(48u, 130u - n0);
        for (uint i = 0u; i < 768u; i += 8u) st8(sums + i, splat8(0.0f));

        for (uint k0 = 0u; k0 < 512u; k0 += 512u) {
            const uint depth = min(512u, 512u - k0);
            for (uint m = 0u; m < height; ++m) {
                device const half* x0_row = in0 + m * 512u + k0;
                uint k = 0u;
                for (; k + 8u <= depth; k += 8u) st8(left + m * 512u + k, ld8(x0_row + k));
                if (k < depth) {
                    const uint real = depth - k;
                    st8(left + m * 512u + k, ld8n(x0_row + k, real));
                }
            }
            uint whole = depth / 64u * 64u;
            for (uint m = 0u; m < height; ++m) {
                if (!tlc_integers_32(left + m * 512u, whole, tlc_by_blocks, low + m * 512u, high + m * 512u,
                                     steps + m * 16u, totals + m * 16u)) {
                    whole = 0u;
                    break;
                }
            }
            uint planar = height > 2u ? whole / 256u * 256u : 0u;
            if (planar > 0u && !tlc_planes(low, high, tlc_by_blocks, steps, totals, 512u, height, planar, 8, planes, starts, factors, less)) planar = 0u;
            if (planar > 0u) tlc_unit_open();
            const uint apart = (width + 3u) / 4u;  // short rows that are neighbours would be one stream
            for (uint j = 0u; j < width && planar > 0u; j += 16u) {
                const uint n = n0 + j;
                tlc_bytes_dots_q4_0(
                    in1 + (n * 512u + k0) / 32u * 18u, 512u / 32u * 18u, min(16u, width - j), planar, planes, starts, factors, less, height,
                    sums + j, 48u);
            }
            for (uint j = 0u; j < apart && whole > planar; ++j) {
                const uint n = n0 + j;
                device const uchar* row = in1 + (n * 512u + k0) / 32u * 18u + planar / 32u * 18u;
                uint m = 0u;
                for (; m + 4u <= height; m += 4u) tlc_integer_dots4_q4_0(
                    row, 512u / 32u * 18u, apart, min(4u, (width - j + apart - 1u) / apart), whole - planar, low + m * 512u + planar, high + m * 512u + planar, steps + m * 16u + planar / 32u,
                    totals + m * 16u + planar / 32u, 512u, sums + m * 48u + j, 48u);
                for (; m + 2u <= height; m += 2u) tlc_integer_dots2_q4_0(
                    row, 512u / 32u * 18u, apart, min(4u, (width - j + apart - 1u) / apart), whole - planar, low + m * 512u + planar, high + m * 512u + planar, steps + m * 16u + planar / 32u,
                    totals + m * 16u + planar / 32u, 512u, sums + m * 48u + j, 48u);
                for (; m < height; ++m) tlc_integer_dots1_q4_0(
                    row, 512u / 32u * 18u, apart, min(4u, (width - j + apart - 1u) / apart), whole - planar, low + m * 512u + planar, high + m * 512u + planar, steps + m * 16u + planar / 32u,
                    totals + m * 16u + planar / 32u, 512u, sums + m * 48u + j, 48u);

            }
            // what is not whole units, or not finite
            for (uint j = 0u; j < width && whole < depth; j += 4u) {
                const uint n = n0 + j;
                const uint count = min(4u, width - j);
                for (uint m = 0u; m < height; ++m) {
                    tlc_dots1_q4_0(in1, n * 512u + k0 + whole, 512u, count, depth - whole,
                        left + m * 512u + whole, sums + m * 48u + j);
                }
            }
            if (planar > 0u) tlc_unit_close();
        }

        // what follows the product
        for (uint i = 0u; i < height; ++i) {
            const uint m = m0 + i;
            device half* out_row = out + m * 130u;
            uint j = 0u;
            for (; j + 8u <= width; j += 8u) {
                const uint n = n0 + j;
                const f8 v1 = ld8(sums + i * 48u + j);
                const f8 v2 = ld8(in2 + n);
                const f8 v3 = v1 + v2;
                const f8 v4 = max8(v3, splat8(0.0f));
                st8(out_row + n, v4);
            }
            if (j < width) {
                const uint n = n0 + j;
                const uint real = width - j;
                const f8 v1 = ld8(sums + i * 48u + j);
                const f8 v2 = ld8n(in2 + n, real);
                const f8 v3 = v1 + v2;
                const f8 v4 = max8(v3, splat8(0.0f));
                st8n(out_row + n, v4, real);
            }
        }
    }
}

struct matmul_Dims {
    uint d0;  // N
    uint d1;  // (N+191//192)
};

// a.tl:4 linear + relu
kernel void matmul(
    device const half* in0 [[buffer(0)]],
    device const uchar* in1 [[buffer(1)]],
    device const half* in2 [[buffer(2)]],
    device half* out [[buffer(3)]],
    constant matmul_Dims& dims [[buffer(4)]],
    uint group [[threadgroup_position_in_grid]],
    uint groups [[threadgroups_per_grid]])
{
    TLC_ALIGNED float left[192u * TLC_LEFT];
    TLC_ALIGNED float panel[256u * TLC_PANEL];
    TLC_ALIGNED float sums[192 * 176];
    tlc_unit_open();
    for (uint tile = group; tile < dims.d1; tile += groups) {
        const uint m0 = tile * 192u;
        const uint n0 = 0u;
        const uint height = min(192u, dims.d0 - m0);
        const uint width = min(160u, 130u - n0);
        const uint padded = (height + TLC_ROWS - 1u) / TLC_ROWS * TLC_ROWS;
        for (uint i = 0u; i < padded * 176u; i += 8u) st8(sums + i, splat8(0.0f));

        for (uint k0 = 0u; k0 < 512u; k0 += 256u) {
            const uint depth = min(256u, 512u - k0);
            bool cut = false;
            {
                const uint m = m0;
                device const half* x0_row = in0 + m * 512u + k0;
                cut = tlc_cut_rows(x0_row, 512u, height, depth, left);
            }
            for (uint i = 0u; i < height && !cut; ++i) {
                const uint m = m0 + i;
                device const half* x0_row = in0 + m * 512u + k0;
                uint k = 0u;
                for (; k + 8u <= depth; k += 8u) st8(left + i * TLC_LEFT + k, ld8(x0_row + k));
                if (k < depth) {
                    const uint real = depth - k;
                    st8(left + i * TLC_LEFT + k, ld8n(x0_row + k, real));
                }
            }
            for (uint i = height * TLC_LEFT; i < padded * TLC_LEFT; i += 8u) st8(left + i, splat8(0.0f));

            for (uint j = 0u; j < width; j += TLC_PANEL) {
                bool ready = false;
                {
                    const uint n = n0 + j;
                    const uint v0_row = n * 512u + k0;
                    ready = cut && tlc_cut_along_q4_0(in1, v0_row, 512u, width - j, depth, panel);
                }
                if (!ready) {
                    for (uint h = 0u; h < TLC_PANEL; h += 8u) {
                        for (uint k = 0u; k < depth; k += 8u) {
                            f8 block[8];
                            if (j + h + 8u <= width && k + 8u <= depth) {
                                #pragma clang loop unroll(full)
                                for (uint c = 0u; c < 8u; ++c) {
                                    const uint n = n0 + j + h + c;
                                    const uint v0_row = n * 512u + k0;
                                    block[c] = ld8_q4_0(in1, v0_row + k);
                                }
                            } else {
                                const uint real = min(8u, depth - k);
                                for (uint c = 0u; c < 8u; ++c) {
                                    block[c] = splat8(0.0f);
                                    if (j + h + c >= width) continue;
                                    const uint n = n0 + j + h + c;
                                    const uint v0_row = n * 512u + k0;
                                    block[c] = ld8_q4_0(in1, v0_row + k);
                                }
                            }
                            transpose8(block);
                            for (uint c = 0u; c < 8u; ++c) st8(panel + (k + c) * TLC_PANEL + h, block[c]);
                        }
                    }
                }
                if (cut && !ready) {
                    tlc_uncut_left(left, padded, depth);
                    cut = false;
                }
                tlc_multiply(left, panel, depth, sums + j, 176u, height, cut);
            }
        }

        // what follows the product
        for (uint i = 0u; i < height; ++i) {
            const uint m = m0 + i;
            device half* out_row = out + m * 130u;
            uint j = 0u;
            for (; j + 8u <= width; j += 8u) {
                const uint n = n0 + j;
                const f8 v1 = ld8(sums + i * 176u + j);
                const f8 v2 = ld8(in2 + n);
                const f8 v3 = v1 + v2;
                const f8 v4 = max8(v3, splat8(0.0f));
                st8(out_row + n, v4);
            }
            if (j < width) {
                const uint n = n0 + j;
                const uint real = width - j;
                const f8 v1 = ld8(sums + i * 176u + j);
                const f8 v2 = ld8n(in2 + n, real);
                const f8 v3 = v1 + v2;
                const f8 v4 = max8(v3, splat8(0.0f));
                st8n(out_row + n, v4, real);
            }
        }
    }
    tlc_unit_close();
}
