"""What NumPy, PyTorch and other languages call things, and what to write here instead."""

from __future__ import annotations

from tlc.frontend.suggest import did_you_mean


def for_string(name: str) -> str:
    """A hint for a method that strings do not have."""
    if name in STRINGS:
        return f"here that is {STRINGS[name]}"
    return did_you_mean(name, OF_STRINGS) or HAVE_STRINGS


FUNCTIONS = {
    "all": "`mean(mask) == 1.0`",
    "any": "`sum(mask) > 0.0`",
    "astype": "`x as float32`",
    "bmm": "`a @ b`",
    "concatenate": "`concat(a, b, dim)`",
    "contains": "a loop with `==`",
    "count_nonzero": "`sum(x != 0.0)`",
    "diag": '`einsum("ii->i", x)`',
    "dot": "`a @ b`",
    "elu": "`where(x > 0.0, x, exp(x) - 1.0)`",
    "expand": "`broadcast_to(x, shape)`",
    "eye": "`one_hot(range(n), n)`",
    "flip": "`index_select(x, ids, dim)` with the indices from the last to the first",
    "full_like": "`full(x.shape, value)`",
    "is_empty": "`len(v) == 0`",
    "isinf": "`abs(x) > 65504.0` in float16",
    "isnan": "`x != x`",
    "item": "left out: a tensor of one element is a number",
    "leaky_relu": "`where(x > 0.0, x, 0.01 * x)`",
    "linspace": "`a + (b - a) * arange([n]) / (n - 1)`",
    "masked_fill": "`where(mask, value, x)`",
    "mm": "`a @ b`",
    "multiply": "`a * b`",
    "norm": "`sqrt(sum(x * x))`",
    "numel": "the product of `x.shape`",
    "ones_like": "`ones(x.shape)`",
    "outer": '`einsum("i,j->ij", a, b)`',
    "pop": "`v[-1]`, and `v = v[:-1]`",
    "power": "`a ** b`",
    "println": "`print`",
    "prod": "a loop of products",
    "roll": "`concat(x[n:], x[:n], 0)`",
    "sign": "`where(x > 0.0, 1.0, where(x < 0.0, -1.0, 0.0))`",
    "size": "`x.shape`",
    "softplus": "`log(1.0 + exp(x))`",
    "square": "`x * x`",
    "std": "`sqrt(mean((x - mean(x)) ** 2))`",
    "string": "`str(x)`",
    "t": "`x.T`",
    "take": "`gather(table, ids)`",
    "to_string": "`str(x)`",
    "trace": '`einsum("ii->", x)`',
    "tril": "`where(causal_mask(n), x, 0.0)`",
    "triu": "`where(causal_mask(n).T, x, 0.0)`",
    "var": "`mean((x - mean(x)) ** 2)`",
    "view": "`reshape(x, shape)`",
    "zeros_like": "`zeros(x.shape)`",
}
# methods of strings
STRINGS = {
    **dict.fromkeys(("count", "length", "size"), "`len(s)`"),
    **dict.fromkeys(("parse", "to_i", "toInt"), "`to_int(s)`"),
    **dict.fromkeys(("to_f", "toFloat"), "`to_float(s)`"),
    **dict.fromkeys(("concat", "join", "push", "push_str"), "`s + t`"),
    **dict.fromkeys(("char_at", "chars", "charAt"), "`s[i]`, and `for c in s`"),
    **dict.fromkeys(("slice", "substr", "substring"), "`s[a:b]`"),
    **dict.fromkeys(("eq", "equals"), "`s == t`"),
    **dict.fromkeys(("ljust", "rjust", "center", "format"), '`print("{:>8}", s)`'),
}
OF_STRINGS = ("len", "to_int", "to_float", "print", "tokenize")  # functions that take one
HAVE_STRINGS = "strings have `len(s)`, `s[a:b]`, `s + t`, `s * n`, `s == t`, `to_int(s)`"
NAMES = {
    "False": "`false`",
    "None": "left out: what has no value has no name",
    "True": "`true`",
    "e": "`exp(1.0)`",
    "inf": "`-log(0.0)`",
    "null": "left out: what has no value has no name",
    "pi": "`3.141592653589793`",
}
