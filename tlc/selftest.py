"""`tlc selftest`: runs every kernel family on a device, and compares with numpy in float64.

It needs nothing but a device: inputs are made, shapes are odd, and what a result may be off by is
derived beside it. A few numbers of each result are stored (selftest.txt), so that NumPy and what
unpacks weights are not believed without proof either. What it prints is meant to be sent along with
a report.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np

from tlc.selftest_cases import CASES, Array, Exact, Shapes
from tlc.selftest_packed import ENCODINGS, FAMILIES, arguments, exact
from tlc.selftest_packed import program as packed_program
from tlc.selftest_packed import write as write_weights

DTYPES = {"float16": np.float16, "float32": np.float32}
UNITS = {np.float16: (2.0**-11, 2.0**-25), np.float32: (2.0**-24, 2.0**-149)}
SIZES = ((1, 1), (3, 7), (5, 33), (33, 130), (70, 257))  # around simdgroups and tiles
OUTPUTS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "selftest.txt")
PLACES = 4  # of each result that are stored
NEAR = 1e-8  # how near NumPy has to be to what is stored, relative to the largest there


def selftest(options: dict[str, Any]) -> int:
    """Run everything on the device that was asked for; the exit code is 1 when one fails."""
    from tlc import __version__

    with tempfile.TemporaryDirectory(prefix="tlc-selftest-") as folder:
        model, rows = tried(folder, options["device"], stored_outputs())
    failed = sum(not row["passed"] for row in rows)
    device = getattr(model._program, "device", None)
    probes: dict[str, Any] = {}
    if device is not None and device.profile == "apple":
        from tlc.probes import probe

        probes = probe(device, timed=not model.device.startswith("emulator"))
    if options["json"]:
        report = {"tlc": __version__, "device": model.device, "rows": rows, "probes": probes}
        print(json.dumps(report, indent=1))
        return 1 if failed else 0
    print(f"tlc {__version__} on {model.device}; errors as parts of what is allowed")
    for row in rows:
        error = "wrong" if row["error"] is None else f"{row['error']:.2f}"
        said = row["problem"] or error
        state = "ok" if row["passed"] else "FAILED"
        print(f"{state:8}{row['family']:15}{row['dtype']:9}{said}")
    for name, value in probes.items():
        parts = value.items() if isinstance(value, dict) else [("", value)]
        print(f"{name}: {', '.join(f'{k} {v}'.strip() for k, v in parts)}")
    print(f"{len(rows) - failed} passed, {failed} failed, each for {len(SIZES)} sizes")
    return 1 if failed else 0


def tried(
    folder: str, device: str, known: dict[str, list[float]]
) -> tuple[Any, list[dict[str, Any]]]:
    """A model on the device, and what came of each family for each type. What `known` lacks of
    stored outputs is put in."""
    from tlc.api import compile

    weights = os.path.join(folder, "weights.gguf")
    write_weights(weights, numbers)
    model, rows = None, []
    for text, cases in ((program(), _plain), (packed_program(weights), _packed)):
        del model  # and its memory
        model = compile("selftest.tl", text=text, device=device)
        profile = getattr(getattr(model._program, "device", None), "profile", "")
        rows += [_row(model, known, *case) for case in cases(profile)]
    return model, rows


Case = tuple[str, str, Shapes, Exact]  # family and type, shapes of arguments, what it gives


def _plain(profile: str) -> Iterator[Case]:
    for family, (_, shapes, oracle) in CASES.items():
        yield from ((family, dtype, shapes, oracle) for dtype in DTYPES)


def _packed(profile: str) -> Iterator[Case]:
    for encoding in ENCODINGS:
        for family in FAMILIES:
            shapes = partial(arguments, family, encoding)
            yield family, encoding, shapes, exact(family, encoding, numbers, profile == "cpu")


def _row(
    model: Any,
    known: dict[str, list[float]],
    family: str,
    dtype: str,
    shapes: Shapes,
    oracle: Exact,
) -> dict[str, Any]:
    """What came of a family for a type: its largest error, and the first problem."""
    worst, problem = 0.0, ""
    for m, n in SIZES:
        name = f"{family} {m}x{n}" if dtype in DTYPES else f"{family} {dtype} {m}"
        stored = known.setdefault(name, [])
        try:
            worst = max(worst, *_compared(model, family, dtype, (m, n), shapes, oracle, stored))
        except Exception as found:  # whatever it is, the other kernels are tried too
            problem = problem or f"{m} x {n}: {' '.join(str(found).split())}"
    return {
        "family": family,
        "dtype": dtype,
        "passed": not problem and worst <= 1,
        "error": worst if np.isfinite(worst) else None,
        "problem": problem,
    }


def program() -> str:
    """The functions of all families for all dtypes, as TensorLogic."""
    return "".join(
        f"fn {family}_{dtype}{body.replace('T[', f'{dtype}[')}\n"
        for family, (body, _, _) in CASES.items()
        for dtype in DTYPES
    )


def numbers(shape: tuple[int, ...], seed: int) -> Array:
    """Uniform 64-bit numbers, the same everywhere: the finisher of splitmix64."""
    count = np.arange(1, int(np.prod(shape)) + 1, dtype=np.uint64)
    x = (count + np.uint64(seed << 40)) * np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return (x ^ (x >> np.uint64(31))).reshape(shape)


def stored_outputs() -> dict[str, list[float]]:
    """Some numbers of the result of each family for each size."""
    with open(OUTPUTS, encoding="ascii") as file:
        rows = (line.split(":") for line in file if not line.startswith("#"))
        return {name: [float(number) for number in text.split()] for name, text in rows}


def stored_text(outputs: Mapping[str, list[float]]) -> str:
    """The file that `stored_outputs` reads."""
    head = "# Some numbers of each result of `tlc selftest`, by NumPy and gguf (selftest.py).\n"
    return head + "".join(
        f"{name}: {' '.join(f'{number:.9g}' for number in row)}\n" for name, row in outputs.items()
    )


def _compared(
    model: Any,
    family: str,
    dtype: str,
    sizes: tuple[int, int],
    shapes: Shapes,
    oracle: Exact,
    stored: list[float],
) -> Iterator[float]:
    """The largest error of a call as a part of what is allowed; infinite for a wrong shape.

    `stored` are numbers of the result; when it is empty they are put in.
    """
    type = DTYPES.get(dtype, np.float16)
    args = []
    params = model._program.entry(f"{family}_{dtype}").params
    for at, (param, shape) in enumerate(zip(params, shapes(*sizes), strict=True)):
        made = numbers(shape, 1000 * sizes[0] + at)
        if param["dtype"] == "i32":
            few = np.uint64(sizes[0])
            args.append((made % (few + few)).astype(np.int32) - np.int32(few))
        else:  # from -2 to 2, of 11 bits behind the point: float16 has them all
            args.append(((made >> np.uint64(53)).astype(np.float32) / 512 - 2).astype(type))
    got = model.run(f"{family}_{dtype}", *args)
    wide = [a if a.dtype == np.int32 else a.astype(np.float64) for a in args]
    unit, tiny = UNITS[type]
    wanted, slack = oracle(unit, *wide)
    if got.shape != wanted.shape or not np.isfinite(got).all():
        yield float("inf")
        return
    chosen = wanted.reshape(-1)[np.linspace(0, wanted.size - 1, PLACES).astype(int)]
    if not stored:
        stored += chosen.tolist()
    if (np.abs(chosen - stored) > NEAR * np.abs(wanted).max()).any():
        raise ValueError(f"NumPy makes {chosen.tolist()} here, and {stored} is stored")
    error = np.abs(got.astype(np.float64) - wanted)
    if got.dtype == np.int32:
        yield float("inf") if error.any() else 0.0
        return
    allowed = slack + (np.abs(wanted) + slack) * unit + tiny
    yield float((error / allowed).max())
