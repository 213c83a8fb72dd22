"""Small Metal texts: those that tlc's own kernels do without, each with a code, and others."""

from __future__ import annotations

from tests.msl.lint_cases import HEAD


def own(
    body: str, before: str = "", head: str = "[[max_total_threads_per_threadgroup(64)]] "
) -> str:
    """A kernel as tlc writes it, with this body."""
    return (
        f"{HEAD}{before}{head}kernel void k(device float* o [[buffer(0)]],"
        " device const half* a [[buffer(1)]], device const int* n [[buffer(2)]],"
        " uint tid [[thread_index_in_threadgroup]], uint lane [[thread_index_in_simdgroup]],"
        f" uint simdgroups [[simdgroups_per_threadgroup]]) {{ {body} }}\n"
    )


BARRIER = "threadgroup_barrier(mem_flags::mem_threadgroup);"

# what Metal takes and tlc's own kernels do without
NOT_OURS: dict[str, tuple[str, str]] = {
    "half to float": (own("o[tid] = a[tid];"), "M20"),
    "float to half": (own("half h = o[tid]; o[tid] = float(h);"), "M20"),
    "int to float": (own("o[tid] = n[tid];"), "M20"),
    "float to int": (own("int i = o[tid]; o[tid] = float(i);"), "M20"),
    "uint to int": (own("int i = tid; o[tid] = float(i);"), "M20"),
    "int compared with uint": (own("o[tid] = n[tid] < tid ? 1.0f : 0.0f;"), "M20"),
    "a buffer without an index": (own("o[tid] = 0.5f;").replace(" [[buffer(1)]]", ""), "M08"),
    "a number without a suffix": (own("o[tid] = 0.5;"), "M21"),
    "a power of ten without a suffix": (own("o[tid] = 1e-5;"), "M21"),
    "a template": (own("o[tid] = 0.0f;", "template <typename T> T f(T x) { return x; }\n"), "M22"),
    "isnan": (own("o[tid] = isnan(o[tid]) ? 0.0f : 1.0f;"), "M22"),
    "infinity": (own("o[tid] = INFINITY;"), "M22"),
    "a cast of C++": (own("o[tid] = static_cast<float>(a[tid]);"), "M22"),
    "no limit of threads": (own("o[tid] = 0.0f;", head=""), "M23"),
    "a limit that is no multiple of 32": (
        own("o[tid] = 0.0f;", head="[[max_total_threads_per_threadgroup(48)]] "),
        "M23",
    ),
    "a limit that is too large": (
        own("o[tid] = 0.0f;", head="[[max_total_threads_per_threadgroup(2048)]] "),
        "M23",
    ),
    "a barrier in an if": (own(f"if (tid < 3u) {{ {BARRIER} }}"), "M24"),
    "a barrier in an else": (own(f"if (tid < 3u) o[tid] = 0.0f; else {BARRIER}"), "M24"),
    "a sum in a loop by lanes": (
        own("for (uint i = lane; i < 9u; i += 32u) o[i] = simd_sum(o[i]);"),
        "M24",
    ),
    "a barrier behind a return": (own(f"if (tid > 3u) return; {BARRIER}"), "M24"),
    "exp": (own("o[tid] = exp(o[tid]);"), "M25"),
    "a root": (own("o[tid] = sqrt(o[tid]);"), "M25"),
}

OURS: dict[str, str] = {
    "written out": own("o[tid] = float(a[tid]) + float(n[tid]) * 0.5f;"),
    "a byte in an int": own("int i = ((device const uchar*)a)[tid]; o[tid] = float(i);"),
    "a barrier in a loop of all": own(f"for (uint i = 0u; i < simdgroups; ++i) {{ {BARRIER} }}"),
    "an if behind a barrier": own(f"{BARRIER} if (tid < 3u) o[tid] = 0.0f;"),
    "a return behind the last barrier": own(f"{BARRIER} if (tid > 3u) return; o[tid] = 0.0f;"),
    "precise::exp": own("o[tid] = precise::exp(o[tid]);"),
    "fabs": own("o[tid] = fabs(o[tid]);"),
}
