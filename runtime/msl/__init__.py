"""Metal Shading Language without a Mac: an emulator that runs kernels, a lint that reads them."""
