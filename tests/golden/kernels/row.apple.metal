struct row_Dims {
    uint d0;  // N
};

// a.tl:2 softmax
[[max_total_threads_per_threadgroup(64)]]
kernel void row(
    device const float* in0 [[buffer(0)]],
    device float* out [[buffer(1)]],
    constant row_Dims& dims [[buffer(2)]],
    uint group [[threadgroup_position_in_grid]],
    uint groups [[threadgroups_per_grid]],
    uint tid [[thread_index_in_threadgroup]],
    uint threads [[threads_per_threadgroup]],
    uint lane [[thread_index_in_simdgroup]],
    uint simdgroup [[simdgroup_index_in_threadgroup]],
    uint simdgroups [[simdgroups_per_threadgroup]])
{
    threadgroup float sums[32];  // one per simdgroup
    threadgroup uint tops[32];  // one per simdgroup
    for (uint row = group; row < dims.d0; row += groups) {

        // reduce_max
        uint v0_top = tlc_order(as_type<float>(0xff800000u));
        for (uint j = tid; j < 130u; j += threads) {
            const float x0 = in0[row * 130u + j];
            v0_top = max(v0_top, tlc_order(x0));
        }
        const float v0 = tlc_from_order(tlc_group_max(v0_top, tops, lane, simdgroup, simdgroups));

        // reduce_sum
        float v4_sum = 0.0f;
        for (uint j = tid; j < 130u; j += threads) {
            const float x0 = in0[row * 130u + j];
            const float v2 = x0 - v0;
            const float v3 = precise::exp(v2);
            v4_sum += v3;
        }
        const float v4 = tlc_group_sum(v4_sum, sums, lane, simdgroup, simdgroups);

        // result
        for (uint j = tid; j < 130u; j += threads) {
            const float x0 = in0[row * 130u + j];
            const float v2 = x0 - v0;
            const float v3 = precise::exp(v2);
            const float v6 = v3 / v4;
            out[row * 130u + j] = v6;
        }
    }
}
