"""The analysis of the spectra of catalogued components, all at once."""

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
    """
    stokes = (spectra[f"stokes{letter}{end}"] for end in ("", "_error") for letter in "IQU")
    return faraday.analyse_spectra(spectra["freq"][0], *stokes, options=options.of_spectra(), threads=options.threads)
