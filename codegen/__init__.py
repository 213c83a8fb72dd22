"""A planned module in, kernels as text and one self-contained artifact out."""
