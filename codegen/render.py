"""Jinja templates and what they ask for in, tidy kernel text out; the one importer of jinja2."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from typing import Any

import jinja2

_NOTHING = "\0"  # stands for a list without statements: its line disappears


def _lines(statements: Sequence[str], width: int) -> str:
    """Statements one to a line, for a place that is indented by `width`."""
    return ("\n" + " " * width).join(statements) or _NOTHING


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("tlc.templates", ""),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.filters["lines"] = _lines
    return environment


def render(template: str, **context: Any) -> str:
    """The text of `templates/<template>.metal.j2`, without blank lines at its ends or in pairs."""
    text = _environment().get_template(f"{template}.metal.j2").render(**context)
    text = re.sub(rf"^ *{_NOTHING}\n", "", text, flags=re.MULTILINE)
    text = re.sub(r"[ \t]+$", "", text, flags=re.MULTILINE)
    return re.sub(r"\n{3,}", "\n\n", text).strip("\n")
