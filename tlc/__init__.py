"""tlc: an ahead-of-time compiler from TensorLogic to Metal Shading Language."""

import os.path

__version__ = "0.1.0"

# In a checkout the stages stand beside this folder; in an installed tlc they stand inside it.
_checkout = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
if os.path.isfile(os.path.join(_checkout, "pyproject.toml")) and os.path.isdir(
    os.path.join(_checkout, "frontend")
):
    __path__.append(_checkout)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tlc.api import Model, compile, load
    from tlc.frontend.diagnostics import CompileError
    from tlc.runtime.errors import RunError

# name -> the module it comes from; imported on first use, so that `import tlc` costs nothing
_PUBLIC = {
    "CompileError": "tlc.frontend.diagnostics",
    "Model": "tlc.api",
    "RunError": "tlc.runtime.errors",
    "compile": "tlc.api",
    "load": "tlc.api",
}
__all__ = ["CompileError", "Model", "RunError", "compile", "load"]


def __getattr__(name: str) -> object:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'tlc' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_PUBLIC[name]), name)
