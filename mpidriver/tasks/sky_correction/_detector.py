"""The binned sky of one detector, and where its pixels lie on the sky."""

import dataclasses

import numpy as np

from mpidriver.errors import DataError
from mpidriver.tasks.polynomials import polynomial_nodes
from mpidriver.tasks.single_frame import SingleFrameOptions
from mpidriver.tasks.single_frame._cover import cover_sources
from mpidriver.tasks.single_frame._reduce import clean_frame, science_wcs
from mpidriver.tasks.sky import mesh_centres, mesh_statistics

__all__ = ["DetectorSky", "detector_sky"]


@dataclasses.dataclass(frozen=True)
class DetectorSky:
    """The sky of a detector by meshes."""

    shape: tuple[int, int]
    """Rows and columns of its pixels."""
    level: np.ndarray
    """Level of each mesh that has sky enough, e, shape (n,)."""
    ra: np.ndarray
    """Right ascension of their middles, deg, shape (n,)."""
    dec: np.ndarray
    """Declination of their middles, deg, shape (n,)."""
    nodes: np.ndarray
    """ra, dec in deg of the nodes that fix a polynomial over the detector, shape (node row, node col, 2)."""


def detector_sky(raw, *, calibrations=None, nodes=3, options=None):
    """Bin the sky between the sources of one detector.

    Cosmic rays are left to the clipping of the meshes.

    Parameters
    ----------
    raw : RawFrame
        With a WCS.
    calibrations : Calibrations, optional
    nodes : int
        Nodes along an axis, degree of the polynomial plus 1.
    options : SingleFrameOptions, optional

    Returns
    -------
    DetectorSky
        Without meshes where sources cover all.

    Raises
    ------
    DataError
        If the frame has no WCS, or as for `reduce_frame`.
    """
    options = dataclasses.replace(options or SingleFrameOptions(), cosmic_rays=False)
    wcs = science_wcs(raw.wcs, calibrations)
    if wcs is None:
        raise DataError("no WCS: a place in the focal plane is needed for the sky correction")
    frame = clean_frame(raw, calibrations, options)
    covered = cover_sources(frame, options).pixels
    levels, _ = mesh_statistics(frame.image, (frame.mask == 0) & ~covered, options.background_mesh_px)
    shape = frame.image.shape
    y, x = (mesh_centres(size, meshes) for size, meshes in zip(shape, levels.shape, strict=True))
    places = _on_sky(wcs, y, x)
    known = np.isfinite(levels)
    return DetectorSky(
        shape=shape,
        level=levels[known],
        ra=places[known, 0],
        dec=places[known, 1],
        nodes=_on_sky(wcs, *(polynomial_nodes(size, nodes) for size in shape)),
    )


def _on_sky(wcs, y, x):
    """Return ra, dec in deg of a grid of pixel positions, shape (y, x, 2)."""
    rows, cols = np.meshgrid(y, x, indexing="ij")
    places = wcs.all_pix2world(np.column_stack([cols.ravel(), rows.ravel()]), 0)
    return places.reshape(*rows.shape, 2)
