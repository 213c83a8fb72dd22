"""ggml's CPU backend, as llama-cpp-python carries it: products, row operations and attention.

Weights go where llama.cpp puts them: to the first buffer type of the backend that lays them out for
a product of theirs (AMX, repacked), else to plain memory. Activations are float32, and quantised
products round them to 8 bits.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
from ctypes import c_bool, c_char_p, c_float, c_int, c_int64, c_size_t, c_void_p
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.cases import Case, inputs, packed

THREADS = int(os.environ["OMP_NUM_THREADS"])
# enum ggml_type
TYPES = {"f32": 0, "f16": 1, "q4_0": 2, "q8_0": 8, "q4_k": 12, "q6_k": 14}


class InitParams(ctypes.Structure):
    """struct ggml_init_params"""

    _fields_ = (("size", c_size_t), ("memory", c_void_p), ("no_alloc", c_bool))


def _libraries() -> dict[str, ctypes.CDLL]:
    spec = importlib.util.find_spec("llama_cpp")
    if spec is None or spec.origin is None:
        raise ImportError("llama-cpp-python is not installed")
    folder = Path(spec.origin).parent / "lib"
    names = ("ggml-base", "ggml-cpu")
    return {n: ctypes.CDLL(str(folder / f"lib{n}.so"), ctypes.RTLD_GLOBAL) for n in names}


_LIBRARIES = _libraries()


def _function(name: str, result: Any, *arguments: Any) -> Any:
    for library in _LIBRARIES.values():
        if hasattr(library, name):
            function = getattr(library, name)
            function.restype, function.argtypes = result, arguments
            return function
    raise ImportError(f"ggml has no {name}")


P = c_void_p
_init = _function("ggml_init", P, InitParams)
_new_tensor = _function("ggml_new_tensor", P, P, c_int, c_int, ctypes.POINTER(c_int64))
_new_graph = _function("ggml_new_graph", P, P)
_expand = _function("ggml_build_forward_expand", None, P, P)
_backend = _function("ggml_backend_cpu_init", P)()
_function("ggml_backend_cpu_set_n_threads", None, P, c_int)(_backend, THREADS)
_compute = _function("ggml_backend_graph_compute", c_int, P, P)
_plain = _function("ggml_backend_cpu_buffer_type", P)()
_alloc = _function("ggml_backend_alloc_ctx_tensors_from_buft", P, P, P)
_set = _function("ggml_backend_tensor_set", None, P, P, c_size_t, c_size_t)
_get = _function("ggml_backend_tensor_get", None, P, P, c_size_t, c_size_t)
_device = _function("ggml_backend_get_device", P, P)(_backend)
_supports = _function("ggml_backend_dev_supports_op", c_bool, P, P)
_free = _function("ggml_free", None, P)
_free_buffer = _function("ggml_backend_buffer_free", None, P)


def _layouts() -> list[int]:
    """The buffer types that lay weights out in their own way, best first, then plain memory."""
    registry = _function("ggml_backend_dev_backend_reg", P, P)(_device)
    find = _function("ggml_backend_reg_get_proc_address", P, P, c_char_p)
    address = find(registry, b"ggml_backend_dev_get_extra_bufts")
    found = []
    if address:
        kinds = ctypes.CFUNCTYPE(ctypes.POINTER(P), P)(address)(_device)
        at = 0
        while kinds and kinds[at]:
            found.append(kinds[at])
            at += 1
    return [*found, _plain]


def version() -> str:
    return f"ggml of llama-cpp-python {metadata.version('llama-cpp-python')}"


class _Memory:
    """A context and the buffer behind its tensors, freed together."""

    def __init__(self) -> None:
        self.context = _init(InitParams(1 << 20, None, True))
        self.buffer: int | None = None

    def tensor(self, kind: str, shape: tuple[int, ...]) -> int:
        """A tensor of numpy's shape; ggml counts axes from the innermost."""
        dims = (c_int64 * len(shape))(*reversed(shape))
        return _new_tensor(self.context, TYPES[kind], len(shape), dims)

    def allocate(self, layout: int) -> bool:
        self.buffer = _alloc(self.context, layout)
        return bool(self.buffer)

    def __del__(self) -> None:
        if self.buffer:
            _free_buffer(self.buffer)
        _free(self.context)


