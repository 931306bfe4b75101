"""What every rank pays before it works: importing mpidriver and reading the command line.

    python benchmarks/startup.py

Prints the median of several fresh interpreters, less that of an interpreter that does nothing; the limit is 0.15 s.
"""

import statistics
import subprocess
import sys
import time

RUNS = 15
LIMIT_S = 0.15

CASES = {
    "import mpidriver": "import mpidriver",
    "import and read the command line": (
        "import mpidriver; from mpidriver.cli._parser import build_parser; build_parser().parse_args(['pipeline', 'x'])"
    ),
    "import the pool": "from mpidriver import Pool, launch",
}


def seconds(code):
    """Return the median wall time of a fresh interpreter that runs `code`."""
    times = []
    for _ in range(RUNS):
        started = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True)
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def main():
    bare = seconds("pass")
    for name, code in CASES.items():
        cost = seconds(code) - bare
        print(f"{name:34} {cost:.3f} s, limit {LIMIT_S} s, ratio {cost / LIMIT_S:.2f}")


if __name__ == "__main__":
    main()
