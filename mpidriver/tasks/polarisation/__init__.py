"""Polarised sources of a catalogue: from channel images to their spectra.

::

    _options            the option records (imports no numpy)
    _geomagnetism       the Earth's main field
    _electron_content   RM of the ionosphere from maps of its electrons
    _ionosphere         its mean over an exposure, and the correction
    _beams              synthesised beams: the smallest common one, what smooths to it
    _primary_beam       response of a dish
    _cutouts            small tangent planes about sources, and what images show on them
    _kernels            the loop of that (numba)
    _linmos             beams smoothed and joined
    _extraction         spectra with background and noise
    _analysis           their Faraday spectra and what these tell
    _qu_table           QU fits, and the model that the data prefer
    _flags              leakage, RMs that stand out, blends
    _rm_columns         columns of the RM table
    _rm_rows            its rows
"""

from mpidriver.lazy import loaded_on_use
from mpidriver.tasks.polarisation._options import IonosphereOptions, QUFittingOptions, RMTableOptions, SourceOptions

_HOMES = {
    "CutoutGrid": "_cutouts",
    "Extracted": "_extraction",
    "Mosaic": "_linmos",
    "QU_COLUMNS": "_qu_table",
    "QU_DTYPE": "_qu_table",
    "QU_UNITS": "_qu_table",
    "RM_TABLE_DTYPE": "_rm_columns",
    "RM_TABLE_UNITS": "_rm_columns",
    "RM_TABLE_WORDS": "_rm_columns",
    "TecMaps": "_electron_content",
    "analyse_components": "_analysis",
    "annulus_mask": "_extraction",
    "axis_distance_deg": "_linmos",
    "beam_area_ratio": "_beams",
    "beam_covariance": "_beams",
    "beam_weights": "_linmos",
    "blends": "_flags",
    "common_beam": "_beams",
    "compare_rows": "_rm_rows",
    "correct_rotation": "_ionosphere",
    "cutout_wcs": "_cutouts",
    "exposure_times": "_ionosphere",
    "extract_sources": "_extraction",
    "fill_qu_columns": "_qu_table",
    "fit_component": "_qu_table",
    "flag_channels": "_extraction",
    "ionospheric_factor": "_ionosphere",
    "leakage_by_distance": "_flags",
    "magnetic_field_nt": "_geomagnetism",
    "map_window": "_cutouts",
    "outlying_rms": "_flags",
    "primary_beam": "_primary_beam",
    "qu_table": "_qu_table",
    "resample_weights": "_cutouts",
    "resample_window": "_cutouts",
    "series_at": "_ionosphere",
    "slant_rm": "_electron_content",
    "smooth_cutouts": "_linmos",
    "smoothing_covariance": "_beams",
    "source_rows": "_rm_rows",
    "why_unmeasured": "_rm_rows",
}

__all__ = ["IonosphereOptions", "QUFittingOptions", "RMTableOptions", "SourceOptions", *_HOMES]

__getattr__, __dir__ = loaded_on_use(__name__, _HOMES)
