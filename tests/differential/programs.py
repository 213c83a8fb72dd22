"""Random programs that are well typed, as text: functions, loops, branches, symbols, operations.

Values stay of size one (squashed by tanh and the like), and conditions depend on sizes, counters
and exact inputs alone, so that two devices that round differently take the same way.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import strategies as st

Shape = tuple[int | str, ...]

# every function has these parameters; N and M are bound by each call
PARAMS: dict[str, Shape] = {
    "x": ("N", 6),
    "y": ("N", 6),
    "w": (6, 6),
    "v": (6,),
    "t": ("M", 6),
    "s": ("N", "M"),
}
SIGNATURE = (
    "x: float16[N, 6], y: float16[N, 6], w: float16[6, 6], v: float16[6], t: float16[M, 6],"
    " s: float16[N, M], ids: int[K]"
)
UNARY = (
    "tanh({})", "relu({})", "sigmoid({})", "silu({})", "gelu({})", "gelu_erf({})", "abs({})", "-{}",
    "sin({})", "cos({})", "{} * 0.5 + 0.25", "1.0 - {}", "sqrt(abs({}))", "exp(tanh({}))",
    "log(abs({}) + 1.0)", "clamp({}, -0.5, 0.75)", "{} ** 2", "min({}, 0.5)", "max({}, -0.25)",
    "floor({})", "({} as float32) as float16",
)  # fmt: skip
BINARY = ("{} + {}", "{} - {}", "{} * {}", "max({}, {})", "min({}, {})", "{} / (abs({}) + 1.0)")


@dataclass
class Scope:
    """The tensors a statement may use, and the lines so far."""

    draw: st.DrawFn
    shapes: dict[str, Shape]
    lines: list[str] = field(default_factory=list)
    indent: str = "    "
    count: int = 0

    def pick(self, *wanted: Shape) -> str | None:
        """A variable, of one of the shapes if any are given."""
        names = [n for n, s in self.shapes.items() if not wanted or s in wanted]
        return self.draw(st.sampled_from(names)) if names else None

    def let(self, text: str, shape: Shape) -> None:
        name = f"a{self.count}"
        self.count += 1
        self.lines.append(f"{self.indent}let {name} = {text}")
        self.shapes[name] = shape

    def again(self, name: str, text: str) -> None:
        """A new value of the same shape for a variable, squashed to size one."""
        self.lines.append(f"{self.indent}{name} = tanh({text})")


def expression(scope: Scope, name: str) -> str:
    """An expression of the same shape as a variable, which it uses."""
    draw, shape = scope.draw, scope.shapes[name]
    kinds = ["unary", "binary", "where", "center"]
    if shape and shape[-1] == 6:
        kinds += ["row", "rms"]
        if len(shape) == 2:
            kinds += ["matmul", "linear"]
    if len(shape) == 2:
        kinds += ["softmax", "scale"]
    match draw(st.sampled_from(kinds)):
        case "unary":
            return draw(st.sampled_from(UNARY)).format(name)
        case "binary":
            return draw(st.sampled_from(BINARY)).format(name, scope.pick(shape))
        case "where":
            return f"where({name} > {name} * 0.0 + 2.0, {name}, {name} * 0.5)"
        case "center":
            return f"{name} - mean({name})"
        case "row":
            return draw(st.sampled_from(BINARY)).format(name, "v")
        case "rms":
            return f"rms_norm({name}, v)"
        case "matmul":
            return f"tanh({name} @ w) + v"
        case "linear":
            return f"{draw(st.sampled_from(('relu', 'gelu', 'silu')))}(linear({name}, w, v))"
        case "softmax":
            return f"softmax({name}, dim: {draw(st.sampled_from((0, 1, -1)))})"
    return f"{name} / (sum(abs({name}), {draw(st.sampled_from((0, 1)))}, keepdim: true) + 1.0)"


def statement(scope: Scope, depth: int) -> None:
    """One more statement, or a loop or branch of some."""
    draw = scope.draw
    kinds = ["same"] * 4 + ["reduce", "view", "product", "attention", "concat", "gather", "call"]
    kinds += ["loop", "branch", "growth"] if depth < 2 else []
    name = scope.pick()
    assert name is not None
    shape = scope.shapes[name]
    match draw(st.sampled_from(kinds)):
        case "reduce" if shape:
            axis = draw(st.integers(0, len(shape) - 1))
            keep = draw(st.booleans())
            kept = (1,) if keep else ()
            call = draw(st.sampled_from(("mean", "max", "min")))
            text = f"{call}({name}, {axis}, {str(keep).lower()})"
            scope.let(text, shape[:axis] + kept + shape[axis + 1 :])
        case "view" if len(shape) == 2:
            n, m = shape
            choices: list[tuple[str, Shape]] = [(f"{name}.T", (m, n)), (f"{name}[0, :]", (m,))]
            choices += [(f"{name}[:, 1:4]", (n, 3))] if m == 6 else []
            choices += [(f"reshape({name}, [2, -1, 3])[1, :, :]", (n, 3))] if m == 6 else []
            choices += [(f"unsqueeze({name}, 1)", (n, 1, m)), (f"{name}[:, -1]", (n,))]
            scope.let(*draw(st.sampled_from(choices)))
        case "product" if len(shape) == 2 and shape[1] == 6:
            other = scope.pick(("N", 6), ("M", 6), (6, 6))
            assert other is not None
            scope.let(f"tanh({name} @ {other}.T)", (shape[0], scope.shapes[other][0]))
        case "attention" if len(shape) == 2 and shape[1] == 6:
            other = scope.pick(("N", 6), ("M", 6), (6, 6))
            assert other is not None
            text = _attention(draw, name, other, shape[0], scope.shapes[other][0])
            scope.let(text, (shape[0], 6))
        case "concat" if len(shape) == 2 and all(isinstance(d, int) for d in shape[1:]):
            rows = f"2*{shape[0]}" if isinstance(shape[0], str) else 2 * int(shape[0])
            scope.let(f"concat({name}, {name} * 0.5, 0)", (rows, *shape[1:]))
        case "gather" if len(shape) == 2 and shape[0] in ("N", "M"):
            scope.let(f"{name}[ids, :]", ("K", shape[1]))
        case "call" if shape == ("N", 6):
            scope.let(f"helper({name}, w, v)", ("N", 6))
        case "loop":
            _loop(scope, depth)
        case "growth":
            _growth(scope, depth)
        case "branch":
            test = draw(st.sampled_from(("shape(x)[0] > 3", "shape(t)[0] == 2", "shape(x)[0] < 1")))
            _branch(scope, depth, test)
        case _:
            scope.let(expression(scope, name), shape)


def _attention(draw: st.DrawFn, q: str, kv: str, n: int | str, m: int | str) -> str:
    """Attention of rows of 6 to others, as two heads or one, written in one of several ways."""
    mask = draw(st.sampled_from((f"causal_mask({n}, {m})", "")))
    if draw(st.booleans()):
        shared = f"reshape({kv}[:, 0:3], [{m}, 1, 3]), reshape({kv}[:, 3:6], [{m}, 1, 3])"
        more = f", {mask}" if mask else ""
        return f"reshape(attention(reshape({q}, [{n}, 2, 3]), {shared}{more}), [{n}, 6])"
    heads = draw(st.booleans())
    left, right = (f"reshape({x}, [{rows}, 2, 3])" for x, rows in ((q, n), (kv, m)))
    scores = f'einsum("nhd,mhd->hnm", {left}, {right})' if heads else f"{q} @ {kv}.T"
    scores = draw(st.sampled_from(("({}) * 0.5", "({}) / 2.0 + 0.25", "({})"))).format(scores)
    scores = f"apply_attention_mask({scores}, {mask})" if mask else scores
    if not heads:
        return f"softmax({scores}) @ {kv}"
    return f'reshape(einsum("hnm,mhd->nhd", softmax({scores}), {right}), [{n}, 6])'


def _body(scope: Scope, depth: int, names: list[str]) -> None:
    """Statements that give old variables new values, then the scope is as before."""
    outer, known = scope.indent, dict(scope.shapes)
    scope.indent += "    "
    for _ in range(scope.draw(st.integers(0, 1))):
        statement(scope, depth + 1)
    for name in names:
        scope.again(name, expression(scope, name))
    scope.indent, scope.shapes = outer, known


def _loop(scope: Scope, depth: int) -> None:
    draw = scope.draw
    names = draw(st.lists(st.sampled_from(list(scope.shapes)), min_size=1, max_size=2, unique=True))
    ends = draw(st.sampled_from(("range(3)", "range(shape(x)[0])", "1..4", "range(20)")))
    kept = f"a{scope.count}" if draw(st.booleans()) else ""  # the old value, which passes read
    if kept:
        scope.let(names[0], scope.shapes[names[0]])
    scope.lines.append(f"{scope.indent}for i{depth} in {ends} {{")
    if draw(st.booleans()):
        way = draw(st.sampled_from(("continue", "break")))
        scope.lines.append(f"{scope.indent}    if i{depth} == shape(x)[0] - 2 {{ {way} }}")
    _body(scope, depth, names)
    if kept:
        scope.lines.append(f"{scope.indent}    {names[0]} = tanh({names[0]} + {kept})")
    if draw(st.booleans()):
        outer, scope.indent = scope.indent, scope.indent + "    "
        _branch(scope, depth + 1, f"i{depth} % 2 == 0")
        scope.indent = outer
    scope.lines.append(f"{scope.indent}}}")


def _growth(scope: Scope, depth: int) -> None:
    """A tensor that gets more rows from pass to pass, and what is computed from all of them."""
    draw = scope.draw
    start, more = (scope.pick(("N", 6), ("M", 6), (6, 6)) for _ in range(2))
    name, inner = f"g{scope.count}", f"{scope.indent}    "
    ends = draw(st.sampled_from(("range(3)", "range(shape(x)[0])", "range(20)")))
    ways = (
        f"if i{depth} % 2 == 0 {{ {name} = {name} * 0.5 }}",
        f"if shape({name})[0] > 9 {{ break }}",
        f"if i{depth} == 1 {{ {name} = concat({name}, {name}, 0) }}",
        f"if i{depth} == 1 {{ continue }}",
    )
    lines = [f"{scope.indent}let {name} = {start}", f"{scope.indent}for i{depth} in {ends} {{"]
    before, behind = (draw(st.sampled_from(("", *ways))) for _ in range(2))
    row = draw(st.sampled_from((f"{more}", f"tanh({more} + {name}[0:0, :].shape[0])")))
    lines += [inner + before] if before else []
    lines += [f"{inner}{name} = concat({name}, {row}, 0)"]
    lines += [inner + behind] if behind else []
    scope.lines += [*lines, f"{scope.indent}}}"]
    if draw(st.booleans()):
        scope.let(f"tanh(sum({name} * 0.1, 0))", (6,))
    else:
        scope.let(f"softmax(x @ {name}.T) @ {name}", ("N", 6))


def _branch(scope: Scope, depth: int, test: str) -> None:
    draw = scope.draw
    for head in (f"if {test} {{", "} else {"):
        names = draw(st.lists(st.sampled_from(list(scope.shapes)), max_size=2, unique=True))
        scope.lines.append(f"{scope.indent}{head}")
        _body(scope, depth, names)
    scope.lines.append(f"{scope.indent}}}")


@st.composite
def programs(draw: st.DrawFn, most: int = 7) -> str:
    """The text of a program with a function `f` of at most so many statements."""
    scope = Scope(draw, dict(PARAMS))
    for _ in range(draw(st.integers(1, most))):
        statement(scope, 0)
    shown = draw(st.lists(st.sampled_from(list(scope.shapes)), min_size=1, max_size=3, unique=True))
    results = ", ".join(shown)
    lines = [
        "fn helper(x: float16[R, D], w: float16[D, D], v: float16[D]) -> float16[R, D] {",
        "    return tanh(x @ w + v) * 0.5",
        "}",
        f"fn f({SIGNATURE}) {{",
        *scope.lines,
        f"    ({results}, {shown[0]} * 1.0)",
        "}",
    ]
    return "\n".join(lines) + "\n"
