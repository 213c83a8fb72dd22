struct convolution_Dims {
    uint d0;  // 2*N
    uint d1;  // 1568*N
};

// a.tl:11 conv2d
kernel void convolution(
    device const half* in0 [[buffer(0)]],
    device const half* in1 [[buffer(1)]],
    device half* out [[buffer(2)]],
    constant convolution_Dims& dims [[buffer(3)]],
    uint group [[threadgroup_position_in_grid]],
    uint groups [[threadgroups_per_grid]])
{
    TLC_ALIGNED float left[16u * TLC_LEFT];
    TLC_ALIGNED float panel[64u * TLC_PANEL];
    TLC_ALIGNED float sums[16 * 80];
    tlc_unit_open();
    for (uint tile = group; tile < dims.d0; tile += groups) {
        const uint m1 = 0u;
        const uint n0 = 0u;
        const uint g = tile % 2u;
        const uint b = tile / 2u;
        const uint m0 = g * 3u + m1;
        const uint m_end = (g + 1u) * 3u;
        const uint height = min(12u, m_end - m0);
        const uint width = min(64u, 49u - n0);
        const uint padded = (height + TLC_ROWS - 1u) / TLC_ROWS * TLC_ROWS;
        for (uint i = 0u; i < padded * 80u; i += 8u) st8(sums + i, splat8(0.0f));

        for (uint k0 = 0u; k0 < 36u; k0 += 64u) {
            const uint depth = min(64u, 36u - k0);
            bool cut = false;
            {
                const uint m = m0;
                device const half* x1_row = in1 + m * 36u + k0;
                cut = tlc_cut_rows(x1_row, 36u, height, depth, left);
            }
            for (uint i = 0u; i < height && !cut; ++i) {
                const uint m = m0 + i;
                device const half* x1_row = in1 + m * 36u + k0;
                uint k = 0u;
                for (; k + 8u <= depth; k += 8u) st8(left + i * TLC_LEFT + k, ld8(x1_row + k));
                if (k < depth) {
                    const uint real = depth - k;
                    st8(left + i * TLC_LEFT + k, ld8n(x1_row + k, real));
                }
            }
            for (uint i = height * TLC_LEFT; i < padded * TLC_LEFT; i += 8u) st8(left + i, splat8(0.0f));

            for (uint j = 0u; j < width; j += TLC_PANEL) {
                bool ready = false;
                int tops[TLC_PANEL], lefts[TLC_PANEL];
                for (uint c = 0u; c < TLC_PANEL; ++c) {
                    const uint n = n0 + j + c;
                    tops[c] = int(n / 7u * 2u) - 1;
                    lefts[c] = int(n % 7u * 2u) - 1;
                }
                for (uint p = 0u; p < 9u; ++p) {
                    const uint first = (k0 + 8u - p) / 9u;
                    for (uint h = 0u; h < TLC_PANEL; h += 8u) {
                        const i8 y = ldi8(tops + h) + int(p / 3u * 1u);
                        const i8 x = ldi8(lefts + h) + int(p % 3u * 1u);
                        const m8 real = (y >= 0) & (y < int(14u)) & (x >= 0) & (x < int(14u));
                        const i8 at = y * int(14u) + x * int(1u);
                        const bool whole = all8(real), some = any8(real);
                        const bool close = all8(at == iota8() + lane8(at, 0u));
                        const bool even = all8(at == iota8() * int(2u) + lane8(at, 0u));
                        int places[8], exist[8];
                        sti8(places, at);
                        sti8(exist, select8(splati8(0), splati8(1), real));
                        for (uint c = first; c * 9u + p < k0 + depth; ++c) {
                            thread float* to = panel + (c * 9u + p - k0) * TLC_PANEL + h;
                            const int channel = int(b * 1568u + g * 784u + c * 196u);
                            const int place = channel + places[0];
                            if (!some) {
                                st8(to, splat8(0.0f));
                            } else if (close && place >= 0 && place + 8 <= int(dims.d1)) {
                                const f8 v = ld8(in0 + place);
                                st8(to, whole ? v : select8(splat8(0.0f), v, real));
                            } else if (whole && even) {
                                st8(to, gather8(in0 + place, 2u));
                            } else {
                                for (uint l = 0u; l < 8u; ++l) {
                                    to[l] = exist[l] != 0 ? float(in0[channel + places[l]]) : 0.0f;
                                }
                            }
                        }
                    }
                }
                ready = cut && tlc_cut_panel(panel, depth);
                if (cut && !ready) {
                    tlc_uncut_left(left, padded, depth);
                    cut = false;
                }
                tlc_multiply(left, panel, depth, sums + j, 80u, height, cut);
            }
        }

        // what follows the product
        for (uint i = 0u; i < height; ++i) {
            const uint m = m0 + i;
            device half* out_row = out + b * 294u + m * 49u;
            uint j = 0u;
            for (; j + 8u <= width; j += 8u) {
                const uint n = n0 + j;
                const f8 v0 = ld8(sums + i * 80u + j);
                st8(out_row + n, v0);
            }
            if (j < width) {
                const uint n = n0 + j;
                const uint real = width - j;
                const f8 v0 = ld8(sums + i * 80u + j);
                st8n(out_row + n, v0, real);
            }
        }
    }
    tlc_unit_close();
}
