"""Turns the bytes of a JSON text into plain values, refusing what good files never hold."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

_SPACE = " \t\n\r"


def parse(data: bytes | memoryview) -> object:
    """The value of a UTF-8 JSON text.

    Unlike `json.loads` it refuses duplicate keys, NaN and infinities, lone surrogates and text
    that is not UTF-8. Raises ValueError, whose text says what is wrong, and nothing else.
    """
    try:
        text = str(data, "utf-8")
        value, end = _scan(text, len(text) - len(text.lstrip(_SPACE)))
        if text[end:].strip(_SPACE):
            raise _broken(len(text) - len(text[end:].lstrip(_SPACE)), "Extra data")
        if "\\u" in text:
            # An escape may name half of a surrogate pair, which could never be printed.
            import json

            json.dumps(value, ensure_ascii=False).encode()
    except StopIteration as stop:
        raise _broken(stop.value, "Expecting value") from None
    except UnicodeDecodeError:
        raise ValueError("its JSON is not UTF-8") from None
    except UnicodeEncodeError:
        raise ValueError("its JSON holds half of a surrogate pair") from None
    except RecursionError:
        raise ValueError("its JSON is nested too deep") from None
    except ValueError as error:
        if hasattr(error, "pos"):  # a JSONDecodeError
            raise _broken(error.pos, error.msg) from None  # type: ignore[attr-defined]
        raise
    return value


def _broken(at: int, why: str) -> ValueError:
    return ValueError(f"its JSON is broken at character {at}: {why}")


def _object(pairs: Sequence[tuple[str, object]]) -> dict[str, object]:
    made = dict(pairs)
    if len(made) == len(pairs):
        return made
    seen: set[str] = set()
    for key, _ in pairs:
        if key in seen:
            break
        seen.add(key)
    raise ValueError(f"its JSON has the key {key[:80]!r} twice")


def _no_constant(name: str) -> object:
    raise ValueError(f"its JSON holds {name}, which is no JSON value")


class _Rules:
    """What a scanner of JSON asks for."""

    strict, object_hook, object_pairs_hook = True, None, staticmethod(_object)
    parse_float, parse_int, parse_constant = float, int, staticmethod(_no_constant)


def _scanner() -> Any:
    """Takes a text and where to begin, gives a value and where it ends."""
    rules: Any = _Rules
    try:
        from _json import make_scanner  # json would load re and more around it: 6 ms
    except ImportError:
        from json import JSONDecoder

        decoder: Any = JSONDecoder(object_pairs_hook=_object, parse_constant=_no_constant)
        return decoder.scan_once
    return make_scanner(rules)


_scan = _scanner()
