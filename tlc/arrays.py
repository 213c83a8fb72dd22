"""Where numpy arrays cross into a program and back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tlc.runtime.errors import RunError

NUMPY = {"f16": np.float16, "f32": np.float32, "i32": np.int32, "bool": np.bool_}
DTYPES = {name: np.dtype(type) for name, type in NUMPY.items()}
_SPELLED = {"f16": "float16", "f32": "float32", "i32": "int", "bool": "bool"}


def as_array(value: Any, param: dict[str, Any], entry: str) -> np.ndarray[Any, Any]:
    """An argument as a dense array of the parameter's dtype.

    Anything with `__array__` or DLPack, or nested lists. Floats of another width are rounded; a
    finite number that float16 cannot hold, integers for floats and floats for integers are errors
    (E0504).
    """
    wanted = DTYPES[param["dtype"]]
    if type(value) is np.ndarray and value.dtype is wanted and value.flags.c_contiguous:
        return value
    where = f"`{param['name']}` of `{entry}`"
    array = _read(value, where)
    if array.dtype.name == "bfloat16" and wanted.kind == "f":
        array = array.astype(np.float32)
    listed = not hasattr(value, "dtype")  # numbers of a list have no width of their own
    same_kind = array.dtype.kind == wanted.kind or (
        wanted.kind == "f" and listed and array.dtype.kind in "iu"
    )
    if not same_kind:
        raise RunError(
            "E0504",
            f"{where} is {_SPELLED[param['dtype']]}, and the argument is {array.dtype}",
            "convert it first, as with `.astype`",
        )
    if array.dtype != wanted:
        with np.errstate(over="ignore"):
            stored = array.astype(wanted)
        beyond = np.isinf(stored) & np.isfinite(array)
        lost = beyond if wanted.kind == "f" else stored != array
        if lost.any():
            at = tuple(int(i) for i in np.argwhere(lost)[0])
            raise RunError(
                "E0504",
                f"{where}: {array[at]} at {list(at)} does not fit {_SPELLED[param['dtype']]}",
            )
        array = stored
    return np.ascontiguousarray(array).reshape(array.shape)


def _read(value: Any, where: str) -> np.ndarray[Any, Any]:
    """An argument as NumPy reads it. PyTorch's tensors come without their history, and of bfloat16,
    which NumPy does not have, as float32."""
    if hasattr(value, "detach"):
        value = value.detach()
    if str(getattr(value, "dtype", "")) == "torch.bfloat16":
        value = value.float()
    try:
        if hasattr(value, "__dlpack__") and not hasattr(value, "__array__"):
            value = np.from_dlpack(value)
        return np.asarray(value)
    except (TypeError, ValueError, RuntimeError, BufferError) as problem:
        raise RunError("E0504", f"{where} cannot be read as an array: {problem}") from problem


def read_npy(path: str) -> np.ndarray[Any, Any]:
    """The array of a .npy file. Raises RunError E0601."""
    try:
        with open(path, "rb") as file:
            start = file.read(6)
            file.seek(0)
            if start == b"\x93NUMPY":
                return np.lib.format.read_array(file, allow_pickle=False)
    except (OSError, ValueError) as problem:
        reason = getattr(problem, "strerror", None) or str(problem)
        raise RunError("E0601", f"{path} cannot be read as .npy: {reason}") from problem
    what = "a .npz, which holds several arrays" if start[:2] == b"PK" else "no .npy file"
    hint = "`numpy.save(path, array)` writes one"
    raise RunError("E0601", f"{path} cannot be read as .npy: it is {what}", hint)


def from_files(items: Sequence[str], entry: Any) -> list[np.ndarray[Any, Any]]:
    """The arguments of an entry from `NAME=FILE.npy` texts, in the order of its parameters.

    Raises RunError E0504 for a name that is missing or unknown, E0601 for a file that is no .npy.
    """
    given: dict[str, np.ndarray[Any, Any]] = {}
    for item in items:
        name, equals, path = item.partition("=")
        if not equals:
            raise RunError("E0504", f"`{item}` is not NAME=FILE.npy")
        if name in given:
            raise RunError("E0504", f"`{name}` of `{entry.name}` is given twice")
        given[name] = read_npy(path)
    names = [p["name"] for p in entry.params]
    unknown = [name for name in given if name not in names]
    for name in [*unknown, *(n for n in names if n not in given)]:
        what = "is missing" if name in names else "is no parameter"
        raise RunError(
            "E0504",
            f"`{name}` of `{entry.name}` {what}",
            f"its parameters are {', '.join(names) or 'none'}: give each as NAME=FILE.npy",
        )
    return [given[name] for name in names]


def call(
    program: Any,
    entry: Any,
    args: Sequence[Any],
    write: Callable[[str], object],
    full: bool = False,
) -> list[np.ndarray[Any, Any]]:
    """The results of an entry, as new arrays. Raises RunError E0504, E0505."""
    if len(args) != len(entry.params):
        entry.sizes([()] * len(args))
    arrays = [as_array(a, p, entry.name) for a, p in zip(args, entry.params, strict=True)]
    with program.lock:
        return [
            np.frombuffer(data, DTYPES[dtype]).reshape(shape).copy()
            for data, dtype, shape in program.call(entry, arrays, write, full)
        ]


def write_npy(path: str, array: np.ndarray[Any, Any]) -> None:
    """Write a .npy file, which replaces an older one as a whole. Raises RunError E0606."""
    from tlc.runtime.save import replacing

    with replacing(path) as temporary, open(temporary, "wb") as file:
        np.save(file, array)
