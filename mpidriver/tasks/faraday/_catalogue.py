"""Rows of the RM catalogue: the RMTable standard (Van Eck et al. 2023, ApJS 267, 28), version 1.3, and what we add.

Columns have the standard's names, types, units and blanks, so that a table made here can be joined to any published
one. Text columns are wide enough for the standard's allowed entries.
"""

import numpy as np

from mpidriver.errors import DataError

__all__ = ["MEASUREMENT_DTYPE", "MEASUREMENT_UNITS", "RM_DTYPE", "RM_UNITS", "rm_table"]

MISSING_COUNT = -2147483648

# (name, type, unit, blank) of RMTable v1.3, in its order.
_STANDARD = (
    ("ra", "f8", "deg", np.nan),
    ("dec", "f8", "deg", np.nan),
    ("l", "f8", "deg", np.nan),
    ("b", "f8", "deg", np.nan),
    ("pos_err", "f4", "deg", np.nan),
    ("rm", "f4", "rad/m2", np.nan),
    ("rm_err", "f4", "rad/m2", np.nan),
    ("rm_width", "f4", "rad/m2", np.nan),
    ("rm_width_err", "f4", "rad/m2", np.nan),
    ("complex_flag", "U1", "", "U"),
    ("complex_test", "U40", "", ""),
    ("rm_method", "U40", "", "Unknown"),
    ("ionosphere", "U40", "", "Unknown"),
    ("Ncomp", "i4", "", 1),
    ("stokesI", "f4", "Jy", np.nan),
    ("stokesI_err", "f4", "Jy", np.nan),
    ("spectral_index", "f4", "", np.nan),
    ("spectral_index_err", "f4", "", np.nan),
    ("reffreq_I", "f4", "Hz", np.nan),
    ("polint", "f4", "Jy", np.nan),
    ("polint_err", "f4", "Jy", np.nan),
    ("pol_bias", "U40", "", "Unknown"),
    ("flux_type", "U40", "", "Unknown"),
    ("aperture", "f4", "deg", np.nan),
    ("fracpol", "f4", "", np.nan),
    ("fracpol_err", "f4", "", np.nan),
    ("polangle", "f4", "deg", np.nan),
    ("polangle_err", "f4", "deg", np.nan),
    ("reffreq_pol", "f4", "Hz", np.nan),
    ("stokesQ", "f4", "Jy", np.nan),
    ("stokesQ_err", "f4", "Jy", np.nan),
    ("stokesU", "f4", "Jy", np.nan),
    ("stokesU_err", "f4", "Jy", np.nan),
    ("derot_polangle", "f4", "deg", np.nan),
    ("derot_polangle_err", "f4", "deg", np.nan),
    ("stokesV", "f4", "Jy", np.nan),
    ("stokesV_err", "f4", "Jy", np.nan),
    ("beam_maj", "f4", "deg", np.nan),
    ("beam_min", "f4", "deg", np.nan),
    ("beam_pa", "f4", "deg", np.nan),
    ("reffreq_beam", "f4", "Hz", np.nan),
    ("minfreq", "f4", "Hz", np.nan),
    ("maxfreq", "f4", "Hz", np.nan),
    ("channelwidth", "f4", "Hz", np.nan),
    ("Nchan", "i4", "", MISSING_COUNT),
    ("rmsf_fwhm", "f4", "rad/m2", np.nan),
    ("noise_chan", "f4", "Jy", np.nan),
    ("telescope", "U40", "", "Unknown"),
    ("int_time", "f4", "s", np.nan),
    ("epoch", "f4", "d", np.nan),
    ("obs_interval", "f4", "d", np.nan),
    ("leakage", "f4", "", np.nan),
    ("beamdist", "f4", "deg", np.nan),
    ("catalog_name", "U40", "", ""),
    ("dataref", "U80", "", ""),
    ("cat_id", "U40", "", ""),
    ("type", "U40", "", ""),
    ("notes", "U80", "", ""),
)

# What the standard has no column for.
_OWN = (
    ("snr_polint", "f4", "", np.nan),
    ("fdf_noise_th", "f4", "Jy", np.nan),
    ("fdf_noise_mad", "f4", "Jy", np.nan),
    ("sigma_add", "f4", "", np.nan),
    ("complex_excess", "f4", "", np.nan),
)

# Columns that the spectra alone do not tell.
_NOT_MEASURED = {
    *("ra", "dec", "l", "b", "pos_err", "rm_width_err", "ionosphere", "flux_type", "aperture"),
    *("stokesV", "stokesV_err", "beam_maj", "beam_min", "beam_pa", "reffreq_beam", "telescope", "int_time"),
    *("epoch", "obs_interval", "leakage", "beamdist", "catalog_name", "dataref", "cat_id", "type", "notes"),
}

RM_DTYPE = np.dtype([(name, kind) for name, kind, _, _ in _STANDARD + _OWN])
RM_UNITS = {name: unit for name, _, unit, _ in _STANDARD + _OWN}
MEASUREMENT_UNITS = {name: unit for name, unit in RM_UNITS.items() if name not in _NOT_MEASURED}
MEASUREMENT_DTYPE = np.dtype([(name, RM_DTYPE[name]) for name in MEASUREMENT_UNITS])

_GALACTIC_POLE_DEG = (192.85948, 27.12825)
_NORTH_CELESTIAL_POLE_LONGITUDE_DEG = 122.93192


def rm_table(measurements, ra_deg, dec_deg, **columns):
    """Return rows of the RM catalogue.

    Parameters
    ----------
    measurements : structured ndarray (source,)
        From `measure_faraday`.
    ra_deg, dec_deg : (source,) deg
        Positions, ICRS.
    **columns
        Values or arrays of further columns, as ``telescope="ASKAP"``, ``cat_id=[...]``, ``beam_maj=12 / 3600``.

    Returns
    -------
    structured ndarray (source,)
        Columns `RM_DTYPE`, units `RM_UNITS`; what is not known has the standard's blank.
    """
    table = np.empty(len(measurements), RM_DTYPE)
    for name, _, _, blank in _STANDARD + _OWN:
        table[name] = blank
    for name in measurements.dtype.names:
        table[name] = measurements[name]
    table["ra"], table["dec"] = np.asarray(ra_deg) % 360.0, dec_deg
    table["l"], table["b"] = _galactic(table["ra"], table["dec"])
    for name, values in columns.items():
        if name not in RM_DTYPE.names:
            raise DataError(f"rm_table: {name!r} is not a column of RMTable 1.3 or of ours")
        table[name] = values
    return table


def _galactic(ra_deg, dec_deg):
    """Return Galactic longitude and latitude of ICRS positions, to 0.1 arcsec (ESA 1997, Hipparcos vol. 1, 1.5.3)."""
    pole_ra, pole_dec = np.deg2rad(_GALACTIC_POLE_DEG)
    ra, dec = np.deg2rad(ra_deg) - pole_ra, np.deg2rad(dec_deg)
    x = np.sin(dec) * np.cos(pole_dec) - np.cos(dec) * np.sin(pole_dec) * np.cos(ra)
    y = np.cos(dec) * np.sin(ra)
    z = np.sin(dec) * np.sin(pole_dec) + np.cos(dec) * np.cos(pole_dec) * np.cos(ra)
    longitude = _NORTH_CELESTIAL_POLE_LONGITUDE_DEG - np.rad2deg(np.arctan2(y, x))
    return longitude % 360.0, np.rad2deg(np.arcsin(np.clip(z, -1.0, 1.0)))
