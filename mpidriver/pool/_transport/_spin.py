"""How long a thread that waits stays awake before it sleeps, learned from how its waits have ended."""

__all__ = ["Spin"]

LONGEST_SPIN_SECONDS = 1e-3
"""How long to stay awake at most where the last wait, which was longer, would have ended awake. After a rest everything
takes several times as long, because other things have filled the caches."""
SOON_SECONDS = 3e-3
"""A wait that ends later says nothing: nobody was about to answer."""
IN_VAIN = 3
"""After so many waits in a row that have ended soon, but only in a sleep, the core is taken to be shared."""
PAUSE = 64
"""How many waits then begin asleep before staying awake is tried again."""


class Spin:
    """Chooses how long to stay awake at the beginning of each wait.

    Staying awake saves the time of waking up, if whoever will answer has another core. If it needs this one, which
    others on the machine may have brought about, it comes to run only when this thread sleeps: staying awake then only
    holds it up.

    Parameters
    ----------
    least_seconds
        How long to stay awake as long as nothing else was learned; 0 to stay awake never.
    """

    def __init__(self, least_seconds: float) -> None:
        self._least_seconds = least_seconds
        self._in_vain = 0
        self.seconds = least_seconds
        """How long to stay awake in the next wait."""

    def learn(self, waited_seconds: float, *, slept: bool) -> None:
        """Note how long a wait took, and whether it has ended in a sleep."""
        if not self._least_seconds:
            return
        if not slept:
            self._in_vain = 0
        elif waited_seconds < SOON_SECONDS:
            self._in_vain = self._in_vain + 1 if self._in_vain < IN_VAIN + PAUSE else IN_VAIN - 1
        enough = 1.5 * waited_seconds
        longer = enough if enough < LONGEST_SPIN_SECONDS else 0.0
        self.seconds = max(self._least_seconds, longer) if self._in_vain < IN_VAIN else 0.0
