"""Fakes on frames: what a catalogue of fakes adds to one, and what of them its catalogue has."""

import numpy as np
from scipy.spatial import cKDTree

from mpidriver.tasks.mosaic import flat_magnitudes
from mpidriver.tasks.multiband._fakes import fakes_light
from mpidriver.tasks.multiband._frames import transformed_ellipses
from mpidriver.tasks.multiband._options import MultibandOptions

__all__ = ["FOUND_UNITS", "electrons_of_fakes", "found_on_frame"]

#: A source is a fake if it is this close; a fake this close to a real source says nothing.
_MATCH_PX = 2.5
#: Fakes this far outside shed light on a frame.
_MARGIN_PX = 60

FOUND_UNITS = {
    "fake": "",
    "ra": "deg",
    "dec": "deg",
    "mag": "mag",
    "radius_arcsec": "arcsec",
    "x": "pixel",
    "y": "pixel",
    "on_source": "",
    "found": "",
    "separation_px": "pixel",
    "flux": "electron",
    "flux_aper": "electron",
    "flux_aper_err": "electron",
    "star": "",
}


def electrons_of_fakes(frame, catalogue, fakes, solution, fakes_wcs, *, seed, options=None):
    """Return the electrons that fakes bring into a frame, with their photon noise.

    Parameters
    ----------
    frame : MaskedImage
        The reduced frame without fakes, electrons, whose stars show the PSF.
    catalogue : ndarray
        Its sources, with ra and dec by the frame's WCS.
    fakes : ndarray, shape (fake,)
        From `make_fakes`.
    solution : tuple
        The frame's WCS, zero point (mag) and flat (as for `flat_magnitudes`).
    fakes_wcs : astropy.wcs.WCS
        Of pixels like those that the fakes' ellipses are given in.
    seed : sequence of int
        What makes the noise that of this frame.
    options : MultibandOptions, optional

    Returns
    -------
    ndarray of float64, shape (row, col)
        Behind a perfect flat field.
    """
    wcs, zero_point_mag, flat = solution
    options = options or MultibandOptions(background_box_px=0)
    fakes = _placed(fakes, wcs, frame.shape, fakes_wcs)
    flux = _electrons(fakes, zero_point_mag, flat, frame.shape)
    fakes["flux"] = flux
    light = fakes_light(frame, wcs, catalogue, fakes, options=options)
    return np.random.default_rng([*seed, 22]).poisson(np.maximum(light, 0.0)).astype(np.float64)


def _placed(fakes, wcs, shape, fakes_wcs):
    """Return the fakes on and close around a frame with positions and ellipses on its pixels."""
    rows, cols = shape
    x, y = wcs.wcs_world2pix(fakes["ra"], fakes["dec"], 0) if fakes.size else (np.zeros(0), np.zeros(0))
    margin = _MARGIN_PX
    near = (x > -margin) & (y > -margin) & (x < cols + margin) & (y < rows + margin)
    placed = fakes[near].copy()
    if placed.size:
        names = ("model_xx", "model_yy", "model_xy")
        places, ellipses = transformed_ellipses(placed, fakes_wcs, wcs, names)
        placed["x"], placed["y"] = places
        for name, values in zip(names, ellipses, strict=True):
            placed[name] = values
    return placed


def _electrons(fakes, zero_point_mag, flat, shape):
    mag = zero_point_mag + flat_magnitudes(flat, fakes["x"], fakes["y"], shape)
    return 10.0 ** (-0.4 * (fakes["mag"] - mag))


def found_on_frame(fakes, catalogue, real, solution, shape):
    """Return what a frame's catalogue has of the fakes that lie on it.

    Parameters
    ----------
    fakes : ndarray, shape (fake,)
    catalogue, real : ndarray
        Sources of the frame with fakes, and without.
    solution : tuple
        As for `electrons_of_fakes`, of the frame with fakes.
    shape : tuple of int
        Rows and columns of the frame.

    Returns
    -------
    ndarray, shape (fake on the frame,)
        Structured, the columns of `FOUND_UNITS`; `fake` is the row of the catalogue of fakes.
    """
    wcs, zero_point_mag, flat = solution
    types = {"fake": "i8", "on_source": "?", "found": "?", "star": "?"}
    x, y = wcs.all_world2pix(fakes["ra"], fakes["dec"], 0, quiet=True) if fakes.size else (np.zeros(0), np.zeros(0))
    inside = (x > 0) & (y > 0) & (x < shape[1] - 1) & (y < shape[0] - 1)
    table = np.zeros(np.count_nonzero(inside), [(name, types.get(name, "f8")) for name in FOUND_UNITS])
    table["fake"] = np.flatnonzero(inside)
    for name in ("ra", "dec", "mag", "radius_arcsec"):
        table[name] = fakes[name][inside]
    table["x"], table["y"] = x[inside], y[inside]
    table["flux"] = _electrons(table, zero_point_mag, flat, shape)
    table["on_source"] = _nearest(real, table)[0] < _MATCH_PX
    distance, row = _nearest(catalogue, table)
    table["found"] = found = (distance < _MATCH_PX) & ~table["on_source"]
    table["separation_px"] = np.where(found, distance, np.nan)
    for name in ("flux_aper", "flux_aper_err"):
        table[name][~found] = np.nan
        table[name][found] = catalogue[name][row[found]]
    table["star"][found] = catalogue["star"][row[found]]
    return table


def _nearest(sources, table):
    """Return distance in px and row of the source nearest to each fake; infinite without any."""
    if sources.size == 0 or table.size == 0:
        return np.full(table.size, np.inf), np.zeros(table.size, dtype=int)
    tree = cKDTree(np.column_stack([sources["x"], sources["y"]]))
    return tree.query(np.column_stack([table["x"], table["y"]]))
