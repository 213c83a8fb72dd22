"""A Mac for the tests of this folder."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from tests.metal.frameworks import Frameworks
from tests.metal.gpu import Gpu
from tlc.runtime.devices import emulator, metal_api, metal_objc, objc


@pytest.fixture
def mac(monkeypatch: pytest.MonkeyPatch) -> Iterator[Frameworks]:
    """A Mac; at the end no object is left and nothing undefined has happened."""
    if reason := emulator.why_not():
        pytest.skip(reason)
    made = Frameworks(Gpu())
    monkeypatch.setattr(metal_objc, "why_not", lambda: "")
    monkeypatch.setattr(objc, "OBJC", made.path)
    for name in ("METAL", "SYSTEM", "GRAPHICS"):
        monkeypatch.setattr(metal_api, name, made.path)
    yield made
    gc.collect()
    made.finish()
    assert made.faults == []
    assert made.gpu.findings == []
    assert made.alive() == {}
    assert made.open_pools() == 0
