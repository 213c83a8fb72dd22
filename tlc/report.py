"""`--report`: the launches of an artifact to a table of what they cost, and how long GPUs need.

The time of a launch is a lower bound, the roofline: what it moves at the bandwidth of memory or
what it computes at the speed of float32, whichever takes longer, both at 80 % of the published
figures, which is what the best kernels reach; and what a small launch costs at least.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tlc.runtime.errors import RunError
from tlc.runtime.format import evaluate, launch_steps

# GPU -> published TFLOP/s of float32 and GB/s of memory
CHIPS = {"M1": (2.6, 68), "M2": (3.6, 100), "M3": (3.5, 100), "M4": (3.8, 120)}
REACHED = 0.8  # of these figures
LAUNCH = 2.5e-6  # seconds of GPU time that a launch takes which waits for the one before

# of a core: bytes of threadgroup memory and of registers, and simdgroups of 32 threads
SHARED, REGISTERS, SIMDGROUPS = 60 << 10, 208 << 10, 96
SIMD = 32

_HEAD = (
    "launch  kernel                        bytes       FLOPs  groups x threads  shared  resident"
    + "".join(f"{chip:>9}" for chip in CHIPS)
    + "  limit"
)
_NOTES = """\
bytes and FLOPs are the least there are; shared: bytes of threadgroup memory; resident: simdgroups
that fit on a core by memory and an estimate of registers, 24 keep it busy; times are lower bounds
in microseconds, from published figures: nothing of this was measured on a GPU. Sizes that only a
run knows count as 1"""


def report(manifest: dict[str, Any], sizes: Sequence[str]) -> str:
    """The table, by entry; `sizes` are NAME=N. Raises RunError E0504 for what is none of these."""
    given = dict(map(_size, sizes))
    known = {s for entry in manifest["entries"].values() for s in entry["symbols"]}
    for name in given.keys() - known:
        hint = f"there are {', '.join(sorted(known))}" if known else "there are none"
        raise RunError("E0504", f"no dimension is called `{name}`", hint)
    blocks = []
    for name, entry in manifest["entries"].items():
        if entry["costs"]:
            blocks.append(_entry(name, entry, manifest["profiles"]["apple"]["kernels"], given))
    return "\n\n".join([*blocks, _NOTES] if blocks else ["nothing is launched"])


def _size(text: str) -> tuple[str, int]:
    name, equals, number = text.partition("=")
    if not equals or not number.isdecimal():
        raise RunError("E0504", f"`--size {text}` is not of the form NAME=N")
    return name, int(number)


class _Sizes(dict[str, int]):
    """Sizes by name; 1 for those that only a run knows."""

    def __contains__(self, name: object) -> bool:
        return True

    def __missing__(self, name: str) -> int:
        return 1


def _entry(name: str, entry: dict[str, Any], kernels: list[Any], given: Mapping[str, int]) -> str:
    sizes = _Sizes({symbol: given.get(symbol, 1) for symbol in entry["symbols"]})
    once, again = (list(launch_steps(entry[part])) for part in ("once", "steps"))
    inner = {id(step) for step in again} - {id(step) for step in entry["steps"]}
    shown = ", ".join(f"{symbol} = {sizes[symbol]}" for symbol in entry["symbols"])
    lines = [f"{name}{f' ({shown})' if shown else ''}", _HEAD]
    totals = [0.0] * len(CHIPS)
    limits: dict[str, float] = {}
    moved = work = 0
    for at, (step, costs) in enumerate(zip([*once, *again], entry["costs"], strict=True), 1):
        nbytes, flops = (max(evaluate(part, sizes), 0) for part in costs)
        _, index, groups, _ = next(
            v for v in step[1]["apple"] if v[0] is None or evaluate(v[0][0], sizes) <= v[0][1]
        )
        kernel = kernels[index]
        times, limit = _times(nbytes, flops)
        first = at <= len(once)
        where = "once" if first else "looped" if id(step) in inner else ""
        size = f"{evaluate(groups, sizes)} x {kernel['threads']}"
        lines.append(
            f"{at:6}  {kernel['name']:24} {nbytes:10,} {flops:11,}  {size:>16} {kernel['bytes']:7,}"
            f" {_resident(kernel):9}" + "".join(f"{t * 1e6:9.1f}" for t in times)
            + f"  {limit:10} {kernel['source']}" + (f" ({where})" if where else "")
        )  # fmt: skip
        if not first:
            totals = [a + b for a, b in zip(totals, times, strict=True)]
            limits[limit] = limits.get(limit, 0.0) + times[0]
            moved, work = moved + nbytes, work + flops
    if again:
        most = max(limits, key=lambda limit: limits[limit])
        label = f"all {len(again)}" + (", one pass of each loop" if inner else "")
        lines.append(
            f"        {label:24} {moved:10,} {work:11,}  {'':16} {'':7} {'':9}"
            + "".join(f"{t * 1e6:9.1f}" for t in totals) + f"  {most}"
        )  # fmt: skip
    return "\n".join(line.rstrip() for line in lines)


def _times(nbytes: int, flops: int) -> tuple[list[float], str]:
    """Seconds on each chip, and what most of them are spent on with the first."""
    times, limit = [], ""
    for speed, bandwidth in CHIPS.values():
        parts = {
            "memory": nbytes / (bandwidth * 1e9 * REACHED),
            "arithmetic": flops / (speed * 1e12 * REACHED),
        }
        longest = max(parts, key=lambda part: parts[part])
        limit = limit or ("launch" if parts[longest] < LAUNCH else longest)
        times.append(parts[longest] + LAUNCH)
    return times, limit


def _resident(kernel: dict[str, Any]) -> int:
    """Simdgroups that a core has room for: whole threadgroups, up to what it can hold."""
    group = -(-kernel["threads"] // SIMD)
    fits = [SIMDGROUPS // group, REGISTERS // (max(kernel["registers"], 1) * 4 * SIMD * group)]
    if kernel["bytes"]:
        fits.append(SHARED // kernel["bytes"])
    return int(min(fits) * group)
