"""The pool against its peers, on the same work in one call: ``python benchmarks/pool.py [ranks ...] [--large]``.

Peers: mpi4py.futures, concurrent.futures.ProcessPoolExecutor, schwimmbad if it can be imported, and two raw loops of
mpi4py. Each runs in processes of its own, one after the other, several times round, and the best of each figure
counts: other users of the machine disturb all alike. In brackets: how many times better ours is. Peers that take a
chunk size run at the best of several; ours takes none. Messages are measured with a root that does not work, so that
nothing stays at home. After the tables stands each goal, and whether this run has reached it.

``--large`` also sends an array of more than 2 GiB there and back, which takes 9 GB of memory.
"""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

from mpidriver.batch import rank_environment

HERE = Path(__file__).resolve().parent
ROUNDS = 3
PEERS = ["ours", "mpi4py.futures", "ProcessPool", "schwimmbad", "raw pkl5", "raw buffers"]
FIRST_RESULT, SPEEDUP = "first result of 4 ranks, s", "two ranks against one, {}"

Table = dict[str, dict[str, float]]
"""Figures by peer."""


def run_program(
    program: list[str], ranks: int, *, under: tuple[str, ...] = (), seconds: float = 600
) -> dict[str, float]:
    """Run a program of this folder, on ranks if there are any; return the figures that it prints."""
    path = os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")])
    beside = Path(sys.executable).parent / "mpirun"
    mpirun = [str(beside if beside.exists() else "mpirun"), "-n", str(ranks)] if ranks else []
    command = [*mpirun, sys.executable, *under, str(HERE / program[0]), *program[1:]]
    environment = rank_environment(os.environ) | {"PYTHONPATH": path}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=seconds, check=False)
    lines = [line for line in done.stdout.splitlines() if line.startswith("FIGURES ")]
    if not lines:
        print(f"{' '.join(program)}: {done.stderr.strip() or 'nothing measured'}", file=sys.stderr)
        return {}
    return json.loads(lines[0].removeprefix("FIGURES "))


def measure_peer(name: str, what: str, ranks: int) -> dict[str, float]:
    """Measure one peer in processes of its own."""
    under = ("-m", "mpi4py.futures") if name == "mpi4py.futures" else ()
    what = "arrays" if name == "raw buffers" else what
    return run_program(["pool_peers.py", name, what, str(ranks)], 0 if name == "ProcessPool" else ranks, under=under)


def keep_best(best: dict[str, float], figures: dict[str, float]) -> None:
    """Take over what is better: more a second, or less of anything else."""
    for row, value in figures.items():
        best[row] = (max if row.endswith("/s") else min)(best.get(row, value), value)


def measure(names: list[str], what: str, ranks: int) -> Table:
    """Measure all in turn, several times."""
    table: Table = {name: {} for name in names}
    for _ in range(ROUNDS):
        for name in names:
            keep_best(table[name], measure_peer(name, what, ranks))
    return table


def print_table(title: str, table: Table) -> None:
    """Print the figures of all beside ours."""
    print(f"\n{title:28s}" + "".join(f"{name:>19s}" for name in table))
    for row, ours in table["ours"].items():
        cells = (shown(row, figures.get(row), ours) for figures in table.values())
        print(f"{row:28s}" + "".join(f"{cell:>19s}" for cell in cells), flush=True)


def shown(row: str, value: float | None, ours: float) -> str:
    """Return a figure, and how many times better ours is."""
    if value is None:
        return "-"
    ratio = ours / value if row.endswith("/s") else value / ours if ours else float("inf")
    return f"{value:,.{2 if value < 100 else 0}f} ({ratio:.1f}x)"


def check(goal: str, value: float | None, limit: float, *, at_least: bool = True) -> None:
    """Print a goal and whether it was reached."""
    if value is None:
        print(f"  not measured: {goal}")
        return
    reached = value >= limit if at_least else value <= limit
    print(
        f"  {'reached' if reached else 'MISSED '} {goal}: {value:,.4g}, wanted {'>=' if at_least else '<='} {limit:g}"
    )


