"""The floors of ARCHITECTURE.md: who may import whom, read off the import statements."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
STAGES = ("frontend", "ir", "codegen", "runtime", "templates", "tlc")

# package -> prefixes of tlc modules it may import, beside its own
ALLOWED = {
    "frontend": (),
    "ir": ("tlc.frontend.source", "tlc.frontend.diagnostics", "tlc.frontend.suggest"),
    "ir/lower": ("tlc.frontend",),
    "ir/lower/builtins": ("tlc.frontend",),
    "ir/lower/control": ("tlc.frontend",),
    "codegen": (
        "tlc.ir",
        "tlc.runtime.format",
        "tlc.frontend.source",
        "tlc.frontend.diagnostics",
    ),
    "runtime": (),
    "templates": (),
}
# third-party package -> the only files that import it
OWNERS = {
    "ply": ("frontend/lexer.py", "frontend/parser.py"),
    "jinja2": ("codegen/render.py", "tlc/serving/chat_template.py"),
    "safetensors": ("runtime/save.py",),
    "gguf": ("runtime/decode.py",),
    "metalcompute": ("runtime/devices/metal.py",),
    "uvicorn": ("tlc/serving/server.py",),
    "coremltools": ("codegen/coreml.py", "runtime/coreml/engine.py"),
}


def modules() -> list[Path]:
    return [p for stage in STAGES for p in sorted((ROOT / stage).rglob("*.py"))]


def imports(path: Path) -> list[str]:
    """The full names of all modules that a file imports, wherever the statement stands."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [a.name for a in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            found += [f"{node.module}.{a.name}" for a in node.names]
    return found


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(ROOT)))
def test_a_module_imports_only_what_its_floor_allows(path: Path) -> None:
    relative = path.relative_to(ROOT).as_posix()
    stage = relative.split("/")[0]
    for name in imports(path):
        package = name.split(".")[0]
        assert relative in OWNERS.get(package, (relative,)), f"{relative} imports {name}"
        if package != "tlc" or stage == "tlc":
            continue
        allowed = (*ALLOWED[stage], *ALLOWED.get(relative.rsplit("/", 1)[0], ()), f"tlc.{stage}.")
        assert name.startswith(allowed), f"{relative} imports {name}"


def test_nobody_below_imports_the_command_line_or_the_driver() -> None:
    for path in modules():
        names = [n for n in imports(path) if n.startswith(("tlc.cli", "tlc.driver", "tlc.driver."))]
        assert not names or path.parent.name == "tlc", f"{path} imports {names}"


def test_numpy_stays_out_of_frontend_and_of_the_heads_of_runtime_modules() -> None:
    for path in modules():
        stage = path.relative_to(ROOT).parts[0]
        if stage == "frontend":
            assert not any(n.split(".")[0] == "numpy" for n in imports(path)), path
        if stage == "runtime":
            for node in ast.parse(path.read_text()).body:
                if isinstance(node, ast.Import | ast.ImportFrom):
                    text = ast.unparse(node)
                    assert "numpy" not in text, f"{path}: {text}"
