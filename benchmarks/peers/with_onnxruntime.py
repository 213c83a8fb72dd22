"""ONNX Runtime's CPU provider in float32; weights are initialisers, so it lays them out as it
likes when the session opens."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from benchmarks import efficientnet
from benchmarks.cases import LAYERS, Case, inputs, unpacked, weights

OPSET = 23


def version() -> str:
    return f"onnxruntime {onnxruntime.__version__}"


def prepare(case: Case, folder: Path) -> Any:
    given = {name: v for name, v in inputs(case).items() if name not in ("w", "b")}
    session = opened(model(case, folder).SerializeToString())
    kept: list[Any] = [None]

    def run() -> None:
        kept[0] = session.run(None, given)[0]

    return run, lambda: kept[0]


def opened(source: bytes | str) -> Any:
    """A session on as many threads as OMP_NUM_THREADS says."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = int(os.environ.get("OMP_NUM_THREADS", "0"))
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])


class _Graph:
    """Nodes and initialisers as they are asked for."""

    def __init__(self, given: dict[str, Any]) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self.given = given

    def op(self, kind: str, *operands: str, **attributes: Any) -> str:
        name = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(operands), [name], **attributes))
        return name

    def constant(self, value: Any) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def model(self, result: str, integer: bool = False) -> Any:
        kinds = {"float32": TensorProto.FLOAT, "int32": TensorProto.INT32}
        told = [
            helper.make_tensor_value_info(name, kinds[v.dtype.name], v.shape)
            for name, v in self.given.items()
        ]
        self.nodes.append(helper.make_node("Identity", [result], ["result"]))
        kind = TensorProto.INT64 if integer else TensorProto.FLOAT
        out = [helper.make_tensor_value_info("result", kind, None)]
        graph = helper.make_graph(self.nodes, "case", told, out, self.constants)
        opsets = [helper.make_opsetid("", OPSET)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=10)


def model(case: Case, folder: Path) -> Any:
    """The case as an ONNX model."""
    values = inputs(case)
    graph = _Graph({name: v for name, v in values.items() if name not in ("w", "b")})
    w = {name: graph.constant(v) for name, v in values.items() if name in ("w", "b")}
    op, constant, integer = graph.op, graph.constant, case.kind == "argmax"
    match case.kind:
        case "linear":
            out = op("Gemm", "input", "weights", "bias")
        case "mlp":
            out = _mlp(graph)
        case "encoder":
            w = {name: v for name, v in weights("encoder").items() if name != "x"}
            out = _layer(graph, "x", w, 1, case.sizes["n"])
        case "minilm":
            out = _minilm(graph, case.sizes["b"], case.sizes["n"])
        case "efficientnet":
            out = efficientnet.classify(_Layers(graph), "image")
        case "product":
            out = op("MatMul", "x", constant(unpacked(case, folder).T))
        case "attention":
            out = _attention(graph, case.sizes)
        case "softmax":
            out = op("Softmax", "x", axis=-1)
        case "rms_norm":
            out = op("RMSNormalization", "x", w["w"], axis=-1, epsilon=1e-6)
        case "layer_norm":
            out = op("LayerNormalization", "x", w["w"], w["b"], axis=-1, epsilon=1e-5)
        case "gelu":
            out = op("Gelu", "x", approximate="tanh")
        case "silu_mul":
            out = op("Mul", op("Mul", "x", op("Sigmoid", "x")), "y")
        case "sum":
            out = op("ReduceSum", "x", constant(np.array([1])), keepdims=0)
        case "argmax":
            out = op("ArgMax", "x", axis=1, keepdims=0)
        case "transpose":
            out = op("Transpose", "x", perm=[1, 0])
        case "gather":
            out = op("Gather", "x", "ids", axis=0)
        case _:
            raise ValueError(case.kind)
    return graph.model(out, integer)


def _mlp(graph: _Graph) -> str:
    w, y = weights("mlp"), "x"
    for at in range(3):
        matrix, bias = graph.constant(w[f"w{at}"]), graph.constant(w[f"b{at}"])
        y = graph.op("Gemm", y, matrix, bias, transB=1)
        y = graph.op("Relu", y) if at < 2 else y
    return y


def _norm(graph: _Graph, y: str, gain: Any, shift: Any) -> str:
    parts = graph.constant(gain), graph.constant(shift)
    return graph.op("LayerNormalization", y, *parts, axis=-1, epsilon=1e-5)


