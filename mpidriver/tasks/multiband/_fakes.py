"""Fakes: sources of known light added to coadds, found and measured as everything else, to see what is lost."""

import dataclasses

import numpy as np
from scipy.spatial import cKDTree

from mpidriver.sphere import unit_vectors
from mpidriver.tasks.image import NJY_ZERO_POINT_MAG
from mpidriver.tasks.multiband._columns import empty
from mpidriver.tasks.multiband._measure import band_psf
from mpidriver.tasks.multiband._model_kernels import add_models
from mpidriver.tasks.multiband._models import PROFILES, sources_at
from mpidriver.tasks.multiband._options import MultibandOptions
from mpidriver.tasks.multiband._scene import make_scene, pixel_scale_arcsec

__all__ = [
    "FAKE_UNITS",
    "SUMMARY_UNITS",
    "fake_units",
    "fakes_light",
    "inject",
    "join_fakes",
    "make_fakes",
    "recovered",
    "summary_of_fakes",
]

#: S/N as a point source, half-light radii, and the least axis ratio of what is drawn.
_SNR_RANGE, _RADIUS_RANGE_ARCSEC, _LEAST_RATIO = (2.0, 200.0), (0.2, 1.2), 0.3
#: An object is a fake if it is this close; a fake this close to a real object is left out.
_MATCH_ARCSEC = 0.6
#: Width of the bins of the summary, mag, and least number in one.
_BIN_MAG, _LEAST_IN_BIN = 0.5, 3

FAKE_UNITS = {
    "ra": "deg",
    "dec": "deg",
    "x": "pixel",
    "y": "pixel",
    "mag": "mag",
    "flux": "nJy",
    "radius_arcsec": "arcsec",
    "model_xx": "pixel2",
    "model_yy": "pixel2",
    "model_xy": "pixel2",
    "model_dev_share": "",
    "on_object": "",
    "covered": "",
    "found": "",
    "id": "",
    "separation_arcsec": "arcsec",
}
_BAND_UNITS = {"flux_psf": "nJy", "flux_psf_err": "nJy", "flux_model": "nJy", "flux_model_err": "nJy", "flags": ""}
SUMMARY_UNITS = {
    "band": "",
    "extended": "",
    "mag": "mag",
    "n": "",
    "completeness": "",
    "n_measured": "",
    "bias_psf": "",
    "bias_model": "",
    "scatter_model": "",
    "pull_model": "",
}


def _fake_dtype(bands):
    types = {"on_object": "?", "covered": "?", "found": "?", "id": "i8"}
    fields = [(name, types.get(name, "f8")) for name in FAKE_UNITS]
    fields += [(f"{name}_{band}", "i4" if name == "flags" else "f8") for band in bands for name in _BAND_UNITS]
    return np.dtype(fields)


def fake_units(bands):
    """Return the columns of a table of recovered fakes and their units."""
    return FAKE_UNITS | {f"{name}_{band}": unit for band in bands for name, unit in _BAND_UNITS.items()}


