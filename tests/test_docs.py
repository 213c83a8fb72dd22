"""The generated documents are what the code generates, and every code that is used is explained."""

import re
from pathlib import Path

from tlc import docs
from tlc.explain import all_codes

ROOT = Path(__file__).parent.parent
STAGES = ("tlc", "frontend", "ir", "codegen", "runtime")


def test_the_list_of_operations_is_up_to_date() -> None:
    assert (ROOT / "docs" / "ops.md").read_text(encoding="utf-8") == docs.ops(), "make docs"


def test_the_list_of_errors_is_up_to_date() -> None:
    assert (ROOT / "docs" / "errors.md").read_text(encoding="utf-8") == docs.errors(), "make docs"


def test_every_code_in_the_sources_is_explained_and_every_explained_code_is_used() -> None:
    used: set[str] = set()
    for path in (p for stage in STAGES for p in (ROOT / stage).rglob("*.py")):
        if path.name not in ("codes.py", "errors.py"):
            used.update(re.findall(r'"([EW]\d{4})"', path.read_text(encoding="utf-8")))
    codes = all_codes()
    assert used - codes.keys() == set()
    runner = (ROOT / "tlc" / "runner.py").read_text(encoding="utf-8")
    assert codes.keys() - used - set(re.findall(r"[EW]\d{4}", runner)) == set()


def test_the_lists_of_core_ml_are_those_of_its_tables() -> None:
    from tlc.ir.coreml import MIL
    from tlc.ir.coreml.network import LAYERS

    text = (ROOT / "docs" / "coreml.md").read_text(encoding="utf-8")
    for head, table in (
        ("MIL operations: ", {*MIL}),
        ("Layers of neural networks: ", {*LAYERS}),
    ):
        (listed,) = (part for part in text.split("\n\n") if part.startswith(head))
        assert set(re.findall(r"`(\w+)`", listed)) == table
