"""Quantised weights stay packed: a process that uses 200 MB of them holds 200 MB, not 400."""

import os
import subprocess
import sys
from pathlib import Path

import gguf
import numpy as np

ROOT = Path(__file__).parent.parent
ROWS, COLUMNS = 47_000, 4096  # 204.5 MB as Q8_0, 385 MB as float16


def test_resident_memory_is_that_of_the_packed_bytes(tmp_path: Path) -> None:
    blocks = np.zeros((ROWS, COLUMNS // 32 * 34), np.uint8)
    blocks[:, 1::34] = 0x2C  # every scale is 1/16
    blocks[:, 2::34] = 16  # the first number of every block is 1, the others are 0
    packed = blocks.nbytes
    writer = gguf.GGUFWriter(tmp_path / "big.gguf", "llama")
    writer.add_tensor("w", blocks, raw_dtype=gguf.GGMLQuantizationType.Q8_0)
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
    assert int(kilobytes) * 1024 < packed + 40e6
