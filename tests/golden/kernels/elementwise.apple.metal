struct elementwise_Dims {
    uint d0;  // 16*N
};

// a.tl:1 tanh(x + bias)
[[max_total_threads_per_threadgroup(256)]]
kernel void elementwise(
    device const half* in0 [[buffer(0)]],
    device const half* in1 [[buffer(1)]],
    device half* out [[buffer(2)]],
    constant elementwise_Dims& dims [[buffer(3)]],
    uint group [[threadgroup_position_in_grid]],
    uint groups [[threadgroups_per_grid]],
    uint tid [[thread_index_in_threadgroup]],
    uint threads [[threads_per_threadgroup]])
{
    for (uint at = group * threads + tid; at < dims.d0; at += groups * threads) {
        const uint first = at * 4u;
        const uint i1 = first % 64u;
        const half4 x0_4 = *(device const half4*)(in0 + first);
        const half4 v0_4 = *(device const half4*)(in1 + i1);
        half4 result;
        #pragma clang loop unroll(full)
        for (uint k = 0u; k < 4u; ++k) {
            const float x0 = float(x0_4[k]);
            const float v0 = float(v0_4[k]);
            const float v1 = x0 + v0;
            const float v2 = precise::tanh(v1);
            result[k] = half(v2);
        }
        *(device half4*)(out + first) = result;
    }
}
