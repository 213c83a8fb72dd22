struct columns_Dims {
    uint d0;  // T
    uint d1;  // 64*T
};

// a.tl:5 matmul
kernel void columns(
    device const half* in0 [[buffer(0)]],
    device const half* in1 [[buffer(1)]],
    device half* out [[buffer(2)]],
    constant columns_Dims& dims [[buffer(3)]],
    uint group [[threadgroup_position_in_grid]],
    uint groups [[threadgroups_per_grid]])
{
    const uint m0 = 0u;
    const uint height = 1u;
    float sums[1 * 64];
    for (uint work = group; work < 2u; work += groups) {
        const uint n0 = 0u;
        const uint b = work;
        const uint width = min(64u, 64u - n0);
        for (uint m = 0u; m < height; ++m) {
            for (uint j = 0u; j < width; j += 8u) st8(sums + m * 64u + j, splat8(0.0f));
        }

        for (uint k0 = 0u; k0 < dims.d0; k0 += 4u) {
            const uint count = min(4u, dims.d0 - k0);
            float x[4 * 1];
            for (uint m = 0u; m < height; ++m) {
                for (uint s = 0u; s < count; ++s) {
                    const uint k = k0 + s;
                    x[4u * m + s] = float(in0[b * dims.d0 + m * dims.d0 + k]);
                }
            }
            uint m = 0u;
            for (; m < height; ++m) tlc_add<1>(in1 + b * dims.d1 + n0 + k0 * 64u, 64u, count, width, x + 4u * m, sums + m * 64u, 64u);

        }

        // what follows the product
        for (uint i = 0u; i < height; ++i) {
            const uint m = m0 + i;
            device half* out_row = out + b * 64u + m * 64u;
            uint j = 0u;
            for (; j + 8u <= width; j += 8u) {
                const uint n = n0 + j;
                const f8 v0 = ld8(sums + i * 64u + j);
                st8(out_row + n, v0);
            }
        }
    }
}
