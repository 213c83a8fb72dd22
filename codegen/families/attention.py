"""Attention kernels: scores, softmax and the product with the values in one walk along the keys.

Nothing of the size of the scores is stored. The largest score of a row and the sum of its weights
are kept up to date from block to block of keys, and what has been added up is scaled along (Milakov
and Gimelshein 2018, Dao et al. 2022).
"""

from __future__ import annotations

from tlc.codegen.assembly import Draft, Variant
from tlc.codegen.families import attention_apple, attention_cpu
from tlc.codegen.families.attention_region import attention_of

FEW_ROWS = 16  # heads that share keys and are taken together when there is one query


def variants(draft: Draft) -> list[Variant]:
    """One kernel, or two where only run time knows whether there is more than one query."""
    make = attention_cpu.kernel if draft.profile.name == "cpu" else attention_apple.kernel
    attention = attention_of(draft.region)
    rows = attention.row_count
    if rows.is_static:
        return [Variant(make(draft, attention, int(rows)), None)]
    shared = 1
    for size in attention.sizes_of(attention.rows):
        shared *= int(size) if size.is_static else 1
    chosen = [Variant(make(draft, attention, None), None)]
    if shared <= FEW_ROWS:
        few = draft.variant("few")
        chosen.insert(0, Variant(make(few, attention, shared), (rows, shared)))
    return chosen