def make_fakes(wcs, shape, *, noise_njy, options=None, seed=(0,)):
    """Draw fakes for a patch: half of them point sources, half galaxies, of the same AB magnitude in all bands.

    Parameters
    ----------
    wcs : astropy.wcs.WCS
    shape : tuple of int, (row, col)
    noise_njy : float
        Error of a faint point source's flux; fakes have 2 to 200 times as much light.
    options : MultibandOptions, optional
    seed : sequence of int
        What makes them those of this patch.

    Returns
    -------
    ndarray, shape (fake,)
        Structured, the columns of `FAKE_UNITS`, on a jittered grid so that none overlaps another.
    """
    options = options or MultibandOptions()
    rng = np.random.default_rng([*seed, 21])
    spacing = options.fake_spacing_px
    grid = np.meshgrid(*(np.arange(0.5 * spacing, size - 0.25 * spacing, spacing) for size in shape[::-1]))
    x, y = (axis.ravel() + rng.uniform(-0.25, 0.25, axis.size) * spacing for axis in grid)
    fakes = empty(_fake_dtype(()), x.size)
    fakes["x"], fakes["y"] = x, y
    if x.size:
        fakes["ra"], fakes["dec"] = wcs.all_pix2world(x, y, 0)
    fakes["flux"] = noise_njy * np.exp(rng.uniform(*np.log(_SNR_RANGE), x.size))
    fakes["mag"] = NJY_ZERO_POINT_MAG - 2.5 * np.log10(fakes["flux"])
    extended = rng.random(x.size) < 0.5
    radius = np.where(extended, np.exp(rng.uniform(*np.log(_RADIUS_RANGE_ARCSEC), x.size)), 0.0)
    fakes["radius_arcsec"] = radius
    stretch, angle = np.log(rng.uniform(_LEAST_RATIO, 1.0, x.size)), rng.uniform(0.0, np.pi, x.size)
    area = (radius / pixel_scale_arcsec(wcs)) ** 2
    fakes["model_xx"] = area * (np.cosh(stretch) + np.sinh(stretch) * np.cos(2 * angle))
    fakes["model_yy"] = area * (np.cosh(stretch) - np.sinh(stretch) * np.cos(2 * angle))
    fakes["model_xy"] = area * np.sinh(stretch) * np.sin(2 * angle)
    fakes["model_dev_share"] = np.where(rng.random(x.size) < 0.3, rng.random(x.size), 0.0)
    return fakes


def inject(coadd, wcs, objects, fakes, *, psf=None, options=None):
    """Return a band's coadd with fakes, through the PSF that its stars show; they bring no noise of their own.

    Parameters
    ----------
    coadd : MaskedImage
        nJy.
    wcs : astropy.wcs.WCS
    objects : ndarray, shape (object,)
        The real ones, with `ra` and `dec`, among which the PSF's stars are.
    fakes : ndarray, shape (fake,)
        From `make_fakes`.
    psf : CoaddPsf, optional
        As for `measure`.
    options : MultibandOptions, optional

    Returns
    -------
    MaskedImage
    """
    light = fakes_light(coadd, wcs, objects, fakes, psf=psf, options=options)
    return dataclasses.replace(coadd, image=(coadd.image + light).astype(np.float32))


def fakes_light(coadd, wcs, objects, fakes, *, psf=None, options=None):
    """Return the light that `inject` adds, float64, shape (row, col)."""
    options = options or MultibandOptions()
    psf = band_psf(make_scene(coadd, background_box_px=options.background_box_px), wcs, objects, options, psf)
    ellipses = np.column_stack([fakes[name] for name in ("model_xx", "model_yy", "model_xy")])
    # As if there were no noise: windows reach as far as they may.
    faint = np.full(fakes.size, 1e-9)
    sources = sources_at(
        fakes["x"], fakes["y"], fakes["flux"], faint, psf, ellipses=ellipses, dev_share=fakes["model_dev_share"]
    )
    light = np.zeros(coadd.image.shape)
    add_models(light, sources, psf.matrices(fakes["x"], fakes["y"]), psf.planes, PROFILES, 1.0)
    return light


def recovered(fakes, real, reference, forced, *, covered=None):
    """Return fakes with what came of them.

    Parameters
    ----------
    fakes : ndarray, shape (fake,)
        From `make_fakes`.
    real : ndarray, shape (object,)
        Reference table of the same patch without fakes.
    reference : ndarray, shape (object,)
        Reference table with them.
    forced : mapping of band to ndarray, shape (object,)
        Forced photometry of `reference`.
    covered : ndarray of bool, shape (fake,), optional
        Which fakes lie where there are data; all if not given.

    Returns
    -------
    ndarray, shape (fake,)
        Structured, the columns of `fake_units`: `found` if an object lies within 0.6 arcsec, `on_object` if a real one
        does, so that nothing can be said, as where it is not `covered`.
    """
    bands = sorted(forced)
    table = empty(_fake_dtype(bands), fakes.size)
    for name in set(fakes.dtype.names) & set(FAKE_UNITS):
        table[name] = fakes[name]
    table["on_object"] = _nearest_arcsec(real[np.isfinite(real["ra"])], fakes)[0] < _MATCH_ARCSEC
    table["covered"] = True if covered is None else covered
    distance, row = _nearest_arcsec(reference, fakes)
    table["found"] = (distance < _MATCH_ARCSEC) & ~table["on_object"] & table["covered"]
    own = table["found"]
    table["separation_arcsec"][own], table["id"][own] = distance[own], reference["id"][row[own]]
    for band in bands:
        for name in _BAND_UNITS:
            table[f"{name}_{band}"][own] = forced[band][name][row[own]]
    return table


