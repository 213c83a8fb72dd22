"""Whatever parses is either compiled to IR that every pass accepts, or refused with diagnostics."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.ir.kernels import check_kernels
from tests.ir.programs import FakeModel, FakeTensor, Files, run_func
from tlc.frontend.diagnostics import CompileError, Diagnostic, render_text
from tlc.frontend.parser import parse
from tlc.frontend.source import Source
from tlc.ir import interp
from tlc.ir.core import Module
from tlc.ir.lower import lower
from tlc.ir.lower.builtins.table import SPECIAL
from tlc.ir.opdef import BUILTINS
from tlc.ir.passes import optimise
from tlc.ir.verify import verify

Array = np.ndarray[Any, Any]
MODEL = FakeModel(
    {
        "w": FakeTensor((3, 3), "f16", np.eye(3, dtype=np.float16)),
        "b.0.q": FakeTensor((3, 32), "q4_0", np.ones((3, 32), np.float16)),
        "steps": FakeTensor((1,), "i64"),
    },
    {"name": "tiny", "count": 2, "list": [1, 2.5]},
)
SETUP = """\
m = load_model("m")
let t = tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
let v = tensor([1.0, 2.0, 4.0])
let w = f32::ones([3, 3])
let i = tensor<int>([1, 0])
let k = 2
fn g(a: Tensor, b: Tensor) -> Tensor { a + b }
fn h(a: float16[N, M], b: float16[M]) -> float16[N, M] { a * b }
"""
ATOMS = [
    "0", "1", "2", "-1", "0.5", "2.0", "1e6", "true", "false", "x", "x", "y", "t", "v", "w", "i",
    "k", "m", "N", "D", "[1.0,2.0,3.0]", "[1,0]", "[t,t]", "(1,v)", "[]", "()", '"a"', '"blk"',
    "nothing", "x.shape", "t.T", "m.w", "m.b[0].q", "m.metadata", "m.steps", "0..2", "[0;3]",
    "zeros([3])", "arange([3])", "(v>1)", "argmax(v)", "split(t,1)",
]  # fmt: skip
BINARY = ["+", "-", "*", "/", "%", "**", "@", "==", "!=", "<", "<=", ">", ">=", "&&", "||"]
UNARY = ["-", "!", "not "]
NAMES = sorted({*BUILTINS, *SPECIAL, "g", "h", "rand", "nothing"} - {"load_model_f32"})
MEMBERS = ".shape .T .len .rank .0 .w .metadata .nothing [0] [-1] [5] [:] [1:] [:,0] [i] [k] [x>0]"
NAMED = ["dim: 0", "dim: -1", "keepdim: true", "device: gpu", "eps: 0.5", "axis: 1"]
TYPES = ["int", "float", "bool", "string", "float16", "float32", "float16[2]", "thing"]


def larger(smaller: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    inner = st.deferred(lambda: smaller)  # which a failure would spell out, level by level
    arguments = st.lists(st.one_of(inner, inner, st.sampled_from(NAMED)), max_size=4)
    return st.one_of(
        st.tuples(inner, st.sampled_from(BINARY), inner).map(lambda p: f"({p[0]} {p[1]} {p[2]})"),
        st.tuples(st.sampled_from(UNARY), inner).map(lambda p: f"({p[0]}{p[1]})"),
        st.tuples(inner, st.sampled_from(MEMBERS.split())).map("".join),
        st.tuples(inner, inner, inner).map(lambda p: f"{p[0]}[{p[1]}, {p[2]}]"),
        st.tuples(inner, inner).map(lambda p: f"{p[0]}[{p[1]}:]"),
        st.tuples(st.sampled_from(NAMES), arguments).map(lambda p: f"{p[0]}({', '.join(p[1])})"),
        st.tuples(inner, st.sampled_from(NAMES), arguments).map(
            lambda p: f"{p[0]}.{p[1]}({', '.join(p[2])})"
        ),
        st.tuples(inner, inner, inner).map(lambda p: f"(if {p[0]} then {p[1]} else {p[2]})"),
        st.tuples(inner, st.sampled_from(TYPES)).map(lambda p: f"({p[0]} as {p[1]})"),
        st.lists(inner, max_size=3).map(lambda p: f"[{', '.join(p)}]"),
        st.tuples(inner, inner).map(lambda p: f"[{p[0]}; {p[1]}]"),
        st.tuples(inner, inner).map(lambda p: f"{{ let k = {p[0]}\n {p[1]} }}"),
    )


wild = st.recursive(st.sampled_from(ATOMS), larger, max_leaves=8)

# expressions that are more often right than wrong
numbers = st.sampled_from([
    "0", "1", "2", "3", "-1", "0.5", "2.0", "k", "N", "D", "x.shape[0]", "len(v)", "(N+1)",
    "(2*N-1)",
])  # fmt: skip
truths = st.sampled_from(["true", "false", "k == 2", "k > 5", "x.shape == y.shape", "x > 0"])
shapes = st.lists(numbers, min_size=1, max_size=3).map(lambda p: f"[{', '.join(p)}]")
FUNCTIONS = "relu abs exp silu gelu tanh softmax log_softmax flatten squeeze transpose sum mean max"
ALONG = [
    "sum",
    "mean",
    "max",
    "min",
    "argmax",
    "softmax",
    "unsqueeze",
    "squeeze",
    "split",
    "slice_last",
    "repeat",
    "concat",
    "stack",
]  # fmt: skip


def larger_tensor(smaller: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    inner = st.deferred(lambda: smaller)
    other = st.one_of(inner, inner, numbers)
    index = st.one_of(numbers, st.sampled_from([":", "1:", ":-1", "0:k", "i", "N-1:"]))
    return st.one_of(
        st.tuples(inner, st.sampled_from(BINARY), other).map(lambda p: f"({p[0]} {p[1]} {p[2]})"),
        st.tuples(other, st.sampled_from(BINARY), inner).map(lambda p: f"({p[0]} {p[1]} {p[2]})"),
        st.tuples(st.sampled_from(FUNCTIONS.split()), inner).map(lambda p: f"{p[0]}({p[1]})"),
        st.tuples(inner, st.sampled_from(ALONG), numbers).map(lambda p: f"{p[0]}.{p[1]}({p[2]})"),
        st.tuples(inner, shapes).map(lambda p: f"reshape({p[0]}, {p[1]})"),
        st.tuples(inner, index).map(lambda p: f"{p[0]}[{p[1]}]"),
        st.tuples(inner, index, index).map(lambda p: f"{p[0]}[{p[1]}, {p[2]}]"),
        st.tuples(inner, inner, numbers).map(lambda p: f"concat({p[0]}, {p[1]}, {p[2]})"),
        st.tuples(inner, inner, other).map(lambda p: f"where({p[0]} > 0, {p[1]}, {p[2]})"),
        st.tuples(truths, inner, inner).map(lambda p: f"(if {p[0]} then {p[1]} else {p[2]})"),
        st.tuples(inner, st.sampled_from(["w", "v"])).map(lambda p: f"rms_norm({p[0]}, {p[1]})"),
        st.tuples(st.sampled_from("gh"), inner, inner).map(lambda p: f"{p[0]}({p[1]}, {p[2]})"),
    )


tensors = st.recursive(
    st.sampled_from(
        [
            "x",
            "x",
            "x.T",
            "y",
            "t",
            "v",
            "w",
            "m.w",
            "m.b[0].q.T",
            "[1.0,2.0,3.0]",
            "zeros([3])",
            "arange([3])",
        ]
    ),
    larger_tensor,
    max_leaves=5,
)
expressions = st.one_of(tensors, tensors, tensors, wild)
conditions = st.one_of(truths, truths, expressions)
walked = st.one_of(st.sampled_from(["range(2)", "0..k", "[1, 2]", "{1, 2}"]), expressions)
statements = st.one_of(
    expressions.map(lambda e: f"let z = {e}"),
    expressions.map(lambda e: f"k = {e}"),
    expressions.map(lambda e: f"print({e})"),
    expressions.map(lambda e: f"let z: float16[N, ?] = {e}"),
    expressions.map(lambda e: f"tensor z: float16[3] = {e}"),
    expressions.map(lambda e: f"let (p, q) = {e}"),
    st.tuples(conditions, expressions).map(lambda p: f"if {p[0]} {{ k = {p[1]} }}"),
    st.tuples(walked, expressions).map(lambda p: f"for j in {p[0]} {{ k = {p[1]} }}"),
    conditions.map(lambda e: f"while {e} {{ break }}"),
    expressions.map(lambda e: f"return {e}"),
)


def compiled(text: str) -> Module | None:
    """The IR of a program, or None if it is refused."""
    tree, problems = parse(Source("test.tl", text))
    if problems:
        return None
    module, refused = None, tuple[Diagnostic, ...]()
    try:
        module = lower(tree, Files({"m": MODEL})).module
    except CompileError as problem:
        refused = problem.diagnostics
    if module is None:
        assert any(d.severity == "error" for d in refused)
        assert all(d.span is not None and render_text(d) for d in refused)
    else:
        verify(module)
    return module


def runs(module: Module, name: str, *args: Array) -> bool:
    """Whether an entry gets to its end; a run-time check may stop it."""
    try:
        run_func(module.func(name), args, [MODEL])
    except interp.Failure:
        return False
    return True


@pytest.mark.fuzz
@given(st.lists(statements, min_size=1, max_size=3), expressions)
def test_anything_that_parses_is_compiled_or_refused(lines: list[str], result: str) -> None:
    body = "\n".join(lines)
    entry = f"fn f(x: float16[N, 3], y: float16[2 * N, D]) {{\n{body}\nreturn {result}\n}}\n"
    for text in (SETUP + entry, SETUP + f"let x = t\nlet y = t\nlet N = 2\nlet D = 3\n{body}\n"):
        module = compiled(text)
        if module is None:
            continue
        args = [np.ones((2, 3), np.float16), np.ones((4, 3), np.float16)]
        names = [func.name for func in module.funcs if func.name in ("main", "f")]
        arguments: dict[str, list[Array]] = {"main": [], "f": args}
        good = [runs(module, name, *arguments[name]) for name in names]
        optimise(module)
        for func in module.funcs:
            check_kernels(func)
        # a gather that fails may be dead work, and is gone then
        still = [runs(module, name, *arguments[name]) for name in names]
        assert all(now or not before for now, before in zip(still, good, strict=True))
