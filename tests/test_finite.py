"""`tlc run --check-finite` names the operation that makes the first NaN or infinity."""

from pathlib import Path

import pytest

from tlc.cli import run


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path / "p.tl"


def message(program: Path, text: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    program.write_text(text)
    code = run(["run", "p.tl", "--check-finite"])
    return code, capsys.readouterr().err


def test_a_finite_program_runs(program: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert message(program, "print(exp(tensor([1.0])))\n", capsys) == (0, "")


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (
            "let x = tensor([[1.0, 2.0], [4.0, 0.0]])\nlet y = x + 1.0\nprint(y / x)\n",
            "p.tl:3: `div` is inf at [1, 1]; it reads f16[2, 2] from 1 to 5, f16[2, 2] from 0 to 4",
        ),
        ("let x = tensor([4.0, -1.0])\nprint(relu(sqrt(x)))\n", "p.tl:2: `sqrt` is nan at [1];"),
        ("let x = tensor([0.0, 1.0])\nprint(log(x))\n", "p.tl:2: `log` is -inf at [0];"),
        (
            "let x = full([3], 300.0)\n\nprint(x * x)\n",
            "p.tl:3: `mul` is 90000, beyond float16, at [0], and 2 more; it reads f16[3] of 300",
        ),
        (  # in a function
            "let x = full([1, 2], 300.0)\nfn f(a: float16[N, K]) { a @ a.T }\nprint(f(x))\n",
            "p.tl:2: `matmul` is 180000, beyond float16, at [0, 0]; it reads f16[1, 2] of 300,",
        ),
        (  # in a fused kernel, in which no step is rounded: what it stores is too large
            "let x = full([2], 300.0)\nlet y = x * x / 2.0 + 30000.0\nprint(y)\n",
            "p.tl:2: `add` is 75000, beyond float16, at [0], and 1 more; it reads f16[2] of 45000,",
        ),
        (  # in the third pass of a loop
            "let h = tensor([1.0, 9.0])\nfor i in range(9) {\n    h = h * 30.0\n}\nprint(h)\n",
            "p.tl:3: `mul` is 243000, beyond float16, at [1]; it reads f16[2] from 900 to 8100,",
        ),
        (  # in a branch that run time takes
            "let x = tensor([1.0, 9.0])\nif argmax(x) == 1 {\n    print(x / 0.0)\n}\n",
            "p.tl:3: `div` is inf at [0], and 1 more;",
        ),
        (  # in float32, whose end is another one
            "let x = tensor<float32>([1.0, 89.0])\nlet y = exp(x)\nprint(y)\n",
            "p.tl:2: `exp` is inf at [1]; it reads f32[2] from 1 to 89",
        ),
        (
            "let x = tensor<float32>([1e20, 1.0])\nprint(x @ x, x)\n",
            "p.tl:2: `matmul` is inf at [0, 0]; it reads f32[1, 2] from 1 to 1e+20,",
        ),
        (  # a conversion
            "let x = tensor<float32>([1e5, 1.0])\nprint(x as float16)\n",
            "p.tl:2: `cast` is 100000, beyond float16, at [0]; it reads f32[2] from 1 to 100000",
        ),
        (  # along an axis
            "let x = full([2, 3], 30000.0)\nprint(sum(x, 1))\n",
            "p.tl:2: `sum` is 90000, beyond float16, at [0, 0], and 1 more; it reads f16[2, 3] of",
        ),
        (  # a row in which a mask leaves nothing
            "let kept = padding_mask(tensor<int>([0, 2]), 3)\n"
            "print(softmax(apply_attention_mask(ones([2, 3]), kept)))\n",
            "p.tl:2: `sub` is nan at [0, 0], and 2 more; it reads f32[2, 3] from -inf to 1,",
        ),
    ],
)
def test_what_makes_it_is_named(
    program: Path, text: str, wanted: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, found = message(program, text, capsys)
    assert code == 1
    assert found.startswith(f"error[E0508]: {wanted}")
    assert "\n  hint: " in found


def test_what_a_program_writes_itself_is_its_own(
    program: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (
        "let scores = apply_attention_mask(ones([2, 2]), causal_mask(2))\n"
        "print(scores, softmax(scores))\n"
        "print(max(scores, 1), scores + 1.0)\n"
    )
    assert message(program, text, capsys) == (0, "")


def test_with_store_f32_the_border_is_checked(
    program: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    program.write_text("let x = full([2], 300.0)\nlet y = x * x\nprint(y / 2.0)\nprint(y)\n")
    assert run(["run", "p.tl", "--check-finite", "--store", "f32"]) == 1
    out, err = capsys.readouterr()
    assert out == "[45000.0, 45000.0]\n"
    assert err.startswith("error[E0508]: p.tl:4: `cast` is 90000, beyond float16, at [0]")


def test_an_artifact_does_not_know_its_lines(
    program: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    program.write_text("print(1.0 / tensor([0.0]))\n")
    assert run(["build", "p.tl"]) == 0
    assert run(["run", "p.metallib", "--check-finite"]) == 1
    err = capsys.readouterr().err
    assert err.startswith("error[E0508]: `div` is inf at [0]")
    assert "run the .tl file to see the source line" in err
