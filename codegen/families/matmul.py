"""Matrix products: which kernels compute one.

`matvec` is for few rows on the left (some tokens): it reads the right operand once and is bound
by memory. `tiles` is for many: bound by arithmetic. Both sum in float32 and apply what follows the
product to each sum before it is stored.
"""

from __future__ import annotations

from tlc.codegen.assembly import Draft, Variant
from tlc.codegen.families import matvec, tiles
from tlc.codegen.families.product import product_of


def variants(draft: Draft) -> list[Variant]:
    """A matvec, a product by tiles, or both where only run time knows the number of rows."""
    product = product_of(draft.region)
    rows, few = product.rows, draft.profile.few_rows
    if rows.is_static:
        make = matvec.kernel if 1 <= int(rows) <= few else tiles.kernel
        return [Variant(make(draft, product), None)]
    other = draft.variant("matvec")
    return [
        Variant(matvec.kernel(other, product), (rows, few)),
        Variant(tiles.kernel(draft, product), None),
    ]
