"""Typed SSA: the program between syntax and kernels, its operations, its passes and its meaning."""
