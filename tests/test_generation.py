"""Text from `examples/llm/language_model.tl`: with a cache of keys and values, on the tiny LLaMA.

The tokens are those that llama.cpp chose, which are stored beside the model, and the logits at
every step are those of all tokens so far without a cache.
"""

import contextlib
import io
import re
from pathlib import Path

import numpy as np
import pytest

import tlc
from tests.test_llama import TOLERANCE, llama, unpacked
from tlc.cli import run
from tlc.runner import open_program
from tlc.runtime.artifact import read_artifact
from tlc.runtime.format import all_steps
from tlc.runtime.model_file import open_model
from tlc.runtime.tokenizer import load_tokenizer
from tlc.runtime.tokenizer.tokenizer import Stream

ROOT = Path(__file__).parent.parent
DATA = ROOT / "tests" / "data"
NAME = str(ROOT / "examples" / "llm" / "greedy.tl")  # beside what it imports
STEPS = 32
PROGRAM = """
import "language_model.tl"
model = load_model("MODEL")

fn greedy(ids: int[N]) {
    let cache = empty_cache(model)
    let rows = logits(model, ids, cache)[-1:, :]
    let all = ids
    let n = 0
    while n < STEPS {
        let next = argmax(rows[-1, :])
        all = concat(all, [next], 0)
        rows = concat(rows, logits(model, [next], cache), 0)
        n = n + 1
    }
    (all, rows)
}

fn at_once(ids: int[N]) {
    logits(model, ids, empty_cache(model))
}
"""

# how Llama 2 was trained to tell turns apart
LLAMA2 = """{% for message in messages %}{% if message.role == "user" %}
{{ bos_token + "[INST] " + message.content + " [/INST]" }}
{%- else %}
{{ message.content + " " + eos_token }}
{%- endif %}{% endfor %}"""

KINDS = [("f16", "cpu"), *((kind, "reference") for kind in ("f16", "f32", "q8_0", "q4_0"))]


@pytest.mark.parametrize(("kind", "device"), KINDS)
def test_a_token_at_a_time_is_as_good_as_all_at_once(kind: str, device: str) -> None:
    file = str(DATA / f"tiny_llama_{kind}.gguf")
    text = PROGRAM.replace("MODEL", file).replace("STEPS", str(STEPS))
    model = tlc.compile(NAME, text=text, device=device)
    stored = np.load(DATA / f"tiny_llama_{'f32' if kind == 'f32' else 'f16'}.npz")
    prompt = stored["prompt_ids"].astype(np.int32)
    ids, stepwise = model.greedy(prompt)
    assert ids.shape == (len(prompt) + STEPS,)
    np.testing.assert_array_equal(ids[: len(prompt)], prompt)

    # Both round what a layer stores to float16, in another order of sums: each is as far from the
    # logits in float32 as test_llama.py allows, so twice that from each other.
    whole = model.at_once(ids).astype(np.float32)[len(prompt) - 1 :]
    np.testing.assert_allclose(stepwise.astype(np.float32), whole, rtol=0, atol=2 * TOLERANCE)
    chosen = whole[np.arange(STEPS), ids[len(prompt) :]]
    assert (whole[:-1].max(-1) - chosen <= 2 * TOLERANCE).all(), "the best, or one as good"

    if kind in ("f16", "f32"):  # llama.cpp rounds what it multiplies with quantised weights
        np.testing.assert_array_equal(ids[len(prompt) :], stored["greedy"])


