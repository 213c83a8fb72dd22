"""How far the results of a kernel on two devices are apart, and how far they may be.

Devices add in other orders and round functions differently. What that does to a result is about
what small changes of the inputs do, as far as the kernel's conditioning goes. So an element may be
off by

- two units in its last place, and
- what relative changes of the inputs by 2^-16, up or down at random, do: at most to any element
  relative to its size, or at most to any element and 2^-18 of the largest, whichever is less. It
  is measured on changes of 2^-11, which float16 has too, and divided by 32.

A CPU multiplies few rows with packed weights by integers (docs/language.md): there it is all of
what changes by 2^-11 do. Products of a GPU round the rows that they make to float16 (`rounds`):
there it is the most that these changes do to any element, however small that is. Whole numbers and
truth values, NaN and infinities have to be the same.
"""

from __future__ import annotations

from tlc.runtime.format import DTYPE_BYTES, launch_steps
from tlc.runtime.watched import Seen, again

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection
    from typing import Any

    from tlc.runtime.program import Program

NUMPY = {"f16": "<f2", "f32": "<f4", "i32": "<i4", "bool": "|u1", "": "|u1"}
UNITS = {"f16": (2.0**-10, 2.0**-24), "f32": (2.0**-23, 2.0**-149)}  # relative, and the least
_CHANGE, _PARTS, _FLOOR = 2.0**-11, 32.0, 2.0**-18

Limit = tuple[float, float]
EXACT = (0.0, 0.0)


def slack(program: Program, seen: Seen) -> dict[int, Limit]:
    """By place of a buffer, what its elements may be off by beside two units in the last place:
    relative to their size, and at most.

    `program` is on the device where the launch was seen.
    """
    import numpy as np

    rng = np.random.default_rng(seen.step)
    changed: list[bytes | str] = []
    for at, data in enumerate(seen.before):
        kind = seen.types.get(at)
        if isinstance(data, str) or kind not in UNITS:
            changed.append(data)
            continue
        values = np.frombuffer(data, NUMPY[kind])
        signs = rng.choice(np.array([-1.0, 1.0]), len(values))
        with np.errstate(all="ignore"):
            other = (values.astype(np.float64) * (1 + _CHANGE * signs)).astype(values.dtype)
        changed.append(np.where(np.isfinite(other), other, values).tobytes())
    nearby = Seen(seen.entry, seen.step, seen.kernel, seen.sizes, changed, seen.after, seen.types)
    found = again(program, nearby)
    limits: dict[int, Limit] = {}
    for at, data in seen.after.items():
        kind, start = seen.types.get(at), seen.before[at]
        if kind not in UNITS or isinstance(start, str):
            continue
        stored, old = np.frombuffer(data, NUMPY[kind]), np.frombuffer(start, NUMPY[kind])
        with np.errstate(all="ignore"):
            was, now = stored.astype(np.float64), _wide(found[at], kind)
            counts = np.isfinite(was) & np.isfinite(now) & (_bits(stored) != _bits(old))
            was, now = was[counts], now[counts]
            moved, sizes = np.abs(was - now) / _PARTS, np.abs(was)
            relative = (moved[moved > 0] / sizes[moved > 0]).max(initial=0.0)
        most = moved.max(initial=0.0) + _FLOOR * sizes.max(initial=0.0)
        limits[at] = float(relative) or float("inf"), float(most)
    return limits


def on_profiles(
    profiles: Collection[str], limits: dict[int, Limit], seen: Seen, manifest: Any
) -> dict[int, Limit]:
    """What `slack` gives, for devices of these profiles."""
    if "apple" in profiles and _rounds(seen, manifest):
        return {at: (float("inf"), most * _PARTS) for at, (_, most) in limits.items()}
    names = [name for name in seen.before if isinstance(name, str) and name[0] == "w"]
    stored = {manifest["weights"][int(name[1:])]["stored"] for name in names}
    if "cpu" not in profiles or stored <= {*DTYPE_BYTES, "bf16"}:
        return limits
    return {at: (relative * _PARTS, most * _PARTS) for at, (relative, most) in limits.items()}


def _rounds(seen: Seen, manifest: Any) -> bool:
    """Whether a kernel that a GPU has for this launch rounds what it multiplies."""
    kernels = manifest["profiles"]["apple"]["kernels"]
    entry = manifest["entries"].get(seen.entry, {"once": [], "steps": []})
    steps = list(launch_steps([*entry["once"], *entry["steps"]]))
    variants = steps[seen.step][1]["apple"] if 0 <= seen.step < len(steps) else []
    return any(kernels[variant[1]].get("rounds") is True for variant in variants)


class Apart:
    """How far elements are apart: `count` of `of` are different, the farthest by `ulps` units in
    the last place, and by `excess` times what is allowed; infinite for what has no distance."""

    __slots__ = ("count", "excess", "of", "ulps")

    def __init__(self, count: int, of: int, ulps: float, excess: float) -> None:
        self.count, self.of, self.ulps, self.excess = count, of, ulps, excess


def apart(wanted: bytes, got: bytes, kind: str, limit: Limit = EXACT) -> Apart:
    """Elements of a type, or bytes when it is empty; `limit` is what `slack` gives."""
    import numpy as np

    a, b = np.frombuffer(wanted, NUMPY[kind]), np.frombuffer(got, NUMPY[kind])
    differ = _bits(a) != _bits(b)
    if kind in UNITS:
        differ &= ~(np.isnan(a) & np.isnan(b))
    a, b = a[differ], b[differ]
    if not len(a):
        return Apart(0, len(differ), 0.0, 0.0)
    if kind not in UNITS or not (np.isfinite(a) & np.isfinite(b)).all():
        return Apart(len(a), len(differ), float("inf"), float("inf"))
    unit, least = UNITS[kind]
    ulps = float(np.abs(_rank(a) - _rank(b)).max())
    error = np.abs(a.astype(np.float64) - b.astype(np.float64))
    sizes = np.abs(a.astype(np.float64))
    with np.errstate(invalid="ignore"):  # no part of nothing is nothing
        more = np.fmin(sizes * limit[0], limit[1])
    allowed = 2 * np.maximum(sizes * unit, least) + more
    return Apart(len(a), len(differ), ulps, float((error / allowed).max()))


def _wide(data: bytes, kind: str) -> Any:
    import numpy as np

    return np.frombuffer(data, NUMPY[kind]).astype(np.float64)


def _bits(values: Any) -> Any:
    return values.view(f"u{values.itemsize}")


def _rank(values: Any) -> Any:
    """Floats counted through, both zeros as 0: neighbours differ by 1."""
    import numpy as np

    bits = _bits(values).astype(np.int64)
    sign = np.int64(1) << (8 * values.itemsize - 1)
    return np.where(bits & sign, sign - bits, bits)
