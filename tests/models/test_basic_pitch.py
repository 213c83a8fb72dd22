"""`examples/notes.tl` hears the notes of chords.

The package basic-pitch carries the model (Apache-2.0), a Core ML package converted from TensorFlow.
"""

from pathlib import Path

import numpy as np
import pytest

import tlc
from tests.models.packages import folder_of

pytestmark = pytest.mark.models

EXAMPLE = Path(__file__).parents[2] / "examples" / "notes.tl"
TIME = np.arange(43844) / 22050  # seconds


@pytest.fixture(scope="module", params=["cpu", "reference"])
def model(request: pytest.FixtureRequest) -> tlc.Model:
    path = folder_of("basic_pitch") / "saved_models" / "icassp_2022" / "nmp.mlpackage"
    text = EXAMPLE.read_text().replace("nmp.mlpackage", str(path))
    return tlc.compile("notes.tl", text=text, device=request.param)


def sound(notes: list[int]) -> np.ndarray:
    """Sines of MIDI notes."""
    hertz = 440 * 2 ** ((np.array(notes) - 69) / 12)
    wave: np.ndarray = np.sin(2 * np.pi * hertz[:, None] * TIME).sum(0) / len(notes)
    return wave.astype(np.float32)


@pytest.mark.parametrize("notes", [[69], [69, 76], [48, 60, 64, 67], [57, 65, 72]])
def test_the_notes_of_a_chord_are_the_loudest(model: tlc.Model, notes: list[int]) -> None:
    found = np.argsort(-model.keys(sound(notes)))[: len(notes)] + 21
    assert sorted(found.tolist()) == notes


def test_the_program_tells_what_it_hears(
    model: tlc.Model, capsys: pytest.CaptureFixture[str]
) -> None:
    model.run("main")
    assert capsys.readouterr().out == "the two loudest keys: [55, 48]\n"
