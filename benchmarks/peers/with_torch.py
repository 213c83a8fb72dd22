"""PyTorch without gradients, as users call it, in float32."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional

from benchmarks import efficientnet
from benchmarks.cases import LAYERS, Case, inputs, unpacked, weights

torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
torch.set_grad_enabled(False)


def version() -> str:
    return f"torch {torch.__version__}"


def prepare(case: Case, folder: Path, dtype: torch.dtype = torch.float32) -> Any:
    work = _work(case, folder, dtype)
    kept: list[Any] = [None]

    def run() -> None:
        kept[0] = work()

    return run, lambda: kept[0].float().numpy() if kept[0].is_floating_point() else kept[0].numpy()


def _work(case: Case, folder: Path, dtype: torch.dtype) -> Any:
    def tensor(value: Any) -> torch.Tensor:
        made = torch.from_numpy(value)
        return made.to(dtype) if made.is_floating_point() else made

    given = {name: tensor(value) for name, value in inputs(case).items()}
    x, width = given.get("x"), (case.sizes.get("d"),)
    match case.kind:
        case "linear":
            return lambda: torch.addmm(given["bias"], given["input"], given["weights"])
        case "mlp" | "encoder" | "minilm":
            w = {name: tensor(value) for name, value in weights(case.kind).items()}
            if case.kind == "minilm":
                return _minilm(given["ids"], w)
            return (_mlp if case.kind == "mlp" else _encoder)(x, w)
        case "efficientnet":
            layers = _Layers({name: tensor(v) for name, v in weights(case.kind).items()})
            return lambda: efficientnet.classify(layers, given["image"])
        case "product":
            w = tensor(unpacked(case, folder))
            return lambda: functional.linear(x, w)
        case "attention":
            return _attention(given, case.sizes)
        case "softmax":
            return lambda: functional.softmax(x, -1)
        case "rms_norm":
            return lambda: functional.rms_norm(x, width, given["w"], 1e-6)
        case "layer_norm":
            return lambda: functional.layer_norm(x, width, given["w"], given["b"])
        case "gelu":
            return lambda: functional.gelu(x, approximate="tanh")
        case "silu_mul":
            return lambda: functional.silu(x).mul_(given["y"])
        case "sum":
            return lambda: x.sum(1)
        case "argmax":
            return lambda: x.argmax(1)
        case "transpose":
            return lambda: x.T.contiguous()
        case "gather":
            return lambda: torch.index_select(x, 0, given["ids"])
    raise ValueError(case.kind)


def _attention(given: Any, sizes: dict[str, Any]) -> Any:
    q, k, v = (t.transpose(0, 1)[None].contiguous() for t in given.values())
    shared = sizes["heads"] != sizes["groups"]

    def run() -> torch.Tensor:
        out = functional.scaled_dot_product_attention(
            q, k, v, is_causal=sizes["causal"], enable_gqa=shared
        )
        return out[0].transpose(0, 1)

    return run


def _mlp(x: Any, w: Any) -> Any:
    def run() -> torch.Tensor:
        first = functional.relu_(functional.linear(x, w["w0"], w["b0"]))
        second = functional.relu_(functional.linear(first, w["w1"], w["b1"]))
        return functional.linear(second, w["w2"], w["b2"])

    return run


class _Layers:
    """The layers of a convolutional network, each as users call it."""

    def __init__(self, w: dict[str, torch.Tensor]) -> None:
        self.w = w

    def scaled(self, image: torch.Tensor) -> torch.Tensor:
        return image.sub(127).div_(128)[None]

    def convolved(
        self,
        x: torch.Tensor,
        name: str,
        norm: str,
        step: int,
        pads: tuple[int, int],
        groups: int,
        limit: bool,
    ) -> torch.Tensor:
        if pads[0] != pads[1]:
            x, pads = functional.pad(x, (*pads, *pads)), (0, 0)
        y = functional.conv2d(x, self.w[f"{name}.weight"], None, step, pads[0], 1, groups)
        parts = ("running_mean", "running_var", "weight", "bias")
        by = (self.w[f"{norm}.{part}"] for part in parts)
        y = functional.batch_norm(y, *by, eps=efficientnet.EPSILON)
        return functional.hardtanh_(y, 0, 6) if limit else y

    def added(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return x + y

    def classes(self, x: torch.Tensor) -> torch.Tensor:
        return functional.linear(x.mean((2, 3)), self.w["_fc.weight"], self.w["_fc.bias"])


def _layer(x: torch.Tensor, w: Any, name: str = "") -> torch.Tensor:
    """An encoder layer on [batch, tokens, 384], its weights below a name."""

    def linear(y: Any, part: str) -> torch.Tensor:
        return functional.linear(y, w[f"{name}w{part}"], w[f"{name}b{part}"])

    def heads(y: Any) -> torch.Tensor:
        return y.view(*y.shape[:2], 12, 32).transpose(1, 2)

    def norm(y: Any, at: int) -> torch.Tensor:
        return functional.layer_norm(y, (384,), w[f"{name}gain{at}"], w[f"{name}shift{at}"])

    q, k, v = (heads(linear(x, part)) for part in "qkv")
    mixed = functional.scaled_dot_product_attention(q, k, v).transpose(1, 2)
    y = norm(x + linear(mixed.reshape(x.shape), "o"), 0)
    return norm(y + linear(functional.gelu(linear(y, "up")), "down"), 1)


def _encoder(x: Any, w: Any) -> Any:
    return lambda: _layer(x[None], w)[0]


def _minilm(ids: Any, w: Any) -> Any:
    def run() -> torch.Tensor:
        x = functional.embedding(ids, w["words"]) + w["places"][: ids.shape[1]]
        x = functional.layer_norm(x, (384,), w["gain"], w["shift"])
        for at in range(LAYERS):
            x = _layer(x, w, f"layer.{at}.")
        return functional.normalize(x.mean(1))

    return run
