"""Makes the files of `tests/test_mlp.py` with torch: one small network in four float types.

pip install torch safetensors && python tests/data/make_mlp.py
"""

from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

FOLDER = Path(__file__).parent
TYPES = {"f64": torch.float64, "f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}

torch.manual_seed(2026)
model = nn.Sequential(
    nn.Linear(24, 40), nn.ReLU(), nn.Linear(40, 40), nn.GELU(approximate="tanh"), nn.Linear(40, 5)
).double()
for name, dtype in TYPES.items():
    tensors = {
        key: value.detach().to(dtype).contiguous() for key, value in model.named_parameters()
    }
    # the same weights the other way round, [in, out]
    tensors |= {f"{key}_t": t.T.contiguous() for key, t in tensors.items() if t.ndim == 2}
    save_file(tensors, FOLDER / f"mlp_{name}.safetensors")
x = torch.randn(64, 24, dtype=torch.float64).half().double()
with torch.no_grad():
    save_file({"x": x.half(), "y": model(x).float()}, FOLDER / "mlp_expected.safetensors")
