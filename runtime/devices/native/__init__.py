"""Text that the cpu device compiles: the `metal_stdlib` header and the thread pool `pool.cpp`."""
