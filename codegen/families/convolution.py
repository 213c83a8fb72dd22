"""Convolutions: products of weights with windows of an image, which tiles read where they are."""

from __future__ import annotations

from tlc.codegen.assembly import Draft, Variant
from tlc.codegen.expression import Region
from tlc.codegen.families import tiles
from tlc.codegen.families.product import Operand, Product
from tlc.codegen.families.window import Image, read
from tlc.codegen.iteration import ONE, ZERO


def variants(draft: Draft) -> list[Variant]:
    """A product by tiles; a tile stays within a group of rows."""
    return [Variant(tiles.kernel(draft, *_product(draft.region)), None)]


def _product(region: Region) -> tuple[Product, Image]:
    op = region.only("convolve")
    x, w = (read(region, value) for value in op.operands)
    batch, rows, columns = op.result.tensor.shape
    line, depth = w.strides
    image = Image.of(region, op, x)
    after = []
    for access in region.reads([region.result], [op.result]):
        first, *rest = access.strides
        after.append((access, (first if batch != ONE else ZERO, *rest)))
    product = Product(
        sums=(op.result,),
        batch=batch,
        rows=rows,
        columns=columns,
        depth=w.shape[1],
        made=op.operands[1],
        left=Operand(w, ZERO, line, depth),
        rights=(Operand(x, x.strides[0] if batch != ONE else ZERO, ZERO, ZERO),),
        layout="windows",
        after=after,
        groups=op.attrs["groups"],
    )
    return product, image
