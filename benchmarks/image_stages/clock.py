"""Times of ours and of other programs, and the lines that compare them."""

import resource
import shutil
import subprocess
import time
from dataclasses import dataclass

__all__ = ["Seconds", "best", "compare", "figure", "missing", "run_program"]


@dataclass(frozen=True)
class Seconds:
    """What one run took."""

    cpu: float
    """User and system, of this process and the programs it ran."""
    wall: float


def best(work, repeats):
    """Run something a few times; return its least seconds and its last result."""
    times = []
    for _ in range(repeats):
        start = _now()
        result = work()
        end = _now()
        times.append(Seconds(end.cpu - start.cpu, end.wall - start.wall))
    return Seconds(min(each.cpu for each in times), min(each.wall for each in times)), result


def _now():
    used = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return Seconds(sum(each.ru_utime + each.ru_stime for each in used), time.perf_counter())


def run_program(command, folder):
    """Run a program in a folder; its last words become the error if it fails."""
    done = subprocess.run([str(word) for word in command], cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{command[0]}: exit code {done.returncode}: {(done.stderr or done.stdout)[-2000:]}")


def missing(*programs):
    """Say which programs are not installed, if any, and tell whether one is not."""
    absent = [program for program in programs if shutil.which(program) is None]
    for program in absent:
        print(f"  {program}: not installed; its line is left out")
    return bool(absent)


def compare(name, theirs, ours, goal=None):
    """Print one line with two times and their ratio, by processor seconds."""
    ratio = theirs.cpu / ours.cpu
    verdict = "" if goal is None else f", goal {goal:g}: {'kept' if ratio >= goal else 'MISSED'}"
    print(
        f"  {name:58} {theirs.cpu:7.2f} s against {ours.cpu:7.3f} s: {ratio:6.1f}x{verdict}"
        f"   (wall {theirs.wall:.2f}, {ours.wall:.3f})"
    )


def figure(name, value, unit, most=None):
    """Print one line with a measured value and the limit that it must keep."""
    verdict = "" if most is None else f", at most {most:g}: {'kept' if value <= most else 'MISSED'}"
    print(f"  {name:58} {value:10.4g} {unit}{verdict}")
