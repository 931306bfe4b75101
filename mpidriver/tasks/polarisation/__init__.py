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
"""

import importlib

from mpidriver.tasks.polarisation._options import SourceOptions

_HOMES = {
    "CutoutGrid": "_cutouts",
    "Extracted": "_extraction",
    "Mosaic": "_linmos",
    "TecMaps": "_electron_content",
    "annulus_mask": "_extraction",
    "axis_distance_deg": "_linmos",
    "beam_area_ratio": "_beams",
    "beam_covariance": "_beams",
    "beam_weights": "_linmos",
    "common_beam": "_beams",
    "correct_rotation": "_ionosphere",
    "cutout_wcs": "_cutouts",
    "exposure_times": "_ionosphere",
    "extract_sources": "_extraction",
    "flag_channels": "_extraction",
    "ionospheric_factor": "_ionosphere",
    "magnetic_field_nt": "_geomagnetism",
    "map_window": "_cutouts",
    "primary_beam": "_primary_beam",
    "resample_window": "_cutouts",
    "series_at": "_ionosphere",
    "slant_rm": "_electron_content",
    "smooth_cutouts": "_linmos",
    "smoothing_covariance": "_beams",
}

__all__ = ["SourceOptions", *_HOMES]


def __getattr__(name: str) -> object:
    """Load what needs numpy when it is first used: the option records must stay cheap to import."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
