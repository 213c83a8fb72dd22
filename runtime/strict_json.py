"""Turns the bytes of a JSON text into plain values, refusing what good files never hold."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


def parse(data: bytes | memoryview) -> object:
    """The value of a UTF-8 JSON text.

    Unlike `json.loads` it refuses duplicate keys, NaN and infinities, lone surrogates and text
    that is not UTF-8. Raises ValueError, whose text says what is wrong, and nothing else.
    """
    import json

    try:
        text = str(data, "utf-8")
        value = json.loads(text, object_pairs_hook=_object, parse_constant=_no_constant)
        if "\\u" in text:
            # An escape may name half of a surrogate pair, which could never be printed.
            json.dumps(value, ensure_ascii=False).encode()
    except json.JSONDecodeError as error:
        raise ValueError(f"its JSON is broken at character {error.pos}: {error.msg}") from None
    except UnicodeDecodeError:
        raise ValueError("its JSON is not UTF-8") from None
    except UnicodeEncodeError:
        raise ValueError("its JSON holds half of a surrogate pair") from None
    except RecursionError:
        raise ValueError("its JSON is nested too deep") from None
    return value


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
