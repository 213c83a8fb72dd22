"""Where packages that `make models` installs keep their files; a test without them is skipped."""

from importlib.util import find_spec
from pathlib import Path

import pytest


def folder_of(package: str) -> Path:
    """The folder of an installed package, which is not imported."""
    found = find_spec(package)
    if found is None or found.origin is None:
        pytest.skip(f"{package} is not installed: make models")
    return Path(found.origin).parent
