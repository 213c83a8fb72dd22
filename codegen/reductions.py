"""Reductions as text: how an accumulator starts, takes in a value, and ends as a result.

In 8 lanes a reduction keeps an array of accumulators, so that one does not wait for the other; in a
GPU thread it keeps one. Extremes go through `tlc_order` on a GPU, positions through `tlc_rank`:
integers that sort as the floats do, with NaN above all, and that fast math leaves alone.
"""

from __future__ import annotations

from dataclasses import dataclass

from tlc.codegen.expression import Region
from tlc.ir.core import Op

LOWEST = "as_type<float>(0xff800000u)"  # -infinity
HIGHEST = "as_type<float>(0x7f800000u)"
REDUCTIONS = ("reduce_sum", "reduce_max", "reduce_min", "reduce_argmax", "reduce_argmin")


@dataclass(frozen=True, slots=True)
class Reduction:
    """A reduction of a region; `label` is the variable of its result."""

    name: str
    label: str

    @staticmethod
    def of(region: Region, op: Op) -> Reduction:
        return Reduction(op.name.removeprefix("reduce_"), region.label(op.result))

    @property
    def index(self) -> bool:
        """Whether the result is a position and not a value."""
        return self.name.startswith("arg")

    @property
    def identity(self) -> str:
        """The number that changes no result; positions are those of the largest, see `largest`."""
        return {"sum": "0.0f", "min": HIGHEST}.get(self.name, LOWEST)

    def largest(self, value: str) -> str:
        """The value whose largest is wanted."""
        return f"-{value}" if self.name.endswith("min") else value

    # ---- 8 lanes -------------------------------------------------------------------------------

    def lanes_start(self, count: int) -> list[str]:
        """Statements that make an array of accumulators, or a single one."""
        if self.index:
            parts = [("f8", "best", f"splat8({LOWEST})"), ("i8", "at", "splati8(0)")]
        else:
            parts = [("f8", "acc", f"splat8({self.identity})")]
        if count == 1:
            return [f"{type} {self.label}_{part} = {start};" for type, part, start in parts]
        each = f"for (uint u = 0u; u < {count}u; ++u)"
        arrays = [f"{type} {self.label}_{part}[{count}];" for type, part, _ in parts]
        return arrays + [f"{each} {self.label}_{part}[u] = {start};" for _, part, start in parts]

    def lanes_step(self, which: str, value: str, position: str, mask: str | None) -> str:
        """The statement by which an accumulator (`[u]`, or `` of one) takes in a value.

        Lanes outside of the mask do not count.
        """
        value = self.largest(value) if self.index else value
        if mask:
            value = f"select8(splat8({self.identity}), {value}, {mask})"
        if self.index:
            accumulator = f"{self.label}_best{which}, {self.label}_at{which}"
            return f"tlc_argmax8({accumulator}, {value}, {position});"
        acc = f"{self.label}_acc{which}"
        if self.name == "sum":
            return f"{acc} = {acc} + {value};"
        return f"{acc} = {self.name}8({acc}, {value});"

    def lanes_result(self, which: str) -> str:
        """The expression of an accumulator's result, one for each lane."""
        return f"{self.label}_{'at' if self.index else 'acc'}{which}"

    def lanes_across(self) -> str:
        """The expression of the result over all lanes of four accumulators, in every lane."""
        if self.index:
            return f"splati8(tlc_argmax({self.label}_best, {self.label}_at))"
        a = [f"{self.label}_acc[{u}]" for u in range(4)]
        if self.name == "sum":
            return f"splat8(hsum8(({a[0]} + {a[1]}) + ({a[2]} + {a[3]})))"
        f = self.name
        return f"splat8(h{f}8({f}8({f}8({a[0]}, {a[1]}), {f}8({a[2]}, {a[3]}))))"

    # ---- 16 lanes, for reductions that are no positions ------------------------------------------

    def wide_start(self) -> list[str]:
        """Statements that make two accumulators."""
        start = f"splat16({self.identity})"
        return [f"v16 {self.label}_wide[2] = {{{start}, {start}}};"]

    def wide_step(self, value: str) -> str:
        """The statement by which accumulator `u` takes in a value."""
        acc = f"{self.label}_wide[u]"
        if self.name == "sum":
            return f"{acc} = {acc} + {value};"
        return f"{acc} = {self.name}16({acc}, {value});"

    def wide_end(self) -> list[str]:
        """Statements that make four accumulators of 8 lanes of them."""
        acc, both = f"{self.label}_acc", f"{self.label}_wide"
        return [
            "for (uint u = 0u; u < 2u; ++u) {",
            f"    {acc}[2u * u] = low8({both}[u]);",
            f"    {acc}[2u * u + 1u] = high8({both}[u]);",
            "}",
        ]

    # ---- one thread of a GPU -------------------------------------------------------------------

    def thread_start(self, first: str) -> list[str]:
        """Statements that make the accumulator; `first` is the thread's first position."""
        if self.name == "sum":
            return [f"float {self.label}_sum = 0.0f;"]
        if not self.index:
            return [f"uint {self.label}_top = tlc_order({LOWEST});"]
        return [f"uint {self.label}_top = 0u;", f"uint {self.label}_at = {first};"]

    def thread_step(self, value: str, position: str) -> list[str]:
        """Statements that take in a value."""
        if self.name == "sum":
            return [f"{self.label}_sum += {value};"]
        top, key = f"{self.label}_top", f"{self.label}_key"
        order = f"{'tlc_rank' if self.index else 'tlc_order'}({self.largest(value)})"
        if not self.index:
            return [f"{top} = max({top}, {order});"]
        return [
            f"const uint {key} = {order};",
            f"{self.label}_at = {key} > {top} ? {position} : {self.label}_at;",
            f"{top} = max({top}, {key});",
        ]

    def thread_result(self) -> str:
        """The expression of the result of this thread alone."""
        if self.name == "sum":
            return f"{self.label}_sum"
        if self.index:
            return f"int({self.label}_at)"
        return self.largest(f"tlc_from_order({self.label}_top)")

    def group_result(self) -> str:
        """The expression of the result over all threads of a threadgroup."""
        who = "lane, simdgroup, simdgroups"
        if self.name == "sum":
            return f"tlc_group_sum({self.label}_sum, sums, {who})"
        if self.index:
            return f"int(tlc_group_first({self.label}_top, {self.label}_at, tops, {who}))"
        return self.largest(f"tlc_from_order(tlc_group_max({self.label}_top, tops, {who}))")

    def simdgroup_result(self) -> str:
        """The expression of the result over all lanes of a simdgroup; not of a position."""
        if self.name == "sum":
            return f"simd_sum({self.label}_sum)"
        return self.largest(f"tlc_from_order(simd_max({self.label}_top))")
