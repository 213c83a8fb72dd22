"""What is measured against the peers: cases, their programs, and the numbers they work on.

Every worker makes the same numbers from the same seed; all of them are values of float16, so that
peers in float32 and programs in float16 start from equal numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import efficientnet

PROGRAMS = Path(__file__).parent / "programs"
EXAMPLES = Path(__file__).parent.parent / "examples"
LAYERS, _WORDS = 6, 30_522  # of all-MiniLM-L6-v2
FORMATS = ("f16", "q8_0", "q4_0", "q4_k", "q6_k")


@dataclass(frozen=True, slots=True)
class Case:
    """One row of the table. `sizes` are what its kind needs; `shared` runs on two threads too."""

    group: str
    name: str
    kind: str
    sizes: dict[str, Any]
    shared: bool = False

    @property
    def key(self) -> str:
        return f"{self.group}: {self.name}"


def cases() -> list[Case]:
    """All cases, in the order of the table."""
    found = [
        Case("network", "linear 4x3x2, a call", "linear", {"call": True}),
        Case("network", "linear 4x3x2, launched", "linear", {"call": False}),
        Case("network", "MLP 784-1024-1024-10, batch 1", "mlp", {"n": 1}, True),
        Case("network", "MLP 784-1024-1024-10, batch 64", "mlp", {"n": 64}, True),
        Case("network", "encoder layer, 128 tokens", "encoder", {"n": 128}, True),
        Case("network", "MiniLM, 128 tokens", "minilm", {"b": 1, "n": 128}, True),
        Case("network", "MiniLM, 32 of 128 tokens", "minilm", {"b": 32, "n": 128}, True),
        Case("network", "EfficientNet-lite0, 224x224", "efficientnet", {}, True),
    ]

    def add(group: str, name: str, kind: str, shared: bool = False, **sizes: Any) -> None:
        found.append(Case(group, name, kind, sizes, shared))

    for n in (4096, 14336):
        for form in FORMATS:
            add("GEMV", f"{n}x4096 {form}", "product", n == 4096, m=1, k=4096, n=n, form=form)
    for n, k in ((640, 2048), (262144, 640)):  # of a small language model: a layer, and its logits
        for form in FORMATS[:2]:
            add("GEMV", f"{n}x{k} {form}", "product", m=1, k=k, n=n, form=form)
    for m, k, n in ((512, 512, 512), (1024, 1024, 1024), (128, 2048, 2048), (127, 2049, 1025)):
        for form in FORMATS[:3]:
            if form == "f16" or k % 32 == 0:
                add("GEMM", f"{m}x{k}x{n} {form}", "product", m == 1024, m=m, k=k, n=n, form=form)
    for m in (2, 4, 8, 16):
        for form in ("f16", "q8_0", "q4_0", "q4_k"):
            add("batch", f"{m}x4096x4096 {form}", "product", m=m, k=4096, n=4096, form=form)
    for d in (64, 128):
        for heads, keys in ((32, 4), (32, 32)):
            for causal in (True, False):
                name = f"512 tokens, {heads}/{keys} heads of {d}{', causal' if causal else ''}"
                one = {"heads": heads, "groups": keys, "d": d, "causal": causal}
                add("attention", name, "attention", d == 64, q=512, keys=512, **one)
            name = f"1 token, 2048 keys, {heads}/{keys} heads of {d}"
            one["causal"] = False
            add("attention", name, "attention", q=1, keys=2048, **one)
    for kind in EXPRESSIONS:
        for width in (4096, 32000):
            add("rows", f"{kind} 256x{width}", kind, n=256, d=width)
    return found


# What a row case computes, of x and where needed y [N, D], w and b [D], ids [N].
EXPRESSIONS = {
    "softmax": "softmax(x)",
    "rms_norm": "rms_norm(x, w)",
    "layer_norm": "layer_norm(x, w, b)",
    "gelu": "gelu(x)",
    "silu_mul": "silu(x) * y",
    "sum": "sum(x, 1)",
    "argmax": "argmax(x, 1)",
    "transpose": "transpose(x)",
    "gather": "gather(x, ids)",
}
_TYPES = {
    "x": "float16[N, D]",
    "y": "float16[N, D]",
    "w": "float16[D]",
    "b": "float16[D]",
    "ids": "int[N]",
}


def program(case: Case, folder: Path) -> tuple[str, str]:
    """The text of the case's program in TensorLogic, and the entry that is measured."""
    sizes = case.sizes
    if case.kind in ("linear", "mlp", "encoder", "minilm"):
        text = (PROGRAMS / f"{case.kind}.tl").read_text()
        return text.replace('"weights.', f'"{folder}/{case.kind}.'), "forward"
    if case.kind == "efficientnet":
        text = (EXAMPLES / "efficientnet_lite0.tl").read_text()
        return text.replace('"efficientnet_lite0.', f'"{folder}/efficientnet.'), "classify"
    if case.kind == "product":
        shape = f"{sizes['m']}, {sizes['k']}"
        model = f'model = load_model("{matrix(case, folder)}")'
        return f"{model}\nfn f(x: float16[{shape}]) {{ linear(x, model.w) }}\n", "f"
    if case.kind == "attention":
        q, keys = sizes["q"], sizes["keys"]
        mask = f", causal_mask({q})" if sizes["causal"] else ""
        heads, groups, d = sizes["heads"], sizes["groups"], sizes["d"]
        types = f"q: float16[{q}, {heads}, {d}]"
        types += "".join(f", {name}: float16[{keys}, {groups}, {d}]" for name in "kv")
        return f"fn f({types}) {{ attention(q, k, v{mask}) }}\n", "f"
    shape = f"{sizes['n']}, {sizes['d']}"
    names = list(inputs(case))
    types = ", ".join(f"{name}: {_TYPES[name]}" for name in names)
    types = types.replace("N, D", shape).replace("[N]", f"[{sizes['n']}]")
    types = types.replace("[D]", f"[{sizes['d']}]")
    return f"fn f({types}) {{ {EXPRESSIONS[case.kind]} }}\n", "f"


