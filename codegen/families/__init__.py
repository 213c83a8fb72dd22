"""Kernel families: each turns a fused operation of its kind into kernels, by a template."""
