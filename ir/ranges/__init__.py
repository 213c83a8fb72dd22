"""How large the numbers of a function can get, found without running it."""
