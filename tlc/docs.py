"""Writes `docs/ops.md` and `docs/errors.md` from the op registry and the code tables.

python -m tlc.docs docs
"""

from __future__ import annotations

import sys
from pathlib import Path

import tlc.ir.ops
from tlc.explain import all_codes
from tlc.ir.opdef import OPS, OpDef

_NOTE = "<!-- written by `make docs`; edit the code it comes from instead -->"


def ops() -> str:
    """The text of docs/ops.md: every operation, one family to a section."""
    lines = [
        "# Operations",
        "",
        _NOTE,
        "",
        "An operation with a call can be written in a program under each of its names, and as a"
        " method of its first argument. The others are made by operators or by the compiler.",
    ]
    for module in tlc.ir.ops.__all__:
        mine = [op for op in OPS.values() if _module(op) == module]
        if not mine:
            continue
        doc = (getattr(tlc.ir.ops, module).__doc__ or "").split("\n\n")[0].replace("\n", " ")
        lines += [
            "",
            f"## {module}",
            "",
            doc,
            "",
            "| call | meaning | computed by |",
            "|---|---|---|",
        ]
        lines += [
            f"| {_call(op)} | {op.doc.replace('|', chr(92) + '|')} | {_how(op)} |" for op in mine
        ]
    return "\n".join(lines) + "\n"


def _module(op: OpDef) -> str:
    """The file of `ir/ops` that an operation is defined in."""
    face = op.expand or op.type
    assert face is not None
    return face.__module__.rpartition(".")[2]


def _call(op: OpDef) -> str:
    if not op.names:
        return f"`{op.name}` in the IR"
    others = ", ".join(f"`{n}`" for n in op.names[1:])
    return f"`{op.signature}`" + (f" or {others}" if others else "")


def _how(op: OpDef) -> str:
    if op.expand is not None:
        return "other operations"
    if op.view:
        return "its reader"
    if op.elementwise:
        return "any kernel"
    return f"{op.kernel} kernels" if op.kernel else "the host"


def errors() -> str:
    """The text of docs/errors.md: every diagnostic code."""
    lines = ["# Errors and warnings", "", _NOTE, "", "`tlc explain CODE` prints one of these."]
    for code, (title, text) in all_codes().items():
        lines += ["", f"## {code}: {title}", "", text]
    return "\n".join(lines) + "\n"


def main(folder: str) -> None:
    """Write both files into a folder."""
    for name, text in (("ops.md", ops()), ("errors.md", errors())):
        (Path(folder) / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:2] or ["docs"])
