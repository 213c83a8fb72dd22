"""PyTorch in float16: shown beside the others, and no yardstick, for many of its operations have
no fast float16 form on CPUs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from benchmarks.cases import Case
from benchmarks.peers import with_torch
from benchmarks.peers.with_torch import version as version


def prepare(case: Case, folder: Path) -> Any:
    return with_torch.prepare(case, folder, torch.float16)
