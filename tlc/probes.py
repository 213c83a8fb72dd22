"""What a GPU does that its documentation leaves open: small kernels of our own, tried on a device.

`tlc selftest` adds what it finds to its report. Nothing fails by it: kernels are right for any
threadgroup size, and with fast math; the numbers say what to expect of them.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Callable
from typing import Any

from tlc.runtime.devices import Kernel, Launch

SIZES = (32, 64, 128, 256, 512, 1024)  # of threadgroups
LAUNCHES = 200  # in a batch, to see what one costs
COPIED = 64 << 20  # bytes, more than caches hold
TIMES = 5

_HEAD = "#include <metal_stdlib>\nusing namespace metal;\n"
_PLACES = (
    "    uint group [[threadgroup_position_in_grid]], uint groups [[threadgroups_per_grid]],\n"
    "    uint tid [[thread_index_in_threadgroup]], uint threads [[threads_per_threadgroup]])\n"
)
_SIZED = """[[max_total_threads_per_threadgroup({size})]]
kernel void sized_{size}(device uint* out [[buffer(0)]],
{places}{{
    if (group == 0u && tid == 0u) out[0] = threads;
}}
"""
_MATH = """[[max_total_threads_per_threadgroup(32)]]
kernel void math(device const float* x [[buffer(0)]], device uint* out [[buffer(1)]],
{places}{{
    if (group == 0u && tid == 0u) {{
        out[0] = x[0] != x[0] ? 1u : 0u;
        out[1] = x[1] - x[1] == 0.0f ? 0u : 1u;
        out[2] = x[2] * x[3] > 0.0f ? 1u : 0u;
        out[3] = (x[3] + x[4]) - x[3] == 0.0f ? 0u : 1u;
        out[4] = x[5] * x[5] + x[6] == 0.0f ? 0u : 1u;
    }}
}}
"""
_COPY = """[[max_total_threads_per_threadgroup(256)]]
kernel void copied(device const float4* x [[buffer(0)]], device float4* out [[buffer(1)]],
    constant uint& count [[buffer(2)]],
{places}{{
    for (uint at = group * threads + tid; at < count; at += groups * threads) out[at] = x[at];
}}
"""
# what _MATH answers, in its order
QUESTIONS = (
    "NaN is told from numbers",
    "infinity less infinity is not 0",
    "denormal numbers are kept",
    "sums are reordered",
    "products and sums are rounded once",
)


def text() -> str:
    """The kernels of all probes, as a Metal file."""
    sized = "".join(_SIZED.format(size=size, places=_PLACES) for size in SIZES)
    return _HEAD + sized + _MATH.format(places=_PLACES) + _COPY.format(places=_PLACES)


def probe(device: Any, timed: bool = True) -> dict[str, Any]:
    """What a device of the apple profile does; `timed` also measures seconds and bytes a second."""
    kernels = [Kernel(f"sized_{size}", size) for size in SIZES]
    math, copied = Kernel("math", 32), Kernel("copied", 256)
    library = device.library(text(), [*kernels, math, copied])
    found: dict[str, Any] = {
        "threads of a threadgroup": {
            kernel.threads: _words(device, library, kernel, 1)[0] for kernel in kernels
        }
    }
    tiny = 2.0**-24  # of 1, half a unit in the last place
    numbers = (float("nan"), float("inf"), 2.0**-130, 1.0, tiny / 2, 1 + 2.0**-12, -1 - 2.0**-11)
    x = device.buffer(4 * len(numbers))
    device.write(x, struct.pack(f"<{len(numbers)}f", *numbers))
    answers = _words(device, library, math, len(QUESTIONS), [x])
    found["float32"] = {q: bool(a) for q, a in zip(QUESTIONS, answers, strict=True)}
    if timed:
        out = device.buffer(4)
        batch = device.batch(library, [Launch(kernels[0], [out], 1)] * LAUNCHES)
        seconds = _seconds(lambda: (device.run(batch), device.read(out, 4)))
        found["seconds of a launch"] = seconds / LAUNCHES
        source, target = device.constant(memoryview(bytes(COPIED))), device.buffer(COPIED)
        words = struct.pack("<I", COPIED // 16)
        batch = device.batch(library, [Launch(copied, [source, target], 4096, words)])
        seconds = _seconds(lambda: (device.run(batch), device.read(target, 4)))
        found["bytes a second"] = 2 * COPIED / seconds
    return found


def _words(device: Any, library: Any, kernel: Kernel, count: int, inputs: Any = ()) -> list[int]:
    """What a kernel writes to its last buffer."""
    out = device.buffer(4 * count)
    device.run(device.batch(library, [Launch(kernel, [*inputs, out], 1)]))
    return list(struct.unpack(f"<{count}I", device.read(out, 4 * count)))


def _seconds(run: Callable[[], object]) -> float:
    """The least of some runs, after one that prepares."""
    run()
    taken = []
    for _ in range(TIMES):
        start = time.perf_counter()
        run()
        taken.append(time.perf_counter() - start)
    return min(taken)
