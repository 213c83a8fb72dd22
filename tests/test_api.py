"""The Python interface: compile, load, call, and what it says when an argument does not fit."""

import gc
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import FunctionType
from typing import Any

import numpy as np
import pytest

import tlc
from tlc import driver

PROGRAM = """
let w = tensor([[1.0, 2.0], [3.0, 4.0]])
fn forward(x: float16[N, 2]) -> float16[N, 2] { x @ w }
fn both(x: float16[N, M], y: float16[M, N]) { (x + y.T, sum(x)) }
fn pick(table: float16[V, D], ids: int[N]) -> float16[N, D] { table[ids, :] }
fn wide(x: float32[N]) -> float32[N] { x * 0.1 }
fn unchanged(x: float16[N, M]) -> float16[N, M] { x }
fn flipped(x: float16[N, M]) -> float16[M, N] { x.T }
fn positive(x: float16[N]) { x > 0.0 }
fn helper(x: Tensor) { x }
"""


@pytest.fixture(scope="module", params=["cpu", "reference"])
def model(request: pytest.FixtureRequest) -> tlc.Model:

    return tlc.compile("model.tl", text=PROGRAM, device=request.param)


def test_entries_show_their_signatures(model: tlc.Model) -> None:
    assert model.entries == {
        "main": "main()",
        "forward": "forward(x: f16[N, 2]) -> f16[N, 2]",
        "both": "both(x: f16[N, M], y: f16[M, N]) -> f16[N, M], f16[]",
        "pick": "pick(table: f16[V, D], ids: i32[N]) -> f16[N, D]",
        "wide": "wide(x: f32[N]) -> f32[N]",
        "unchanged": "unchanged(x: f16[N, M]) -> f16[N, M]",
        "flipped": "flipped(x: f16[N, M]) -> f16[M, N]",
        "positive": "positive(x: f16[N]) -> bool[N]",
    }
    assert "forward" in dir(model)
    assert model.device in repr(model)


def test_an_entry_takes_and_returns_arrays(model: tlc.Model) -> None:
    x = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    y = model.forward(x)
    assert y.dtype == np.float16
    np.testing.assert_array_equal(y, x @ [[1, 2], [3, 4]])
    first = y.copy()
    model.forward(np.zeros((5, 2), np.float16))
    np.testing.assert_array_equal(y, first, "a result must not change with the next call")


def test_sizes_change_from_call_to_call(model: tlc.Model) -> None:
    for n in (1, 5, 0, 2, 33):
        assert model.forward(np.ones((n, 2), np.float32)).shape == (n, 2)


def test_several_results_are_a_tuple(model: tlc.Model) -> None:
    x = np.arange(6, dtype=np.float16).reshape(2, 3)
    total, whole = model.both(x, x.T)
    np.testing.assert_array_equal(total, 2 * x)
    assert whole.shape == ()
    assert whole == 15


def test_lists_indices_masks_and_float32(model: tlc.Model) -> None:
    assert model.pick([[1, 2], [3, 4]], [1, 0, 1]).tolist() == [[3, 4], [1, 2], [3, 4]]
    assert model.pick([[1, 2], [3, 4]], [-1]).tolist() == [[3, 4]]
    assert model.positive([1.0, -1.0, 0.0]).tolist() == [True, False, False]
    np.testing.assert_array_equal(
        model.wide(np.array([1, 3], np.float32)), np.array([1, 3], np.float32) * np.float32(0.1)
    )


def test_arrays_of_any_layout(model: tlc.Model) -> None:
    x = np.arange(12, dtype=np.float64).reshape(3, 4).T[::2]
    np.testing.assert_array_equal(model.unchanged(x), x)
    np.testing.assert_array_equal(model.flipped(x), x.T)


class Exporter:
    """Another library's array, seen through DLPack alone."""

    def __init__(self, array: np.ndarray) -> None:
        self._array = array

    def __dlpack__(self, **options: object) -> object:
        return self._array.__dlpack__(**options)

    def __dlpack_device__(self) -> object:
        return self._array.__dlpack_device__()