def _layer(graph: _Graph, x: str, w: dict[str, Any], b: int, n: int) -> str:
    """An encoder layer on [b * n, 384]: b sentences of n tokens."""
    op, constant = graph.op, graph.constant
    split = constant(np.array([b, n, 12, 32]))

    def linear(y: str, name: str) -> str:
        return op("Gemm", y, constant(w[f"w{name}"]), constant(w[f"b{name}"]), transB=1)

    def heads(name: str, perm: list[int]) -> str:
        return op("Transpose", op("Reshape", linear(x, name), split), perm=perm)

    q, k, v = heads("q", [0, 2, 1, 3]), heads("k", [0, 2, 3, 1]), heads("v", [0, 2, 1, 3])
    scores = op("Mul", op("MatMul", q, k), constant(np.float32(32**-0.5)))
    mixed = op("Transpose", op("MatMul", op("Softmax", scores, axis=-1), v), perm=[0, 2, 1, 3])
    mixed = op("Reshape", mixed, constant(np.array([b * n, 384])))
    y = _norm(graph, op("Add", x, linear(mixed, "o")), w["gain0"], w["shift0"])
    wide = op("Gelu", linear(y, "up"))
    return _norm(graph, op("Add", y, linear(wide, "down")), w["gain1"], w["shift1"])


def _minilm(graph: _Graph, b: int, n: int) -> str:
    op, constant, w = graph.op, graph.constant, weights("minilm")
    x = op("Add", op("Gather", constant(w["words"]), "ids"), constant(w["places"][:n]))
    x = _norm(graph, x, w["gain"], w["shift"])
    x = op("Reshape", x, constant(np.array([b * n, 384])))
    for at in range(LAYERS):
        start = f"layer.{at}."
        own = {name.removeprefix(start): v for name, v in w.items() if name.startswith(start)}
        x = _layer(graph, x, own, b, n)
    x = op("Reshape", x, constant(np.array([b, n, 384])))
    mean = op("ReduceMean", x, constant(np.array([1])), keepdims=0)
    return op("LpNormalization", mean, axis=-1, p=2)


class _Layers:
    """The layers of a convolutional network; normalisations are folded when the session opens."""

    def __init__(self, graph: _Graph) -> None:
        self.graph, self.weights = graph, weights("efficientnet")
        self.limits = [graph.constant(np.float32(limit)) for limit in (0, 6)]

    def constant(self, name: str) -> str:
        return self.graph.constant(self.weights[name])

    def scaled(self, image: str) -> str:
        op, constant = self.graph.op, self.graph.constant
        x = op("Sub", image, constant(np.float32(127)))
        return op("Unsqueeze", op("Div", x, constant(np.float32(128))), constant(np.array([0])))

    def convolved(
        self,
        x: str,
        name: str,
        norm: str,
        step: int,
        pads: tuple[int, int],
        groups: int,
        limit: bool,
    ) -> str:
        op, (before, behind) = self.graph.op, pads
        around = [before, before, behind, behind]
        made = self.constant(f"{name}.weight")
        y = op("Conv", x, made, strides=[step, step], pads=around, group=groups)
        parts = ("weight", "bias", "running_mean", "running_var")
        by = [self.constant(f"{norm}.{part}") for part in parts]
        y = op("BatchNormalization", y, *by, epsilon=efficientnet.EPSILON)
        return op("Clip", y, *self.limits) if limit else y

    def added(self, x: str, y: str) -> str:
        return self.graph.op("Add", x, y)

    def classes(self, x: str) -> str:
        op = self.graph.op
        x = op("Flatten", op("GlobalAveragePool", x))
        return op("Gemm", x, self.constant("_fc.weight"), self.constant("_fc.bias"), transB=1)


def _attention(graph: _Graph, sizes: dict[str, Any]) -> str:
    """The operation `Attention` on [batch, tokens, heads * d]."""
    d, heads, groups = sizes["d"], sizes["heads"], sizes["groups"]
    rows = {"q": (sizes["q"], heads), "k": (sizes["keys"], groups), "v": (sizes["keys"], groups)}
    operands = [
        graph.op("Reshape", name, graph.constant(np.array([1, n, count * d])))
        for name, (n, count) in rows.items()
    ]
    return graph.op(
        "Attention",
        *operands,
        q_num_heads=heads,
        kv_num_heads=groups,
        is_causal=int(sizes["causal"]),
    )
