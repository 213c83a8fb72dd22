"""A manifest that was tampered with is refused with a reason, never by another exception."""

import contextlib
import copy
import json
import os
import random
from typing import Any

import pytest

from tlc import driver
from tlc.runtime.devices import Kernel, Launch
from tlc.runtime.errors import RunError
from tlc.runtime.loader import load
from tlc.runtime.steps import Host

PROGRAM = """
let w = tensor([[1.0, 2.0], [3.0, 4.0]])
fn rows(table: float16[V, D], ids: int[N]) -> float16[N, D] { relu(table[ids, :]) }
fn forward(x: float16[N, 2]) -> float16[N, 2] { softmax(x @ (w * 2.0) + 1.0) }
fn halved(x: float16[N], n: int) -> int { if n == 0 { return 0 } 1 + halved(x * 0.5, n - 1) }
print(halved(w[0], argmax(w[1])))
print("sum of {:>9.2} of {}", sum(forward(w)), w.shape)
save(w, "w.safetensors")
"""
HOSTILE = [None, True, -1, 0, 3, 2**31, 2**63, 2**70, 1.5, "", "x", "w9", "p0", "s99", [], {}, [[]]]


class Memory:
    """Buffers that only know their size."""

    def __init__(self, nbytes: int) -> None:
        self.nbytes = nbytes


class Nowhere:
    """A device that runs nothing, and refuses what no machine could hold."""

    name, profile = "nowhere", "cpu"

    def library(self, text: str, kernels: list[Kernel]) -> None:
        assert isinstance(text, str)

    def buffer(self, nbytes: int) -> Memory:
        if nbytes > 1 << 32:
            raise RunError("E0505", "out of memory")
        return Memory(nbytes)

    def constant(self, data: memoryview) -> Memory:
        return Memory(len(data))

    def write(self, buffer: Memory, data: bytes) -> None:
        assert len(data) <= max(buffer.nbytes, 4)

    def read(self, buffer: Memory, nbytes: int) -> memoryview:
        if nbytes > max(buffer.nbytes, 4):
            raise RunError("E0501", "a tensor is longer than its memory")
        return memoryview(bytes(nbytes))

    def batch(self, library: None, launches: list[Launch]) -> list[Launch]:
        return launches

    def run(self, batch: list[Launch]) -> None:
        pass


@pytest.fixture(scope="module")
def built() -> Any:
    return driver.build("model.tl", text=PROGRAM)


class Silent(Host):
    """Prints into nothing and saves nothing."""

    def step(self, step: list[Any], bound: Any, sizes: dict[str, int]) -> None:
        if step[0] == "print":
            super().step(step, bound, sizes)


class Tampered:
    """An artifact with another manifest; members that are not there are errors of the file."""

    def __init__(self, manifest: Any, members: dict[str, bytes]) -> None:
        self.manifest, self._members = manifest, members

    def member(self, name: str) -> bytes:
        if name not in self._members:
            raise RunError("E0501", f"it has no member {name!r}")
        return self._members[name]

    mapped = member

    def text(self, name: str) -> str:
        return self.member(name).decode()


def use(built: Any, manifest: Any) -> None:
    """Load a manifest and call every entry on small sizes; only saving is left out."""
    program = load(Tampered(manifest, built.members), Nowhere(), [])  # type: ignore[arg-type]
    for entry in program.entries.values():
        shapes = [tuple(f if isinstance(f, int) else 2 for f in p["shape"]) for p in entry.params]
        bound = entry.bind(entry.sizes(shapes))
        bound.run(Silent(lambda text: None))


def leaves(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of all parts of a JSON value."""
    found = [path]
    items = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for key, item in items:
        found += leaves(item, (*path, key))
    return found


def test_the_manifest_as_built_is_fine(built: Any) -> None:
    use(built, json.loads(built.members["tlc.json"]))


@pytest.mark.fuzz
def test_a_changed_manifest_is_refused_or_harmless(built: Any) -> None:
    chance = random.Random(2026)
    original = json.loads(built.members["tlc.json"])
    paths = [p for p in leaves(original) if p]
    for _ in range(int(os.environ.get("TLC_FUZZ", 1500))):
        manifest = copy.deepcopy(original)
        for _ in range(chance.randint(1, 3)):
            path = chance.choice(paths)
            place = manifest
            try:
                for key in path[:-1]:
                    place = place[key]
                if chance.random() < 0.2:
                    del place[path[-1]]
                else:
                    place[path[-1]] = copy.deepcopy(chance.choice(HOSTILE))
            except (KeyError, IndexError, TypeError):
                continue  # an earlier change removed the path
        with contextlib.suppress(RunError):
            use(built, manifest)