def test_anything_with_dlpack(model: tlc.Model) -> None:
    x = np.ones((2, 2), np.float16)
    np.testing.assert_array_equal(model.unchanged(Exporter(x)), x)


@pytest.mark.parametrize(
    ("name", "args", "message"),
    [
        ("forward", (np.ones((2, 3)),), "dimension 1 of `x` of `forward` must be 2, and is 3"),
        ("forward", (np.ones(2),), "`x` of `forward` has rank 2, and the argument has shape [2]"),
        ("forward", (), "`forward` takes one argument, and none are given"),
        (
            "both",
            (np.ones((2, 3)), np.ones((2, 3))),
            "dimension 0 of `y` of `both` must be 3 (`M`, from `x`), and is 2",
        ),
        (
            "forward",
            (np.ones((2, 2), int),),
            "`x` of `forward` is float16, and the argument is int64",
        ),
        ("pick", ([[1.0]], [0.5]), "`ids` of `pick` is int, and the argument is float64"),
        ("pick", ([[1.0]], [2**40]), "does not fit int"),
        ("forward", ([[1e6, 0]],), "1000000.0 at [0, 0] does not fit float16"),
    ],
)
def test_an_argument_that_does_not_fit(
    model: tlc.Model, name: str, args: tuple[object, ...], message: str
) -> None:
    with pytest.raises(tlc.RunError) as problem:
        getattr(model, name)(*args)
    assert problem.value.code == "E0504"
    assert message in str(problem.value)


def test_an_index_beyond_the_table_is_an_error(model: tlc.Model) -> None:
    for ids in ([2], [0, -3]):
        with pytest.raises(tlc.RunError) as problem:
            model.pick([[1.0], [2.0]], ids)
        assert problem.value.code == "E0505"
    assert model.pick([[1.0], [2.0]], [1]).tolist() == [[2.0]], "the next call is clean"


def test_unknown_entries(model: tlc.Model) -> None:
    with pytest.raises(AttributeError, match="no entry is called `backward`"):
        _ = model.backward
    with pytest.raises(tlc.RunError) as problem:
        model.run("backward")
    assert problem.value.code == "E0503"
    reason = (
        "`helper` is no entry, because the type of `x` is Tensor, which is known only at a call"
    )
    with pytest.raises(AttributeError, match=reason):
        _ = model.helper
    with pytest.raises(tlc.RunError, match=reason):
        model.run("helper")


@pytest.mark.parametrize("device", ["cpu", "reference"])
def test_sizes_follow_from_formulas(device: str) -> None:
    text = """
    fn heads(x: float16[N, H * D], w: float16[H]) -> float16[N, H, D] {
        reshape(x, [N, H, D]) * reshape(w, [H, 1])
    }
    fn later(x: float16[2 * N + 4]) { x[4:] }
    """
    model = tlc.compile("sizes.tl", text=text, device=device)
    assert model.heads([[1, 2, 3, 4]], [1, 2]).tolist() == [[[1, 2], [6, 8]]]
    assert model.later(range(6)).tolist() == [4, 5]
    for call, message in (
        (lambda: model.heads([[1, 2, 3]], [1, 2]), "dimension 1 of `x` of `heads` must be 2 * `D`"),
        (lambda: model.later(range(7)), "of `later` must be 2 * `N` + 4, and is 7"),
        (lambda: model.later(range(2)), "of `later` must be 2 * `N` + 4, and is 2"),
    ):
        with pytest.raises(tlc.RunError) as problem:
            call()
        assert problem.value.code == "E0504"
        assert message in str(problem.value)


