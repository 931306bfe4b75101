"""The state database goes away, or is locked, in the middle of a run: what the run does, and whether anything is lost.

``python benchmarks/outages.py [--seconds 30] [--ranks 2]``: a small simulated survey is reduced once undisturbed,
on SQLite. Then copies of it are reduced while

- the server of a MongoDB state (nx-27017 over a socket) is killed and started again after that time;
- another process holds a lock on the SQLite file for that time (the run waits up to 30 s for each transaction).

Checked is that the run ends with 0 (on SQLite, if it gave up, the same command given again), that the products have the
bytes of the undisturbed run, and that no quantum was run twice. The exit code is 1 if anything of that does not hold.
"""

import argparse
import contextlib
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from mpidriver.store import Repository, open_state

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from mongo import nx_server
from survey import digests

SURVEY = ["--bands", "r^i", "--exposures", "3", "--detectors", "1x2", "--detector-size", "250", "--channels", "4"]


def mpidriver(*arguments: str) -> "subprocess.Popen[bytes]":
    """Start a command."""
    return subprocess.Popen([sys.executable, "-P", "-m", "mpidriver", *arguments], stdin=subprocess.DEVNULL)


def pipeline(root: Path, ranks: int) -> "subprocess.Popen[bytes]":
    """Start the reduction of a survey."""
    return mpidriver("-n", str(ranks), "pipeline", str(root), "--quiet", "--no-pictures")


def outcomes(root: Path) -> dict[str, tuple[str, int]]:
    """Return state and number of attempts of all quanta."""
    with open_state(Repository.open(root), readonly=True) as state:
        return {record.key: (record.status, record.attempt) for record in state.quanta()}


@contextlib.contextmanager
def disturbed(
    root: Path, ranks: int, begin: Callable[[], None], end: Callable[[], None], seconds: float
) -> Iterator[int]:
    """Reduce a survey, disturb the run when its first quantum is done, and give its exit code."""
    job = pipeline(root, ranks)
    while job.poll() is None and not any(status == "done" for status, _ in outcomes(root).values()):
        time.sleep(0.1)
    assert job.poll() is None, "the survey is too small: it was done before the database went away"
    begin()
    time.sleep(seconds)
    end()
    yield job.wait()


def judge(name: str, root: Path, code: int, expected: dict[str, str], wall: float) -> bool:
    """Print what came of a run and tell whether nothing is lost and nothing was done twice."""
    found = outcomes(root)
    twice = [key for key, (_, attempt) in found.items() if attempt > 1]
    undone = [key for key, (status, _) in found.items() if status != "done"]
    same = digests(root) == expected
    good = code == 0 and same and not undone and not twice
    products = f"{len(expected)} products {'bit for bit' if same else 'DIFFER'}"
    print(f"{name}: exit code {code} after {wall:.1f} s, {products}, {len(twice)} run twice, {len(undone)} not done")
    return good


def mongo_goes_away(raw: Path, folder: Path, expected: dict[str, str], options: argparse.Namespace) -> bool:
    """Kill the server and start it again."""
    with nx_server(folder) as server:
        root = Path(shutil.copytree(raw, folder / "mongo"))
        (root / "state.sqlite").unlink()
        config = root / "survey.toml"
        config.write_text(config.read_text().replace('url = ""', f'url = "{server.impatient_url}"', 1))
        assert mpidriver("ingest", str(root), str(root / "raw"), "--quiet").wait() == 0
        start = time.perf_counter()
        with disturbed(root, options.ranks, server.kill, server.start, options.seconds) as code:
            return judge("server away", root, code, expected, time.perf_counter() - start)


def sqlite_is_locked(raw: Path, folder: Path, expected: dict[str, str], options: argparse.Namespace) -> bool:
    """Hold a lock on the file."""
    root = Path(shutil.copytree(raw, folder / "sqlite"))
    other = sqlite3.connect(root / "state.sqlite", isolation_level=None, timeout=60)
    start = time.perf_counter()

    def lock() -> None:
        other.execute("BEGIN EXCLUSIVE")

    def unlock() -> None:
        other.execute("ROLLBACK")
        other.close()

    with disturbed(root, options.ranks, lock, unlock, options.seconds) as code:
        if code:
            print(f"locked file: the run gave up with exit code {code}; the same command again")
            code = pipeline(root, options.ranks).wait()
        return judge("locked file", root, code, expected, time.perf_counter() - start)


def main() -> int:
    """Run with what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--ranks", type=int, default=2)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        raw = folder / "raw"
        assert mpidriver("simulate", str(raw), *SURVEY, "--quiet").wait() == 0
        undisturbed = Path(shutil.copytree(raw, folder / "undisturbed"))
        start = time.perf_counter()
        assert pipeline(undisturbed, options.ranks).wait() == 0
        print(f"undisturbed: {time.perf_counter() - start:.1f} s")
        expected = digests(undisturbed)
        good = [disturb(raw, folder, expected, options) for disturb in (mongo_goes_away, sqlite_is_locked)]
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
