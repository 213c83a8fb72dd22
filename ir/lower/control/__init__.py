"""Control flow: what the build follows, and what becomes `if` and `loop` operations."""
