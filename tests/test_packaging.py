"""The wheel: complete, nothing but `tlc` in it, and able to compile a program from elsewhere."""

import os
import subprocess
import sys
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CONFIG = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
STAGES = ("frontend", "ir", "codegen", "runtime", "templates")


def test_every_folder_with_code_is_a_package_of_the_wheel() -> None:
    folders = {
        p.parent.relative_to(ROOT) for s in (*STAGES, "tlc") for p in (ROOT / s).rglob("*.py")
    }
    names = {
        ".".join(f.parts) if f.parts[0] == "tlc" else ".".join(("tlc", *f.parts)) for f in folders
    }
    assert names == set(CONFIG["packages"])


def test_type_checkers_see_every_module_of_the_package() -> None:
    links = {p.name for p in (ROOT / ".typings" / "tlc").iterdir()}
    own = {p.name for p in (ROOT / "tlc").glob("*.py")}
    own |= {p.parent.name for p in (ROOT / "tlc").glob("*/__init__.py")}
    assert links == own | set(STAGES)
    for link in (ROOT / ".typings" / "tlc").iterdir():
        assert link.resolve().exists(), f"{link} leads nowhere"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder)]
    # built from a copy: setuptools leaves a build folder behind
    copy = folder / "source"
    files = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    ).stdout.splitlines()  # fmt: skip
    for name in files or [
        str(p.relative_to(ROOT)) for p in ROOT.rglob("*") if ".venv" not in p.parts
    ]:
        source, target = ROOT / name, copy / name
        if source.is_file() and not source.is_symlink():
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(source.read_bytes())
    subprocess.run([sys.executable, "-m", "pip", "wheel", *options, str(copy)], check=True)
    return next(folder.glob("*.whl"))


def test_the_wheel_holds_tlc_alone_with_its_data(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {n.split("/")[0] for n in names}
    assert {t for t in tops if not t.endswith(".dist-info")} == {"tlc"}
    for stage in STAGES:
        for path in (ROOT / stage).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                assert f"tlc/{path.relative_to(ROOT).as_posix()}" in names
    assert "tlc/py.typed" in names
    assert "tlc/selftest.txt" in names


def test_the_installed_wheel_compiles_and_runs_a_program(wheel: Path, tmp_path: Path) -> None:
    venv.create(tmp_path / "venv", with_pip=False)
    python = tmp_path / "venv" / "bin" / "python"
    target = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        capture_output=True, text=True, check=True,
    ).stdout.strip()  # fmt: skip
    zipfile.ZipFile(wheel).extractall(target)
    # the wheel itself, and the dependencies of the interpreter that runs this test
    import numpy

    (Path(target) / "deps.pth").write_text(str(Path(numpy.__file__).parent.parent))
    program = tmp_path / "program.tl"
    program.write_text("print(relu(tensor([-1.0, 2.0])))\n")
    env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    command = [python, "-m", "tlc", "run", program, "--device", "reference"]
    found = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
    assert (found.returncode, found.stdout, found.stderr) == (0, "[0.0, 2.0]\n", "")
    where = subprocess.run(
        [python, "-c", "import tlc.frontend; print(tlc.frontend.__file__)"],
        cwd=tmp_path, env=env, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert where.startswith(str(target))
