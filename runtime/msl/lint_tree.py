"""Rules that the lint checks in clang's syntax tree: address spaces, recursion, conversions."""

from __future__ import annotations

import json
import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    Add = Callable[[int, str, str], None]
    Function = tuple[str, str]  # name and type

_FILE = "kernels.metal"
_CONVERSIONS = {
    "FloatingCast": "one floating-point type to another",
    "IntegralToFloating": "an integer to a floating-point number",
    "FloatingToIntegral": "a floating-point number to an integer",
    "IntegralCast": "an integer to one of another size or sign",
}
_TO_FUNCTION = re.compile(r"\([^()]*\*[^()]*\) ?\(")  # a type
_LITERALS = frozenset(("IntegerLiteral", "FloatingLiteral"))
_PROMOTED = frozenset(("bool", "char", "uchar", "short", "ushort"))  # to int, which holds them all


def check_tree(dump: str, own: bool, add: Add) -> None:
    """Report what breaks a rule in `-ast-dump=json`; `own` adds the rules of tlc's kernels."""
    calls: dict[Function, set[Function]] = {}
    lines: dict[Function, int] = {}
    for node, line, function in _walk(_declarations(dump)):
        kind = node.get("kind", "")
        type_ = (node.get("type") or {}).get("qualType", "")
        if function is not None:
            lines.setdefault(function, line)
            callee = node.get("referencedDecl") or {}
            if callee.get("kind") in ("FunctionDecl", "CXXMethodDecl"):
                target = (callee.get("name", ""), (callee.get("type") or {}).get("qualType", ""))
                calls.setdefault(function, set()).add(target)
        declares = kind in ("VarDecl", "ParmVarDecl", "FieldDecl")
        if declares and _TO_FUNCTION.search(type_):
            add(line, "M04", "a pointer to a function: only templates take functions")
        elif declares and "__generic" in type_ and node.get("name"):
            add(line, "M07", f"`{node['name']}` names no address space")
        elif kind in ("CStyleCastExpr", "CXXReinterpretCastExpr") and "__generic" in type_:
            add(line, "M07", f"a cast to {type_.replace('__generic ', '')} names no address space")
        elif kind == "CXXRecordDecl" and node.get("bases"):
            add(line, "M11", f"`{node.get('name', '')}` is derived from another class")
        elif kind == "ImplicitCastExpr" and not node.get("isPartOfExplicitCast"):
            _conversion(node, type_, line, own, add)
    for function, line in lines.items():
        if function in _reached(function, calls):
            add(line, "M10", f"`{function[0]}` calls itself")


def _conversion(node: Any, type_: str, line: int, own: bool, add: Add) -> None:
    cast = node.get("castKind", "")
    if cast == "FloatingCast" and type_.split(" ")[-1] in ("__bf16", "bfloat"):
        add(line, "M12", "a conversion to bfloat has to be written out")
    elif own and cast in _CONVERSIONS:
        inner = node["inner"][0] if node.get("inner") else {}
        source = (inner.get("type") or {}).get("qualType", "").split(" ")[-1]
        promoted = type_.split(" ")[-1] == "int" and source in _PROMOTED
        if inner.get("kind") not in _LITERALS and not promoted:
            add(line, "M20", f"{_CONVERSIONS[cast]}, which is not written out")


def _declarations(dump: str) -> list[Any]:
    """The declarations of the text itself: those of the header, most of the dump, are not read."""
    marker = f'"presumedFile": "{_FILE}"'
    first = dump.find(marker)
    start = dump.rfind("\n    {\n", 0, first)
    if first < 0 or start < 0:
        return []
    end = dump.rindex("\n  ]")
    found: list[Any] = json.loads(f"[{dump[start:end]}]")
    return found


def _walk(declarations: list[Any]) -> Iterator[tuple[Any, int, Function | None]]:
    """Every node with its line and the function it is in.

    The dump says a line only where it differs from the one before, in the order of the text.
    """
    line = 0
    stack: list[tuple[Any, Function | None]] = [(node, None) for node in reversed(declarations)]
    while stack:
        node, function = stack.pop()
        for place in (node.get("loc"), (node.get("range") or {}).get("begin")):
            for at in (place or {}, (place or {}).get("expansionLoc") or {}):
                line = at.get("presumedLine", at.get("line", line))
        inner = node.get("inner") or []
        if node.get("kind") in ("FunctionDecl", "CXXMethodDecl") and any(
            part.get("kind") == "CompoundStmt" for part in inner
        ):
            function = (node.get("name", ""), (node.get("type") or {}).get("qualType", ""))
        yield node, line, function
        end = (node.get("range") or {}).get("end") or {}
        line = end.get("presumedLine", end.get("line", line)) if not inner else line
        stack += [(part, function) for part in reversed(inner)]


def _reached(start: Function, calls: dict[Function, set[Function]]) -> set[Function]:
    reached: set[Function] = set()
    waiting = list(calls.get(start, ()))
    while waiting:
        function = waiting.pop()
        if function not in reached:
            reached.add(function)
            waiting += calls.get(function, ())
    return reached
