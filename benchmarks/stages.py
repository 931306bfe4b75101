"""Image stages against the programs that do the same: times, ratios and accuracies on simulated data.

    python benchmarks/stages.py [warp coadd mosaic matching single-frame] [--size small|full] [--repeats 5]

One section a stage. The peers are Debian's packages source-extractor, scamp, swarp and montage; what is not installed
is said and left out. Every program runs on one thread, and ratios are of processor seconds (user and system), which
other work on the machine disturbs less than the clock; the clock's seconds stand behind.
"""

import argparse
import importlib
import os
import tempfile
from pathlib import Path

SECTIONS = ("warp", "coadd", "mosaic", "matching", "single-frame")


def main():
    """Run the chosen sections."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("stages", nargs="*", choices=[[], *SECTIONS], default=[])
    parser.add_argument("--size", choices=("small", "full"), default="full")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ[name] = "1"
    for stage in options.stages or SECTIONS:
        with tempfile.TemporaryDirectory() as folder:
            section = importlib.import_module(f"image_stages.{stage.replace('-', '_')}")
            section.run(options.size, Path(folder), options.repeats)


if __name__ == "__main__":
    main()
