"""The truth: everything that a simulated survey was made from, as tables with units."""

import dataclasses

import numpy as np

from mpidriver.errors import DataError
from mpidriver.tasks.simulate import _radio, _sky, _survey
from mpidriver.tasks.simulate._options import SimulationOptions

__all__ = ["Truth", "make_truth", "truth_units"]


@dataclasses.dataclass(frozen=True)
class Truth:
    """The tables of a simulated survey; columns and units are those of `truth_units`."""

    stars: np.ndarray
    """Structured, shape (star,)."""
    galaxies: np.ndarray
    """Structured, shape (galaxy,)."""
    exposures: np.ndarray
    """Structured, shape (exposure,): where each truly pointed and what its header says."""
    detectors: np.ndarray
    """Structured, shape (detector,): nominal places and what is wrong with them."""
    radio_sources: np.ndarray
    """Structured, shape (source,)."""
    beams: np.ndarray
    """Structured, shape (beam,)."""

    def exposure(self, exposure: int) -> np.void:
        """Return the row of an exposure by its number."""
        return _row(self.exposures, "exposure", exposure)

    def detector(self, detector: int) -> np.void:
        """Return the row of a detector by its number."""
        return _row(self.detectors, "detector", detector)

    def beam(self, beam: int) -> np.void:
        """Return the row of a beam by its number."""
        return _row(self.beams, "beam", beam)

    def frames(self) -> list[tuple[int, int, str]]:
        """Return (exposure, detector, band) of every frame of the camera, in order."""
        numbers = self.detectors["detector"].tolist()
        return [(int(row["exposure"]), n, str(row["band"])) for row in self.exposures for n in numbers]


def _row(table: np.ndarray, column: str, number: int) -> np.void:
    found = np.flatnonzero(table[column] == number)
    if not len(found):
        known = f"{table[column].min()} to {table[column].max()}" if len(table) else "there is none"
        raise DataError(f"simulated survey: no {column} {number}; known: {known}")
    return table[found[0]]


def make_truth(options: SimulationOptions) -> Truth:
    """Return the truth of a simulated survey, a pure function of its options.

    Parameters
    ----------
    options

    Raises
    ------
    ConfigError
        If the radio sources do not fit into the beams three beams apart.
    """
    return Truth(
        stars=_sky.make_stars(options),
        galaxies=_sky.make_galaxies(options),
        exposures=_survey.make_exposures(options),
        detectors=_survey.make_detectors(options),
        radio_sources=_radio.make_radio_sources(options),
        beams=_radio.make_beams(options),
    )


def truth_units(options: SimulationOptions) -> dict[str, dict[str, str]]:
    """Return column → unit for each table of `Truth`, by the table's name."""
    return {
        "stars": _sky.star_units(options),
        "galaxies": _sky.galaxy_units(options),
        "exposures": _survey.EXPOSURE_UNITS,
        "detectors": _survey.DETECTOR_UNITS,
        "radio_sources": _radio.RADIO_SOURCE_UNITS,
        "beams": _radio.BEAM_UNITS,
    }
