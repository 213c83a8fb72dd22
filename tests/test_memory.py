"""Weights stay as they are stored: a process that uses 200 MB of quantised ones holds 200 MB, not
400, and one that uses 100 MB of bfloat16 holds no second 100 MB."""

import os
import subprocess
import sys
from pathlib import Path

import gguf
import numpy as np
import pytest

ROOT = Path(__file__).parent.parent
COLUMNS = 4096


def stored(kind: str) -> np.ndarray:
    """Bytes of rows whose first of every 32 numbers is 1, and the others 0."""
    if kind == "BF16":
        rows = np.zeros((12_500, COLUMNS), np.uint16)  # 102 MB
        rows[:, ::32] = 0x3F80
        return rows.view(np.uint8)
    blocks = np.zeros((47_000, COLUMNS // 32 * 34), np.uint8)  # 204.5 MB, 385 MB as float16
    blocks[:, 1::34] = 0x2C  # every scale is 1/16
    blocks[:, 2::34] = 16
    return blocks


@pytest.mark.parametrize("kind", ["Q8_0", "BF16"])
def test_resident_memory_is_that_of_the_stored_bytes(tmp_path: Path, kind: str) -> None:
    blocks = stored(kind)
    size = blocks.nbytes
    writer = gguf.GGUFWriter(tmp_path / "big.gguf", "llama")
    writer.add_tensor("w", blocks, raw_dtype=gguf.GGMLQuantizationType[kind])
    for write in (
        writer.write_header_to_file,
        writer.write_kv_data_to_file,
        writer.write_tensors_to_file,
    ):
        write()
    writer.close()
    del blocks
    (tmp_path / "big.tl").write_text(
        'let w = load_model("big.gguf").get_tensor("w")\n'
        f"let sums = linear(ones([1, {COLUMNS}]), w)\n"
        "print(mean((sums == 128.0) as float16))\n"
    )
    tlc = [sys.executable, "-m", "tlc"]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([*tlc, "build", "big.tl"], cwd=tmp_path, env=env, check=True)
    command = [*tlc, "run", "big.metallib", "--device", "cpu"]
    code = (
        "import resource, subprocess, sys\n"
        f"found = subprocess.run({command!r}, capture_output=True, text=True, check=True)\n"
        "print(found.stdout.strip(), resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    found = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=env,
        capture_output=True,
        text=True,
        check=True,
    )
    share, kilobytes = found.stdout.split()
    assert float(share) == 1.0, "every row sums to 128"
    # 40 MB for the interpreter, the result and the artifact
    assert int(kilobytes) * 1024 < size + 40e6
