"""`tlc build --range` shows, per line, how large float16 values get: as bounds, or as measured."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from tlc.cli import run

PROGRAM = """\
fn layer(x: float16[N, 2], w: float16[2, 2]) -> float16[N, 2] {
    let h = relu(x @ w)
    return softmax(h)
}
let x = tensor([[3.0, 4.0]])
let y = x * 100.0
print(y * y)
print((y as float32) * 100.0)
"""


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "p.tl").write_text(PROGRAM)
    return tmp_path


def table(capsys: pytest.CaptureFixture[str], *options: str) -> list[str]:
    assert run(["build", "p.tl", "--range", *options]) == 0
    return capsys.readouterr().out.splitlines()


@pytest.mark.parametrize(
    ("options", "what", "above"),
    [((), "bounds of the", "may overflow"), (("--calibrate", "run"), "largest", "overflows")],
)
def test_main_has_bounds_and_can_be_run(
    program: Path,
    capsys: pytest.CaptureFixture[str],
    options: tuple[str, ...],
    what: str,
    above: str,
) -> None:
    head, *lines = table(capsys, *options)
    assert head.startswith(what)
    assert lines == [
        "  p.tl:6  mul          400     0.61%",
        f"  p.tl:7  mul       160000   244.26%  {above}",
        f"1 value {above}: keep it wide with `as float32`, or everything with --store f32,",
        "or divide what goes in by 16, exactly, as docs/numbers.md shows",
    ]
    assert not (program / "p.metallib").exists(), "--range looks, and builds nothing"


def test_what_depends_on_arguments_is_unbounded(
    program: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert table(capsys, "--entry", "layer") == [
        "bounds of the float16 values that layer stores, of 65,504:",
        "  p.tl:2  matmul                                        -         -"
        "  unbounded unless calibrated",
        "  p.tl:3  relu + max + sub + exp + sum + div            1     0.00%",
        "1 value is unbounded; measure with --calibrate x=FILE.npy --calibrate w=FILE.npy",
    ]


def test_an_entry_is_calibrated_with_arrays(
    program: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save("x.npy", np.full((3, 2), 100.0))
    np.save("w.npy", np.full((2, 2), 100.0))
    files = ["--calibrate", "x=x.npy", "--calibrate", "w=w.npy"]
    assert table(capsys, "--entry", "layer", *files) == [
        "largest float16 values that layer stored, of 65,504:",
        "  p.tl:2  matmul                                    20000    30.53%  close",
        "  p.tl:3  relu + max + sub + exp + sum + div          0.5     0.00%",
    ]


def test_calibration_sees_behind_the_first_overflow(
    program: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And neither prints nor writes a file, but still stops at an assertion."""
    (program / "p.tl").write_text(
        "let h = tensor([300.0, 2.0])\nlet g = h * h\nlet k = g * 3.0\n"
        'save(k, "k.safetensors")\nprint(g, k, k / 1000.0)\n'
    )
    lines = table(capsys, "--calibrate", "run")
    assert [line.split()[:3] for line in lines[1:4]] == [
        ["p.tl:2", "mul", "90000"],
        ["p.tl:3", "mul", "270000"],
        ["p.tl:5", "div", "270"],
    ]
    assert not Path("k.safetensors").exists()
    (program / "p.tl").write_text('if argmax(tensor([1.0, 2.0])) == 1 { panic("no") }\n')
    assert run(["build", "p.tl", "--range", "--calibrate", "run"]) == 1
    assert "p.tl:1: panic: no" in capsys.readouterr().err


def test_weights_are_read_from_their_files(
    program: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A layer of a transformer: its bound follows from the weights, for any tokens."""
    rng = np.random.default_rng(0)
    weights = {
        name: rng.uniform(-1, 1, shape).astype(np.float32)
        for name, shape in {"embed": (50, 16), "gain": (16,), "up": (16, 16)}.items()
    }
    save_file(weights, "w.safetensors")
    (program / "p.tl").write_text(
        'let m = load_model("w.safetensors")\n'
        "fn f(ids: int[N]) {\n"
        "    let h = m.embed[ids, :]\n"
        "    h = h + linear(rms_norm(h, m.gain), m.up) * 20.0\n"
        "    return h * 300.0\n"
        "}\n"
    )
    half = {name: array.astype(np.float16).astype(np.float64) for name, array in weights.items()}
    longest = np.sqrt((half["up"] ** 2).sum(1)).max() * 4 * np.abs(half["gain"]).max()
    most = np.abs(half["embed"]).max() + 20 * longest
    (line,) = (line for line in table(capsys, "--entry", "f") if line.endswith("  may overflow"))
    place, _, number = line.removesuffix("  may overflow").replace(" + ", "+").split()[:3]
    assert place == "p.tl:4"
    # bounds allow for float16 on the way: the norm, the product and the sums, by 2^-11 each
    assert float(number) == pytest.approx(most * 300, rel=2**-9)


def test_an_entry_that_is_not_there(program: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["build", "p.tl", "--range", "--entry", "nope"]) == 1
    assert "there are main, layer" in capsys.readouterr().err
