"""Faraday rotation: RM synthesis of cubes and spectra, and the polarised sources in them.

::

    _options        the option record (imports no numpy)
    _grids          λ², Faraday-depth grids, FWHM
    _checks         arrays as users give them
    _lambda0, _lambda0_kernels
                    λ²_0 of cubes and pixels (numba)
    _synthesis      rm_synthesis
    _transfer       rmtf
    _transform      pixels through the kernel, threads
    _plan           the matrices that all pixels share
    _spreading      interpolation of exponentials from a uniform grid
    _kernels        a tile of pixels through those matrices (numba)
    _band_kernels   spreading and interpolation among them (numba)
    _fourier, _fourier_kernels
                    the Fourier transform among them (numba)
    _vectors        how kernels are written as vector instructions (numba)
    _rows           sizes of the scratch of kernels
    _clean          rm_clean: RM-CLEAN of spectra, with a second search in windows
    _clean_kernels  that search (numba)
    _tiles          pixels shared by threads
    _analysis       analyse_spectra: all that RM-Tools reports of single spectra
    _analysis_columns, _analysis_table
                    its columns: how they are filled, types, units
    _stokes         checked Stokes spectra
    _stokes_i_models, _stokes_i_kernels
                    polynomials and curved power laws through Stokes I (numba)
    _fractions      spectra divided by them, weights, λ²_0
    _thin           the best Faraday-thin model of spectra
    _fdf_parameters peak, angles, noise and errors of Faraday spectra
    _statistics_kernels
                    medians and the scatter beyond the noise (numba)
    _qu_fitting     fit_qu: thin, two-component and slab models of one source
    _qu_kernels     their fit (numba)
    _turn_kernels   spectra about another λ²_0 (numba)
    _reference      synthesis and CLEAN, slow and obvious, for tests
    _peaks          maximum of every spectrum of a cube
    _fractional     Q/I and U/I of cubes
    _noise          of the spectra of a cube
    _measure        what the RM catalogue says of analysed sources
    _detect         sources in a patch and their spectra
    _catalogue      rows of the RM catalogue
    _patch          from the cubes of a patch to those rows

Angles, signs and units are those of RM-Tools and POSSUM: P = Q + iU, F(φ) = K Σ w P exp(-2iφ(λ² - λ²_0)).
"""

from mpidriver.lazy import loaded_on_use
from mpidriver.tasks.faraday._options import AnalysisOptions, FaradayOptions

_HOMES = {
    "ANALYSIS_DTYPE": "_analysis_table",
    "ANALYSIS_UNITS": "_analysis_table",
    "CleanResult": "_clean",
    "DETECTION_DTYPE": "_detect",
    "MEASUREMENT_DTYPE": "_catalogue",
    "MEASUREMENT_UNITS": "_catalogue",
    "Peaks": "_peaks",
    "RM_DTYPE": "_catalogue",
    "RM_UNITS": "_catalogue",
    "QU_MODELS": "_qu_fitting",
    "QuFit": "_qu_fitting",
    "RM_TOOLS_NAMES": "_analysis_table",
    "SpectraAnalysis": "_analysis",
    "analyse_spectra": "_analysis",
    "channel_noise": "_detect",
    "check_frequencies": "_grids",
    "cube_lambda0": "_lambda0",
    "detect_sources": "_detect",
    "double_phi_grid": "_grids",
    "extract_spectra": "_detect",
    "find_peaks": "_peaks",
    "fit_qu": "_qu_fitting",
    "fractional": "_fractional",
    "inverse_variance": "_fractional",
    "lambda_sq": "_grids",
    "max_scale": "_grids",
    "mean_image": "_detect",
    "measure_faraday": "_measure",
    "measure_patch": "_patch",
    "phi_grid": "_grids",
    "reference_lambda_sq": "_grids",
    "pixel_lambda0": "_lambda0",
    "rm_clean": "_clean",
    "rm_measurements": "_measure",
    "rm_synthesis": "_synthesis",
    "rm_table": "_catalogue",
    "rmtf": "_transfer",
    "spectrum_noise": "_noise",
    "rmtf_fwhm": "_grids",
}

__all__ = ["AnalysisOptions", "FaradayOptions", *_HOMES]

__getattr__, __dir__ = loaded_on_use(__name__, _HOMES)