def shown(*command: str) -> str:
    with contextlib.redirect_stdout(io.StringIO()) as stdout:
        assert run(list(command)) == 0
    return stdout.getvalue()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The examples, for the tiny model."""
    folder = tmp_path_factory.mktemp("llm")
    for path in (ROOT / "examples" / "llm").glob("*.tl"):
        text = path.read_text().replace("model.gguf", str(DATA / "tiny_llama_f16.gguf"))
        (folder / path.name).write_text(text)
    return folder


@pytest.fixture(scope="module")
def artifact(folder: Path) -> str:
    """`examples/llm/generate.tl`, built."""
    path = str(folder / "generate.metallib")
    shown("build", str(folder / "generate.tl"), "-o", path)
    return path


def continued(ids: list[int], count: int) -> list[int]:
    """The tokens that the network in float32 finds the most likely, one behind the other."""
    weights = unpacked("f16")
    found: list[int] = []
    for _ in range(count):
        logits = llama(weights, np.array([*ids, *found]))[-1]
        second, first = np.sort(logits)[-2:]
        assert first - second > 2 * TOLERANCE, "rounding would choose another token"
        found.append(int(logits.argmax()))
    return found


def test_the_example_generates_what_the_network_says(artifact: str) -> None:
    tokenizer = load_tokenizer(str(DATA / "tiny_llama_f16.gguf"))
    stream = Stream(tokenizer)
    text = "we said" + "".join(map(stream.feed, continued(tokenizer.encode("we said"), 10)))
    given = ("--prompt", "we said", "--max-tokens", "10", "--temperature", "0")
    for device in ("cpu", "reference"):
        assert shown("run", artifact, "--device", device, *given) == text + "\n"


def test_a_layer_takes_five_launches(artifact: str) -> None:
    """Queries, keys and values; attention, which appends these; its output; gate and what it opens;
    and the way down. Norms, rotations and residuals are done by these."""
    program, _ = open_program(read_artifact(artifact), "cpu", [""])
    steps = program.entry("main").record["steps"]
    (decode,) = (step[3] for step in steps if step[0] == "loop")
    layers = open_model(str(DATA / "tiny_llama_f16.gguf")).metadata["llama.block_count"]
    assert isinstance(layers, int)
    launches = [step for step in all_steps(decode) if step[0] == "launch"]
    # around them: the token itself, its embedding, the angles of its place, logits, 8 of sampling
    assert len(launches) == 5 * layers + 12


def test_a_prompt_takes_six_launches_a_layer(artifact: str) -> None:
    """The keys are turned by one more. They and the values stay where they are for what comes
    behind the prompt: nothing is copied."""
    manifest = read_artifact(artifact).manifest
    kernels = manifest["profiles"]["cpu"]["kernels"]
    steps = manifest["entries"]["main"]["steps"]
    chosen = [step[1]["cpu"][0][1] for step in steps if step[0] == "launch"]
    sources = [kernels[at]["source"] for at in chosen]
    assert not [source for source in sources if "copy" in source]
    layers = [source for source in sources if source.startswith(("llama.tl:1", "parts.tl:14"))]
    assert len(layers) == 6 * 2 + 1, "and the table of angles"


def test_the_example_at_another_temperature_says_something_else(artifact: str) -> None:
    given = ("--device", "reference", "--max-tokens", "10", "--temperature")
    cold, warm = (shown("run", artifact, *given, t) for t in ("0", "1.5"))
    assert cold.startswith("Once upon a time")
    assert warm.startswith("Once upon a time")
    assert cold != warm


@pytest.mark.parametrize("device", ["cpu", "reference"])
def test_a_chat_remembers_what_was_said(
    folder: Path, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer = load_tokenizer(str(DATA / "tiny_llama_f16.gguf"))
    stream = Stream(tokenizer)
    said: list[int] = []
    lines = []
    for turn in ("<s>[INST] more [/INST]", " </s><s>[INST] we said [/INST]"):
        said += tokenizer.encode(turn, around=False)
        answer = continued(said, 4)
        said += answer
        lines.append("".join(map(stream.feed, answer)) + "\n")
    monkeypatch.setattr("sys.stdin", io.StringIO("more\nwe said\n\nnot read\n"))
    (folder / "llama2.jinja").write_text(LLAMA2)
    given = ("--max-tokens", "4", "--temperature", "0", "--device", device)
    given += ("--template", str(folder / "llama2.jinja"))
    assert shown("run", str(folder / "chat.tl"), *given) == "".join(lines)


def test_an_artifact_with_embedded_weights_needs_no_model(folder: Path, tmp_path: Path) -> None:
    text = (folder / "generate.tl").read_text()
    model = tmp_path / "model.gguf"
    model.write_bytes((DATA / "tiny_llama_f16.gguf").read_bytes())
    (tmp_path / "p.tl").write_text(text.replace(str(DATA / "tiny_llama_f16.gguf"), str(model)))
    for other in folder.glob("*.tl"):
        if other.name != "generate.tl":
            (tmp_path / other.name).write_text(other.read_text())
    given = ("--device", "reference", "--temperature", "0", "--max-tokens", "5")
    wanted = shown("run", str(tmp_path / "p.tl"), *given)
    path = str(tmp_path / "p.metallib")
    shown("build", str(tmp_path / "p.tl"), "--embed-weights", "-o", path)
    model.unlink()
    assert shown("run", path, *given) == wanted


def test_stats_count_tokens_and_memory(artifact: str, capsys: pytest.CaptureFixture[str]) -> None:
    given = ("--prompt", "we said", "--max-tokens", "10", "--temperature", "0", "--stats")
    for device in ("cpu", "reference"):
        assert run(["run", artifact, "--device", device, *given]) == 0
        lines = capsys.readouterr().err.splitlines()
        count = len(load_tokenizer(str(DATA / "tiny_llama_f16.gguf")).encode("we said"))
        patterns = (
            r"load +\d+\.\d{3} s",
            rf"prefill +{count} tokens in \d+\.\d+ s, \d+\.\d tokens/s",
            r"decode +9 tokens in \d+\.\d+ s, \d+\.\d tokens/s",
            r"memory +\d+ MB at most.*",
        )
        for pattern, line in zip(patterns, lines, strict=True):
            assert re.fullmatch(pattern, line), line
