struct sort_Dims {
    uint d0;  // N
};

// a.tl:8 argsort
kernel void sort(
    device const half* in0 [[buffer(0)]],
    device int* out [[buffer(1)]],
    constant sort_Dims& dims [[buffer(2)]],
    uint group [[threadgroup_position_in_grid]],
    uint groups [[threadgroups_per_grid]])
{
    const uint share = tlc_share(dims.d0, groups, 1u);
    const uint begin = group * share;
    const uint finish = min(dims.d0, begin + share);
    for (uint row = begin; row < finish; ++row) {
        device int* order = out + row * 100u;
        for (uint j = 0u; j < 100u; ++j) order[j] = int(j);
        // first every index from the middle down sinks into a heap, then the largest goes to the end
        uint start = 100u / 2u, end = 100u;
        while (end > 1u) {
            if (start > 0u) {
                --start;
            } else {
                --end;
                const int largest = order[0];
                order[0] = order[end];
                order[end] = largest;
            }
            uint root = start;
            const uint sinking = uint(order[root]);
            const uint weight = ~tlc_rank(float(in0[row * 100u + sinking]));
            bool sinks = true;
            while (sinks && 2u * root + 1u < end) {
                uint child = 2u * root + 1u;
                uint j = uint(order[child]);
                uint heavy = ~tlc_rank(float(in0[row * 100u + j]));
                if (child + 1u < end) {
                    const uint k = uint(order[child + 1u]);
                    const uint theirs = ~tlc_rank(float(in0[row * 100u + k]));
                    if (heavy < theirs || (heavy == theirs && j < k)) {
                        ++child;
                        j = k;
                        heavy = theirs;
                    }
                }
                sinks = weight < heavy || (weight == heavy && sinking < j);
                if (sinks) {
                    order[root] = int(j);
                    root = child;
                }
            }
            order[root] = int(sinking);
        }
    }
}
