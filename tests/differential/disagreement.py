"""What is done with a random program: run on two devices, and written down where they disagree."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from hypothesis import note

import tlc
from tests.differential.programs import PARAMS

Array = np.ndarray
SIZES = ((1, 2, 3), (5, 9, 1))  # N, M and K of the calls


def arguments(n: int, m: int, k: int) -> list[Array]:
    """Arguments of `f`, values of size one."""
    rng = np.random.default_rng((n, m, k))

    def normal(*shape: int) -> Array:
        return rng.uniform(-1, 1, shape).astype(np.float16)

    ids = rng.integers(0, max(min(n, m), 1), k).astype(np.int32)
    return [normal(n, 6), normal(n, 6), normal(6, 6), normal(6), normal(m, 6), normal(n, m), ids]


def agree(
    text: str, devices: tuple[str, str], folder: Path
) -> list[tuple[list[Array], list[Array]]]:
    """The arguments of each call and what the first device gives.

    Where the second one gives something else the program is in `folder` as `disagree.tl`, so that
    the last program that a search tries, the shortest, stays there. Raises AssertionError.
    """
    note(text)
    first, second = (tlc.compile("fuzz.tl", text=text, device=device) for device in devices)
    found = []
    for sizes in SIZES:
        args = arguments(*sizes)
        expected, got = first.run("f", *args), second.run("f", *args)
        try:
            alike(expected, got, f"{devices[1]}, sizes {sizes}")
        except AssertionError:
            note(f"run it: tlc run {written(folder, text, args, len(expected))} --device ..")
            raise
        found.append((args, expected))
    return found


def alike(expected: Sequence[Array], found: Sequence[Array], where: str) -> None:
    """Fails where results differ by more than rounding.

    Values are of size one. The devices run the same fused operations in float32 and round where
    they store, the meaning before all passes rounds after every operation: a value moves by units
    of 2^-11 here and there, and up to 50 operations hand it on.
    """
    for at, (a, b) in enumerate(zip(expected, found, strict=True)):
        note(f"{where}, result {at}")
        assert a.shape == b.shape
        np.testing.assert_allclose(a.astype(np.float32), b.astype(np.float32), rtol=0.05, atol=0.05)


def written(folder: Path, text: str, args: Sequence[Array], results: int) -> Path:
    """The program as a file that runs by itself: it calls `f` with these numbers and prints.

    The arrays lie beside it, for a call that binds its sizes when it runs.
    """
    names = [*PARAMS, "ids"]
    for name, array in zip(names, args, strict=True):
        np.save(folder / f"{name}.npy", array)
    inputs = " ".join(f"--input {name}={name}.npy" for name in names)
    kinds = {"f": "float16", "i": "int"}
    given = [f"    tensor<{kinds[a.dtype.kind]}>({a.tolist()})," for a in args]
    shown = [f"r{at}" for at in range(results)]
    path = folder / "disagree.tl"
    lines = [
        f"// or with sizes that the call binds: tlc run {path.name} --entry f {inputs}",
        text,
        "main {",
        f"    let ({', '.join(shown)}) = f(",
        *(f"    {line}" for line in given),
        "    )",
        *(f"    print({name})" for name in shown),
        "}",
    ]
    path.write_text("\n".join(lines) + "\n")
    return path
