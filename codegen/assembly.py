"""A kernel's body in, its whole text out: parameters, attributes, the struct of dimensions."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
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
class Kernel:
    """One kernel: buffers are the operands, the result, a status word when `status`, and, when
    `dims` is not empty, a struct with one uint for each of them.

    threads   of a threadgroup; groups is how many threadgroups to launch (any number is right).
    features  what it asks of a device: `simdgroup_matrix`.
    """

    name: str
    text: str
    threads: int
    groups: Dim
    dims: Dims
    threadgroup_bytes: int
    status: bool
    features: frozenset[str]


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
    """A kernel while a family writes it."""

    region: Region
    profile: Profile
    name: str
    comment: str
    sizes: Sizes = field(default_factory=Sizes)

    def kernel(
        self,
        template: str,
        *,
        groups: Dim,
        threads: int | None = None,
        threadgroup_bytes: int = 0,
        status: bool = False,
        features: frozenset[str] = frozenset(),
        **context: Any,
    ) -> Kernel:
        """The kernel whose body is a template of this profile. Raises InternalError on a limit."""
        profile, region = self.profile, self.region
        body = render(
            f"{template}.{profile.name}", name=self.name, size=self.sizes, status=status, **context
        )
        buffers = [f"device const {buffer_type(e)}* in{k}" for k, e in enumerate(region.encodings)]
        buffers.append(f"device {buffer_type(region.out.dtype)}* out")
        if status:
            buffers.append(f"device {'atomic_uint' if profile.name == 'apple' else 'uint'}* status")
        if self.sizes.fields:
            buffers.append(f"constant {self.name}_Dims& dims")
        if len(buffers) > MAX_BUFFERS:
            raise InternalError(f"{self.comment}: {len(buffers)} buffers, and a kernel has 31")
        if threadgroup_bytes > MAX_THREADGROUP_BYTES:
            raise InternalError(f"{self.comment}: {threadgroup_bytes} bytes of threadgroup memory")
        text = render(
            "kernel",
            name=self.name,
            comment=" ".join(self.comment.split()).rstrip("\\"),
            profile=profile,
            threads=threads or profile.threads,
            buffers=buffers,
            fields=self.sizes.fields,
            body=body,
            uses=frozenset(re.findall(r"\w+", body)),
        )
        return Kernel(
            self.name,
            text + "\n",
            threads or profile.threads,
            groups,
            self.sizes.fields,
            threadgroup_bytes,
            status,
            features,
        )
