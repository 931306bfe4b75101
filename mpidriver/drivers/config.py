"""The configuration of a survey: every table of survey.toml as one tree of frozen records."""

from dataclasses import dataclass
from pathlib import Path

from mpidriver.options import from_mapping, option, read_toml, to_toml
from mpidriver.site import BatchOptions, StorageOptions
from mpidriver.store import InstrumentOptions, StateOptions
from mpidriver.tasks.calibs import CalibsOptions
from mpidriver.tasks.coadd import CoaddOptions
from mpidriver.tasks.faraday import FaradayOptions
from mpidriver.tasks.matching import MatchingOptions
from mpidriver.tasks.mosaic import MosaicOptions
from mpidriver.tasks.multiband import MultibandOptions
from mpidriver.tasks.polarisation import IonosphereOptions, QUFittingOptions, RMTableOptions, SourceOptions
from mpidriver.tasks.simulate import SimulationOptions
from mpidriver.tasks.single_frame import SingleFrameOptions
from mpidriver.tasks.sky_correction import SkyCorrectionOptions
from mpidriver.tasks.skymap import SkyMapOptions
from mpidriver.tasks.warp import WarpOptions

__all__ = [
    "CalibrationOptions",
    "FakesOptions",
    "PipelineOptions",
    "ReferenceOptions",
    "SurveyConfig",
    "config_text",
    "load_config",
]


@dataclass(frozen=True)
class CalibrationOptions:
    """Where the calibration frames of each detector lie, if they are not made from raw ones in the repository."""

    bias: str | None = option(
        None, "bias frame, a path with {detector} and {band}, relative to the repository", unit="ADU"
    )
    linearity: str | None = option(
        None,
        "FITS table with a column coefficient, c of counts * (1 + c1 counts + c2 counts^2 ...), or with columns counts "
        "and corrected (ADU)",
    )
    crosstalk: str | None = option(
        None,
        "FITS table with the columns victim and source (numbers of detectors) and coefficient, and for amplifiers of a "
        "detector victim_section and source_section ([x1:x2,y1:y2]); one for all detectors",
    )
    dark: str | None = option(None, "dark frame per second of exposure", unit="ADU/s")
    flat: str | None = option(None, "flat field, normalised to about 1")
    defects: str | None = option(None, "map of bad pixels, non-zero where bad")
    fringe: str | None = option(None, "fringe pattern in units of the sky")
    sky: str | None = option(None, "sky frame: pattern of larger scales in units of the sky, about 0")


@dataclass(frozen=True)
class ReferenceOptions:
    """The reference catalogue that ties positions and magnitudes."""

    path: str | None = option(None, "FITS table, relative to the repository; none: frames are tied to each other alone")
    ra: str = option("ra", "column of right ascension", unit="deg")
    dec: str = option("dec", "column of declination", unit="deg")
    magnitude: str = option(
        "mag_{band}", "column of AB magnitudes of a band; bands without a column are not tied", unit="mag"
    )
    magnitude_error: str = option(
        "mag_{band}_err", "column of their errors; bands without one: mosaic.reference_error_mmag", unit="mag"
    )
    position_error: str = option(
        "", "column of the error of a coordinate; empty, and no ra_error: mosaic.reference_error_mas", unit="mas"
    )
    ra_error: str = option("", "column of the error of ra times cos dec, with dec_error for position_error", unit="mas")
    dec_error: str = option("", "column of the error of dec", unit="mas")
    pm_ra: str = option("", "column of the proper motion of ra times cos dec; needs pm_dec and epoch", unit="mas/yr")
    pm_dec: str = option("", "column of the proper motion of dec", unit="mas/yr")
    pm_ra_error: str = option("", "column of the error of pm_ra", unit="mas/yr")
    pm_dec_error: str = option("", "column of the error of pm_dec", unit="mas/yr")
    epoch: str = option("", 'column of the positions\' epoch, or one for all, as "2016.0"', unit="Julian year")


@dataclass(frozen=True)
class FakesOptions:
    """Known sources that are put into frames; `mpidriver fakes` writes this table."""

    catalogue: str | None = option(None, "FITS table of fakes, relative to the repository; none: no fakes")
    original: str = option("", "the repository of the same frames, reduced without fakes, that shows their PSF")


@dataclass(frozen=True)
class PipelineOptions:
    """How the stages are planned."""

    pointing_margin_arcsec: float = option(
        20.0, "how far a raw frame's header position may be off when patches are planned", unit="arcsec", minimum=0.0
    )


@dataclass(frozen=True)
class SurveyConfig:
    """All of survey.toml."""

    name: str = option("survey", "name of the survey, for tables and pictures")
    skymap: SkyMapOptions = SkyMapOptions()
    """Table [skymap]."""
    instrument: InstrumentOptions = InstrumentOptions()
    """Table [instrument]: how raw images name their exposure, detector and band."""
    polarimeter: InstrumentOptions = InstrumentOptions(kind="stokes")
    """Table [polarimeter]: the same for Stokes channel images."""
    calibrations: CalibrationOptions = CalibrationOptions()
    """Table [calibrations]."""
    calibs: CalibsOptions = CalibsOptions()
    """Table [calibs]: how raw calibration frames are combined."""
    reference: ReferenceOptions = ReferenceOptions()
    """Table [reference]."""
    single_frame: SingleFrameOptions = SingleFrameOptions()
    """Table [single_frame]."""
    sky_correction: SkyCorrectionOptions = SkyCorrectionOptions()
    """Table [sky_correction]: one sky for all detectors of an exposure."""
    mosaic: MosaicOptions = MosaicOptions()
    """Table [mosaic]."""
    matching: MatchingOptions = MatchingOptions()
    """Table [matching]: how backgrounds of overlapping frames are made the same."""
    warp: WarpOptions = WarpOptions()
    """Table [warp]."""
    coadd: CoaddOptions = CoaddOptions()
    """Table [coadd]."""
    multiband: MultibandOptions = MultibandOptions()
    """Table [multiband]."""
    faraday: FaradayOptions = FaradayOptions()
    """Table [faraday]."""
    sources: SourceOptions = SourceOptions()
    """Table [sources]: the sources of a catalogue of components."""
    ionosphere: IonosphereOptions = IonosphereOptions()
    """Table [ionosphere]."""
    qu_fitting: QUFittingOptions = QUFittingOptions()
    """Table [qu_fitting]."""
    rm_table: RMTableOptions = RMTableOptions()
    """Table [rm_table]."""
    fakes: FakesOptions = FakesOptions()
    """Table [fakes]: known sources put into the raw frames."""
    pipeline: PipelineOptions = PipelineOptions()
    """Table [pipeline]."""
    state: StateOptions = StateOptions()
    """Table [state]: where the state of the survey is kept."""
    batch: BatchOptions = BatchOptions()
    """Table [batch]."""
    storage: StorageOptions = StorageOptions()
    """Table [storage]."""
    simulation: SimulationOptions = SimulationOptions()
    """Table [simulation]: used by `mpidriver simulate` alone."""


def load_config(path: str | Path) -> SurveyConfig:
    """Read a survey.toml.

    Raises
    ------
    RepositoryError
        If the file cannot be read.
    ConfigError
        If it is not TOML, or a table, key or value is wrong; the message names it and what would do.
    """
    return from_mapping(SurveyConfig, read_toml(Path(path)), str(path))


def config_text(config: SurveyConfig, *, comments: bool = True) -> str:
    """Return a configuration as the text of a survey.toml, each key under its help and unit."""
    return to_toml(config, comments=comments)
