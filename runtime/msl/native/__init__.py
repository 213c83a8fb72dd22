"""Sources for clang: what Metal text means in the emulator and to the lint, and their runtime."""
