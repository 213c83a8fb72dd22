"""Faults of the compiler: reported as its own, with the IR, wherever in the flow they happen."""

import pytest

from tlc import driver
from tlc.frontend.diagnostics import InternalError

TEXT = "let x = tensor<float16>([1.0, -2.0])\nprint(relu(x))\n"


def test_a_pass_that_fails_shows_the_ir_and_whose_fault_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(*given: object) -> None:
        raise KeyError("lost")

    monkeypatch.setattr("tlc.ir.passes.fuse", broken)
    with pytest.raises(InternalError) as fault:
        driver.build("p.tl", text=TEXT)
    assert fault.value.message.startswith("optimise: KeyError at test_faults.py:")
    assert "This is a bug in tlc, not in your program." in str(fault.value)
    assert "= relu" in fault.value.ir