def _nearest_arcsec(objects, fakes):
    """Return the distance of the nearest object to each fake, infinite without any, and its row."""
    if objects.size == 0 or fakes.size == 0:
        return np.full(fakes.size, np.inf), np.zeros(fakes.size, dtype=int)
    tree = cKDTree(unit_vectors(objects["ra"], objects["dec"]))
    chord, row = tree.query(unit_vectors(fakes["ra"], fakes["dec"]))
    return np.degrees(2.0 * np.arcsin(0.5 * chord)) * 3600.0, row


def summary_of_fakes(table, bands):
    """Return completeness and biases of fluxes by magnitude, for point sources and galaxies, in each band.

    Parameters
    ----------
    table : ndarray, shape (fake,)
        From `recovered`, of all patches.
    bands : sequence of str

    Returns
    -------
    ndarray, shape (row,)
        Structured, the columns of `SUMMARY_UNITS`: middle of the magnitude's bin; number that could be found; the share
        that was; of the found ones with a flux in the band their number, the median of measured over true flux minus
        1 by PSF and model, the robust scatter of the latter, and the robust width of its error over the standard error.
    """
    usable = table[~table["on_object"] & table["covered"]]
    types = {"band": "U16", "extended": "?", "n": "i4", "n_measured": "i4"}
    dtype = np.dtype([(name, types.get(name, "f8")) for name in SUMMARY_UNITS])
    bins = np.floor(usable["mag"] / _BIN_MAG)
    rows = [
        _bin_summary(usable[(bins == number) & ((usable["radius_arcsec"] > 0) == extended)], band, extended, number)
        for band in bands
        for extended in (False, True)
        for number in np.unique(bins)
    ]
    return np.array([row for row in rows if row[3] >= _LEAST_IN_BIN], dtype=dtype)


def _bin_summary(fakes, band, extended, number):
    found = fakes[fakes["found"] & np.isfinite(fakes[f"flux_psf_{band}"])]
    share = float(fakes["found"].mean()) if fakes.size else np.nan
    head = (band, extended, (number + 0.5) * _BIN_MAG, fakes.size, share, found.size)
    if found.size < _LEAST_IN_BIN:
        return (*head, *[np.nan] * 4)
    psf, model = (found[f"flux_{kind}_{band}"] / found["flux"] - 1.0 for kind in ("psf", "model"))
    pull = (found[f"flux_model_{band}"] - found["flux"]) / found[f"flux_model_err_{band}"]
    return (*head, np.median(psf), np.median(model), _spread(model), _spread(pull))


def _spread(values):
    return 1.4826 * float(np.median(np.abs(values - np.median(values))))


def join_fakes(tables):
    """Join tables of recovered fakes, which may have different bands.

    Parameters
    ----------
    tables : sequence of ndarray
        From `recovered`.

    Returns
    -------
    joined : ndarray
        NaN for bands that a patch lacks.
    bands : list of str
    """
    prefix = "flux_psf_err_"
    bands = sorted({name[len(prefix) :] for table in tables for name in table.dtype.names if name.startswith(prefix)})
    joined = empty(_fake_dtype(bands), sum(table.size for table in tables))
    start = 0
    for table in tables:
        for name in table.dtype.names:
            joined[name][start : start + table.size] = table[name]
        start += table.size
    return joined, bands
