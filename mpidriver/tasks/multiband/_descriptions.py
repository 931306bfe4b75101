"""What the columns of the object table say, a sentence each: kept in the files, and in docs/catalogue.md."""

__all__ = ["BAND_COLUMNS", "OBJECT_COLUMNS", "object_descriptions"]

#: Columns that an object has once.
OBJECT_COLUMNS = {
    "id": "tract, patch and number in one; see split_object_id",
    "tract": "tract of the sky map",
    "patch_x": "column of the patch in the tract",
    "patch_y": "row of the patch in the tract",
    "footprint": "number of the connected area above threshold in the patch; 0: none",
    "ra": "right ascension, ICRS, by the reference band",
    "dec": "declination, ICRS, by the reference band",
    "x": "column in the patch, 0-based, middle of a pixel is whole",
    "y": "row in the patch",
    "ref_band": "band whose position and shape stand",
    "is_primary": "the one row of this sky position in the survey, no sky object",
    "snr": "flux_psf over its error in the reference band",
    "x_err": "error of x",
    "y_err": "error of y",
    "fwhm_arcsec": "FWHM of the matching Gaussian scaled to the PSF's, PSF included",
    "half_light_radius_arcsec": "circle with half of flux_auto, PSF included",
    "moment_xx": "second moment of the best-matching Gaussian, PSF included",
    "moment_yy": "as moment_xx",
    "moment_xy": "as moment_xx",
    "kron_a_px": "semi-major axis of the Kron aperture",
    "kron_b_px": "semi-minor axis of the Kron aperture",
    "kron_theta_rad": "angle of kron_a_px from +x to +y",
    "model_xx": "half-light ellipse of the model without the PSF; 0: point source",
    "model_yy": "as model_xx",
    "model_xy": "as model_xx",
    "model_dev_share": "share of the de Vaucouleurs profile in the model's light; the rest is exponential",
    "model_shape_err": "relative error of flux_model by the shape of its model, or by the chance that a point has one",
    "model_radius_arcsec": "geometric mean of the model's half-light axes; 0: point source",
    "psf_fwhm_arcsec": "FWHM of the PSF there, in the reference band",
    "extendedness": "0: as wide as the PSF, 1: wider, NaN: unknown",
    "flags": "bits of ObjectFlag for the reference band's own measurement",
}
#: Columns that an object has in each band, as ``flux_psf_r``; those of fluxes and magnitudes have errors beside them,
#: as ``flux_psf_r_err``.
BAND_COLUMNS = {
    "flux_psf": "forced flux by the PSF",
    "mag_psf": "AB magnitude of flux_psf",
    "flux_model": "forced flux by the reference band's model through this band's PSF, all objects at once",
    "mag_model": "AB magnitude of flux_model",
    "flux_auto": "flux in the Kron aperture without neighbours, corrected as a point source's",
    "mag_auto": "AB magnitude of flux_auto",
    "flux_aper": "fluxes in circles without neighbours, corrected as a point source's",
    "blendedness": "share of the light under the model that is other objects'",
    "snr": "flux_psf over its error in this band",
    "psf_fwhm_arcsec": "FWHM of the PSF there, in this band",
    "flags": "bits of ObjectFlag for this band's forced measurement",
}
_WITH_ERRORS = ("flux", "mag")


def object_descriptions(bands):
    """Return what each column of the object table for `bands` says, by its name."""
    words = dict(OBJECT_COLUMNS)
    for band in bands:
        for name, text in BAND_COLUMNS.items():
            words[f"{name}_{band}"] = text
            if name.startswith(_WITH_ERRORS):
                words[f"{name}_{band}_err"] = f"standard error of {name}_{band}"
    return words
