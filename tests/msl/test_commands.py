"""`tlc emulate` and `tlc lint` on a file of one's own."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.ir.kernels import kernels as kernels_of
from tlc import driver, probes, selftest
from tlc.cli import run
from tlc.codegen.kernels import FAMILIES
from tlc.ir.formats import READ_AS_F16
from tlc.runtime.devices.emulator import EmulatorDevice
from tlc.runtime.errors import RunError
from tlc.runtime.loader import load
from tlc.runtime.msl import emulator
from tlc.runtime.msl.lint import lint

TEXT = """#include <metal_stdlib>
using namespace metal;
kernel void twice(device const float* x [[buffer(0)]], device float* y [[buffer(1)]],
                  uint i [[thread_position_in_grid]]) {
  y[i] = x[i] * 2.0f;
}
"""


def test_a_kernel_runs_and_its_defect_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, x, y = tmp_path / "k.metal", tmp_path / "x.npy", tmp_path / "y.npy"
    file.write_text(TEXT)
    np.save(x, np.arange(64, dtype=np.float32))
    command = ["emulate", str(file), "--buffer", f"0={x}", "--buffer", "1=float32:64"]
    assert run([*command, "--groups", "2", "--output", f"1={y}"]) == 0
    np.testing.assert_array_equal(np.load(y), np.arange(64) * 2)
    assert run([*command, "--groups", "3"]) == 1
    assert "k.metal:5: out-of-bounds" in capsys.readouterr().err
    assert run(["lint", str(file)]) == 0


SCALED = """#include <metal_stdlib>
#include "parts/scale.h"
using namespace metal;
constant int power [[function_constant(300)]];
kernel void scaled(device const float* x, device float* y, constant int2& n, threadgroup float* t,
                   uint i [[thread_position_in_grid]], uint size [[threads_per_threadgroup]]) {
  t[i] = i < uint(n.y) ? x[i] : 0.0f;
  threadgroup_barrier(mem_flags::mem_threadgroup);
  if (i < uint(n.y)) y[i] = t[n.y - 1 - int(i)] * scale(n.x) * float(power);
}
"""


def test_numbers_room_constants_and_included_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, y = tmp_path / "k.metal", tmp_path / "y.npy"
    file.write_text(SCALED)
    parts = tmp_path / "elsewhere" / "parts"
    parts.mkdir(parents=True)
    (parts / "scale.h").write_text("inline float scale(int n) { return float(1 << n); }\n")
    command = ["emulate", str(file), "--buffer", "1=float32:4", "--output", f"1={y}"]
    command += ["--buffer", "0=float32[1,2.5,-3,4e1]", "--buffer", "2=int32[3,4]"]
    assert run(command) == 1
    assert "scale.h" in capsys.readouterr().err
    command += ["--include", str(tmp_path / "elsewhere"), "--constant", "300=2"]
    assert run(command) == 1
    assert "k.metal:7: null-pointer" in capsys.readouterr().err
    assert run([*command, "--threadgroup", "0=128"]) == 0
    np.testing.assert_array_equal(np.load(y), [640, -48, 40, 16])


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--buffer=0=float32[1,x]", "is no array"),
        ("--buffer=0=int8[300]", "is no array"),
        ("--buffer=0=object[1]", "buffers hold numbers"),
        ("--buffer=0=O:8", "buffers hold numbers"),
        ("--buffer=0=float32:99999999999999999", "is no array"),
        ("--buffer=31=float32:8", "an index from 0 to 30"),
        ("--threadgroup=0=much", "is no number of bytes"),
        ("--threadgroup=0=99999999999", "bytes of threadgroup memory"),
        ("--constant=65536=1", "an index from 0 to 65535"),
    ],
)
def test_arguments_that_do_not_fit(
    option: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "k.metal"
    file.write_text(TEXT.replace("uint i", "threadgroup float* t [[threadgroup(0)]], uint i"))
    assert run(["emulate", str(file), option]) == 1
    assert message in capsys.readouterr().err


def test_a_value_that_was_never_set_is_followed_to_where_it_is_stored(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "k.metal"
    file.write_text(TEXT.replace("y[i] =", "float t[2]; t[0] = 1.0f; y[i] = t[i & 1u] +"))
    command = ["emulate", str(file), "--buffer", "0=float32:32", "--buffer", "1=float32:32"]
    assert run(command) == 0
    assert run([*command, "--mode", "poison"]) == 1
    assert "bytes 4 to 7 of buffer(1) are computed from 't.i'" in capsys.readouterr().err


def test_a_defect_names_the_line_of_the_program() -> None:
    built = driver.build("p.tl", text="let x = tensor([1.0, 2.0, 3.0])\nprint(relu(x))\n")
    text = built.text("apple.metal")
    assert "at < 3u" in text
    broken = text.replace("at < 3u", "at <= 3u").encode()
    wrong = replace(built, members={**built.members, "apple.metal": broken})
    program = load(wrong, EmulatorDevice(), [""])
    with pytest.raises(RunError) as caught:
        program.call(program.entry("main"), (), lambda text: None)
    assert caught.value.code == "E0704"
    assert re.search(r"apple\.metal:\d+: out-of-bounds", caught.value.message)
    assert re.search(r"in kernel elementwise_0 \(p\.tl:2 relu\).* thread 3 ", caught.value.message)


PROGRAM = """fn f(x: float16[N, M], w: float16[M, 4]) { softmax(x @ w) }
fn rows(x: float16[N, 4], ids: int[K]) { gather(x, ids) }
print(softmax(tensor([[1.0, 2.0, 3.0]])))
test "sums" { assert_eq(sum(tensor([1.0, 2.0])), 3.0) }
"""


def test_a_program_its_tests_and_functions_are_checked_in_every_order(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "p.tl"
    file.write_text(PROGRAM)
    launched: list[str] = []
    launch = emulator.launch

    def watched(kernels: object, name: str, *args: object, **how: object) -> object:
        launched.append(name)
        return launch(kernels, name, *args, **how)  # type: ignore[arg-type]

    monkeypatch.setattr(emulator, "launch", watched)
    assert run(["check", str(file), "--emulate"]) == 0
    kernels = set(launched)
    assert all(launched.count(name) >= 4 for name in kernels)
    assert len(kernels) >= 4  # of main, of the test, of both functions
    file.write_text(PROGRAM.replace("3.0)", "4.0)"))
    assert run(["check", str(file), "--emulate"]) == 1


def test_selftest_runs_every_family(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["selftest", "--device", "cpu", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["device"] == "cpu"
    # every type of a weight that kernels read as it is stored
    assert {row["dtype"] for row in found["rows"]} == {"float16", "float32", *READ_AS_F16}
    assert all(row["passed"] for row in found["rows"])
    assert len(selftest.stored_outputs()) == 5 * (len(selftest.CASES) + 2 * len(READ_AS_F16))
    built = driver.build("selftest.tl", text=selftest.program())
    families = {op.attrs["family"] for f in built.module.funcs for op in kernels_of(f)}
    assert families >= FAMILIES.keys() - {"append"}


def test_probes_say_what_a_gpu_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes, "COPIED", 4096)
    monkeypatch.setattr(probes, "LAUNCHES", 3)
    for mode in ("checked", "fast"):
        found = probes.probe(EmulatorDevice(mode))
        assert found["threads of a threadgroup"] == {n: n for n in probes.SIZES}
        # the emulator computes as IEEE 754 says, but flushes denormal numbers
        answers = dict.fromkeys(probes.QUESTIONS, False)
        answers |= dict.fromkeys(probes.QUESTIONS[:2], True)
        assert found["float32"] == answers
        assert found["seconds of a launch"] > 0
        assert found["bytes a second"] > 0
    assert lint(probes.text(), own=True) == []


def test_selftest_notices_a_wrong_result(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    body, shapes, exact = selftest.CASES["scan"]
    monkeypatch.setattr(selftest, "ENCODINGS", ["q8_0"])
    known = selftest.stored_outputs()
    for oracle, stored in ((lambda u, x: (x, 0.0), {}), (exact, {"scan 3x7": [0.5] * 4})):
        monkeypatch.setattr(selftest, "CASES", {"scan": (body, shapes, oracle)})
        monkeypatch.setattr(selftest, "stored_outputs", lambda stored=stored: known | stored)
        assert run(["selftest", "--device", "reference"]) == 1
        shown = capsys.readouterr().out
        assert "FAILED  scan" in shown
        assert "2 passed, 2 failed" in shown
    assert "[0.5, 0.5, 0.5, 0.5] is stored" in shown


def test_stored_outputs_read_back() -> None:
    known = selftest.stored_outputs()
    text = Path(selftest.OUTPUTS).read_text(encoding="ascii")
    assert selftest.stored_text(known) == text