def _fill(tensor: int, data: np.ndarray[Any, Any]) -> None:
    data = np.ascontiguousarray(data)
    _set(tensor, data.ctypes.data, 0, data.nbytes)


def prepare(case: Case, folder: Path) -> Any:
    if case.kind == "product":
        return _product(case, folder)
    if case.kind == "attention":
        return _attention(case)
    if case.kind in ("softmax", "rms_norm", "layer_norm", "gelu", "silu_mul"):
        return _row(case)
    return None


def _runs(result: int, shape: tuple[int, ...], memory: _Memory, *weights: _Memory) -> Any:
    graph = _new_graph(memory.context)
    _expand(graph, result)
    memory.allocate(_plain)

    def run(kept: Any = (memory, *weights)) -> None:
        if _compute(_backend, graph):
            raise RuntimeError("ggml does not compute this")

    def found() -> np.ndarray[Any, Any]:
        out = np.empty(shape, np.float32)
        _get(result, out.ctypes.data, 0, out.nbytes)
        return out

    return run, found


_name = _function("ggml_backend_buft_name", c_char_p, P)
_mul_mat = _function("ggml_mul_mat", P, P, P, P)


def _product(case: Case, folder: Path) -> Any:
    m, k, n, form = (case.sizes[name] for name in ("m", "k", "n", "form"))
    data = packed(case, folder)
    for layout in _layouts():
        if m > 1 and _name(layout) == b"AMX":
            continue  # its products of tiles end the process, in release 0.3.36
        weights, memory = _Memory(), _Memory()
        w, x = weights.tensor(form, (n, k)), memory.tensor("f32", (m, k))
        product = _mul_mat(memory.context, w, x)
        # a layout says by its buffer whether it takes the weights of this product
        if weights.allocate(layout) and _supports(_device, product):
            break
    _fill(w, data)
    run = _runs(product, (m, n), memory, weights)
    _fill(x, inputs(case)["x"])
    return run


_UNARY = {
    "softmax": _function("ggml_soft_max", P, P, P),
    "gelu": _function("ggml_gelu", P, P, P),
    "rms_norm": _function("ggml_rms_norm", P, P, P, c_float),
    "layer_norm": _function("ggml_norm", P, P, P, c_float),
}
_swiglu = _function("ggml_swiglu_split", P, P, P, P)
_mul = _function("ggml_mul", P, P, P, P)
_add = _function("ggml_add", P, P, P, P)


def _row(case: Case) -> Any:
    given, memory = inputs(case), _Memory()
    context = memory.context
    tensors = {name: memory.tensor("f32", value.shape) for name, value in given.items()}
    x = tensors["x"]
    match case.kind:
        case "silu_mul":
            out = _swiglu(context, x, tensors["y"])
        case "rms_norm":
            out = _mul(context, _UNARY["rms_norm"](context, x, 1e-6), tensors["w"])
        case "layer_norm":
            out = _mul(context, _UNARY["layer_norm"](context, x, 1e-5), tensors["w"])
            out = _add(context, out, tensors["b"])
        case _:
            out = _UNARY[case.kind](context, x)
    run = _runs(out, given["x"].shape, memory)
    for name, value in given.items():
        _fill(tensors[name], value)
    return run


_flash = _function("ggml_flash_attn_ext", P, P, P, P, P, P, c_float, c_float, c_float)


def _attention(case: Case) -> Any:
    """Keys and values in float16, as in llama.cpp's cache."""
    sizes, memory = case.sizes, _Memory()
    q, k, v = (value.transpose(1, 0, 2) for value in inputs(case).values())
    tensors = [memory.tensor("f32", q.shape), memory.tensor("f16", k.shape)]
    tensors.append(memory.tensor("f16", v.shape))
    mask = None
    rows = (sizes["q"], sizes["keys"])
    if sizes["causal"]:
        mask = memory.tensor("f16", rows)
    scale = sizes["d"] ** -0.5
    out = _flash(memory.context, *tensors, mask, scale, 0.0, 0.0)
    run = _runs(out, (sizes["q"], sizes["heads"], sizes["d"]), memory)
    for tensor, value in zip(tensors, (q, k, v), strict=True):
        _fill(tensor, value if tensor is tensors[0] else value.astype(np.float16))
    if mask is not None:
        _fill(mask, np.triu(np.full(rows, -np.inf, np.float16), 1))
    return run