@pytest.mark.parametrize("device", ["cpu", "reference"])
def test_sizes_that_only_a_call_knows_are_compared_by_it(device: str) -> None:
    text = """
    fn last_gate(x: float16[G], h: float16[H]) -> float16[H] { x[2 * H:] + h }
    fn gates(x: float16[N, G], h: float16[H]) {
        let (a, b, c, d) = chunk(x, 4, dim: 1)
        a * h + b - c * d
    }
    fn joined(x: float16[N], y: float16[M], z: float16[K]) { concat(x, y, 0) * z }
    """
    model = tlc.compile("sizes.tl", text=text, device=device)
    assert model.last_gate(range(6), [1, 1]).tolist() == [5, 6]
    assert model.gates([range(8)], [1, 2]).tolist() == [[-22, -30]]
    assert model.joined([1, 2], [3], [1, 1, 2]).tolist() == [1, 2, 6]
    for call, message in (
        (lambda: model.last_gate(range(7), [1, 1]), "G-2*H and H differ: G is 7, H is 2"),
        (lambda: model.gates([range(9)], [1, 2]), "G do not divide into 4 pieces: G is 9"),
        (lambda: model.gates([range(8)], [1, 2, 3]), "(G//4) and H differ"),
        (lambda: model.joined([1, 2], [3], [1, 1]), "M+N and K differ"),
    ):
        with pytest.raises(tlc.RunError) as problem:
            call()
        assert problem.value.code == "E0505"
        assert message in str(problem.value)


def test_a_program_with_errors_raises_them_all() -> None:
    with pytest.raises(tlc.CompileError) as problem:
        tlc.compile("bad.tl", text="print(a)\nprint(b)\n")
    assert [d.code for d in problem.value.diagnostics] == ["E0201", "E0201"]
    assert "unknown name `a`" in str(problem.value)


def test_loading_gives_what_compiling_gives(tmp_path: Path, model: tlc.Model) -> None:

    path = tmp_path / "model.metallib"
    driver.write(driver.build("model.tl", text=PROGRAM), str(path))
    loaded = tlc.load(path, device=model.device)
    assert loaded.entries == model.entries
    x = np.random.default_rng(0).standard_normal((7, 2))
    np.testing.assert_array_equal(loaded.forward(x), model.forward(x))


def test_equal_sources_build_equal_bytes(tmp_path: Path) -> None:
    paths = [tmp_path / "a.metallib", tmp_path / "b.metallib"]
    for path in paths:
        driver.write(
            driver.build("model.tl", text=PROGRAM.splitlines()[1] + "\nprint(w)\n"), str(path)
        )
    assert paths[0].read_bytes() == paths[1].read_bytes()


# ---- steady calls ------------------------------------------------------------------------------
# The third call with arrays of the same shapes is made by a builtin function (tlc/direct.py).


def steady(model: tlc.Model, name: str, *args: np.ndarray) -> Callable[..., Any]:
    for _ in range(2):
        getattr(model, name)(*args)
    method = getattr(model, name)
    assert type(method) is (type(len) if model.device == "cpu" else FunctionType)
    return method


def test_a_steady_call_gives_new_arrays(model: tlc.Model) -> None:
    x = np.arange(10, dtype=np.float16).reshape(5, 2)
    forward = steady(model, "forward", x)
    first, second = forward(x), forward(x + np.float16(1))
    np.testing.assert_array_equal(first, x @ [[1, 2], [3, 4]])
    np.testing.assert_array_equal(second, (x + 1) @ [[1, 2], [3, 4]])
    assert first.dtype == np.float16
    assert first.flags.writeable


def test_a_steady_call_takes_everything_that_a_call_takes(model: tlc.Model) -> None:
    x = np.arange(10, dtype=np.float16).reshape(5, 2)
    forward = steady(model, "forward", x)
    wanted = x @ np.array([[1, 2], [3, 4]], np.float16)
    np.testing.assert_array_equal(forward(x.tolist()), wanted)
    np.testing.assert_array_equal(forward(x.astype(np.float32)), wanted)
    np.testing.assert_array_equal(forward(np.asfortranarray(x)), wanted)
    np.testing.assert_array_equal(forward(x[:3]), wanted[:3])
    np.testing.assert_array_equal(forward(x[::2]), wanted[::2])
    np.testing.assert_array_equal(forward(x), wanted)
    for wrong in ((), (x, x), (x.T,), (x[0],), (x.astype(np.int32),), (None,), (1.0,)):
        with pytest.raises(tlc.RunError, match="E0504"):
            forward(*wrong)
    np.testing.assert_array_equal(forward(x=x), wanted)


