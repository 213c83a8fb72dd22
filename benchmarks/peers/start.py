"""What a user's script of a peer does: `start.py PEER KIND FOLDER` loads weights, runs once and
prints the first numbers. KIND is mlp or encoder, and for ONNX Runtime a model `KIND.onnx` lies in
the folder; `start.py save KIND FOLDER` puts it there."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")


def main(peer: str, kind: str, folder: Path) -> None:
    if peer == "save":
        from benchmarks.cases import Case
        from benchmarks.peers.with_onnxruntime import model

        made = model(Case("", "", kind, {"n": 1 if kind == "mlp" else 128}), folder)
        (folder / f"{kind}.onnx").write_bytes(made.SerializeToString())
        return
    x, result = _onnxruntime(kind, folder) if peer == "onnxruntime" else _eager(peer, kind, folder)
    print(x.shape, result.reshape(-1)[:4])


def _onnxruntime(kind: str, folder: Path) -> Any:
    import onnxruntime
    from safetensors.numpy import load_file

    x = load_file(folder / f"{kind}.safetensors")["x"].astype("float32")
    session = onnxruntime.InferenceSession(folder / f"{kind}.onnx")
    return x, session.run(None, {"x": x})[0]


def _eager(peer: str, kind: str, folder: Path) -> Any:
    module = importlib.import_module(f"benchmarks.peers.with_{peer}")
    load = importlib.import_module(f"safetensors.{peer}").load_file
    loaded = load(folder / f"{kind}.safetensors")
    w = {n: v.float() if peer == "torch" else v.astype("float32") for n, v in loaded.items()}
    return w["x"], getattr(module, f"_{kind}")(w["x"], w)()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
