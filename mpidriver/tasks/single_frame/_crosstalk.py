"""Cross-talk: what an amplifier records of the light that another one reads out at the same moment."""

import dataclasses
import math
import re
from collections.abc import Mapping, Sequence

import numpy as np

from mpidriver.errors import DataError

__all__ = ["Coupling", "crosstalk"]

#: Couplings of cameras are 1e-3 at most; what is larger was given in per cent, or has another mistake.
_LARGEST = 0.1
_SECTION = re.compile(r"\[(\d+):(\d+),(\d+):(\d+)\]")


@dataclasses.dataclass(frozen=True)
class Coupling:
    """How much of one amplifier's signal appears in another one."""

    source: int
    """Detector of the amplifier that is the source."""
    coefficient: float
    """What a victim's pixel gains for each count of the source's pixel that is read at the same moment."""
    source_section: str = ""
    """Pixels of the source as ``[x1:x2,y1:y2]`` (1-based, inclusive, in the science region); empty for all. An axis
    that is read the other way round than the victim's runs downwards, as in ``[2048:1025,1:4096]``."""
    victim_section: str = ""
    """Pixels of the victim, of the same size."""

    def __post_init__(self) -> None:
        if not (math.isfinite(self.coefficient) and abs(self.coefficient) < _LARGEST):
            raise DataError(f"cross-talk: a coefficient must be below {_LARGEST}, got {self.coefficient}")
        for section in (self.source_section, self.victim_section):
            if section and (_SECTION.fullmatch(section) is None or re.search(r"\b0+\b", section)):
                raise DataError(f"cross-talk: a section must be like [1:1024,1:4096], got {section!r}")

    def sections(self, victim: np.ndarray, source: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return views of the images of both detectors whose pixels are read at the same moment.

        Raises
        ------
        DataError
            If a section reaches over the edge of its detector, or both are of different sizes.
        """
        seen = _section(victim, self.victim_section, "victim")
        shown = _section(source, self.source_section, f"source {self.source}")
        if seen.shape != shown.shape:
            raise DataError(
                f"cross-talk: the victim's section {self.victim_section or 'of all pixels'} has the shape "
                f"{seen.shape}, that of source {self.source} {shown.shape}"
            )
        return seen, shown


def crosstalk(couplings: Sequence[Coupling], sources: Mapping[int, np.ndarray], shape: tuple[int, int]) -> np.ndarray:
    """Return what the sources add to a victim's counts, to first order in the coefficients.

    Parameters
    ----------
    couplings
        Of one victim; those whose source is not among the sources are left out.
    sources
        Counts above the bias of whole detectors, by number, shape (row, col) each; NaN adds nothing.
    shape
        Rows and columns of the victim.

    Returns
    -------
    ndarray of float32, shape (row, col)

    Raises
    ------
    DataError
        If a section reaches over the edge of its detector, or is of another size than its source's.
    """
    added = np.zeros(shape, np.float32)
    for coupling in couplings:
        if coupling.source not in sources:
            continue
        victim, source = coupling.sections(added, sources[coupling.source])
        victim += np.float32(coupling.coefficient) * np.nan_to_num(source, nan=0.0, posinf=0.0, neginf=0.0)
    return added


def _section(image: np.ndarray, section: str, what: str) -> np.ndarray:
    """Return a view of an image, its axes turned as the section says."""
    found = _SECTION.fullmatch(section)
    if found is None:
        return image
    x1, x2, y1, y2 = map(int, found.groups())
    rows, cols = image.shape
    if max(x1, x2) > cols or max(y1, y2) > rows:
        raise DataError(f"cross-talk: {section} of the {what} is not within its {rows} x {cols} pixels")
    return image[_slice(y1, y2), _slice(x1, x2)]


def _slice(first: int, last: int) -> slice:
    if first <= last:
        return slice(first - 1, last)
    return slice(first - 1, last - 2 if last > 1 else None, -1)
