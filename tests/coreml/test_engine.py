"""`--engine coreml`: models run by Core ML itself, here by a stand-in for the package coremltools.

What Apple's framework does with a model has been seen on no Mac: these tests hold what it is given,
and what becomes of what it gives.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

import tlc
from tests.coreml.network_writer import layer, network
from tests.coreml.test_predict import expected, perceptron
from tests.coreml.writer import MilModel, Name, part, real
from tlc.cli import run
from tlc.runtime.coreml import engine
from tlc.runtime.errors import RunError

Array = np.ndarray[Any, Any]
Answer = Callable[[dict[str, Any]], dict[str, Any]]
PROGRAM = 'm = load_model("m.mlpackage")\nfn f(x: float16[N, 6]) { m.predict(x) }\n'
X = np.random.default_rng(5).uniform(-2, 2, (4, 6)).astype(np.float16)


class Mac:
    """A system with Core ML: which models it opened, what each was given, what they answer."""

    def __init__(self) -> None:
        self.opened: list[tuple[str, str]] = []
        self.given: list[dict[str, Any]] = []
        self.answer: Answer = lambda given: {"y": expected(given["x"])}

    def model(self, kind: str) -> Callable[[str], Any]:
        def opened(path: str) -> Any:
            self.opened.append((kind, Path(path).name))
            return SimpleNamespace(predict=self.predict)

        return opened

    def predict(self, given: dict[str, Any]) -> dict[str, Any]:
        self.given.append(given)
        return self.answer(given)


@pytest.fixture
def mac(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Mac:
    found, package = Mac(), ModuleType("coremltools")
    package.models = SimpleNamespace(  # type: ignore[attr-defined]
        MLModel=found.model("MLModel"), CompiledMLModel=found.model("CompiledMLModel")
    )
    monkeypatch.setitem(__import__("sys").modules, "coremltools", package)
    monkeypatch.setattr(engine, "sys", SimpleNamespace(platform="darwin"))
    monkeypatch.setattr(engine, "_loaded", {})
    monkeypatch.chdir(tmp_path)
    return found


def compiled(source: str, device: str = "cpu") -> tlc.Model:
    return tlc.compile("p.tl", text=source, device=device, engine="coreml")


@pytest.mark.parametrize("device", ["cpu", "reference"])
def test_core_ml_is_asked_and_its_answer_goes_on(mac: Mac, tmp_path: Path, device: str) -> None:
    perceptron(None, tmp_path)
    model = compiled(PROGRAM.replace("m.predict(x) }", "m.predict(x + 1.0) * 2.0 }"), device)
    assert model.entries["f"] == "f(x: f16[N, 6]) -> f16[N, 3]"
    for rows in (1, 4):
        found = model.f(X[:rows])
        wanted = expected((X[:rows] + np.float16(1)).astype(np.float16)).astype(np.float16)
        np.testing.assert_array_equal(found, wanted * np.float16(2))
    assert mac.opened == [("MLModel", "m.mlpackage")]
    assert [given["x"].dtype for given in mac.given] == [np.float16] * 2


def test_an_artifact_asks_too_and_the_command_line_chooses(
    mac: Mac, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    perceptron(4, tmp_path)
    Path("p.tl").write_text(PROGRAM.replace("N", "4") + "print(f(zeros([4, 6])).shape)\n")
    for engine_name in ("coreml", "tlc"):
        args = ["p.tl", "--engine", engine_name]
        assert run(["build", *args, "-o", f"{engine_name}.metallib"]) == 0
        assert run(["run", *args, "--device", "cpu"]) == 0
        assert run(["run", f"{engine_name}.metallib", "--device", "cpu"]) == 0
    assert capsys.readouterr().out == "[4, 3]\n" * 4
    assert len(mac.given) == 2
    assert run(["run", "tlc.metallib", "--engine", "coreml"]) == 1
    assert "was not built with `--engine coreml`" in capsys.readouterr().err
    assert run(["build", "p.tl", "--engine", "coreml", "--embed-weights"]) == 1
    assert "error[E0606]: Core ML reads the model's own files" in capsys.readouterr().err


def test_what_tlc_does_not_compile_runs_where_its_sizes_are_known(mac: Mac, tmp_path: Path) -> None:
    model = MilModel({"x": ("f16", (2, 3))})
    model.op("of_tomorrow", {"y": ("f16", (2, 1))}, output=True, x=Name("x"))
    model.write(tmp_path / "m.mlpackage")
    mac.answer = lambda given: {"y": given["x"].sum(1, keepdims=True)}
    source = 'm = load_model("m.mlpackage")\nfn f(x: float16[2, 3]) { m.predict(x) }'
    assert compiled(source).f(np.ones((2, 3), np.float16)).tolist() == [[3], [3]]


def test_an_image_is_given_as_a_picture(mac: Mac, tmp_path: Path) -> None:
    """`preprocess` makes 2 x + (3, 2, 1) of red, green and blue; Core ML does that itself."""
    pytest.importorskip("PIL.Image")
    scaler = part(2, part(10, real(10, 2.0), *(real(20 + at, at + 1.0) for at in range(3))))
    path = tmp_path / "m.mlmodel"
    network(
        path,
        [layer(130, part(10), ["image"], ["y"], "relu")],
        {},
        {"y": [3, 2, 4]},
        images={"image": (4, 2, 30)},
        extra=scaler,
    )
    pixels = np.random.default_rng(8).integers(0, 256, (3, 2, 4)).astype(np.float16)
    mac.answer = lambda given: {"y": np.zeros((3, 2, 4), np.float32)}
    source = 'm = load_model("m.mlmodel")\nfn f(x: float16[3, 2, 4]) { m.predict(preprocess(x)) }'
    compiled(source).f(pixels)
    (given,) = mac.given
    assert given["image"].mode == "RGB"
    np.testing.assert_array_equal(np.asarray(given["image"]), pixels.transpose(1, 2, 0))


WRONG: list[tuple[Any, str]] = [
    ({"y": {"cat": 0.5, "dog": 0.5}}, "gives `y` by labels"),
    ({"z": np.zeros((4, 3))}, "gives nothing as `y`"),
    ({"y": np.zeros((4, 2))}, r"gives float64 \[4, 2\] as `y`, and \[4, 3\] was expected"),
    ({"y": np.array(["cat"] * 12)}, "as `y`"),
]


@pytest.mark.parametrize(("answer", "message"), WRONG)
def test_what_else_core_ml_gives_is_said(
    mac: Mac, tmp_path: Path, answer: dict[str, Any], message: str
) -> None:
    perceptron(4, tmp_path)
    mac.answer = lambda given: answer
    with pytest.raises(RunError, match=f"E0615.*{message}"):
        compiled(PROGRAM.replace("N", "4")).f(X)


def test_what_core_ml_refuses_is_said(mac: Mac, tmp_path: Path) -> None:
    perceptron(4, tmp_path)

    def refuse(given: dict[str, Any]) -> dict[str, Any]:
        raise RuntimeError("Error in reading the MIL network.")

    mac.answer = refuse
    with pytest.raises(RunError, match=r"E0615.*m\.mlpackage: Core ML does not run it: Error in"):
        compiled(PROGRAM.replace("N", "4")).f(X)


def test_elsewhere_it_is_said_that_core_ml_is_apple_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(engine, "sys", SimpleNamespace(platform="linux"))
    monkeypatch.chdir(tmp_path)
    perceptron(4, tmp_path)
    Path("p.tl").write_text(PROGRAM.replace("N", "4") + "print(f(zeros([4, 6])))\n")
    assert run(["run", "p.tl", "--engine", "coreml"]) == 1
    said = capsys.readouterr().err
    assert "error[E0615]: Core ML is a part of macOS, and this is linux" in said
    assert "without `--engine coreml` the model is compiled" in said


def test_on_a_mac_without_coremltools_it_is_said_how_to_get_it(
    mac: Mac, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "coremltools", None)
    perceptron(4, tmp_path)
    with pytest.raises(RunError, match=r"E0615.*(\n.*)*pip install 'tlc\[coreml\]'"):
        compiled(PROGRAM.replace("N", "4")).f(X)
