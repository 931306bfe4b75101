"""Sizes of the rows of scratch in which the kernels hold a tile of pixels: real parts first, then imaginary parts."""

__all__ = ["BLOCK", "LANES", "ROW"]

LANES = 128
"""Pixels of a tile: with real and imaginary parts a float32 row is 1 KiB, a tile's scratch stays in the L2 cache."""
ROW = 2 * LANES
BLOCK = 4 * ROW
