"""A program's function to a Core ML package: chooses it, and brings the weights of its models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tlc import driver
from tlc.codegen import coreml
from tlc.frontend.diagnostics import Diagnostic, error
from tlc.ir.core import Func, Module, Op
from tlc.ir.passes.cleanup import cse, dce

# block-quantised encodings that Core ML unpacks itself: numbers in a block, bits of each
_BLOCKS = {"q8_0": (32, 8), "q4_0": (32, 4)}


def export(path: str, output: str, entry: str | None, seed: int) -> tuple[Diagnostic, ...]:
    """Write an entry of the program at `path` as a package; its warnings.

    Raises CompileError for what is wrong with the program, E0611 for what Core ML cannot take,
    E0612 without coremltools, and E0104 when the package cannot be written.
    """
    if not output.endswith(".mlpackage"):
        raise error("E0104", f"{output}: a Core ML package has a name that ends in .mlpackage")
    built, models = driver.whole(path, coreml.KEPT, seed)
    assert built.module is not None
    func = _chosen(built.module, entry)
    cse(func)
    dce(func)
    files = [models[ref.path] for ref in built.module.models]
    coreml.export(func, lambda op: _weight(files, op), output)
    return built.warnings


def _chosen(module: Module, entry: str | None) -> Func:
    """The entry that is exported: the one asked for, or the only one that gives something."""
    names = [func.name for func in module.funcs if func.results]
    if entry is None and len(names) == 1:
        entry = names[0]
    if entry is None or entry not in names:
        text = f"no entry `{entry}` has a result" if entry else "which function is to be exported?"
        listed = ", ".join(names) or "none"
        raise error(
            "E0611", text, hint=f"--entry NAME chooses one; functions with results: {listed}"
        )
    return module.func(entry)


def _weight(files: list[Any], op: Op) -> Any:
    """The numbers of a weight, or the blocks that it is stored in."""
    import numpy as np

    from tlc.runtime.decode import floats
    from tlc.runtime.model_file import tensor

    attrs: Mapping[str, Any] = op.attrs
    file = files[attrs["model"]]
    found, data = tensor(file, attrs["tensor"]), file.view(attrs["tensor"])
    shape = tuple(map(int, op.result.tensor.shape))
    if attrs["stored"] not in _BLOCKS or not shape or shape[-1] % _BLOCKS[attrs["stored"]][0]:
        return floats(found, data, op.result.tensor.dtype).reshape(shape)
    block, bits = _BLOCKS[attrs["stored"]]
    raw = np.frombuffer(data, np.uint8).reshape(-1, 2 + block * bits // 8)
    scales = raw[:, :2].copy().view("<f2").reshape(*shape[:-1], -1)
    if bits == 8:
        numbers = raw[:, 2:].view(np.int8)
    else:  # the lower halves of the bytes come first, and 8 stands for 0
        halves = np.concatenate([raw[:, 2:] & 15, raw[:, 2:] >> 4], axis=1)
        numbers = halves.astype(np.int8) - np.int8(8)
    return coreml.Blocks(numbers.reshape(shape), scales, bits)
