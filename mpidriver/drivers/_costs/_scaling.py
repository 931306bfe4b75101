"""How a cost grows with the size of the input: a straight line through what was measured."""

from collections.abc import Sequence
from typing import NamedTuple

__all__ = ["Line", "fit_line", "upper_line"]

Points = Sequence[tuple[float, float]]


class Line(NamedTuple):
    """A cost of so much, and so much more for each unit of size."""

    base: float
    slope: float

    def __call__(self, size: float) -> float:
        """Return the cost of a size."""
        return self.base + self.slope * size


def fit_line(points: Points) -> Line:
    """Return the line of least squares through (size, cost), neither of whose parts is negative.

    A cost that falls with the size, or sizes that are all the same, give the mean; a negative base gives the line
    through the origin.

    Parameters
    ----------
    points
        At least one.
    """
    count = len(points)
    mean_size = sum(size for size, _ in points) / count
    mean_cost = sum(cost for _, cost in points) / count
    spread = sum((size - mean_size) ** 2 for size, _ in points)
    slope = sum((size - mean_size) * (cost - mean_cost) for size, cost in points) / spread if spread else 0.0
    if slope <= 0.0:
        return Line(mean_cost, 0.0)
    base = mean_cost - slope * mean_size
    if base >= 0.0:
        return Line(base, slope)
    return Line(0.0, sum(size * cost for size, cost in points) / sum(size**2 for size, _ in points))


def upper_line(points: Points) -> Line:
    """Return the line of `fit_line`, lifted until no point lies above it: for what must be enough, as memory."""
    line = fit_line(points)
    lift = max(0.0, *(cost - line(size) for size, cost in points))
    return Line(line.base + lift, line.slope)
