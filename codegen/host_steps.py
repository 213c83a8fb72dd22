"""Operations that the host does by itself, to steps of an entry (`runtime/format.py` lists them).

A function of the table gets the operation when its results have their memory, and gives its step.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import TYPE_CHECKING, Any

from tlc.codegen.notation import formula
from tlc.ir.core import Op
from tlc.ir.dims import Dim

if TYPE_CHECKING:
    from tlc.codegen.entry import EntryPlan

Step = list[Any]


def _call(entry: EntryPlan, op: Op) -> Step:
    a, numbers = op.attrs, [formula(n) for n in op.attrs["ints"]]
    given, made = entry.typed(op.operands), entry.typed(op.results)
    return ["call", a["name"], numbers, given, list(a["symbols"]), made, a["place"]]


def _read(entry: EntryPlan, op: Op) -> Step:
    memory, dtype, _ = entry.typed(op.operands)[0]
    return ["read", op.attrs["symbol"], memory, dtype]


def _print(entry: EntryPlan, op: Op) -> Step:
    return ["print", _parts(op), entry.typed(op.operands)]


def _assert(entry: EntryPlan, op: Op) -> Step:
    condition, values = formula(op.attrs["condition"]), entry.typed(op.operands)
    return ["assert", condition, _parts(op), values, op.attrs["place"]]


def _text(entry: EntryPlan, op: Op) -> Step:
    return ["text", *(op.attrs[k] for k in ("symbol", "source", "name"))]


def _text_of(entry: EntryPlan, op: Op) -> Step:
    return ["text_of", op.attrs["symbol"], _parts(op), entry.typed(op.operands)]


def _text_value(entry: EntryPlan, op: Op) -> Step:
    a = op.attrs
    return ["text_value", a["symbol"], formula(a["text"]), a["what"], a["other"], a["place"]]


def _text_order(entry: EntryPlan, op: Op) -> Step:
    a = op.attrs
    return ["text_order", a["symbol"], formula(a["text"]), formula(a["other"])]


def _text_float(entry: EntryPlan, op: Op) -> Step:
    a = op.attrs
    return ["text_float", entry.names[op.result], formula(a["text"]), a["place"]]


def _tokenize(entry: EntryPlan, op: Op) -> Step:
    a, target = op.attrs, entry.names[op.result]
    text = formula(a["text"])
    return ["tokenize", a["symbol"], target, a["model"], text, a["around"], a["place"]]


def _detokenize(entry: EntryPlan, op: Op) -> Step:
    a, (memory, _, dims) = op.attrs, entry.typed(op.operands)[0]
    return ["detokenize", a["symbol"], memory, dims, a["model"], a["place"]]


def _detokenize_next(entry: EntryPlan, op: Op) -> Step:
    a = op.attrs
    return ["detokenize_next", a["symbol"], formula(a["token"]), a["model"], a["place"]]


def _core_ml(entry: EntryPlan, op: Op) -> Step:
    given, made = (
        [[name, *typed] for name, typed in zip(op.attrs[names], entry.typed(values), strict=True)]
        for names, values in (("inputs", op.operands), ("outputs", op.results))
    )
    return ["core_ml", op.attrs["model"], given, made]


def _save(entry: EntryPlan, op: Op) -> Step:
    return ["save", *entry.typed(op.operands)[0], op.attrs["path"], op.attrs["name"]]


def _save_model(entry: EntryPlan, op: Op) -> Step:
    a = op.attrs
    return ["save_model", a["model"], a["path"], a["dequantize"]]


def _parts(op: Op) -> list[Any]:
    """What a text is made of: texts, numbers, forms, and `value` for each operand in turn."""
    values = count()

    def piece(part: Any) -> Any:
        match part:
            case None:
                return ["value", next(values)]
            case ("form", spec, inner):
                return ["form", spec, [piece(p) for p in inner]]
            case (kind, number):
                return [kind, formula(number)]
            case Dim():
                return ["dim", formula(part)]
        return part

    return [piece(part) for part in op.attrs["parts"]]


HOST_STEPS: dict[str, Callable[[EntryPlan, Op], Step]] = {
    "call": _call,
    "read": _read,
    "print": _print,
    "assert": _assert,
    "text": _text,
    "text_of": _text_of,
    "text_value": _text_value,
    "text_order": _text_order,
    "text_float": _text_float,
    "tokenize": _tokenize,
    "detokenize": _detokenize,
    "detokenize_next": _detokenize_next,
    "core_ml": _core_ml,
    "save": _save,
    "save_model": _save_model,
}
