"""Rows of the RM table: of a group of sources what they alone tell, of all sources the flags that compare them."""

import numpy as np

from mpidriver.tasks.faraday import rm_measurements, rm_table
from mpidriver.tasks.polarisation._flags import blends, leakage_by_distance, outlying_rms
from mpidriver.tasks.polarisation._qu_table import QU_COLUMNS
from mpidriver.tasks.polarisation._rm_columns import ANALYSED, RM_TABLE_DTYPE

__all__ = ["compare_rows", "source_rows", "why_unmeasured"]


def source_rows(spectra, analysed, options, *, ionosphere):
    """Return the rows of a group of sources.

    Parameters
    ----------
    spectra : structured ndarray (source,)
        Components with what observed them and their spectra.
    analysed : structured ndarray (source,)
        The table of `analyse_components`.
    options : FaradayOptions
        With which they were analysed.
    ionosphere : str
        The standard's name of its correction.

    Returns
    -------
    structured ndarray (source,)
        Columns `RM_TABLE_DTYPE`; what compares sources is left blank.
    """
    rows = np.zeros(len(spectra), RM_TABLE_DTYPE)
    measured = rm_measurements(analysed, options)
    standard = rm_table(measured, spectra["ra"], spectra["dec"], flux_type="Peak", ionosphere=ionosphere)
    for source in (standard, spectra):
        for name in source.dtype.names:
            if name in rows.dtype.names and source[name].ndim == 1:
                rows[name] = source[name]
    rows["pos_err"] = np.fmax(spectra["ra_err"], spectra["dec_err"])
    for name, source in ANALYSED.items():
        rows[name] = analysed[source]
    rows["reffreq_beam"] = rows["reffreq_pol"]
    rows["aperture"] = spectra["beam_maj"]
    for stokes in "IQU":
        rows[f"stokes{stokes}_bkg"] = _mean(spectra[f"stokes{stokes}_bkg"])
    rows["stokesI_fit_flag"] = ~(analysed["stokes_i_good"] & (rows["stokesI"] > 0))
    with np.errstate(invalid="ignore"):
        rows["complex_sigma_add_flag"] = rows["complex_flag"] == "Y"
        rows["complex_M2_CC_flag"] = rows["rm_width"] > rows["rmsf_fwhm"]
    either = rows["complex_sigma_add_flag"] | rows["complex_M2_CC_flag"]
    rows["complex_flag"] = np.where(rows["complex_flag"] == "U", "U", np.where(either, "Y", "N"))
    rows["complex_test"] = "Sigma_add"
    for name in ("blend_ratio", *QU_COLUMNS):
        rows[name] = "" if name == "qu_model" else np.nan
    return rows


def _mean(values):
    good = np.isfinite(values)
    count = good.sum(axis=1)
    total = np.where(good, values, 0.0).sum(axis=1, dtype=np.float64)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def why_unmeasured(spectra, rows):
    """Return for each source why it has no RM, an empty text where it has one."""
    reasons = []
    for spectrum, row in zip(spectra, rows, strict=True):
        total, images = len(spectrum["freq"]), spectrum["n_images"]
        channels = int(np.isfinite(spectrum["stokesQ"] * spectrum["stokesU"]).sum())
        if np.isfinite(row["rm"]) and np.isfinite(row["rm_err"]):
            reasons.append("")
        elif images == 0:
            reasons.append("it lies in none of the channel images that could be used")
        elif channels == 0:
            reasons.append(f"blank in all {total} channels of the {images} images around it")
        else:
            reasons.append(f"only {channels} of {total} channels have data: too few for an RM")
    return reasons


def compare_rows(rows, catalogue, options):
    """Return the rows of all sources with the flags and columns that compare them.

    Parameters
    ----------
    rows : structured ndarray (source,)
        From `source_rows`.
    catalogue : structured ndarray (component,)
        Columns ``ra``, ``dec`` and ``total_I_flux`` of every component that may blend with them.
    options : RMTableOptions

    Returns
    -------
    structured ndarray (source,)
        By right ascension.
    """
    rows = rows[np.lexsort((rows["cat_id"], rows["ra"]))].copy()
    for name in ("telescope", "catalog_name", "dataref"):
        rows[name] = getattr(options, name)
    with np.errstate(invalid="ignore", divide="ignore"):
        rows["snr_flag"] = ~(rows["snr_polint"] >= options.min_snr)
        rows["channel_flag"] = rows["Nchan"] < options.min_channels * rows["Nchan"].max(initial=0)
        snr_i = rows["stokesI"] / rows["stokesI_err"]
        rows["leakage"] = leakage_by_distance(rows["fracpol"], snr_i, rows["beamdist"], min_snr=options.leakage_snr)
        rows["leakage_flag"] = rows["fracpol"] < rows["leakage"] + options.leakage_offset
    flux = rows["total_I_flux"]
    others = (catalogue["ra"], catalogue["dec"], catalogue["total_I_flux"])
    rows["N_blended"], rows["blend_ratio"] = blends(rows["ra"], rows["dec"], flux, *others, rows["beam_maj"])
    rows["is_blended_flag"] = rows["N_blended"] > 0
    bad = rows["snr_flag"] | rows["leakage_flag"] | rows["channel_flag"] | rows["stokesI_fit_flag"]
    rows["local_rm_flag"] = outlying_rms(
        rows["ra"], rows["dec"], rows["rm"], rows["rm_err"], ~bad & np.isfinite(rows["rm"]),
        neighbours=options.neighbours, sigma=options.local_rm_sigma,
    )  # fmt: skip
    return rows