def inputs(case: Case) -> dict[str, np.ndarray[Any, Any]]:
    """The arguments by name: float32 arrays of float16 values, and int32 ids."""
    rng, sizes = np.random.default_rng(3), case.sizes

    def normal(*shape: int) -> np.ndarray[Any, Any]:
        return _rounded(rng.standard_normal(shape, np.float32))

    match case.kind:
        case "linear":
            return {"input": normal(4, 3), "weights": normal(3, 2), "bias": normal(2)}
        case "mlp":
            return {"x": normal(sizes["n"], 784)}
        case "encoder":
            return {"x": normal(sizes["n"], 384)}
        case "minilm":
            shape = (sizes["b"], sizes["n"])
            return {"ids": rng.integers(0, _WORDS, shape, np.int32)}
        case "efficientnet":
            shape = (3, efficientnet.SIZE, efficientnet.SIZE)
            return {"image": rng.integers(0, 256, shape).astype(np.float32)}
        case "product":
            return {"x": normal(sizes["m"], sizes["k"])}
        case "attention":
            kv = (sizes["keys"], sizes["groups"], sizes["d"])
            q = normal(sizes["q"], sizes["heads"], sizes["d"])
            return {"q": q, "k": normal(*kv), "v": normal(*kv)}
    n, d = sizes["n"], sizes["d"]
    found = {"x": normal(n, d)}
    if case.kind == "silu_mul":
        found["y"] = normal(n, d)
    if case.kind in ("rms_norm", "layer_norm"):
        found["w"] = normal(d)
    if case.kind == "layer_norm":
        found["b"] = normal(d)
    if case.kind == "gather":
        found["ids"] = rng.integers(0, n, n, np.int32)
    return found


