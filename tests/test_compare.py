"""Kernels on two devices: `tlc run --device A,B --diff`, and the self-test of an artifact."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

from tests.test_llama import TEXT as LLAMA
from tests.test_packed import TYPES, blocks
from tlc import driver
from tlc.cli import run
from tlc.codegen.metallib import member_digests
from tlc.record import with_selftest
from tlc.runtime.closeness import apart
from tlc.runtime.recorded import LAUNCHES

PROGRAM = """fn hidden(x: float16[N, M], w: float16[M, 50]) { relu(x @ w) * 3.0 }
fn chosen(x: float16[N, M]) { argmax(softmax(x), 1) }
let y = hidden(rand([70, 33]), rand([33, 50]))
print(mean(y), chosen(y))
save(y, "y.safetensors")
"""
LOOPS = """let z = zeros([3, 4])
while sum(z) < 20.0 { z = z + 1.0 }
let all = zeros([1, 4])
for k in 0..3 { all = concat(all, z[0..1] * 2.0, 0) }
print(z, all)
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> driver.Built:
    made, missing = with_selftest(driver.build("p.tl", text=PROGRAM), [""])
    assert missing == []
    return made


def changed(built: driver.Built, path: Path, member: str, old: str, new: str) -> str:
    """Write an artifact of which one member has another text."""
    text = built.text(member)
    assert old in text
    members = {**built.members, member: text.replace(old, new).encode()}
    members.pop("tlc.json")
    manifest = {**built.manifest, "members": member_digests(members)}
    members = {"tlc.json": driver.manifest_member(manifest), **members}
    driver.write(replace(built, manifest=manifest, members=members), str(path))
    return str(path)


def test_what_rounds_alike_is_told_from_what_does_not() -> None:
    wanted = np.array([1.0, -2.0, 0.0, np.nan, np.inf], np.float16)
    assert apart(wanted.tobytes(), wanted.tobytes(), "f16").count == 0
    near = np.array([1.0 + 2**-10, -2.0, -0.0, np.nan, np.inf], np.float16)
    found = apart(wanted.tobytes(), near.tobytes(), "f16")
    assert (found.count, found.of, found.ulps, found.excess) == (2, 5, 1.0, 0.5)
    lost = np.array([1.0, -2.0, 0.0, 0.0, np.inf], np.float16)
    assert apart(wanted.tobytes(), lost.tobytes(), "f16").excess == np.inf
    one = np.array([1, 2], np.int32).tobytes()
    assert apart(one, np.array([1, 3], np.int32).tobytes(), "i32").excess == np.inf
    across = np.array([2**-24], np.float16), np.array([-(2**-24)], np.float16)
    assert apart(across[0].tobytes(), across[1].tobytes(), "f16").ulps == 2


