"""Photometric zero point of a frame."""

import dataclasses

import numpy as np

__all__ = ["ZeroPoint", "clipped_median", "fit_zero_point", "header_zero_point"]

_CLIP_SIGMA = 3.0
_ROUNDS = 5


@dataclasses.dataclass(frozen=True)
class ZeroPoint:
    """Magnitude of one electron in the whole exposure."""

    mag: float
    scatter_mag: float
    """Robust scatter of a star, NaN if not measured."""
    n_stars: int
    """Stars that gave it; 0 if it was not measured."""
    note: str = ""
    """Where it came from, if not from the reference catalogue."""


def fit_zero_point(flux_e, reference_mag, *, least=3):
    """Return the zero point of matched stars: the clipped median of reference minus instrumental magnitude.

    Parameters
    ----------
    flux_e, reference_mag : ndarray, shape (n,)
        Total fluxes and magnitudes of the same stars; NaN and fluxes that are not positive are left out.
    least : int
        Fewest stars that give one.

    Returns
    -------
    ZeroPoint or None
    """
    usable = (flux_e > 0) & np.isfinite(flux_e) & np.isfinite(reference_mag)
    if np.count_nonzero(usable) < least:
        return None
    difference = reference_mag[usable].astype(float) + 2.5 * np.log10(flux_e[usable])
    median, scatter, count = clipped_median(difference)
    return ZeroPoint(median, scatter, count)


def header_zero_point(raw, options, why):
    """Return the header's zero point, or the default one, with a note that says so."""
    per_adu = raw.zero_point_mag
    if per_adu is not None and np.isfinite(per_adu):
        mag = float(per_adu + 2.5 * np.log10(raw.gain))
        return ZeroPoint(mag, float("nan"), 0, f"zero point of the header kept: {why}")
    return ZeroPoint(options.default_zero_point_mag, float("nan"), 0, f"zero point is the default one: {why}")


def clipped_median(values):
    """Return median, 1.4826 MAD and count of what is left after clipping at 3 sigma."""
    kept = values
    for _ in range(_ROUNDS):
        median = np.median(kept)
        scatter = 1.4826 * np.median(np.abs(kept - median))
        keep = np.abs(kept - median) <= max(_CLIP_SIGMA * scatter, 1e-6)
        if keep.all():
            break
        kept = kept[keep]
    median = np.median(kept)
    return float(median), float(1.4826 * np.median(np.abs(kept - median))), int(kept.size)
