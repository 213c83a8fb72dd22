"""Turns the bytes of a protobuf message into its fields, one level at a time.

The wire format: https://protobuf.dev/programming-guides/encoding. A field that is itself a message
stays a span of bytes until somebody asks for it, so nothing is built that nobody reads, and the
depth of what is read is the depth of the code that reads it.
"""

from __future__ import annotations

import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

MOST_FIELDS = 4_000_000  # in one file: some hundred times those of a model of a billion weights

_FIXED32 = 5  # a wire type


class Wire:
    """The bytes of one file, and how many more fields may be read from them."""

    __slots__ = ("_left", "data")

    def __init__(self, data: memoryview) -> None:
        self.data, self._left = data, MOST_FIELDS

    def message(self, span: slice | None, names: Mapping[int, str]) -> Message:
        """The fields of a message that have names; of none when there is no message.

        Raises ValueError for bytes that are no message.
        """
        found: dict[str, list[int | slice]] = {}
        others: set[int] = set()
        if span is not None:
            for number, value in self._fields(span):
                name = names.get(number)
                if name is not None:
                    found.setdefault(name, []).append(value)
                else:
                    others.add(number)
        return Message(self, found, others)

    def _fields(self, span: slice) -> Iterator[tuple[int, int | slice]]:
        data, at, end = self.data, span.start, span.stop
        while at < end:
            self._left -= 1
            if self._left < 0:
                raise ValueError(f"it has more than {MOST_FIELDS} fields")
            key, at = self.varint(at, end)
            value: int | slice
            match key & 7:
                case 0:
                    value, at = self.varint(at, end)
                case 2:
                    length, at = self.varint(at, end)
                    if length > end - at:
                        raise ValueError(f"a field of {length} bytes ends behind its message")
                    value, at = slice(at, at + length), at + length
                case 5 | 1 as kind:
                    width = 4 if kind == _FIXED32 else 8
                    if width > end - at:
                        raise ValueError("a number ends behind its message")
                    value, at = int.from_bytes(data[at : at + width], "little"), at + width
                case kind:
                    raise ValueError(f"a field has the unknown wire type {kind}")
            yield key >> 3, value

    def varint(self, at: int, end: int) -> tuple[int, int]:
        """The number that begins at a place, and the place behind it."""
        value = shift = 0
        data = self.data
        while at < end and shift < 70:
            byte = data[at]
            at += 1
            value |= (byte & 127) << shift
            if byte < 128:
                return value & (1 << 64) - 1, at
            shift += 7
        raise ValueError("a number has no end")

    def entries(self, spans: list[slice]) -> Iterator[tuple[str, slice]]:
        """The keys and values of a map; a value that is left out is an empty message."""
        for span in spans:
            entry = self.message(span, {1: "key", 2: "value"})
            yield entry.text("key"), entry.span("value") or slice(0, 0)


class Message:
    """The named fields of one message; of a field that is there twice, the last counts.

    `others` are the numbers of those without a name.
    """

    __slots__ = ("_found", "_wire", "others")

    def __init__(self, wire: Wire, found: dict[str, list[int | slice]], others: set[int]) -> None:
        self._wire, self._found, self.others = wire, found, others

    def __contains__(self, name: str) -> bool:
        return name in self._found

    def integer(self, name: str, default: int = 0) -> int:
        """A whole number of 64 bits, with its sign."""
        value = self._found[name][-1] if name in self._found else default
        if isinstance(value, slice):
            raise ValueError(f"its field {name} is no number")
        return _signed(value)

    def number(self, name: str, default: float = 0.0) -> float:
        """A 32-bit floating-point number."""
        if name not in self._found:
            return default
        bits = self._found[name][-1]
        if isinstance(bits, slice) or bits >> 32:
            raise ValueError(f"its field {name} is no number")
        (value,) = struct.unpack("<f", bits.to_bytes(4, "little"))
        return float(value)

    def span(self, name: str) -> slice | None:
        """The bytes of a message, text or byte string; None when it is left out."""
        spans = self.spans(name)
        return spans[-1] if spans else None

    def spans(self, name: str) -> list[slice]:
        """All of a repeated message."""
        found = self._found.get(name, [])
        spans = [value for value in found if isinstance(value, slice)]
        if len(spans) != len(found):
            raise ValueError(f"its field {name} is a number")
        return spans

    def text(self, name: str) -> str:
        span = self.span(name)
        return "" if span is None else self._text(span)

    def texts(self, name: str) -> list[str]:
        return [self._text(span) for span in self.spans(name)]

    def _text(self, span: slice) -> str:
        try:
            return str(self._wire.data[span], "utf-8")
        except UnicodeDecodeError:
            raise ValueError("a text in it is not UTF-8") from None

    def integers(self, name: str) -> list[int]:
        """A repeated whole number, packed or not."""
        out: list[int] = []
        for value in self._found.get(name, []):
            if not isinstance(value, slice):
                out.append(_signed(value))
                continue
            at = value.start
            while at < value.stop:
                number, at = self._wire.varint(at, value.stop)
                out.append(_signed(number))
        return out

    def packed(self, name: str, width: int) -> list[slice]:
        """Where the numbers of a repeated fixed-width field lie. Raises ValueError if not packed.

        Every writer packs them; the format would allow a tag before each.
        """
        spans = self.spans(name)
        if any((span.stop - span.start) % width for span in spans):
            raise ValueError(f"its field {name} ends within a number")
        return spans


def _signed(value: int) -> int:
    return value - (1 << 64) if value >= 1 << 63 else value
