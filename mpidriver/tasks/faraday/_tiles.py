"""Work on pixels, shared by the threads of a rank."""

from concurrent.futures import ThreadPoolExecutor

__all__ = ["share_tiles"]

TILES_A_TASK = 16


def share_tiles(work, tiles, threads):
    """Call `work(first, last)` for pieces of the tiles 0 ... `tiles` - 1, in this thread or in several.

    Parameters
    ----------
    work : callable
        Does the tiles `first` to `last` - 1; tiles must not depend on each other.
    tiles : int
    threads : int or None
        None: one.
    """
    if threads is None or threads <= 1 or tiles < 2:
        work(0, tiles)
        return
    size = max(1, min(TILES_A_TASK, tiles // threads))
    with ThreadPoolExecutor(threads) as executor:
        tasks = [executor.submit(work, first, min(first + size, tiles)) for first in range(0, tiles, size)]
        for task in tasks:
            task.result()
