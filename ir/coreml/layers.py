"""Layers of neural networks: images, products, activations and normalisations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tlc.ir.core import Value
from tlc.ir.coreml.mil import axis_of, unsupported
from tlc.ir.coreml.network import Net, layer
from tlc.ir.coreml.reductions import batch_norm
from tlc.ir.dims import Dim, product

# ---- images --------------------------------------------------------------------------------------


def _image(net: Net, x: Value) -> tuple[Value, tuple[Dim, ...]]:
    """[batch, channels, height, width], and the axes that the batch is."""
    shape = x.tensor.shape
    if len(shape) < 3:
        raise unsupported(f"an image of rank {len(shape)}")
    return net.m.b.reshape(x, (product(shape[:-3]), *shape[-3:])), shape[:-3]


def _back(net: Net, x: Value, lead: Sequence[Dim]) -> Value:
    return net.m.b.reshape(x, (*lead, *x.tensor.shape[1:]))


def _padding(params: Mapping[str, Any]) -> tuple[str, Any]:
    """MIL's name of the padding, and its widths."""
    if "same" in params:
        return ("same_lower" if params["same"].get("mode") else "same"), None
    edges = params.get("valid", {}).get("amounts", {}).get("edges", [])
    widths = [e.get(side, 0) for e in edges for side in ("before", "behind")]
    return ("custom", np.array(widths)) if any(widths) else ("valid", None)


@layer("convolution")
def _convolution(net: Net, x: Value) -> Value:
    p = net.params
    image, lead = _image(net, x)
    weights, bias = net.need("weights"), net.weights("bias") if p.get("biased") else None
    kind, pad = _padding(p)
    shared = {
        "x": image, "weight": weights, "bias": bias, "pad_type": np.array(kind), "pad": pad,
        "strides": np.array(p.get("stride") or [1, 1]),
        "dilations": np.array(p.get("dilation") or [1, 1]),
        "groups": np.array(p.get("groups", 0) or 1),
    }  # fmt: skip
    if p.get("transposed"):
        shape = p.get("output")
        return _back(net, net.run("conv_transpose", output_shape=np.array(shape) if shape else None,
                                  **shared), lead)  # fmt: skip
    return _back(net, net.run("conv", **shared), lead)


@layer("pooling")
def _pooling(net: Net, x: Value) -> Value:
    p = net.params
    kind = ("max", "avg", "l2")[p.get("type", 0)]
    if p.get("whole"):
        reduction = {"max": "reduce_max", "avg": "reduce_mean", "l2": "reduce_l2_norm"}[kind]
        return net.run(reduction, x=x, axes=np.array([-2, -1]), keep_dims=np.array(True))
    image, lead = _image(net, x)
    padding, pad = _padding(p)
    given: dict[str, Any] = {
        "x": image, "kernel_sizes": np.array(p.get("kernel") or [3, 3]),
        "strides": np.array(p.get("stride") or [1, 1]), "pad_type": np.array(padding), "pad": pad,
    }  # fmt: skip
    if "last" in p:
        amounts = p["last"].get("amounts") or [0, 0]
        given |= {"pad_type": np.array("custom"), "pad": np.array(amounts).repeat(2),
                  "ceil_mode": np.array(True)}  # fmt: skip
    if kind == "avg":
        given["exclude_padding_from_average"] = np.array(p.get("excluded", False))
    return _back(net, net.run(f"{kind}_pool", **given), lead)


@layer("padding")
def _pad(net: Net, x: Value) -> Value:
    p = net.params
    edges = p.get("amounts", {}).get("edges", [])
    widths = np.array([e.get(side, 0) for e in edges for side in ("before", "behind")], int)
    mode = {"reflection": "reflect", "replication": "replicate"}.get(p.get("kind", ""), "constant")
    number = np.float32(p.get("constant", {}).get("value", 0.0))
    return net.run("pad", x=x, pad=widths, mode=np.array(mode), constant_val=number)


