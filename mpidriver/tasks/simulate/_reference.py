"""The reference catalogue: the survey's stars as another, shallower survey would list them."""

import numpy as np

from mpidriver.tasks.simulate._options import SimulationOptions
from mpidriver.tasks.simulate._streams import Stream, generator
from mpidriver.tasks.simulate._tables import empty_table
from mpidriver.tasks.simulate._truth import Truth

__all__ = ["reference_catalogue", "reference_units"]


def reference_units(options: SimulationOptions) -> dict[str, str]:
    """Return columns and units of the reference catalogue; `id` is that of the truth's star."""
    magnitudes = {f"mag_{band}": "mag" for band in options.bands}
    errors = {f"mag_{band}_err": "mag" for band in options.bands}
    return {"id": "", "ra": "deg", "dec": "deg", "ra_err_mas": "mas", "dec_err_mas": "mas"} | magnitudes | errors


def reference_catalogue(truth: Truth, options: SimulationOptions) -> np.ndarray:
    """Return the reference stars, of all fields, with errors in position and magnitude.

    Parameters
    ----------
    truth
        From `make_truth` of the same options.
    options
        `errors.reference_mas`, `reference_mmag` and `reference_mag_range` (in the reference band) are used.

    Returns
    -------
    ndarray, shape (star,)
        Structured; columns and units are `reference_units`. `ra_err_mas` is that on the sky, cos(dec) included.
    """
    errors = options.errors
    rng = generator(options.seed, Stream.REFERENCE)
    draw = rng.standard_normal((2 + len(options.bands), len(truth.stars)))
    bright, faint = errors.reference_mag_range
    mag = truth.stars[f"mag_{options.reference_band}"]
    listed = (mag >= bright) & (mag <= faint)
    stars, draw = truth.stars[listed], draw[:, listed]
    table = empty_table(reference_units(options), len(stars))
    error_deg = errors.reference_mas / 3.6e6
    table["id"] = stars["id"]
    table["ra"] = (stars["ra"] + draw[0] * error_deg / np.cos(np.radians(stars["dec"]))) % 360.0
    table["dec"] = np.clip(stars["dec"] + draw[1] * error_deg, -90.0, 90.0)
    table["ra_err_mas"] = table["dec_err_mas"] = errors.reference_mas
    for band, band_draw in zip(options.bands, draw[2:], strict=True):
        table[f"mag_{band}"] = stars[f"mag_{band}"] + band_draw * errors.reference_mmag / 1000.0
        table[f"mag_{band}_err"] = errors.reference_mmag / 1000.0
    return table
