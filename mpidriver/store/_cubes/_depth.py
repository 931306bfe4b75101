"""Headers of cubes whose third axis is Faraday depth, as RM-Tools writes and reads them."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from mpidriver.errors import DataError

__all__ = ["depth_axis", "depth_cards"]


def depth_cards(phi_radm2: "np.ndarray[Any, Any]", *, axis: int = 3) -> dict[str, Any]:
    """Return the header values of an axis of Faraday depth; the reference pixel is the middle one.

    Parameters
    ----------
    phi_radm2 : (phi,) rad/m²
        Uniform.
    axis
        Number of the axis.
    """
    middle = len(phi_radm2) // 2
    return {
        f"CTYPE{axis}": "FDEP",
        f"CUNIT{axis}": "rad/m^2",
        f"CRPIX{axis}": float(middle + 1),
        f"CRVAL{axis}": float(phi_radm2[middle]),
        f"CDELT{axis}": float(phi_radm2[-1] - phi_radm2[0]) / (len(phi_radm2) - 1) if len(phi_radm2) > 1 else 1.0,
    }


def depth_axis(cards: Mapping[str, Any], length: int, where: str) -> "np.ndarray[Any, Any]":
    """Return the Faraday depths, rad/m², that a spectral axis describes.

    Parameters
    ----------
    cards
        CTYPE, CRVAL, CRPIX and CDELT of the axis, without its number.
    length
        Samples.
    where
        File for messages.
    """
    if str(cards.get("CTYPE", "")).strip().upper() != "FDEP" or not {"CRVAL", "CRPIX", "CDELT"} <= set(cards):
        raise DataError(f"{where}: expected an axis of CTYPE FDEP, found {cards.get('CTYPE', 'none')!r}")
    pixel = np.arange(1, length + 1) - float(cards["CRPIX"])
    return float(cards["CRVAL"]) + float(cards["CDELT"]) * pixel
