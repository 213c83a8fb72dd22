"""The self-test of an artifact: launches that were recorded at build, run again on a device.

`tlc build --selftest` adds two members. `selftest/memory.bin` holds bytes, `selftest/launches.json`
one launch of each kernel of the apple profile: its entry and which launch of it, its kernel, the
sizes, `before` (of each buffer the name of a weight or constant, or offset and length of its bytes)
and `after` (place, type, offset, length, and what `closeness.slack` allows, null for infinity).
"""

from __future__ import annotations

from tlc.runtime import strict_json
from tlc.runtime.closeness import apart, on_profiles
from tlc.runtime.errors import RunError
from tlc.runtime.format import DTYPE_BYTES
from tlc.runtime.schema import Pair, misfit
from tlc.runtime.watched import Seen, again

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from tlc.runtime.program import Program

LAUNCHES, MEMORY = "selftest/launches.json", "selftest/memory.bin"
ITEMS = {**DTYPE_BYTES, "": 1}  # bytes of an element
Limits = dict[int, tuple[float, float]]


def selftest(artifact: Any, program: Program, device: str) -> int:
    """Run every recorded launch and print those that differ; the exit code is 1 when one does.

    Raises RunError E0504 for an artifact without a self-test and E0501 for a damaged one.
    """
    tests = recorded(artifact)
    record = artifact.manifest["profiles"]["apple"]["kernels"]
    sources = {kernel["name"]: kernel["source"] for kernel in record}
    worst, failed = 0.0, 0
    for seen, at_build in tests:
        profiles = {"apple", program.device.profile}
        limits = on_profiles(profiles, at_build, seen, artifact.manifest)
        problem = ""
        try:
            excess, problem = _tried(program, seen, limits)
            worst = max(worst, excess)
        except RunError as error:
            problem = error.message
        if problem:
            failed += 1
            print(f"FAILED  {seen.kernel}, {sources.get(seen.kernel, '')}: {problem}")
    if failed:
        print(f"{failed} of {len(tests)} kernels differ on {device}")
    else:
        print(
            f"OK: {len(tests)} kernels do on {device} what they did at build; the largest error is"
            f" {worst:.2g} of what is allowed"
        )
    return 1 if failed else 0


def _tried(program: Program, seen: Seen, limits: Limits) -> tuple[float, str]:
    """The largest error of a launch as a part of what is allowed, and what is wrong."""
    got = again(program, seen)
    excess, problem = 0.0, ""
    for at, data in seen.after.items():
        found = apart(data, got[at], seen.types[at], limits[at])
        excess = max(excess, found.excess)
        if found.excess > 1:
            problem = (
                f"{found.count:,} of {found.of:,} elements differ, by up to {found.ulps:g} ULPs and"
                f" {found.excess:.3g} times what is allowed"
            )
    return excess, problem


def _number(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1 << 63


def _memory(value: object) -> bool:
    """A weight or a constant, or a piece of the member with the bytes."""
    if isinstance(value, str):
        return value[:1] in ("w", "c") and value[1:].isdecimal() and len(value) < 10
    return not misfit(value, Pair((_number, _number)), "")


def _limit(value: object) -> bool:
    return value is None or (isinstance(value, int | float) and value >= 0)


def _fits(before: list[bytes | str], at: int, kind: str, length: int) -> bool:
    """Whether a buffer holds so many bytes, which are whole elements."""
    if not 0 <= at < len(before) or kind not in ITEMS:
        return False
    return (
        not isinstance(before[at], str) and len(before[at]) == length and not length % ITEMS[kind]
    )


def _limit_of(value: float | None) -> float:
    return float("inf") if value is None else value


def _text(value: object) -> bool:
    return isinstance(value, str)


_SCHEMA = [
    {
        "entry": _text,
        "step": _number,
        "kernel": _text,
        "sizes": {"": _number},
        "before": [_memory],
        "after": [Pair((_number, _text, _number, _number, _limit, _limit))],
    }
]


def recorded(artifact: Any) -> list[tuple[Seen, Limits]]:
    """The launches of the self-test, and what their results may be off by."""
    if LAUNCHES not in artifact.manifest["members"]:
        hint = "build it with `tlc build --selftest`"
        raise RunError("E0504", "the artifact has no self-test", hint)
    try:
        launches: Any = strict_json.parse(artifact.member(LAUNCHES))
    except ValueError as error:
        raise RunError("E0501", f"the artifact is damaged: {LAUNCHES}: {error}") from None
    memory = memoryview(artifact.member(MEMORY))
    if wrong := misfit(launches, _SCHEMA, LAUNCHES):
        raise RunError("E0501", f"the artifact is damaged: {wrong} is not as it should be")

    def piece(offset: int, length: int) -> bytes:
        if not 0 <= offset <= offset + length <= len(memory):
            raise RunError("E0501", f"the artifact is damaged: {LAUNCHES}: memory beyond its end")
        return bytes(memory[offset : offset + length])

    weights = len(artifact.manifest["weights"])
    found: list[tuple[Seen, Limits]] = []
    for launch in launches:
        before = [part if isinstance(part, str) else piece(*part) for part in launch["before"]]
        if any(isinstance(b, str) and b[0] == "w" and int(b[1:]) >= weights for b in before):
            raise RunError("E0501", f"the artifact is damaged: {LAUNCHES}: there is no such weight")
        after: dict[int, bytes] = {}
        types: dict[int, str] = {}
        limits: Limits = {}
        for at, kind, offset, length, relative, most in launch["after"]:
            if not _fits(before, at, kind, length):
                raise RunError("E0501", f"the artifact is damaged: {LAUNCHES}: no buffer {at}")
            after[at], types[at] = piece(offset, length), kind
            limits[at] = (_limit_of(relative), _limit_of(most))
        seen = Seen(
            launch["entry"], launch["step"], launch["kernel"], launch["sizes"], before, after, types
        )
        found.append((seen, limits))
    return found
