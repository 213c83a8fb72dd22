"""What `tlc run` of an artifact loads: nothing of the compiler, no heavy module it does not use."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from tlc import driver
from tlc.cli import run

ROOT = Path(__file__).parent.parent
HEAVY = {
    "argparse", "coremltools", "dataclasses", "gguf", "inspect", "jinja2", "numpy", "ply",
    "safetensors", "shutil", "subprocess", "tempfile", "typing", "zipfile",
}  # fmt: skip
STAGES = ("tlc.frontend", "tlc.ir", "tlc.codegen", "tlc.driver")


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    path = tmp_path / "linear.metallib"
    driver.write(driver.build(str(ROOT / "examples" / "linear.tl")), str(path))
    return path


def loaded(*arguments: str) -> tuple[set[str], str]:
    """The modules that a command loads, and what it prints."""
    code = (
        "import sys\nfrom tlc.cli import run\n"
        f"code = run({list(arguments)!r})\n"
        "print('\\n'.join(sorted(sys.modules)), file=sys.stderr)\nsys.exit(code)"
    )
    command = [sys.executable, "-S", "-c", f"import sys; sys.path[:0] = {sys.path!r}\n{code}"]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return set(found.stderr.splitlines()), found.stdout


def test_running_an_artifact_loads_no_compiler_and_nothing_heavy(artifact: Path) -> None:
    loaded("run", str(artifact), "--device", "cpu")  # the kernels are compiled now
    modules, output = loaded("run", str(artifact), "--device", "cpu")
    assert "[[2.21, 2.82], [4.91, 6.418], [7.61, 10.02], [10.31, 13.62]]" in output
    assert not modules & HEAVY
    assert not [m for m in modules if m.startswith(STAGES)]


@pytest.mark.parametrize("options", [[], ["--embed-weights"]])
def test_weights_are_loaded_and_converted_without_numpy(tmp_path: Path, options: list[str]) -> None:
    path, source = tmp_path / "w.metallib", tmp_path / "w.tl"
    save_file({"w": np.array([1.5, 2.5], np.float32)}, tmp_path / "w.safetensors")
    source.write_text(f'print(load_model("{tmp_path}/w.safetensors").w * 2.0)\n')
    assert run(["build", str(source), "-o", str(path), *options]) == 0
    modules, output = loaded("run", str(path), "--device", "cpu")
    assert output == "[3.0, 5.0]\n"
    assert not modules & (HEAVY - {"subprocess", "shutil", "tempfile"})  # of the compiler, once


def test_help_loads_nothing_but_its_table() -> None:
    modules, output = loaded("--help")
    assert "tlc run" in output or "run FILE" in output
    assert not modules & HEAVY
    assert {m for m in modules if m.startswith("tlc.")} == {
        "tlc.cli",
        "tlc.options",
        "tlc.runtime",
        "tlc.runtime.errors",
    }
