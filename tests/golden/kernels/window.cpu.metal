struct window_Dims {
    uint d0;  // 64*(W+1//2)
    uint d1;  // 8*(W+1//2)
    uint d2;  // (W+1//2)
    uint d3;  // ((W+1//2)+127//128)
    uint d4;  // 120*W
    uint d5;  // 15*W
    uint d6;  // 8*((W+1//2)+127//128)*N
    uint d7;  // W
};

// a.tl:12 max_pool2d
kernel void window(
    device const half* in0 [[buffer(0)]],
    device half* out [[buffer(1)]],
    constant window_Dims& dims [[buffer(2)]],
    uint group [[threadgroup_position_in_grid]],
    uint groups [[threadgroups_per_grid]])
{
    TLC_ALIGNED float image[4624];
    TLC_ALIGNED float apart[272];  // a line before it is taken apart
    TLC_ALIGNED float results[32];
    for (uint tile = group; tile < dims.d6; tile += groups) {
        const uint n0 = tile % dims.d3 * 128u;
        const uint m0 = 0u;
        const uint o = tile / dims.d3 % 8u;
        const uint b = tile / dims.d3 / 8u;
        const uint c = o;
        const uint plane = b * dims.d4 + c * dims.d5;
        const uint below = min(8u, 8u - m0);
        const uint beside = min(128u, dims.d2 - n0);
        const int top = int(m0 * 2u) - 1;
        const int left = int(n0 * 2u) - 1;

        // lines of the image, as_type<float>(0xff800000u) where it is not
        const uint lines = ((below + 3u) / 4u * 4u - 1u) * 2u + 3u;
        const uint floats = ((beside + 7u) / 8u * 8u + 8u) / 8u * 16u;
        const uint begin = left < 0 ? min(floats, uint(-left)) : 0u;
        const int behind = int(dims.d7) - left;
        const uint end = behind > 0 ? max(begin, min(floats, uint(behind))) : begin;
        for (uint i = 0u; i < lines; ++i) {
            const int y = top + int(i);
            thread float* to = image + i * 272u;
            if (y < 0 || y >= int(15u)) {
                for (uint q = 0u; q < 272u; q += 8u) st8(to + q, splat8(as_type<float>(0xff800000u)));
                continue;
            }
            const uint place = plane + uint(y) * dims.d7 + uint(left + int(begin)) * 1u;
            device const half* x0_row = in0 + place;
            thread float* whole = apart;
            for (uint q = 0u; q < begin; ++q) whole[q] = as_type<float>(0xff800000u);
            thread float* inside = whole + begin;
            const uint count = end - begin;
            uint q = 0u;
            for (; q + 8u <= count; q += 8u) st8(inside + q, ld8(x0_row + q));
            if (q < count && count >= 8u) {
                q = count - 8u;  // some of them again
                st8(inside + q, ld8(x0_row + q));
            } else if (q < count) {
                const uint n = count - q;
                st8n(inside + q, ld8n(x0_row + q, n), n);
            }
            for (q = end; q < floats; ++q) whole[q] = as_type<float>(0xff800000u);
            for (q = 0u; 2u * q < floats; q += 8u) {
                const f8 first = ld8(whole + 2u * q), second = ld8(whole + 2u * q + 8u);
                st8(to + q, even8(first, second));
                st8(to + 136u + q, odd8(first, second));
            }
        }

        for (uint i = 0u; i < below; i += 4u) {
            for (uint j = 0u; j < beside; j += 8u) {
                f8 sum[4];
                #pragma clang loop unroll(full)
                for (uint r = 0u; r < 4u; ++r) sum[r] = splat8(as_type<float>(0xff800000u));
                for (uint u = 0u; u < 3u; ++u) {
                    thread const float* from = image + (i * 2u + u * 1u) * 272u + j;
                    #pragma clang loop unroll(full)
                    for (uint v = 0u; v < 3u; ++v) {
                        const uint at = v * 1u % 2u * 136u + v * 1u / 2u;
                        #pragma clang loop unroll(full)
                        for (uint r = 0u; r < 4u; ++r) {
                            const f8 x = ld8(from + r * 544u + at);
                            sum[r] = max8(sum[r], x);
                        }
                    }
                }
                #pragma clang loop unroll(full)
                for (uint r = 0u; r < 4u; ++r) st8(results + 8u * r, sum[r]);
                const uint x = n0 + j;
                for (uint r = 0u; r < min(4u, below - i); ++r) {
                    const uint y = m0 + i + r;
                    device half* out_row = out + b * dims.d0 + o * dims.d1 + y * dims.d2;
                    if (j + 8u <= beside) {
                        const f8 v0 = ld8(results + 8u * r);
                        st8(out_row + x, v0);
                    } else {
                        const uint n = beside - j;
                        const f8 v0 = ld8(results + 8u * r);
                        st8n(out_row + x, v0, n);
                    }
                }
            }
        }
    }
}
