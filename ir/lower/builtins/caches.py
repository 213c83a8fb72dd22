"""`KVCache`: the keys and values of a model's layers, which grow row by row as text is generated.

A cache is one thing whoever holds it: what a function appends is there for its caller. So the
value is only a name; the tensors are a hidden name of the program, which loops carry like any
other. They grow in place, as any tensor does that a loop extends by `concat(t, x, 0)`.
"""

from __future__ import annotations

from functools import partial

from tlc.frontend import ast
from tlc.frontend.source import Span
from tlc.ir.core import Value
from tlc.ir.dims import Dim
from tlc.ir.lower import arrays
from tlc.ir.lower.arguments import Argument, place
from tlc.ir.lower.builtins import shaping, vectors  # noqa: F401  (what they register goes first)
from tlc.ir.lower.builtins.table import SPECIAL, Builtin, arguments, need_tensor, special
from tlc.ir.lower.context import CACHE, Context
from tlc.ir.lower.values import Cache, Lowered, describe, whole
from tlc.ir.opdef import parse_params

MOST_LAYERS = 4096
_PARTS = ("key", "value")
_STORES = parse_params("cache: any, layer: any, k: any, v: any")


def _new(dtype: str) -> Builtin:
    def run(cx: Context, node: ast.Call, layers: Argument | None) -> Cache:
        """An empty cache; a row is whatever the first `append` of a layer brings."""
        count = 1 if layers is None else whole(layers.value)
        if not isinstance(count, int) or not 0 < count <= MOST_LAYERS:
            span = node.span if layers is None else layers.span
            text = f"a cache has a number of layers known at build, 1 to {MOST_LAYERS}"
            cx.fail("E0304", text, span)
        name = f"{CACHE}{sum(n.startswith(CACHE) for n in cx.globals.names)}"
        cx.globals.names[name] = ([None] * count, [None] * count)
        return Cache(name, count, dtype)

    return special(f"KVCache::new_{dtype}", "layers: any = none")(run)


_new("f16")
_new("f32")
SPECIAL["KVCache::new"] = SPECIAL["KVCache::new_f16"]


def _cache(cx: Context, arg: Argument) -> Cache:
    if not isinstance(arg.value, Cache):
        cx.fail("E0302", f"a KVCache is needed, and this is {describe(arg.value)}", arg.span)
    return arg.value


def _layer(cx: Context, cache: Cache, arg: Argument | None) -> int:
    if arg is None:
        return 0
    at = arrays.place(cx, arg.value, cache.layers, arg.span)
    if isinstance(at, Dim):
        cx.fail("E0304", "the layer of a cache must be known at build", arg.span)
    return at


def _read(cx: Context, part: int, cache: Argument, layer: Argument | None, span: Span) -> Value:
    found = _cache(cx, cache)
    tensors = cx.globals.names[found.name][part]
    value = tensors[_layer(cx, found, layer)]
    if value is None:
        text = f"this layer of the cache holds no {_PARTS[part]}s here"
        cx.fail("E0302", text, span, hint="append to it first")
    assert isinstance(value, Value)
    return value


@special("get_k", "cache: any, layer: any = none")
def _get_k(cx: Context, node: ast.Call, cache: Argument, layer: Argument | None) -> Value:
    return _read(cx, 0, cache, layer, node.span)


@special("get_v", "cache: any, layer: any = none")
def _get_v(cx: Context, node: ast.Call, cache: Argument, layer: Argument | None) -> Value:
    return _read(cx, 1, cache, layer, node.span)


def rows(cx: Context, cache: Cache) -> int | Dim:
    """How many rows the first layer holds."""
    first = cx.globals.names[cache.name][0][0]
    return 0 if first is None else whole(first.tensor.shape[0]) or 0


def _keep(cx: Context, cache: Cache, layer: int, given: list[Argument], grow: bool) -> None:
    """Put rows of keys and of values where a layer's are, or behind them."""
    kept = cx.globals.names[cache.name]
    changed = []
    for arg, tensors in zip(given, kept, strict=True):
        rows = cx.builder.cast(need_tensor(cx, arg), cache.dtype)
        old = tensors[layer]
        if rows.tensor.rank < 2:
            text = f"a cache keeps rows, tensors of two axes and more, and this is {rows.type}"
            cx.fail("E0301", text, arg.span)
        if grow and old is not None:
            if old.tensor.shape[1:] != rows.tensor.shape[1:]:
                text = f"this layer of the cache holds {old.type}, and this is {rows.type}"
                cx.fail("E0301", text, arg.span)
            rows = cx.emit("concat", old, rows, axis=0, span=arg.span)
        changed.append([*tensors[:layer], rows, *tensors[layer + 1 :]])
    cx.globals.names[cache.name] = tuple(changed)


def _stores(name: str, otherwise: Builtin) -> Builtin:
    def run(cx: Context, node: ast.Call, first: list[Argument]) -> Lowered:
        """`append` and `set` of a cache; of an array, what they are for arrays."""
        args = arguments(cx, node, first)
        if not args or not isinstance(args[0].value, Cache):
            return otherwise(cx, ast.Call(node.span, node.callee, ()), args)
        cache = args[0].value
        if len(args) == 3 and cache.layers == 1:  # the one layer need not be named
            args.insert(1, Argument(0, args[0].span))
        placed = place(cx, _STORES, args, f"`{name}`", node.span)
        at = _layer(cx, cache, placed["layer"])
        _keep(cx, cache, at, [placed["k"], placed["v"]], name != "set")
        return None

    return run


for _name in ("append", "push", "set"):
    SPECIAL[_name] = _stores(_name, SPECIAL[_name])


def _len(otherwise: Builtin, cx: Context, node: ast.Call, first: list[Argument]) -> Lowered:
    args = arguments(cx, node, first)
    if len(args) == 1 and isinstance(args[0].value, Cache):
        return rows(cx, args[0].value)
    return otherwise(cx, ast.Call(node.span, node.callee, ()), args)


SPECIAL["len"] = partial(_len, SPECIAL["len"])
