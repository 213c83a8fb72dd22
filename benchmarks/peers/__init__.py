"""One module for each peer: `version()`, and `prepare(case, folder)`, which gives a function that
runs the case once and one that gives its last result, or None where the peer has no such case."""
