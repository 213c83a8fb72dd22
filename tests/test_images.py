"""Pictures: `load_image`, and `preprocess` as the image input of a Core ML model declares.

Pillow writes the pictures, and resizes them as an oracle.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tlc
from tests.coreml.network_writer import layer, network
from tests.coreml.writer import MilModel, Name, part, real, text
from tlc.cli import run
from tlc.frontend.diagnostics import CompileError
from tlc.ir.lower.builtins.images import matrix

Image: Any = pytest.importorskip("PIL.Image")

DEVICES = ["cpu", "reference"]
GRAY, RGB, BGR = 10, 20, 30
RNG = np.random.default_rng(5)
SCENE = RNG.integers(0, 256, (37, 53, 3), np.uint8)  # height, width, channels


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Image.fromarray(SCENE).save("scene.png")
    return tmp_path


def value(expression: str, device: str = "reference", before: str = "") -> np.ndarray[Any, Any]:
    """What an expression gives, with the picture of above as `img`."""
    source = f'{before}\nimg = load_image("scene.png")\nfn f() {{ {expression} }}\n'
    found: np.ndarray[Any, Any] = tlc.compile("p.tl", text=source, device=device).f()
    return found


def refused(source: str) -> tuple[str, str, str]:
    with pytest.raises(CompileError) as caught:
        tlc.compile("p.tl", text=source)
    (found,) = caught.value.diagnostics
    return found.code, found.message, found.hint


def planes(image: Any) -> np.ndarray[Any, Any]:
    return np.asarray(image, np.float32).transpose(2, 0, 1)


# Reading


@pytest.mark.parametrize("device", DEVICES)
def test_a_picture_is_a_tensor_of_its_pixels(device: str) -> None:
    found = value("img", device)
    assert (found.dtype, found.shape) == (np.float16, (3, 37, 53))
    np.testing.assert_array_equal(found, planes(SCENE))


@pytest.mark.parametrize("name", ["a.bmp", "a.gif", "a.jpg", "a.tif", "a.webp", "l.png", "p.png"])
def test_formats_are_told_by_their_first_bytes(name: str) -> None:
    mode = {"l.png": "L", "p.png": "P"}.get(name, "RGB")
    Image.fromarray(SCENE).convert(mode).save(name)
    Path("scene.png").write_bytes(Path(name).read_bytes())
    with Image.open(name) as image:
        np.testing.assert_array_equal(value("img"), planes(image.convert("RGB")))


@pytest.mark.parametrize("format", ["png", "tiff"])
def test_a_picture_that_the_camera_turned_is_upright(format: str) -> None:
    held = Image.Exif()
    held[0x0112] = 6  # the top of the scene is on the right
    Image.fromarray(SCENE).save("scene.png", format, exif=held)
    np.testing.assert_array_equal(value("img"), planes(np.rot90(SCENE, -1)))


def test_an_artifact_finds_the_picture_or_carries_it(capfd: pytest.CaptureFixture[str]) -> None:
    Path("p.tl").write_text('print(mean(load_image("scene.png"), 2).shape)')
    assert run(["build", "p.tl"]) == 0
    assert run(["run", "p.metallib", "--device", "cpu"]) == 0
    assert capfd.readouterr().out == "[3, 37]\n"
    assert run(["build", "p.tl", "--embed-weights"]) == 0
    Path("scene.png").unlink()
    assert run(["run", "p.metallib", "--device", "cpu"]) == 0
    assert capfd.readouterr().out == "[3, 37]\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x89PNG\r\n\x1a\n", "scene.png: this picture cannot be read"),
        (b"\xff\xd8\xff" + bytes(60), "scene.png: this picture cannot be read"),
        (b"text", "scene.png: this is neither a SafeTensors nor a GGUF file"),
    ],
)
def test_a_damaged_picture_is_an_error(content: bytes, message: str) -> None:
    Path("scene.png").write_bytes(content)
    code, found, _ = refused('print(load_image("scene.png"))')
    assert code == "E0601"
    assert message in found


def test_a_picture_cut_in_its_pixels_is_an_error_of_the_run(
    capfd: pytest.CaptureFixture[str],
) -> None:
    path = Path("scene.png")
    path.write_bytes(path.read_bytes()[:3000])
    Path("p.tl").write_text('print(load_image("scene.png"))')
    assert run(["run", "p.tl", "--device", "cpu"]) != 0
    assert "scene.png: this picture cannot be read" in capfd.readouterr().err


def test_more_than_8_bits_and_very_many_pixels_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    Image.fromarray(SCENE[..., 0].astype(np.uint16)).save("wide.png")
    assert "more than 8 bits" in refused('print(load_image("wide.png"))')[1]
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    assert "decompression bomb" in refused('print(load_image("scene.png"))')[1]


def test_without_pillow_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "PIL", None)
    code, message, hint = refused('print(load_image("scene.png"))')
    assert (code, "read by Pillow, which is not installed" in message) == ("E0601", True)
    assert hint == "pip install 'tlc[images]'"


def test_pictures_and_models_are_not_taken_for_one_another() -> None:
    assert refused('m = load_model("scene.png")')[1:] == (
        "scene.png is a picture, and no model",
        "`load_image` reads it",
    )
    network(Path("m.mlmodel"), [], {"x": [3]}, {})
    assert refused('print(load_image("m.mlmodel"))')[1] == "m.mlmodel is no picture but a model"


# Resizing


@pytest.mark.parametrize(
    ("have", "want", "step"), [(37, 9, 37 / 9), (9, 37, 9 / 37), (20, 8, 2.0), (5, 5, 1.5)]
)
def test_a_row_of_the_matrix_is_a_mean(have: int, want: int, step: float) -> None:
    found = matrix(have, want, step)
    assert found is not None
    np.testing.assert_allclose(found.sum(1), 1, rtol=1e-12)
    np.testing.assert_allclose(found, found[::-1, ::-1], atol=1e-12)  # the same from both ends


def test_nothing_is_done_to_a_size_that_fits() -> None:
    assert matrix(8, 8, 1.0) is None
    np.testing.assert_array_equal(value("preprocess(img, size: [37, 53])"), planes(SCENE)[None])


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("height", "width"), [(16, 16), (16, 31), (24, 11), (60, 50), (1, 1)])
def test_pictures_are_cut_and_resized_as_by_pillow(height: int, width: int, device: str) -> None:
    step = min(37 / height, 53 / width)
    top, left = (37 - height * step) / 2, (53 - width * step) / 2
    box = left, top, left + width * step, top + height * step
    size, filter = (width, height), Image.Resampling.BILINEAR
    wanted = Image.fromarray(SCENE).resize(size, filter, box)
    found = value(f"preprocess(img, size: [{height}, {width}])", device)
    assert found.shape == (1, 3, height, width)
    # Pillow rounds to whole numbers after each of the two axes; float16 keeps 1/16 here.
    np.testing.assert_allclose(found[0], planes(wanted), rtol=0, atol=1.07)


# What models declare


def scaled(path: str, color: int, *scaler: bytes) -> None:
    """A network that gives its input as it is: [channels, 12, 16]."""
    preprocessing = part(2, text(1, "photo"), part(10, *scaler)) if scaler else b""
    channels = 1 if color == GRAY else 3
    network(
        Path(path),
        [layer(600, b"", ["photo"], ["same"])],
        {},
        {"same": [channels, 12, 16]},
        extra=preprocessing,
        images={"photo": (16, 12, color)},
    )


def small() -> np.ndarray[Any, Any]:
    """The picture as [3, 12, 16], in the numbers that the test of resizing compares."""
    return value("preprocess(img, size: [12, 16])")[0].astype(np.float32)


SCALER = [real(10, 0.0078125), real(20, -1.0), real(21, -0.5), real(22, 0.25), real(30, 3.0)]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("color", [RGB, BGR, GRAY])
def test_a_network_gets_its_channels_scaled_and_shifted(color: int, device: str) -> None:
    scaled("m.mlmodel", color, *SCALER)
    red, green, blue = small()
    wanted = {
        RGB: [red / 128 + 0.25, green / 128 - 0.5, blue / 128 - 1],
        BGR: [blue / 128 - 1, green / 128 - 0.5, red / 128 + 0.25],
        GRAY: [(0.299 * red + 0.587 * green + 0.114 * blue) / 128 + 3],
    }[color]
    found = value("m.predict(preprocess(img))", device, 'm = load_model("m.mlmodel")')
    # one rounding to float16 of values below 8, and those of `small` that are made smaller
    np.testing.assert_allclose(found, np.stack(wanted), rtol=0, atol=2**-9 + 2**-11)


def test_without_a_scaler_pixels_are_as_they_are() -> None:
    scaled("m.mlmodel", RGB)
    found = value("m.predict(preprocess(img))", before='m = load_model("m.mlmodel")')
    np.testing.assert_array_equal(found, small())


@pytest.mark.parametrize("device", DEVICES)
def test_an_ml_program_takes_pixels_and_scales_them_itself(device: str) -> None:
    type = ("f32", (1, 3, 12, 16))
    model = MilModel({"photo": type}, images={"photo": (16, 12, BGR)})
    model.const("scale", np.float32(0.5))
    model.op("mul", {"y": type}, output=True, x=Name("photo"), y=Name("scale"))
    model.write(Path("m.mlpackage"))
    found = value("m.predict(preprocess(img))", device, 'm = load_model_f32("m.mlpackage")')
    assert (found.dtype, found.shape) == (np.float32, (1, 3, 12, 16))
    # `small` was rounded to float16, to 1/16 at most
    np.testing.assert_allclose(found[0], small()[::-1] / 2, rtol=0, atol=2**-5)


def test_a_picture_of_the_caller_is_preprocessed() -> None:
    scaled("m.mlmodel", RGB)
    source = (
        'm = load_model("m.mlmodel")\n'
        "fn f(photo: float16[3, 37, 53]) { m.predict(preprocess(photo, m)) }"
    )
    model = tlc.compile("p.tl", text=source, device="reference")
    np.testing.assert_array_equal(model.f(planes(SCENE).astype(np.float16)), small())


def test_a_picture_as_it_is_does_not_fit() -> None:
    scaled("m.mlmodel", RGB)
    source = 'm = load_model("m.mlmodel")\nlet y = m.predict(load_image("scene.png"))'
    code, message, hint = refused(source)
    assert (code, hint) == ("E0301", "`preprocess(img)` makes what the model wants")
    assert "`photo` is [1, 3, 12, 16], and this is f16[3, 37, 53]" in message


LOAD = 'img = load_image("scene.png")\na = load_model("a.mlmodel")\nb = load_model("b.mlmodel")\n'


@pytest.mark.parametrize(
    ("source", "code", "message", "hint"),
    [
        ("preprocess(img)", "E0203", "the program's models have 2 inputs that", "name the model"),
        ("preprocess(img, c)", "E0203", "the model has no inputs that are declared", "size: ["),
        ("preprocess(img, 3)", "E0302", "a model is needed, and this is int", ""),
        ("preprocess(img, size: 8)", "E0303", "`size` is [height, width]", ""),
        ("preprocess(img, size: [0, 8])", "E0303", "`size` is [height, width]", ""),
        ("preprocess(zeros([1, 4, 4]), a)", "E0301", "a picture is [3, height, width]", ""),
        ("preprocess(zeros([3, 0, 4]), a)", "E0303", "a picture has from 1 to 16384", ""),
        ("load_image(3)", "E0304", "the path of a picture is a string known at build", ""),
        ('load_image("none.png")', "E0601", "none.png: there is no such file", ""),
    ],
)
def test_mistakes_are_said(source: str, code: str, message: str, hint: str) -> None:
    for name in ("a.mlmodel", "b.mlmodel"):
        scaled(name, RGB)
    network(Path("c.mlmodel"), [], {"x": [3]}, {})
    found = refused(f'{LOAD}c = load_model("c.mlmodel")\nlet x = {source}')
    assert found[0] == code
    assert message in found[1]
    assert hint in found[2]


def test_a_function_of_any_size_resizes_for_callers_of_known_size() -> None:
    source = """
        fn small(x: float16[3, H, W]) { preprocess(x, size: [4, 4]) }
        fn f(x: float16[3, 37, 53]) { small(x) }
    """
    model = tlc.compile("p.tl", text=source, device="reference")
    assert "small" not in model.entries
    wanted = value("preprocess(img, size: [4, 4])")
    np.testing.assert_array_equal(model.f(planes(SCENE).astype(np.float16)), wanted)
