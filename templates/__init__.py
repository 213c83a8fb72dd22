"""The kernel templates: one family to a file, rendered by `codegen/render.py`."""