def check_messages(ranks: int, table: Table) -> None:
    """Print the goals for a number of ranks."""
    ours = table["ours"]

    def against(row: str, peer: str) -> float | None:
        return ours[row] / table[peer][row] if table.get(peer, {}).get(row) else None

    print(f"goals at {ranks} ranks")
    noops, single = "no-ops by map, 1/s", "no-ops one by one, 1/s"
    check("round trip hot, us", ours["round trip hot, us"], 40, at_least=False)
    check("round trip after 20 ms, us", ours["round trip after 20 ms, us"], 200, at_least=False)
    check("no-ops by map, 1/s", ours[noops], 1e6)
    check("no-ops by map against mpi4py.futures at its best chunk", against(noops, "mpi4py.futures"), 3)
    check("no-ops by map against schwimmbad", against(noops, "schwimmbad"), 1)
    check("no-ops one by one against mpi4py.futures", against(single, "mpi4py.futures"), 3)
    for row in ("1 MB in and out, GB/s", "64 MB in and out, GB/s"):
        check(f"{row} against raw pkl5", against(row, "raw pkl5"), 0.7)
        check(f"{row} against mpi4py.futures", against(row, "mpi4py.futures"), 5)


def measure_two_ranks() -> None:
    """Measure what two ranks show best."""
    names = ["ours", "mpi4py.futures", "ProcessPool"]
    table, alone = measure(names, "work", 2), measure(["ours"], "work", 1)["ours"]
    print_table("2 ranks", table)
    check("idle worker, % of a core", table["ours"]["idle worker, % of a core"], 0.5, at_least=False)
    for row in ("Python, tasks/s", "numpy, tasks/s"):
        check(f"two ranks against one, {row}", table["ours"][row] / alone[row], 1.8)


def measure_scale(*, large: bool) -> None:
    """Measure starting, many ranks and long streams."""
    print("\nours alone")
    first = min((run_program(["pool_scale.py", "start"], 0).get("seconds", 1e9) for _ in range(5)), default=None)
    check("4 ranks started to first result, s", first, 0.5, at_least=False)
    many = run_program(["pool_scale.py", "many"], 0)
    check("64 ranks started, 10,000 tasks run, stopped, s", many.get("seconds"), 60, at_least=False)
    print(f"  memory of a rank of 64, MB: {many.get('mb', float('nan')):.0f}")
    stream = run_program(["pool_scale.py", "stream"], 0)
    for name, value in stream.items():
        print(f"  {name}: {value:.3g}")
    check_growth("time a task", stream["us a task of 10000"], stream["us a task of 1000000"], 1.2)
    check_growth("rank 0's memory", stream["rank 0 MB after 10000"], stream["rank 0 MB after 1000000"], 1.1)
    if large:
        check("array over 2 GiB in and out, GB/s", run_program(["pool_scale.py", "large"], 0).get("rate"), 0.1)


def check_growth(name: str, few: float, many: float, most: float) -> None:
    """Print whether something stays as it is from 10,000 items of a stream to a million."""
    check(f"{name}, 1e6 items streamed against 1e4", many / few, most, at_least=False)


def main(ranks: list[int], *, large: bool) -> None:
    """Measure all, print the tables and the goals."""
    names = [name for name in PEERS if name != "schwimmbad" or importlib.util.find_spec(name) is not None]
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} before; best of {ROUNDS} rounds")
    for count in ranks:
        table = measure(names, "messages", count)
        print_table(f"{count} ranks", table)
        check_messages(count, table)
    measure_two_ranks()
    measure_scale(large=large)
    print(f"load {os.getloadavg()[0]:.1f} after")


if __name__ == "__main__":
    main([int(one) for one in sys.argv[1:] if one.isdigit()] or [2, 4, 8], large="--large" in sys.argv)
