"""The swizzles that a text uses, as properties for the vector classes of native/vectors.h."""

from __future__ import annotations

import re

_USED = re.compile(r"\.\s*([xyzw]{2,4}|[rgba]{1,4})\b")


def swizzles(code: str) -> str:
    """The definition of TLC_SWIZZLES: `v.xy`, `v.bgra` and so on, as one line."""
    names = sorted(set(_USED.findall(code)))
    return "#define TLC_SWIZZLES " + " ".join(map(_property, names)) + "\n"


def _property(name: str) -> str:
    letters = "xyzw" if name[0] in "xyzw" else "rgba"
    places = [letters.index(letter) for letter in name]
    if len(places) == 1:
        return f"TLC_ELEMENT({name}, {places[0]})"
    vector = f"vec<T, {len(places)}>"
    elements = ", ".join(f"e[{i}]" for i in places)
    get = f"constexpr {vector} get_{name}() const {{ return {vector}({elements}); }}"
    if len(set(places)) < len(places):  # can be read only
        return f"{get} __declspec(property(get = get_{name})) {vector} {name};"
    stores = " ".join(f"e[{i}] = v.e[{k}];" for k, i in enumerate(places))
    put = f"constexpr void put_{name}({vector} v) {{ {stores} }}"
    return f"{get} {put} __declspec(property(get = get_{name}, put = put_{name})) {vector} {name};"