def weights(kind: str) -> dict[str, np.ndarray[Any, Any]]:
    """The weights of a network by name, as float32; of the MLP and the encoder with `x`, an input
    for their cold start.

    Matrices are [out, in], as PyTorch and SafeTensors files of Hugging Face have them.
    """
    if kind == "efficientnet":
        return {name: _rounded(value) for name, value in efficientnet.weights().items()}
    rng = np.random.default_rng(7)
    if kind == "mlp":
        dims, shapes = (784, 1024, 1024, 10), {}
        for at in range(3):
            shapes[f"w{at}"], shapes[f"b{at}"] = (dims[at + 1], dims[at]), (dims[at + 1],)
        shapes["x"] = (1, 784)
    elif kind == "encoder":
        shapes = {**_layer(), "x": (128, 384)}
    else:
        shapes = {"words": (_WORDS, 384), "places": (512, 384), "gain": (384,), "shift": (384,)}
        for at in range(LAYERS):
            shapes |= {f"layer.{at}.{name}": shape for name, shape in _layer().items()}
    made = {}
    for name, shape in shapes.items():
        values = rng.standard_normal(shape, np.float32)
        last = name.rpartition(".")[2]
        if len(shape) == 2 and last.startswith("w") and last != "words":
            values /= np.float32(shape[1] ** 0.5)
        elif len(shape) == 1:
            values = values * np.float32(0.1) + np.float32(last.startswith("gain"))
        made[name] = _rounded(values)
    return made


def _layer() -> dict[str, tuple[int, ...]]:
    """The shapes of an encoder layer's weights."""
    shapes: dict[str, tuple[int, ...]] = {f"w{part}": (384, 384) for part in "qkvo"}
    shapes |= {"wup": (1536, 384), "wdown": (384, 1536)}
    shapes |= {f"b{name[1:]}": (shape[0],) for name, shape in shapes.items()}
    return shapes | dict.fromkeys(("gain0", "shift0", "gain1", "shift1"), (384,))


def weight_file(kind: str, folder: Path) -> Path:
    """The SafeTensors file of a network's weights in float16, made where it is missing."""
    path = folder / f"{kind}.safetensors"
    if not path.exists():
        from safetensors.numpy import save_file

        made = {name: value.astype(np.float16) for name, value in weights(kind).items()}
        save_file(made, path)
    return path


# ---- matrices in GGUF files ---------------------------------------------------------------------

# Of a block: its numbers, its bytes, and where its float16 scales lie. The bits of the numbers are
# random; a scale is chosen so that weights are about as large as those of a network.
_BLOCKS = {"q8_0": (32, 34, (0,)), "q4_0": (32, 18, (0,)), "q4_k": (256, 144, (0, 2))}
_BLOCKS["q6_k"] = (256, 210, (208,))
_SCALES = {"q8_0": 2e-4, "q4_0": 3e-3, "q4_k": 1e-4, "q6_k": 1e-5}


def matrix(case: Case, folder: Path) -> Path:
    """A GGUF file with the tensor `w` [n, k] of a product, made where it is missing."""
    n, k, form = case.sizes["n"], case.sizes["k"], case.sizes["form"]
    path = folder / f"{n}x{k}.{form}.gguf"
    if not path.exists():
        import gguf

        writer = gguf.GGUFWriter(path, "matrix")
        rng = np.random.default_rng(n + k)
        if form == "f16":
            values = rng.standard_normal((n, k), np.float32) / np.float32(k**0.5)
            writer.add_tensor("w", values.astype(np.float16))
        else:
            numbers, nbytes, scales = _BLOCKS[form]
            data = rng.integers(0, 256, (n, k // numbers, nbytes), np.uint8)
            for at in scales:
                scale = np.array([_SCALES[form]], np.float16).view(np.uint8)
                data[:, :, at : at + 2] = scale
            kind = gguf.GGMLQuantizationType[form.upper()]
            writer.add_tensor("w", data.reshape(n, -1), raw_dtype=kind)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
    return path


def packed(case: Case, folder: Path) -> np.ndarray[Any, Any]:
    """The matrix as it lies in the file: float16 [n, k], or the bytes of its blocks by rows."""
    import gguf

    return gguf.GGUFReader(matrix(case, folder)).tensors[0].data


def unpacked(case: Case, folder: Path) -> np.ndarray[Any, Any]:
    """The matrix in float32, [n, k]."""
    import gguf

    tensor = gguf.GGUFReader(matrix(case, folder)).tensors[0]
    return gguf.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)


def _rounded(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return values.astype(np.float16).astype(np.float32)
