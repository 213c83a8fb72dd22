"""TensorLogic source text in, syntax tree and diagnostics out."""
