"""The passes change how a program computes and not what: checked on random and written modules.

`tests/ir/passes/*.ir` show what a pass makes of a module.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given

from tests.ir.bounds import bounded
from tests.ir.kernels import check_kernels, kernels, launches_before
from tests.ir.programs import lowered, run_func
from tests.ir.strategies import Case, cases
from tlc.ir import interp
from tlc.ir.core import Func, Module
from tlc.ir.parser import parse_module
from tlc.ir.passes import BEFORE_FUSION, PASSES, WIDEN, optimise
from tlc.ir.printer import print_module
from tlc.ir.verify import verify

Array = np.ndarray[Any, Any]


# ---- meaning, on random modules ------------------------------------------------------------------


@pytest.mark.fuzz
@given(cases(whole=True, most=14))
def test_every_pass_keeps_whole_numbers_exactly(case: Case) -> None:
    """Small integers are exact in every order and precision: no pass may change a bit."""
    wanted = interp.run(case.func, case.args)
    before = launches_before(case.func)

    def after(name: str, module: Module) -> None:
        for a, b in zip(wanted, interp.run(module.funcs[0], case.args), strict=True):
            assert (a.dtype, a.shape) == (b.dtype, b.shape), name
            np.testing.assert_array_equal(a, b, err_msg=name)

    optimise(case.module, after=after)
    check_kernels(case.func)
    computing = [op for k in kernels(case.func) for op in k.regions[0].ops]
    assert len(kernels(case.func)) <= before + len(computing)


@pytest.mark.fuzz
@given(cases(whole=False, most=14))
def test_fusion_only_leaves_out_roundings(case: Case) -> None:
    """Before fusion all passes are bit-exact; fusion stays within a proven bound on the error.

    The bound covers both evaluations, with and without the roundings to float16 in between.
    """
    sizes = interp.bind_symbols(case.func, case.args)
    bounds = bounded(case.func, case.args, sizes)
    assume(all(np.isfinite(e).all() and (abs(x) + e < 60000).all() for x, e in bounds))
    wanted = interp.run(case.func, case.args)

    def after(name: str, module: Module) -> None:
        found = interp.run(module.funcs[0], case.args)
        for (x, e), a, b in zip(bounds, wanted, found, strict=True):
            assert (abs(x - b) <= e).all(), f"{name}: {b} is not {x} +- {e}"
            assert name in ("fuse", "merge") or (a == b).all(), name

    for (x, e), a in zip(bounds, wanted, strict=True):
        assert (abs(x - a) <= e).all(), f"the interpreter: {a} is not {x} +- {e}"
    optimise(case.module, after=after)
    check_kernels(case.func)


@pytest.mark.fuzz
@given(cases(most=14))
def test_the_passes_change_nothing_when_they_run_again(case: Case) -> None:
    optimise(case.module, passes=BEFORE_FUSION)
    text = print_module(case.module)
    optimise(case.module, passes=BEFORE_FUSION)
    assert print_module(case.module) == text


# ---- what a pass makes of a module, as text ------------------------------------------------------

CASES = sorted((Path(__file__).parent / "passes").glob("*.ir"))


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_a_pass_makes_of_a_module_what_its_file_says(
    path: Path, request: pytest.FixtureRequest
) -> None:
    """`// pass: NAME ...`, the module, `// ---`, and the module that the passes make of it."""
    text = path.read_text(encoding="utf-8")
    given, _, wanted = text.partition("// ---\n")
    header = re.match(r"// pass: (.*)\n", given)
    assert header is not None, "the first line names the passes"
    names = header[1].split()
    module = parse_module(given)
    verify(module)
    steps = [step for name in names for step in (WIDEN, *PASSES) if step.name == name]
    assert [step.name for step in steps] == names
    optimise(module, passes=steps)
    found = print_module(module, places=False)
    if request.config.getoption("--update-golden"):
        path.write_text(f"{given}// ---\n{found}", encoding="utf-8", newline="\n")
    else:
        assert found == wanted
    for func in module.funcs:
        check_kernels(func)


# ---- single passes -------------------------------------------------------------------------------


def main(text: str, *names: str) -> Func:
    """`main` of a program after some passes."""
    module = lowered(text).module
    optimise(module, passes=[step for step in PASSES if step.name in names])
    return module.func("main")


def test_equal_operations_are_computed_once() -> None:
    func = main("let x = tensor([1.0, 2.0])\nprint(exp(x), exp(x), x * exp(x))", "cse")
    assert sum(op.name == "exp" for op in func.body.ops) == 1


def test_numbers_that_are_equal_and_differ_stay_apart() -> None:
    """0.0 == -0.0, and as constants they are two things; 1 and 1.0 are one."""
    text = "let x = tensor([1.0, 2.0])\nprint(x / 0.0, x / -0.0, x * 0.0, 1 - x, 1.0 - x)"
    func = main(text, "canonical", "cse", "dce")
    values = [op.attrs["value"] for op in func.body.ops if op.name == "constant"]
    assert [repr(v) for v in values if not isinstance(v, tuple)] == ["0.0", "-0.0", "1.0"]
    assert sum(op.name == "sub" for op in func.body.ops) == 1
    _, screen = run_func(func)
    assert [a.tolist() for a in screen.printed[:2]] == [[np.inf] * 2, [-np.inf] * 2]


def test_checks_and_output_are_kept_and_dead_work_is_not() -> None:
    text = (
        "fn f(x: float16[N, 4]) -> float16[N] {\n  let unused = exp(x @ transpose(x))\n"
        '  print(x)\n  save(x, "a.safetensors")\n  let y = reshape(x, [8])\n  return x[:, 0]\n}'
    )
    module = lowered(text).module
    optimise(module, passes=[step for step in PASSES if step.name in ("canonical", "dce")])
    names = [op.name for op in module.func("f").body.ops]
    assert names == ["print", "save", "check", "slice", "reshape", "yield"]


def test_the_same_check_is_made_once() -> None:
    text = "fn f(x: float16[N]) -> Tensor { return x[2] + x[2] * x[1] }"
    module = lowered(text).module
    optimise(module, passes=[step for step in PASSES if step.name == "cse"])
    checks = [op for op in module.func("f").body.ops if op.name == "check"]
    assert len(checks) == 2


@pytest.mark.parametrize(
    ("body", "left"),
    [
        ("x * 1.0", []),
        ("1.0 * x", []),
        ("x / 1.0", []),
        ("-(-x)", []),
        ("transpose(transpose(x))", []),
        ("reshape(reshape(x, [N * K]), [N, K])", []),
        ("x as float16", []),
        ("(x as float32) as float16", []),
        ("x ** 2", ["mul"]),
        ("x ** 2.0", ["mul"]),
        ("x * (2.0 * 3.0 + sqrt(16.0))", ["mul"]),
        ("x * (ones([K]) * 3.0 + 1.0)", ["mul"]),
        ("x + 0.0", ["add"]),  # -0.0 + 0.0 is 0.0
        ("x * 0.0", ["mul"]),  # NaN * 0.0 is NaN
        ("0.0 - x", ["sub"]),  # 0.0 - 0.0 is 0.0, and -0.0 is -0.0
    ],
)
def test_arithmetic_that_does_nothing_goes(body: str, left: list[str]) -> None:
    text = f"fn f(x: float16[N, K]) -> Tensor {{ return {body} }}"
    module = lowered(text).module
    optimise(module, passes=[step for step in PASSES if step.name in ("canonical", "dce")])
    names = [op.name for op in module.func("f").body.ops]
    assert [n for n in names if n not in ("constant", "broadcast", "yield")] == left


@pytest.mark.parametrize("x", [0.0, -0.0, np.inf, -np.inf, np.nan, 65504.0, 6e-8, 1.0])
@pytest.mark.parametrize("body", ["x * 1.0", "x + 0.0", "x - 0.0", "-(-x)", "x / 1.0", "x ** 2"])
def test_special_numbers_pass_through_simplified_arithmetic(body: str, x: float) -> None:
    module = lowered(f"fn f(x: float16[1]) -> float16[1] {{ return {body} }}").module
    arg = np.array([x], np.float16)
    (wanted,) = interp.run(module.func("f"), [arg])
    optimise(module)
    (found,) = interp.run(module.func("f"), [arg])
    assert found.tobytes() == wanted.tobytes() or (np.isnan(found) and np.isnan(wanted)).all()
