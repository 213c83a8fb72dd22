"""A kernel's body in, its whole text out: parameters, attributes, the struct of dimensions."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from tlc.codegen.expression import Region
from tlc.codegen.iteration import Dims, Sizes
from tlc.codegen.memory import buffer_type
from tlc.codegen.profiles import Profile
from tlc.codegen.render import render
from tlc.frontend.diagnostics import InternalError
from tlc.ir.dims import Dim

MAX_BUFFERS = 31  # of a Metal kernel
MAX_THREADGROUP_BYTES = 32768


@dataclass(frozen=True, slots=True)
class Array:
    """An array that the threads of a threadgroup share."""

    element: str
    name: str
    count: int
    note: str = ""

    @property
    def nbytes(self) -> int:
        return {"half": 2, "int": 4, "uint": 4, "float": 4, "float4": 16}[self.element] * self.count


@dataclass(frozen=True, slots=True)
class Kernel:
    """One kernel: buffers are the operands, the results, a status word when `status`, and, when
    `dims` is not empty, a struct with one uint for each of them.

    body      its statements, which take `memory` for declared; text is all of it.
    threads   of a threadgroup; groups is how many threadgroups to launch (any number is right).
    features  what it asks of a device: `simdgroup_matrix`.
    rounds    whether it rounds to float16 what it makes of an operand before it multiplies.
    """

    name: str
    text: str
    body: str
    memory: tuple[Array, ...]
    threads: int
    groups: Dim
    dims: Dims
    threadgroup_bytes: int
    status: bool
    features: frozenset[str]
    rounds: bool = False


@dataclass(frozen=True, slots=True)
class Variant:
    """A kernel and when to use it: while a dimension is at most a limit, or always (None)."""

    kernel: Kernel
    guard: tuple[Dim, int] | None


def groups_for(count: Dim, unit: int) -> Dim:
    """How many threadgroups take `count` items at `unit` each: at least 1, at most 1 too many."""
    if count.is_static:
        return Dim.of(max(1, -(-int(count) // unit)))
    return count // unit + 1


@dataclass(slots=True)
class Draft:
    """A kernel while a family writes it.

    `shared` holds the sizes of every kernel of a launch by its name, where several are written.
    `beside` are drafts of results that the same kernel stores too.
    """

    region: Region
    profile: Profile
    name: str
    comment: str
    shared: dict[str, Sizes] = field(default_factory=dict)
    beside: Sequence[Draft] = ()

    @property
    def sizes(self) -> Sizes:
        return self.shared.setdefault(self.name, Sizes())

    def variant(self, name: str) -> Draft:
        """A draft of another kernel for the same region."""
        return replace(self, name=f"{self.name}_{name}")

    def kernel(
        self,
        template: str,
        *,
        groups: Dim,
        threads: int | None = None,
        memory: Sequence[Array] = (),
        threadgroup_bytes: int = 0,
        status: bool = False,
        features: frozenset[str] = frozenset(),
        rounds: bool = False,
        **context: Any,
    ) -> Kernel:
        """The kernel whose body is a template of this profile. Raises InternalError on a limit.

        The template declares `threadgroup_bytes` of arrays itself, beside `memory`.
        """
        body = render(
            f"{template}.{self.profile.name}",
            name=self.name,
            size=self.sizes,
            status=status,
            **context,
        )
        dtypes = [draft.region.out.dtype for draft in (self, *self.beside)]
        results = [("out", dtypes[0])]
        if self.beside:
            results = [(f"out{number}", dtype) for number, dtype in enumerate(dtypes)]
            body = f"    device {buffer_type(dtypes[0])}* out = out0;\n{body}"
        made = Kernel(
            name=self.name,
            text="",
            body=body,
            memory=tuple(memory),
            threads=threads or self.profile.threads,
            groups=groups,
            dims=(),
            threadgroup_bytes=threadgroup_bytes + sum(a.nbytes for a in memory),
            status=status,
            features=features,
            rounds=rounds,
        )
        return self.finished(made, _declared(made.memory) + body, results)

    def finished(self, kernel: Kernel, body: str, results: Sequence[tuple[str, str]]) -> Kernel:
        """A kernel with its text; `results` are the names and dtypes of what it stores."""
        profile = self.profile
        encodings = self.region.encodings
        buffers = [f"device const {buffer_type(e)}* in{k}" for k, e in enumerate(encodings)]
        buffers += [f"device {buffer_type(dtype)}* {name}" for name, dtype in results]
        if kernel.status:
            buffers.append(f"device {'atomic_uint' if profile.name == 'apple' else 'uint'}* status")
        fields = self.sizes.fields
        if fields:
            buffers.append(f"constant {self.name}_Dims& dims")
        if len(buffers) > MAX_BUFFERS:
            raise InternalError(f"{self.comment}: {len(buffers)} buffers, and a kernel has 31")
        if kernel.threadgroup_bytes > MAX_THREADGROUP_BYTES:
            raise InternalError(
                f"{self.comment}: {kernel.threadgroup_bytes} bytes of threadgroup memory"
            )
        text = render(
            "kernel",
            name=self.name,
            comment=" ".join(self.comment.split()).rstrip("\\"),
            profile=profile,
            threads=kernel.threads,
            buffers=buffers,
            fields=fields,
            body=body,
            uses=frozenset(re.findall(r"\w+", body)),
        )
        return replace(kernel, text=text + "\n", dims=fields)


def _declared(arrays: Sequence[Array]) -> str:
    lines = ((f"threadgroup {a.element} {a.name}[{a.count}];", a.note) for a in arrays)
    return "".join(f"    {line}{f'  // {note}' if note else ''}\n" for line, note in lines)


# ---- several results -----------------------------------------------------------------------------


def joined(drafts: Sequence[Draft], kernels: Sequence[Kernel]) -> Kernel:
    """One kernel that does what several do, each for a result of its own: some threadgroups the
    one, some the other. Their shared arrays lie in the same memory."""
    draft = replace(drafts[0], name=kernels[0].name)
    sizes, parts, end = draft.sizes, [], Dim.of(0)
    nbytes = max(sum(_padded(a) for a in kernel.memory) for kernel in kernels)
    for number, (one, kernel) in enumerate(zip(drafts, kernels, strict=True)):
        at, lines = 0, []
        for array in kernel.memory:
            start = f"(shared + {at // 16})" if at else "shared"
            pointer = f"threadgroup {array.element}*"
            lines.append(f"{pointer} {array.name} = ({pointer}){start};")
            at += _padded(array)
        lines.append(f"device {buffer_type(one.region.out.dtype)}* out = out{number};")
        begin, end = end, end + kernel.groups
        parts.append((sizes(begin), sizes(end), sizes(kernel.groups), lines, kernel.body))
    shared = [Array("float4", "shared", nbytes // 16)] if nbytes else []
    body = render("joined", parts=parts, total=sizes(end), shared=shared)
    whole = replace(
        kernels[0],
        body=body,
        memory=tuple(shared),
        threads=max(kernel.threads for kernel in kernels),
        groups=end,
        threadgroup_bytes=nbytes,
        features=frozenset[str]().union(*(kernel.features for kernel in kernels)),
    )
    results = [(f"out{number}", d.region.out.dtype) for number, d in enumerate(drafts)]
    return draft.finished(whole, _declared(shared) + body, results)


def _padded(array: Array) -> int:
    """Bytes up to where the next array may start."""
    return -(-array.nbytes // 16) * 16
