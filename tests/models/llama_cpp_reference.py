"""What llama.cpp makes of a GGUF file: tokens, logits, and the file with weights of another type.

It runs on one thread with keys and values in float32 and without flash attention, its most exact
way. With quantised weights it also rounds what it multiplies with them to 8 bits.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

llama_cpp = pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed")

F32 = 0  # of enum ggml_type
# enum llama_ftype
FTYPES = {
    "F32": 0, "F16": 1, "BF16": 32, "Q4_0": 2, "Q4_1": 3, "Q5_0": 8, "Q5_1": 9, "Q8_0": 7,
    "Q2_K": 10, "Q3_K_M": 12, "Q5_K_M": 17, "Q6_K": 18,
}  # fmt: skip


@llama_cpp.llama_log_callback
def _quiet(level: object, text: object, data: object) -> None:
    """Says nothing."""


llama_cpp.llama_log_set(_quiet, None)
llama_cpp.llama_backend_init()


def quantise(source: Path, target: Path, kind: str) -> None:
    """Store a model's matrices as another type, also those that are quantised already."""
    params = llama_cpp.llama_model_quantize_default_params()
    params.ftype, params.allow_requantize = FTYPES[kind], True
    params.pure = "_K" not in kind  # rows that are no whole blocks of 256 need another type
    done = llama_cpp.llama_model_quantize(str(source).encode(), str(target).encode(), params)
    assert done == 0


class LlamaCpp:
    """A model that llama.cpp has loaded, and one sequence of tokens."""

    def __init__(
        self, path: Path, context: int = 1024, threads: int = 1, exact: bool = True
    ) -> None:
        """Without `exact` it keeps keys and values as it does by itself."""
        params = llama_cpp.llama_model_default_params()
        params.n_gpu_layers = 0
        params.use_extra_bufts = False  # a tied matrix of embeddings, repacked, ends the process
        self._model = llama_cpp.llama_model_load_from_file(str(path).encode(), params)
        assert self._model
        self._vocabulary = llama_cpp.llama_model_get_vocab(self._model)
        self._count = llama_cpp.llama_vocab_n_tokens(self._vocabulary)
        params = llama_cpp.llama_context_default_params()
        params.n_ctx = params.n_batch = context
        params.n_threads = params.n_threads_batch = threads
        if exact:
            params.type_k = params.type_v = F32
            params.flash_attn_type = 0
        self._context = llama_cpp.llama_init_from_model(self._model, params)
        assert self._context

    def tokens(self, text: str) -> list[int]:
        """A text in tokens, special ones cut out, with those around it."""
        data = text.encode()
        found = (llama_cpp.llama_token * (len(data) + 16))()
        count = llama_cpp.llama_tokenize(
            self._vocabulary, data, len(data), found, len(found), True, True
        )
        assert count >= 0
        return list(found[:count])

    def logits(self, ids: list[int], past: int = 0) -> np.ndarray:
        """The logits [len(ids), vocabulary] behind each token; `past` ones were given before."""
        return self._decoded(ids, past, range(len(ids)))

    def last_logits(self, ids: list[int], past: int = 0) -> np.ndarray:
        """Those behind the last token alone."""
        return self._decoded(ids, past, range(len(ids) - 1, len(ids)))[0]

    def _decoded(self, ids: list[int], past: int, wanted: range) -> np.ndarray:
        if past == 0:
            llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(self._context), True)
        batch = llama_cpp.llama_batch_init(len(ids), 0, 1)
        batch.n_tokens = len(ids)
        for at, token in enumerate(ids):
            batch.token[at], batch.pos[at], batch.logits[at] = token, past + at, at in wanted
            batch.n_seq_id[at], batch.seq_id[at][0] = 1, 0
        assert llama_cpp.llama_decode(self._context, batch) == 0
        rows = (llama_cpp.llama_get_logits_ith(self._context, at) for at in wanted)
        found = [np.ctypeslib.as_array(row, (self._count,)).copy() for row in rows]
        llama_cpp.llama_batch_free(batch)
        return np.stack(found)

    def greedy(self, ids: list[int], count: int) -> list[int]:
        """The most likely tokens, one behind the other."""
        found = [int(self.logits(ids)[-1].argmax())]
        while len(found) < count:
            past = len(ids) + len(found) - 1
            found.append(int(self.logits(found[-1:], past)[0].argmax()))
        return found

    def close(self) -> None:
        """Free the model."""
        llama_cpp.llama_free(self._context)
        llama_cpp.llama_model_free(self._model)
