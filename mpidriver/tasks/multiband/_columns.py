"""Columns of the tables, with types and units.

Fluxes are in nJy and aperture-corrected to the whole of a point source. A band's column of the object table ends in
``_<band>``, and its error in ``_<band>_err``.
"""

import numpy as np

__all__ = [
    "DETECTION_UNITS",
    "FORCED_UNITS",
    "FRAME_UNITS",
    "MEASUREMENT_UNITS",
    "MERGED_UNITS",
    "REFERENCE_UNITS",
    "SHAPE_COLUMNS",
    "bands_of",
    "detection_dtype",
    "empty",
    "forced_dtype",
    "frame_dtype",
    "measurement_dtype",
    "merged_dtype",
    "object_dtype",
    "object_units",
    "reference_dtype",
]

_POSITION_UNITS = {"ra": "deg", "dec": "deg", "x": "pixel", "y": "pixel"}
_FLUX_UNITS = {
    "flux_psf": "nJy",
    "flux_psf_err": "nJy",
    "flux_aper": "nJy",
    "flux_aper_err": "nJy",
    "flux_auto": "nJy",
    "flux_auto_err": "nJy",
    "flux_model": "nJy",
    "flux_model_err": "nJy",
    "blendedness": "",
    "snr": "",
}
_SHAPE_UNITS = {
    "x_err": "pixel",
    "y_err": "pixel",
    "fwhm_arcsec": "arcsec",
    "half_light_radius_arcsec": "arcsec",
    "moment_xx": "pixel2",
    "moment_yy": "pixel2",
    "moment_xy": "pixel2",
    "kron_a_px": "pixel",
    "kron_b_px": "pixel",
    "kron_theta_rad": "rad",
    "model_xx": "pixel2",
    "model_yy": "pixel2",
    "model_xy": "pixel2",
    "model_dev_share": "",
    "model_shape_err": "",
    "model_radius_arcsec": "arcsec",
    "psf_fwhm_arcsec": "arcsec",
    "extendedness": "",
}
#: Columns that describe an object's shape in one band.
SHAPE_COLUMNS = tuple(_SHAPE_UNITS)

DETECTION_UNITS = _POSITION_UNITS | {"flux": "nJy", "peak": "nJy", "snr": "", "n_pixels": "pixel", "flags": ""}
DETECTION_UNITS |= {"is_sky": ""}
MERGED_UNITS = {"id": ""} | _POSITION_UNITS | {"footprint": "", "is_sky": ""}
MEASUREMENT_UNITS = {"id": "", "footprint": ""} | _POSITION_UNITS | _FLUX_UNITS | _SHAPE_UNITS | {"flags": ""}
REFERENCE_UNITS = (
    {"id": "", "footprint": ""} | _POSITION_UNITS | {"ref_band": "", "snr": ""} | _SHAPE_UNITS | {"flags": ""}
)
FORCED_UNITS = {"id": "", "x": "pixel", "y": "pixel"} | _FLUX_UNITS | {"psf_fwhm_arcsec": "arcsec", "flags": ""}
FRAME_UNITS = {"id": "", "exposure": "", "detector": "", "band": "", "mjd": "d"} | FORCED_UNITS

_TYPES = {
    "exposure": "i8",
    "detector": "i4",
    "band": "U16",
    "id": "i8",
    "flags": "i4",
    "n_pixels": "i4",
    "snr": "f4",
    "peak": "f4",
    "blendedness": "f4",
    "ref_band": "U8",
    "is_primary": "?",
    "is_sky": "?",
    "footprint": "i4",
    "tract": "i4",
    "patch_x": "i4",
    "patch_y": "i4",
} | dict.fromkeys(_SHAPE_UNITS, "f4")

_BAND_FLUXES = ("flux_psf", "mag_psf", "flux_model", "mag_model", "flux_auto", "mag_auto", "flux_aper")


def _dtype(names, n_apertures=0):
    def field(name):
        if name.startswith("flux_aper"):
            return name, "f8", (n_apertures,)
        return name, _TYPES.get(name, "f8")

    return np.dtype([field(name) for name in names])


def detection_dtype():
    """Return the dtype of detections on one band's coadd."""
    return _dtype(DETECTION_UNITS)


def merged_dtype(bands):
    """Return the dtype of detections merged over `bands`: one boolean ``detected_<band>`` each, and one for all."""
    detected = [(f"detected_{band}", "?") for band in (*bands, "combined")]
    return np.dtype(_dtype(MERGED_UNITS).descr + detected)


def measurement_dtype(n_apertures):
    """Return the dtype of measurements in one band; ``flux_aper`` has shape (n_apertures,)."""
    return _dtype(MEASUREMENT_UNITS, n_apertures)


def reference_dtype():
    """Return the dtype of reference positions and shapes, merged over bands."""
    return _dtype(REFERENCE_UNITS)


def forced_dtype(n_apertures):
    """Return the dtype of forced photometry in one band."""
    return _dtype(FORCED_UNITS, n_apertures)


def frame_dtype(n_apertures):
    """Return the dtype of forced photometry on single frames."""
    return _dtype(FRAME_UNITS, n_apertures)


def object_units(bands):
    """Return the columns of the object table for `bands` and their units.

    Parameters
    ----------
    bands : iterable of str

    Returns
    -------
    dict of str to str
        `id`; `tract`, `patch_x`, `patch_y`; `footprint` in the patch, 0 outside all; `ra`, `dec`, and
        `x`, `y` in the patch, of the reference band `ref_band`;
        `is_primary`, which holds for one row of each sky position; `snr` and shape in the reference band with its
        `flags` (see `ObjectFlag`); `extendedness` 0 for point sources, 1 for wider ones, NaN where it cannot be said;
        then for each band forced fluxes and AB magnitudes, `snr_<band>`, `psf_fwhm_arcsec_<band>`, `flags_<band>`.
    """
    units = {"id": "", "tract": "", "patch_x": "", "patch_y": "", "footprint": ""} | _POSITION_UNITS
    units |= {"ref_band": "", "is_primary": "", "snr": ""} | _SHAPE_UNITS | {"flags": ""}
    for band in bands:
        for name in _BAND_FLUXES:
            unit = "mag" if name.startswith("mag") else "nJy"
            units |= {f"{name}_{band}": unit, f"{name}_{band}_err": unit}
        units |= {f"blendedness_{band}": "", f"snr_{band}": ""}
        units |= {f"psf_fwhm_arcsec_{band}": "arcsec", f"flags_{band}": ""}
    return units


def object_dtype(bands, n_apertures):
    """Return the dtype of the object table."""
    types = {"blendedness": "f4", "snr": "f4", "psf_fwhm_arcsec": "f4", "flags": "i4"}
    per_band = {f"{name}_{band}": kind for name, kind in types.items() for band in bands}
    descr = _dtype(object_units(bands), n_apertures).descr
    return np.dtype([(field[0], per_band.get(field[0], field[1]), *field[2:]) for field in descr])


def bands_of(dtype):
    """Return the bands of an object table's dtype, in the order of their columns."""
    prefix = "flux_psf_"
    return [name[len(prefix) :] for name in dtype.names if name.startswith(prefix) and not name.endswith("_err")]


def empty(dtype, size):
    """Return a table of `size` rows: NaN for floats, 0, False or "" for the rest."""
    table = np.zeros(size, dtype)
    for name in dtype.names:
        if table[name].dtype.kind == "f":
            table[name] = np.nan
    return table
