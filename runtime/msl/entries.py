"""Kernels of a translated text: what they declare, and the C++ functions that a host can call."""

from __future__ import annotations

from tlc.runtime.errors import RunError
from tlc.runtime.msl.attributes import MAX_BUFFERS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


class Parameter:
    """A kernel's parameter: `kind` is an attribute of Metal; `index` of a buffer or of memory."""

    __slots__ = ("index", "kind", "text", "written")

    def __init__(self, kind: str, index: int, text: str, written: bool) -> None:
        self.kind, self.index, self.text, self.written = kind, index, text, written


class Signature:
    """What a kernel declares; `limit` is its `[[max_total_threads_per_threadgroup]]`."""

    __slots__ = ("comment", "limit", "parameters")

    def __init__(self, parameters: list[Parameter], limit: int | None, comment: str) -> None:
        self.parameters, self.limit, self.comment = parameters, limit, comment


class Entry:
    """A kernel that can be launched: its name for the host and the C++ expression for it."""

    __slots__ = ("expression", "name", "signature")

    def __init__(self, name: str, expression: str, signature: Signature) -> None:
        self.name, self.expression, self.signature = name, expression, signature


def number_buffers(kernel: str, parameters: Sequence[Parameter]) -> None:
    """Give buffers without an index the next free one, as Metal does."""
    for kind in ("buffer", "threadgroup"):
        free = 0
        for parameter in parameters:
            if parameter.kind != kind:
                continue
            if parameter.index < 0:
                parameter.index = free
            if parameter.index >= MAX_BUFFERS:
                raise RunError(
                    "E0703", f"kernel `{kernel}`: {kind}({parameter.index}) is beyond 30"
                )
            free = max(free, parameter.index + 1)


def type_of(parameter: str) -> str:
    """The type of a parameter, in text without address spaces."""
    words = parameter.split(" ")
    named = len(words) > 1 and words[-1].isidentifier()
    return " ".join(words[:-1] if named else words)


def comment_in(space: str) -> str:
    """The last line of the comments before a kernel: where the kernel comes from."""
    lines = [line.strip() for line in space.splitlines() if line.strip().startswith("//")]
    return lines[-1].lstrip("/ ") if lines else ""


def entry_text(at: int, entry: Entry) -> str:
    """The function `tlc_kernel_N`, which calls a kernel with the arguments of a launch."""
    arguments = ", ".join(f"{{tlc::kind_{p.kind}, {p.index}}}" for p in entry.signature.parameters)
    return (
        f"static const tlc::Argument tlc_arguments_{at}[] = {{{arguments or '{0, 0}'}}};\n"
        f'extern "C" __attribute__((visibility("default"))) void tlc_kernel_{at}()'
        f" {{ tlc::invoke({entry.expression}, tlc_arguments_{at}); }}\n"
    )
