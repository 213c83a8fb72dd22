"""The kernels that are mutated: some of every family, with the sample cases that judge them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from tests.codegen import (
    attention_cases,
    element_cases,
    joined_cases,
    order_cases,
    packed_cases,
    product_cases,
    row_cases,
    window_cases,
)
from tests.codegen.running import Case, usable
from tests.mutation.mutator import Mutant, mutants
from tlc.codegen.kernels import Kernel, generate, module_text
from tlc.codegen.profiles import APPLE
from tlc.ir.formats import PACKED

Cases = Callable[[], Iterable[Case]]
USING = "using namespace metal;\n"  # ends what every file begins with


@dataclass(frozen=True, slots=True)
class Subject:
    """A kernel; `head` and `text` are its file in two parts, of which the second is mutated.

    names    finds what the text defines at file scope.
    lines    of the text that are mutated: all of the kernel, or its own, or some functions that it
             calls.
    cases    sorted by their size.
    """

    name: str
    kernel: Kernel
    head: str
    text: str
    names: re.Pattern[str]
    lines: frozenset[int]
    cases: tuple[Case, ...]

    def mutants(self) -> list[Mutant]:
        return [mutant for mutant in mutants(self.text) if mutant.line in self.lines]


SPECIAL = "tlc_isnan tlc_max"
ORDER = "tlc_order tlc_from_order"
RANK = "tlc_group_first tlc_group_max tlc_rank"
BYTES = {
    "q8_0": "tlc_half tlc_byte tlc_signed_byte",
    "q5_0": "tlc_bit",
    "q3_k": "tlc_scale_of_16",
    "q5_k": "tlc_scale_of_8 tlc_least_of_8",
}

# whose kernel for few rows is right for many, which show more of it; up to those that are not slow
ANY_ROWS = ("attention", "attention special")
MOST_ROWS = 40

# of kernels that another subject is like, what that one has not
OWN = {
    "appending attention": r"for \(uint at = tid.*?(?=int start)|[^\n]*\bnew\d[^\n]*",
    "tiled appending attention": r"for \(uint at = tid.*?(?=for \(uint turn)",
}

# a name, the functions to mutate if not the kernel, sample cases, and the beginning of the names of
# those of one operation
SUBJECTS: tuple[tuple[str, str, Cases, str], ...] = (
    ("elementwise", "", element_cases.elementwise, "silu(x + bias) of {"),
    ("elementwise static", "", element_cases.elementwise, "silu(x + bias) of [3, 64]"),
    ("elementwise view", "", element_cases.layouts, "the same with {"),
    ("elementwise slice", "", element_cases.layouts, "a slice of rows and columns, [33, 40]"),
    ("maximum", "", element_cases.special_numbers, "maximum of"),
    ("call maximum", SPECIAL, element_cases.special_numbers, "maximum of"),
    ("masks", "", element_cases.dtypes, "masks combined"),
    ("whole numbers", "", element_cases.dtypes, "fractions to whole"),
    ("softmax", "", row_cases.rows, "softmax of {"),
    ("softmax masked", "", row_cases.row_details, "softmax of a masked batch"),
    ("call layer_norm", "tlc_group_sum", row_cases.rows, "layer_norm of {"),
    ("layer_norm", "", row_cases.rows, "layer_norm of {"),
    ("row argmax", "", row_cases.row_extremes, "argmax of {"),
    ("call argmax", RANK, row_cases.row_extremes, "argmax of {"),
    ("row min", "", row_cases.row_extremes, "min of {"),
    ("call min", ORDER, row_cases.row_extremes, "min of {"),
    ("column mean", "", row_cases.columns, "mean square of {"),
    ("column argmin", "", row_cases.columns, "argmin of columns"),
    ("gather", "", row_cases.gathers, "rows of 40, None among"),
    ("gather odd", "", row_cases.gathers, "rows of 7, None among"),
    *(
        (f"read {name}", f"tlc_{name} {BYTES.get(name, '')}", row_cases.gathers, f"rows of {name}")
        for name in PACKED
    ),
    ("concat", "", row_cases.concats, "0 and 7 columns"),
    ("sort", "", order_cases.sorts, "{"),
    ("sort down", "", order_cases.sorts_from_above, "{"),
    ("scan", "", order_cases.scans, "sums of {"),
    ("scatter", "", order_cases.scatters, "rows of {"),
    ("product nt", "", product_cases.products, "nt {"),
    ("product nn", "", product_cases.products, "nn {"),
    ("product batched", "", product_cases.batched_products, "heads, batch of 3, (9, 33, 40)"),
    ("product f32", "", product_cases.float_products, "nn f16 f32 (40, 65, 130)"),
    ("product epilogue", "", product_cases.epilogues, "linear block, M = 6"),
    ("product of one", "", joined_cases.products_of_the_same_rows, ""),
    ("product gated", "", joined_cases.two_sums, ""),
    ("product q4_0", "", packed_cases.packed_products, "q4_0 nt {"),
    ("read8 q6_k", "tlc_read8_q6_k", packed_cases.packed_products, "q6_k long rows"),
    ("convolution", "", window_cases.convolutions, "any window 3 in 2 groups"),
    ("convolution of channels", "", window_cases.convolutions_of_channels, "any window 3"),
    ("convolution block", "", window_cases.convolution_details, "the same of any size"),
    ("pool largest", "", window_cases.pools, "any largest of window 3"),
    ("pool sum", "", window_cases.pools, "any sum of window 3"),
    ("attention special", "", attention_cases.special_scores, "nan among 5"),
    ("attention", "", attention_cases.attentions, "attention window f32 3/3"),
    ("appending attention", "", attention_cases.appending, "f16 6/2 heads"),
    ("tiled appending attention", "", attention_cases.appending, "f16 16/2 heads"),
)


def subjects(beginnings: tuple[str, ...] = ("",)) -> Iterator[Subject]:
    """The subjects whose names begin so; of a product's two kernels each is one."""
    for name, called, make, begins in SUBJECTS:
        if not name.startswith(beginnings):
            continue
        cases = list(make())
        op = next(case.op for case in cases if case.name.startswith(begins))
        same = [case for case in cases if case.op is op]
        variants = generate(op, APPLE, "mutated", name)
        seen = set()
        for at, variant in enumerate(variants):
            kernel = variant.kernel
            plain = re.sub(rf"\b{kernel.name}(?=\b|_Dims)", "", kernel.text)
            judging = [
                case
                for case in same
                if (
                    case.sizes["N"] <= MOST_ROWS
                    if name in ANY_ROWS
                    else kernel in usable(variants, case.sizes)
                )
            ]
            if not judging or plain in seen:  # seen: one kernel under two names
                continue
            seen.add(plain)
            judging.sort(key=lambda case: sum(array.nbytes for array in case.inputs))
            whole = module_text([kernel], APPLE, "mutants")
            split = whole.index(USING) + len(USING) if called else whole.index(kernel.text.strip())
            head, text = whole[:split], whole[split:]
            defined = rf"{kernel.name}(?:_Dims)?" + (r"|tlc_\w+" if called else "")
            lines = [lines_of(text, function) for function in called.split()]
            if name in OWN:
                lines = [_lines(text, found) for found in re.finditer(OWN[name], text, re.S)]
            yield Subject(
                name if len(variants) == 1 else f"{name} {('few', 'many')[at]}",
                kernel,
                head,
                text,
                re.compile(rf"\b(?:{defined})\b"),
                frozenset().union(*lines or [range(text.count("\n") + 1)]),
                tuple(judging),
            )


def lines_of(text: str, function: str) -> range:
    """The lines of a function's definition."""
    found = re.search(rf"^static inline \w+ {function}\(.*?(?:^\}}|\}}$)", text, re.M | re.S)
    assert found is not None, function
    return _lines(text, found)


def _lines(text: str, found: re.Match[str]) -> range:
    return range(*(1 + text.count("\n", 0, at) for at in (found.start(), found.end() + 1)))