def test_two_devices_agree(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("p.tl").write_text(PROGRAM)
    assert run(["run", "p.tl", "--device", "cpu,emulator", "--diff"]) == 0
    shown = capsys.readouterr().out
    assert "printed tensor 2: 0 ULPs\nsaved y:" in shown
    assert shown.endswith("no kernel differs on cpu and emulator by more than its rounding\n")
    assert not Path("y.safetensors").exists()
    assert run(["run", "p.tl", "--device", "cpu", "--diff"]) == 1


def test_what_a_gpu_rounds_before_it_multiplies_is_its_rounding(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # normalised rows and turned queries are float16 in tiles of 8x8, and float32 on a CPU
    path = tmp_path / "llama.tl"
    path.write_text(LLAMA)
    np.save(tmp_path / "ids.npy", np.arange(3, 26, dtype=np.int32))
    command = ["run", str(path), "--entry", "logits", "--input", f"ids={tmp_path / 'ids.npy'}"]
    assert run([*command, "--device", "cpu,emulator-fast", "--diff"]) == 0
    assert "no kernel differs" in capsys.readouterr().out


def test_the_first_kernel_that_parts_is_named(
    tmp_path: Path, built: driver.Built, capsys: pytest.CaptureFixture[str]
) -> None:
    # what the product does wrong reaches the mean and the indices too, which do nothing wrong
    path = changed(built, tmp_path / "a.metallib", "cpu.metal", "3.0f", "3.125f")
    assert run(["run", path, "--device", "cpu,emulator", "--diff"]) == 1
    *_, last = capsys.readouterr().out.splitlines()
    assert last.startswith("cpu and emulator part at launch ")
    assert "p.tl:1 matmul + relu + mul" in last


@pytest.mark.parametrize("devices", ["cpu,reference", "reference,emulator"])
def test_every_launch_is_compared_with_what_its_operation_means(
    devices: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # loops copy, append in place, and have constants of their own
    path = tmp_path / "p.tl"
    path.write_text(PROGRAM + LOOPS)
    assert run(["run", str(path), "--device", devices, "--diff"]) == 0
    shown = capsys.readouterr().out
    assert "saved y:" in shown
    assert "printed tensor 4: 0 ULPs\n" in shown
    first, _, second = devices.partition(",")
    assert shown.endswith(f"no kernel differs on {first} and {second} by more than its rounding\n")


def test_a_kernel_that_does_not_do_what_its_operation_means_is_named(
    tmp_path: Path, built: driver.Built, capsys: pytest.CaptureFixture[str]
) -> None:
    path = changed(built, tmp_path / "a.metallib", "cpu.metal", "3.0f", "3.125f")
    assert run(["run", path, "--device", "cpu,reference", "--diff"]) == 1
    *_, last = capsys.readouterr().out.splitlines()
    assert last.startswith("cpu and reference part at launch ")
    assert "p.tl:1 matmul + relu + mul" in last
    assert run(["run", path, "--device", "reference,reference", "--diff"]) == 1
    assert "of which one launches kernels" in capsys.readouterr().err


def test_arguments_and_results_are_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("p.tl").write_text(PROGRAM)
    np.save("x.npy", np.linspace(-4, 4, 66, dtype=np.float16).reshape(2, 33))
    command = ["run", "p.tl", "--device", "emulator,cpu", "--diff", "--entry", "chosen"]
    assert run([*command, "--input", "x=x.npy"]) == 0
    assert "result: 0 ULPs\n" in capsys.readouterr().out


@pytest.mark.parametrize("device", ["cpu", "emulator-fast"])
def test_an_artifact_is_tried_again(
    device: str, tmp_path: Path, built: driver.Built, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.metallib"
    driver.write(built, str(path))
    assert run(["run", str(path), "--selftest", "--device", device]) == 0
    count = len(built.manifest["profiles"]["apple"]["kernels"])
    assert capsys.readouterr().out.startswith(f"OK: {count} kernels do on {device} what")


def test_packed_weights_of_every_type_are_in_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.metallib"
    text = packed_program(tmp_path / "w.gguf")
    made, missing = with_selftest(driver.build("p.tl", text=text), [""])
    assert missing == []
    driver.write(made, str(path))
    kernels = made.manifest["profiles"]["apple"]["kernels"]
    assert len(kernels) >= 3 * len(TYPES)  # products of few rows and of many, and rows
    # a CPU multiplies few rows by integers, which is not what the emulator did
    assert run(["run", str(path), "--selftest", "--device", "cpu"]) == 0
    assert f"OK: {len(kernels)} kernels" in capsys.readouterr().out
    assert run(["run", str(path), "--device", "cpu,reference", "--diff"]) == 0
    old, new = "& 15", "& 14"  # of numbers of four bits
    assert old in made.text("cpu.metal")
    broken = changed(made, path, "cpu.metal", old, new)
    capsys.readouterr()
    assert run(["run", broken, "--selftest", "--device", "cpu"]) == 1
    assert "times what is allowed" in capsys.readouterr().out


def packed_program(path: Path) -> str:
    """A program that multiplies by weights of each packed type, and reads rows of them."""
    writer = gguf.GGUFWriter(path, "test")
    text = f'let m = load_model("{path}")\n'
    for kind in TYPES:
        columns = 512 if kind.endswith("_K") else 96
        type = gguf.GGMLQuantizationType[kind]
        writer.add_tensor(kind, blocks(kind, 37, columns, 2.0), raw_dtype=type)
        text += (
            f"fn times_{kind}(x: float16[N, {columns}])"
            f' {{ linear(x, m.get_tensor("{kind}")) }}\n'
            f'fn rows_{kind}(i: int[N]) {{ m.get_tensor("{kind}")[i, :] }}\n'
        )
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return text + "print(times_Q4_0(ones([1, 96])), rows_Q6_K([1, 5]), times_Q5_K(rand([9, 512])))"


def test_a_kernel_that_differs_is_named(
    tmp_path: Path, built: driver.Built, capsys: pytest.CaptureFixture[str]
) -> None:
    path = changed(built, tmp_path / "a.metallib", "cpu.metal", "3.0f", "3.01f")
    assert run(["run", path, "--selftest", "--device", "cpu"]) == 1
    first, *_, last = capsys.readouterr().out.splitlines()
    assert "p.tl:1 matmul + relu + mul: " in first
    assert "times what is allowed" in first
    assert last.endswith("kernels differ on cpu")


def test_the_same_program_gives_the_same_selftest(built: driver.Built) -> None:
    again, _ = with_selftest(driver.build("p.tl", text=PROGRAM), [""])
    assert again.members == built.members


def test_an_artifact_without_one_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.metallib"
    driver.write(driver.build("p.tl", text="print(1)\n"), str(path))
    assert run(["run", str(path), "--selftest", "--device", "cpu"]) == 1
    assert "E0504" in capsys.readouterr().err


def test_a_damaged_selftest_is_refused(
    tmp_path: Path, built: driver.Built, capsys: pytest.CaptureFixture[str]
) -> None:
    launches = json.loads(built.text(LAUNCHES))
    for spoil in _SPOILT:
        copy = json.loads(json.dumps(launches))
        spoil(copy[0])
        new = json.dumps(copy)
        path = changed(built, tmp_path / "a.metallib", LAUNCHES, built.text(LAUNCHES), new)
        assert run(["run", path, "--selftest", "--device", "cpu"]) == 1
        shown = capsys.readouterr()
        assert "damaged" in shown.err + shown.out


def _after(at: int, value: Any) -> Any:
    return lambda launch: launch["after"][0].__setitem__(at, value)


_SPOILT = (
    _after(0, 99),
    _after(1, "f64"),
    _after(2, 1 << 40),
    _after(3, -2),
    _after(3, 1),
    _after(4, "x"),
    lambda launch: launch.update(step=77),
    lambda launch: launch.update(before=[]),
    lambda launch: launch.update(before=["w0", "w1", "w2", "w3"]),
    lambda launch: launch.update(sizes={"N": "1"}),
    lambda launch: launch.pop("kernel"),
)