def test_a_steady_call_sees_errors_of_kernels_and_goes_on(model: tlc.Model) -> None:
    table, ids = np.eye(3, dtype=np.float16), np.array([2, 0], np.int32)
    pick = steady(model, "pick", table, ids)
    with pytest.raises(tlc.RunError, match="E0505"):
        pick(table, np.array([2, 3], np.int32))
    np.testing.assert_array_equal(pick(table, ids), table[ids])


def test_steady_calls_with_several_results(model: tlc.Model) -> None:
    x = np.arange(6, dtype=np.float16).reshape(2, 3)
    both = steady(model, "both", x, x.T.copy())
    total, whole = both(x, x.T.copy())
    np.testing.assert_array_equal(total, 2 * x)
    assert (whole.shape, float(whole)) == ((), 15.0)


def test_steady_calls_keep_no_memory() -> None:
    model = tlc.compile("model.tl", text=PROGRAM, device="cpu")
    x = np.ones((5, 2), np.float16)
    forward = steady(model, "forward", x)
    for _ in range(100):
        forward(x)
    before = sys.getallocatedblocks()
    for _ in range(1000):
        forward(x)
    assert sys.getallocatedblocks() - before < 10


def test_a_function_outlives_its_model() -> None:
    x = np.ones((5, 2), np.float16)
    forward = steady(tlc.compile("model.tl", text=PROGRAM, device="cpu"), "forward", x)
    gc.collect()
    assert forward(x).tolist() == [[4.0, 6.0]] * 5
    assert forward(x[:1]).tolist() == [[4.0, 6.0]]


def test_threads_call_one_model_and_two_models_at_once() -> None:
    models = [tlc.compile("model.tl", text=PROGRAM, device="cpu") for _ in range(2)]
    wrong: list[Any] = []

    def work(number: int) -> None:
        rng = np.random.default_rng(number)
        model = models[number % 2]
        for turn in range(200):
            x = rng.integers(-9, 9, (40 + number % 3 * (turn % 5 == 0), 2)).astype(np.float16)
            if not np.array_equal(model.forward(x), x @ [[1, 2], [3, 4]]):
                wrong.append(number)

    threads = [threading.Thread(target=work, args=[number]) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_arguments_that_are_no_arrays_are_refused_by_name() -> None:
    class Elsewhere:
        def __array__(self, dtype: object = None, copy: object = None) -> None:
            raise TypeError("it is on another device")

    model = tlc.compile("a.tl", text="fn f(x: float16[N]) { x * 2 }", device="reference")
    for given, message in ((Elsewhere(), "another device"), ([[1.0], [1.0, 2.0]], "inhomogeneous")):
        with pytest.raises(tlc.RunError, match=f"`x` of `f` cannot be read.*{message}"):
            model.f(given)


def test_tensors_of_pytorch_come_without_their_history() -> None:
    torch = pytest.importorskip("torch")
    model = tlc.compile("a.tl", text="fn f(x: float16[N]) { x * 2 }", device="reference")
    for given in (torch.ones(2, requires_grad=True), torch.ones(2).bfloat16()):
        assert model.f(given).tolist() == [2, 2]


@pytest.mark.parametrize("device", ["cpu", "reference"])
def test_arguments_by_name(device: str) -> None:
    text = "fn f(x: float16[N], y: float16[N]) { x - y }"
    model = tlc.compile("a.tl", text=text, device=device)
    x, y = np.ones(2, np.float16), np.full(2, 3, np.float16)
    for _ in range(4):  # the direct function takes over on the way
        assert model.f(x, y).tolist() == [-2, -2]
        assert model.f(x, y=y).tolist() == model.f(y=y, x=x).tolist() == [-2, -2]
    assert model.run("f", y=y, x=x).tolist() == [-2, -2]
    for args, named, message in (
        ((x, y), {"y": y}, "`y` of `f` is given twice"),
        ((x,), {"z": y}, "`z` of `f` is no parameter"),
        ((), {"y": y}, "`x` of `f` is missing"),
    ):
        with pytest.raises(tlc.RunError, match=message):
            model.f(*args, **named)
