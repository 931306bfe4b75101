"""The analysis of the spectra of catalogued components, all at once."""

import numpy as np

from mpidriver.errors import DataError
from mpidriver.tasks import faraday

__all__ = ["analyse_components"]


def analyse_components(spectra, options):
    """Analyse components from the table of their spectra; see `mpidriver.tasks.faraday.analyse_spectra`.

    Parameters
    ----------
    spectra : structured ndarray (source,)
        Columns ``freq``, ``stokesI``, ``stokesI_error`` … of shape (source, chan), the same channels in each row.
    options : FaradayOptions

    Returns
    -------
    SpectraAnalysis

    Raises
    ------
    DataError
        If all channels have one frequency, and the depths are not given.
    """
    freq_hz = spectra["freq"][0]
    if np.ptp(freq_hz) == 0.0 and None in (options.phi_max_radm2, options.phi_step_radm2):
        raise DataError(f"rotation measures need two channels or more, got one frequency, {freq_hz[0]:g} Hz")
    stokes = (spectra[f"stokes{letter}{end}"] for end in ("", "_error") for letter in "IQU")
    return faraday.analyse_spectra(freq_hz, *stokes, options=options.of_spectra(), threads=options.threads)