@layer("upsample")
def _upsample(net: Net, x: Value) -> Value:
    p = net.params
    down, across = (np.float32(f) for f in p.get("factors") or p.get("fractions") or [1, 1])
    factors = {"scale_factor_height": down, "scale_factor_width": across}
    if p.get("mode", 0) == 0:
        return net.run("upsample_nearest_neighbor", x=x, **factors)
    linear = p.get("linear", 0)  # the first pixels meet, corners meet, edges meet
    return net.run("upsample_bilinear", x=x, align_corners=np.array(linear == 1),
                   half_pixel_centers=np.array(linear == 2), **factors)  # fmt: skip


_SAMPLING = ("STRICT_ALIGN_CORNERS", "ALIGN_CORNERS", "DEFAULT", "OFFSET_CORNERS")


@layer("resizeBilinear")
def _resize(net: Net, x: Value) -> Value:
    p = net.params
    down, across = (np.array(n) for n in p.get("sizes") or [1, 1])
    mode = _SAMPLING[p.get("sampling", {}).get("method", 0)]
    return net.run("resize_bilinear", x=x, target_size_height=down, target_size_width=across,
                   sampling_mode=np.array(mode))  # fmt: skip


# ---- products ------------------------------------------------------------------------------------


@layer("innerProduct")
def _inner_product(net: Net, x: Value) -> Value:
    """Over the channels where height and width are 1, else over the last axis."""
    weights, bias = net.need("weights"), net.weights("bias") if net.params.get("biased") else None
    shape, depth = x.tensor.shape, weights.tensor.shape[1]
    over_channels = len(shape) >= 3 and shape[-3:] == (depth, Dim.of(1), Dim.of(1))
    if over_channels:
        flat = net.m.b.reshape(x, shape[:-2])
        found = net.run("linear", x=flat, weight=weights, bias=bias)
        return net.m.b.reshape(found, (*found.tensor.shape, 1, 1))
    return net.run("linear", x=x, weight=weights, bias=bias)


@layer("batchedMatmul")
def _batched_matmul(net: Net, x: Value, y: Value | None = None) -> Value:
    p = net.params
    if y is None:
        found = net.m.b.emit("matmul", x, net.need("weights"))
        bias = net.weights("bias") if p.get("biased") else None
        return found if bias is None else net.m.binary("add", found, bias)
    turned = {"transpose_x": np.array(p.get("turn_a", False)),
              "transpose_y": np.array(p.get("turn_b", False))}  # fmt: skip
    return net.run("matmul", x=x, y=y, **turned)


@layer("embedding", "embeddingND")
def _embedding(net: Net, x: Value) -> Value:
    """Columns of weights [out, in]; the last axis (or the channels) of the indices is 1."""
    table = net.run("transpose", x=net.need("weights"), perm=np.array([1, 0]))
    bias = net.weights("bias") if net.params.get("biased") else None
    shape = x.tensor.shape
    at = -1 if net.kind == "embeddingND" or len(shape) < 3 else -3
    kept = [d for a, d in enumerate(shape) if a != len(shape) + at]
    ids = net.m.b.cast(net.m.b.reshape(x, kept), "i32")
    found = net.m.b.emit("gather", table, ids)
    if bias is not None:
        found = net.m.binary("add", found, bias)
    rank = found.tensor.rank
    order = [*range(rank - 1)]
    order.insert(len(shape) + at, rank - 1)
    return net.run("transpose", x=found, perm=np.array(order))


# ---- activations and normalisations --------------------------------------------------------------

_PLAIN = {"ReLU": "relu", "tanh": "tanh", "sigmoid": "sigmoid", "softsign": "softsign",
          "softplus": "softplus"}  # fmt: skip
_WITH_NUMBERS = {  # MIL's name, and the numbers that are left out
    "linear": ("linear_activation", (0.0, 0.0)), "leakyReLU": ("leaky_relu", (0.0,)),
    "thresholdedReLU": ("thresholded_relu", (0.0,)), "scaledTanh": ("scaled_tanh", (0.0, 0.0)),
    "sigmoidHard": ("sigmoid_hard", (0.0, 0.0)), "ELU": ("elu", (0.0,)),
}  # fmt: skip


