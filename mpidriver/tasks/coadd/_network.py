"""Which values are to be compared, one pair after the other, so that they stand in order at the end."""

import numpy as np

__all__ = ["median_network", "sorting_network"]


def sorting_network(size):
    """Return the comparisons of Batcher's odd-even merge sort for `size` values.

    Parameters
    ----------
    size : int

    Returns
    -------
    ndarray of intp, shape (comparison, 2)
        Pairs (low, high) of positions to be put in order, one after the other (Batcher 1968; Knuth, TAOCP 5.2.2 M).
    """
    pairs = []
    power = 1
    while power < size:
        distance = power
        while distance >= 1:
            for start in range(distance % power, size - distance, 2 * distance):
                for i in range(start, min(start + distance, size - distance)):
                    if i // (2 * power) == (i + distance) // (2 * power):
                        pairs.append((i, i + distance))
            distance //= 2
        power *= 2
    return np.array(pairs, dtype=np.intp).reshape(-1, 2)


def median_network(size):
    """Return those comparisons of `sorting_network` on which the middle value, or the middle two, depend."""
    needed = {(size - 1) // 2, size // 2}
    kept = []
    for pair in sorting_network(size)[::-1].tolist():
        if needed.intersection(pair):
            needed.update(pair)
            kept.append(pair)
    return np.array(kept[::-1], dtype=np.intp).reshape(-1, 2)
