"""Instrument tables for keyword layouts that are known by name."""

from typing import Any

from mpidriver.errors import ConfigError
from mpidriver.options import from_mapping
from mpidriver.store._instruments._instrument import InstrumentOptions

__all__ = ["PRESETS", "instrument_preset"]

#: Name of a layout -> the options that differ from the defaults.
PRESETS: dict[str, dict[str, Any]] = {
    # What `mpidriver simulate` writes.
    "simulated": {},
    "simulated-stokes": {
        "kind": "stokes",
        "detector": "BEAM",
        "band": {"keyword": "CHANNEL", "template": "c{:04d}"},
        "metadata": {
            "noise_jy_beam": "NOISE",
            "bmaj_deg": "BMAJ",
            "bmin_deg": "BMIN",
            "bpa_deg": "BPA",
            "unit": "BUNIT",
        },
    },
    # Raw frames of whatever instrument astro-metadata-translator knows: DECam, HSC, Suprime-Cam, MegaPrime, SDSS.
    "auto": {
        "exposure": {"translated": "visit_id"},
        "detector": {"translated": "detector_num"},
        "band": {"translated": "physical_filter", "pattern": r"^(?:HSC-)?(\w+)"},
        "exptime_s": {"translated": "exposure_time"},
        "mjd": {"translated": "datetime_begin"},
        "gain": {"keyword": "GAIN", "optional": True},
        "read_noise": {"keyword": "RDNOISE", "optional": True},
        "saturation": {"keyword": "SATURATE", "optional": True},
        "metadata": {
            "instrument": {"translated": "instrument"},
            "object": {"translated": "object"},
            "observation_type": {"translated": "observation_type"},
            "airmass": {"translated": "boresight_airmass"},
        },
    },
    # SAAO 1.0 m, STE3: positions from a table beside the frames; the exposure number is in the file's name only.
    "saao": {
        "exposure": {"path": r"[A-Z]+\d+I(\d+)\.fits"},
        "detector": 0,
        "band": "FILTERS",
        "saturation": 60000.0,
        "wcs": "table",
        "table": "derived_wcs.ecsv",
        "metadata": {"object": "OBJECT", "airmass": "SECZ", "seeing_px": "PFWHM", "hjd_mid": "PHJDMID"},
    },
    # DECam: cut-outs of community-pipeline images of which each remembers the exposure's file in EXP_BN.
    "decam-cutout": {
        "exposure": {"keyword": "EXP_BN", "pattern": r"c4d_(\d{6})_(\d{6})"},
        "detector": "CCDNUM",
        "band": {"keyword": "FILTER", "pattern": r"^(\w+)"},
        "mjd": {"keyword": "EXP_BN", "pattern": r"c4d_(\d{6})_(\d{6})", "format": "%y%m%d%H%M%S"},
        "metadata": {"seeing_px": "FWHM", "airmass": "AIRMASS"},
    },
    # DECam community pipeline as the Legacy Survey keeps it: ooi (image), oow (weight), ood (quality) and, in a
    # folder above, the table of CCDs with zero points. The quality map holds codes from 1 on, each a defect.
    "decam-legacy": {
        "exposure": "EXPNUM",
        "detector": "CCDNUM",
        "band": {"keyword": "FILTER", "pattern": r"^(\w+)"},
        "gain": {"keyword": ["GAINA", "GAINB"]},
        "read_noise": {"keyword": ["RDNOISEA", "RDNOISEB"]},
        "zero_point": {"column": "ccdzpt", "optional": True},
        "zero_point_unit": "ADU/s",
        "table": "survey-ccds-1.fits.gz",
        "table_key": "image_filename",
        "weight": ["_ooi_", "_oow_"],
        "mask": ["_ooi_", "_ood_"],
        "only": {"PRODTYPE": "image"},
        "metadata": {"object": "OBJECT", "airmass": "AIRMASS", "seeing_px": "FWHM"},
    },
}


def instrument_preset(name: str) -> InstrumentOptions:
    """Return the options for a known layout.

    Raises
    ------
    ConfigError
        If the name is not one of `PRESETS`.
    """
    if name not in PRESETS:
        raise ConfigError(f"unknown instrument {name!r}; known: {', '.join(PRESETS)}")
    options: InstrumentOptions = from_mapping(InstrumentOptions, PRESETS[name], f"instrument {name}")
    return options
