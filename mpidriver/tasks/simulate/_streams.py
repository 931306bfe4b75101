"""Random generators that depend on what is drawn and on nothing else.

A generator is seeded with the survey's seed, the name of a stream and the numbers of exposure, detector, channel and
the like. No generator is shared, so that equal options give equal bytes in any order of calls and on any rank.
"""

import enum

import numpy as np

__all__ = ["Stream", "generator"]


class Stream(enum.IntEnum):
    """What a generator is for; a number, once given, stays, and always goes with the same kinds of numbers."""

    STARS = 1
    GALAXIES = 2
    EXPOSURE = 3
    DETECTOR = 4
    BAD_COLUMNS = 5
    FLAT = 6
    BIAS = 7
    COSMIC_RAYS = 8
    FRAME_NOISE = 9
    REFERENCE = 10
    RADIO_SOURCES = 11
    CHANNEL_NOISE = 12


def generator(seed: int, stream: Stream, *numbers: int) -> np.random.Generator:
    """Return the generator of `stream` for one set of numbers (exposure, detector, channel …), none negative."""
    return np.random.default_rng(np.random.SeedSequence([seed, int(stream), *numbers]))