@layer("activation")
def _activation(net: Net, x: Value) -> Value:
    kind = net.params.get("kind", "")
    inner = net.params.get(kind, {})
    if kind in _PLAIN:
        return net.run(_PLAIN[kind], x=x)
    if kind in _WITH_NUMBERS:
        name, defaults = _WITH_NUMBERS[kind]
        numbers = {key: np.float32(inner.get(key, default))
                   for key, default in zip(("alpha", "beta"), defaults, strict=False)}  # fmt: skip
        return net.run(name, x=x, **numbers)
    image, lead = _image(net, x)
    if kind == "PReLU":
        return _back(net, net.run("prelu", x=image, alpha=net.need("alpha", inner)), lead)
    if kind == "parametricSoftplus":
        alpha, beta = net.need("alpha", inner), net.need("beta", inner)
        found = net.run("softplus_parametric", x=image, alpha=alpha, beta=beta)
        return _back(net, found, lead)
    raise unsupported("an activation of an unknown kind")


@layer("clampedReLU")
def _clamped_relu(net: Net, x: Value) -> Value:
    a, b = (np.float32(net.params.get(key, 0.0)) for key in ("alpha", "beta"))
    return net.run("clamped_relu", x=x, alpha=a, beta=b)


@layer("gelu")
def _gelu(net: Net, x: Value) -> Value:
    mode = ("EXACT", "TANH_APPROXIMATION", "SIGMOID_APPROXIMATION")[net.params.get("mode", 0)]
    return net.run("gelu", x=x, mode=np.array(mode))


@layer("softmax")
def _softmax(net: Net, x: Value) -> Value:
    """Over the channels."""
    return net.run("softmax", x=x, axis=np.array(-3 if x.tensor.rank >= 3 else -1))


@layer("softmaxND")
def _softmax_nd(net: Net, x: Value) -> Value:
    return net.run("softmax", x=x, axis=np.array(net.params.get("axis", 0)))


@layer("batchnorm")
def _batchnorm(net: Net, x: Value) -> Value:
    p = net.params
    epsilon = p.get("epsilon", 0.0) or 1e-5
    gamma, beta = net.weights("gamma"), net.weights("beta")
    if p.get("instance"):
        image, lead = _image(net, x)
        found = net.run("instance_norm", x=image, gamma=gamma, beta=beta,
                        epsilon=np.float32(epsilon))  # fmt: skip
        return _back(net, found, lead)
    if p.get("computed"):
        raise unsupported("a mean and variance that are computed over the batch")
    axis = x.tensor.rank - 3 if x.tensor.rank >= 3 else x.tensor.rank - 1
    mean, variance = net.need("mean"), net.need("variance")
    return batch_norm(net.m, x, mean, variance, gamma, beta, epsilon, axis)


@layer("mvn")
def _mvn(net: Net, x: Value) -> Value:
    """Mean 0 (and variance 1) of every channel, or of all channels together."""
    p, m = net.params, net.m
    axes = (-3, -2, -1) if p.get("across") else (-2, -1)
    over = [axis_of(a, x.tensor.rank) for a in axes]
    wide = m.b.f32(x)
    mean = net.run("reduce_mean", x=wide, axes=np.array(over), keep_dims=np.array(True))
    centred = m.b.binary("sub", wide, mean)
    if p.get("scaled"):
        square = m.b.emit("mul", centred, centred)
        spread = net.run("reduce_mean", x=square, axes=np.array(over), keep_dims=np.array(True))
        factor = m.b.emit("rsqrt", m.number("add", spread, p.get("epsilon", 0.0) or 1e-5))
        centred = m.b.binary("mul", centred, factor)
    return m.b.cast(centred, x.tensor.dtype)


@layer("l2normalize")
def _l2_normalize(net: Net, x: Value) -> Value:
    return net.run("l2_norm", x=x, epsilon=np.float32(net.params.get("epsilon", 0.0) or 1e-6))


@layer("layerNormalization")
def _layer_norm(net: Net, x: Value) -> Value:
    """Over the last axes, as many as the shape of the weights has."""
    p = net.params
    shape = p.get("shape", [])
    axes = np.arange(-len(shape), 0)
    gamma, beta = (None if w is None else net.m.b.reshape(w, shape)
                   for w in (net.weights("gamma"), net.weights("beta")))  # fmt: skip
    return net.run("layer_norm", x=x, axes=axes, gamma=gamma, beta=beta,
                   epsilon=np.float32(p.get("epsilon", 0.0) or 1e-5))  # fmt: skip
