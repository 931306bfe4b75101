"""kill -9 of the whole job at random moments: what a run leaves behind, and what resuming it costs.

Run as ``python benchmarks/kills.py [--kills 50] [--ranks 3] [--seed 1]``. A small simulated survey is reduced once
undisturbed. Then copies of it are reduced by jobs of which launcher, daemons and all ranks are killed with SIGKILL
after a random time; the same command is given again until it ends by itself. After each kill and at each end is
checked:

- every file among the products has the bytes that it has after the undisturbed run: none is torn;
- every product in the state database has its file, with the digest that is recorded;
- at the end there are the same products as after the undisturbed run, and each is in the database.

The exit code is 1 if anything of that does not hold.
"""

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from mpidriver.store import Repository, file_digest, is_partial, open_state

#: Environment variable by which the processes of a job are found, whoever has started them.
TOKEN = "MPIDRIVER_KILLS_TOKEN"

#: Folders of a repository that hold products.
FOLDERS = ("calibs", "frames", "mosaic", "warps", "coadds", "catalogues", "faraday")

SURVEY = ["--bands", "r^i", "--exposures", "2", "--detectors", "1x2", "--detector-size", "250", "--channels", "4"]
TINY = ["--bands", "r", "--exposures", "2", "--detectors", "1x1", "--detector-size", "150", "--channels", "0"]


class Job:
    """One job in processes of its own.

    Parameters
    ----------
    root
        The repository that it reduces.
    ranks
        How many ranks it has.
    """

    def __init__(self, root: Path, ranks: int) -> None:
        self._token = f"{os.getpid()}-{time.monotonic_ns()}"
        command = [sys.executable, "-m", "mpidriver", "-n", str(ranks), "pipeline", str(root), "-q", "--no-pictures"]
        self._process = subprocess.Popen(command, env={**os.environ, TOKEN: self._token}, start_new_session=True)

    def ends_within(self, seconds: float) -> int | None:
        """Return the exit code if the job ends by itself in time, else None."""
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def kill(self) -> None:
        """Kill all processes of the job at once, until there are none."""
        while found := self._processes():
            for process in found:
                try:
                    os.kill(process, signal.SIGKILL)
                except ProcessLookupError:
                    continue
            self._process.poll()
        self._process.wait()

    def _processes(self) -> list[int]:
        mark = f"{TOKEN}={self._token}".encode()
        return [int(path.name) for path in Path("/proc").glob("[0-9]*") if mark in _environment(path).split(b"\0")]


def _environment(process: Path) -> bytes:
    """Return the environment of a process; empty if it has ended."""
    try:
        return (process / "environ").read_bytes()
    except OSError:
        return b""


def products(root: Path) -> dict[str, str]:
    """Return the digests of the product files of a repository by path; what was never finished is none."""
    found = (path for folder in FOLDERS for path in (root / folder).rglob("*"))
    return {str(path.relative_to(root)): file_digest(path) for path in found if path.is_file() and not is_partial(path)}


def recorded(root: Path) -> dict[str, str]:
    """Return the digests of the products in the state database by path."""
    with open_state(Repository.open(root), readonly=True) as state:
        return {product.path: product.digest for product in state.products()}


def complaints(root: Path, reference: dict[str, str], *, ended: bool) -> list[str]:
    """Return what is wrong with a repository whose job was killed, or has ended."""
    files, rows = products(root), recorded(root)
    wrong = [f"torn or strange: {path}" for path, digest in files.items() if reference.get(path) != digest]
    wrong += [f"row without its file: {path}" for path, digest in rows.items() if files.get(path) != digest]
    if ended:
        wrong += [f"lost: {path}" for path in reference.keys() - files.keys()]
        wrong += [f"file without row: {path}" for path in files.keys() - rows.keys()]
    return wrong


class Trial:
    """Reduces copies of a survey by jobs that are killed.

    Parameters
    ----------
    raw
        The repository before it was reduced.
    reference
        Digests of the products of an undisturbed run.
    ranks, kills, seed
        Ranks of each job, how many jobs are killed, and the seed of the moments.
    longest_seconds
        The latest moment.
    """

    def __init__(
        self, raw: Path, reference: dict[str, str], *, ranks: int, kills: int, seed: int, longest_seconds: float
    ) -> None:
        self._raw = raw
        self._reference = reference
        self._ranks = ranks
        self._wanted = kills
        self._moments = random.Random(seed)
        self._longest_s = longest_seconds
        self.kills = self.runs = 0
        self.seconds = 0.0
        self.wrong: list[str] = []

    def run(self) -> None:
        """Kill as often as asked for, and let the last run end; stop at the first thing that is wrong."""
        while self.kills < self._wanted and not self.wrong:
            root = self._raw.with_name(f"disturbed-{self.runs}")
            shutil.copytree(self._raw, root, symlinks=True)
            self.runs += 1
            while not self._has_ended(root) and not self.wrong:
                pass
            shutil.rmtree(root)

    def _has_ended(self, root: Path) -> bool:
        """Start or resume the job and return whether it ended before it was to be killed."""
        begin = time.perf_counter()
        job = Job(root, self._ranks)
        may_be_killed = self.kills < self._wanted
        code = job.ends_within(self._moments.uniform(0.0, self._longest_s) if may_be_killed else 3600.0)
        if code is None:
            job.kill()
            self.kills += 1
        elif code != 0:
            self.wrong.append(f"a resumed run ended with {code}")
        self.seconds += time.perf_counter() - begin
        self.wrong += complaints(root, self._reference, ended=code is not None)
        return code is not None


def undisturbed(raw: Path, ranks: int) -> tuple[dict[str, str], float]:
    """Reduce a copy of a survey; return the digests of its products and how long it took."""
    root = raw.with_name("undisturbed")
    shutil.copytree(raw, root, symlinks=True)
    begin = time.perf_counter()
    code = Job(root, ranks).ends_within(3600.0)
    if code != 0:
        sys.exit(f"the undisturbed run ended with {code}")
    return products(root), time.perf_counter() - begin


def main() -> int:
    """Kill and resume, and say what was found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--ranks", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--tiny", action="store_true", help="a survey of two frames")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        raw = Path(folder) / "raw"
        survey = TINY if options.tiny else SURVEY
        subprocess.run([sys.executable, "-m", "mpidriver", "simulate", raw, *survey, "-q"], check=True)
        reference, alone_s = undisturbed(raw, options.ranks)
        how = {"ranks": options.ranks, "kills": options.kills, "seed": options.seed}
        trial = Trial(raw, reference, longest_seconds=alone_s, **how)
        trial.run()
    print(f"{trial.kills} kills of {options.ranks} ranks in {trial.runs} runs, seed {options.seed}")
    print(
        f"{len(reference)} products; {alone_s:.1f} s undisturbed, {trial.seconds / trial.runs:.1f} s killed and resumed"
    )
    sound = "same products, bit for bit; nothing torn, no row without file, no file without row"
    print("\n".join(trial.wrong) or sound)
    return 1 if trial.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
