"""All sample kernels of this folder, by what they show."""

from tests.codegen import attention_cases, element_cases, order_cases, product_cases, row_cases

EVERYTHING = (
    element_cases.elementwise,
    element_cases.layouts,
    element_cases.dtypes,
    element_cases.odd_shapes,
    element_cases.special_numbers,
    element_cases.packed_operands,
    row_cases.rows,
    row_cases.row_details,
    row_cases.row_extremes,
    row_cases.columns,
    row_cases.gathers,
    row_cases.concats,
    order_cases.sorts,
    order_cases.sorts_from_above,
    order_cases.scans,
    order_cases.scatters,
    product_cases.products,
    product_cases.large_products,
    product_cases.batched_products,
    product_cases.packed_products,
    product_cases.float_products,
    product_cases.products_of_the_same_rows,
    product_cases.two_sums,
    product_cases.epilogues,
    product_cases.one_column,
    product_cases.exact_sums,
    attention_cases.attentions,
    attention_cases.special_scores,
)
