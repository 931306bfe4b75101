"""A program that is stopped: each task says that it has begun, and ends when the test lets it."""

import contextlib
import os
import sys
from pathlib import Path

from mpidriver.errors import PoolStopped
from mpidriver.pool import current_pool, launch

FOLDER = Path(sys.argv[1])
HOW = sys.argv[2]
OPTIONS = dict(option.split("=") for option in sys.argv[3:])


def say(line):
    with open(FOLDER / "events", "a") as events:  # a pipe: whole lines arrive whole
        events.write(line + "\n")


def task(number):
    say(f"begun {number}")
    (FOLDER / f"go-{number}").read_bytes()
    (FOLDER / f"done-{number}").touch()
    return number


def outer(number):
    """Scatter again; what comes of it is of no interest."""
    return current_pool().map(task, range(5 * number, 5 * number + 5))


def end_it(number):
    if number == 7:
        current_pool().stop("a task")
    return number


def main(pool):
    (FOLDER / "root").write_text(str(os.getpid()))
    if HOW == "map":
        pool.map(task, range(20))
    elif HOW == "nested":
        pool.map(outer, range(4))
    elif HOW == "gangs":
        pool.map(task, range(20), ranks=2)
    elif HOW == "isolated":
        pool.map(outer, range(4), isolate=True)
    elif HOW == "stream":
        for outcome in pool.stream(task, range(20)):
            print("outcome", outcome.result(), flush=True)
    elif HOW == "wait":
        pool.wait([pool.submit(task, number) for number in range(20)])
    elif HOW == "result":
        [pool.submit(task, number) for number in range(20)][19].result()
    elif HOW == "futures":
        futures = [pool.submit(task, number) for number in range(20)]
        with contextlib.suppress(PoolStopped):
            pool.wait(futures)
        print("cancelled", sum(future.cancelled() for future in futures), flush=True)
        pool.map(abs, [1])
    elif HOW == "in a task":
        pool.map(end_it, range(10_000))
    elif HOW == "almost done":
        for outcome in pool.stream(task, range(1)):
            print("outcome", outcome.result(), flush=True)


launch(main, **OPTIONS)
