"""A simulated survey with a written truth: frames of a camera and channel images of a radio telescope.

Everything is a pure function of the option record: each frame, channel and table draws from a generator of its own,
made from the seed and the names of what is drawn, so that order of calls and number of ranks change nothing.

::

    _options        what to simulate (imports no numpy)
    _streams        the random generators
    _tables         empty tables from columns and units
    _tangent        offsets and WCS of tangent planes
    _survey         tables of exposures and detectors
    _sky            tables of stars and galaxies
    _radio          tables of radio sources and beams; channels
    _truth          all tables with their units
    _camera         the true WCS of a frame and the one that its header claims
    _profiles       stars and galaxies on pixels
    _calibrations   bias, flat field and bad columns
    _light          what a perfect camera would collect
    _cosmic_rays    tracks of charge
    _frame          one raw frame
    _reference      the reference catalogue
    _polarisation   Stokes spectra of Faraday-thin, two-component and slab sources
    _channel        one radio channel image
"""

from mpidriver.lazy import loaded_on_use
from mpidriver.tasks.simulate._options import (
    CameraOptions,
    ErrorOptions,
    RadioOptions,
    SimulationOptions,
    SkyOptions,
)

_HOMES = {
    "BEAM_UNITS": "_radio",
    "DETECTOR_UNITS": "_survey",
    "EXPOSURE_UNITS": "_survey",
    "RADIO_SOURCE_UNITS": "_radio",
    "SimulatedCalibrations": "_calibrations",
    "SimulatedChannel": "_channel",
    "SimulatedFrame": "_frame",
    "Truth": "_truth",
    "blank_frame": "_frame",
    "channel_frequencies": "_radio",
    "claimed_wcs": "_camera",
    "make_truth": "_truth",
    "polarised_fraction": "_polarisation",
    "reference_catalogue": "_reference",
    "reference_units": "_reference",
    "simulate_calibrations": "_calibrations",
    "simulate_channel": "_channel",
    "simulate_frame": "_frame",
    "stokes_spectra": "_polarisation",
    "true_wcs": "_camera",
    "truth_units": "_truth",
}

__all__ = ["CameraOptions", "ErrorOptions", "RadioOptions", "SimulationOptions", "SkyOptions", *_HOMES]

__getattr__, __dir__ = loaded_on_use(__name__, _HOMES)
