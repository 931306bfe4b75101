"""Options of the polarised sources: how they are cut out and measured, the ionosphere, and the RM table."""

from dataclasses import dataclass

from mpidriver.errors import ConfigError
from mpidriver.options import option

__all__ = ["IonosphereOptions", "QUFittingOptions", "RMTableOptions", "SourceOptions"]


@dataclass(frozen=True)
class SourceOptions:
    """How catalogued sources become spectra."""

    columns: dict[str, str] = option({}, "our column = the table's, for catalogues of unknown origin")
    cell_deg: float = option(0.5, "side of the cells of sky whose sources are one quantum", unit="deg", minimum=0.01)
    resolution_arcsec: tuple[float, ...] = option(
        (), "major and minor FWHM of the common beam; empty: the smallest that all images of a cell can be smoothed to",
        unit="arcsec",
    )  # fmt: skip
    resolution_pa_deg: float = option(0.0, "position angle of resolution_arcsec, from north to east", unit="deg")
    primary_beam: str = option(
        "none",
        "what weights the beams: nothing but their noise, a model of the dish, or a map of inverse variance a beam",
        choices=("none", "gaussian", "airy", "weights"),
    )
    dish_m: float = option(12.0, "diameter of a dish", unit="m", minimum=0.1)
    fwhm_factor: float = option(1.09, "FWHM of the Gaussian primary beam over wavelength/diameter", minimum=0.1)
    corrected: bool = option(True, "whether images are divided by the primary beam already")
    cutoff: float = option(0.1, "response of the primary beam below which a beam is not used", minimum=0.0)
    annulus_beams: tuple[float, float] = option((1.5, 5.0), "radii between which background and noise are measured, "
                                                "in major FWHM")  # fmt: skip
    noise_clip: float = option(
        5.0, "channels whose noise is above the median by so many standard deviations are flagged", minimum=1.0
    )
    keep_cutouts: bool = option(False, "write the combined cubes about each source to cutouts/")
    cubes: bool = option(False, "also write cubes of Faraday depth about each source to cutouts/; keeps the cut-outs")

    @property
    def keeps_cutouts(self) -> bool:
        """Whether cut-outs are written."""
        return self.keep_cutouts or self.cubes

    def __post_init__(self) -> None:
        if len(self.resolution_arcsec) not in (0, 2) or not all(fwhm > 0 for fwhm in self.resolution_arcsec):
            raise ConfigError(f"resolution_arcsec must be two positive lengths, got {list(self.resolution_arcsec)}")
        if self.resolution_arcsec and self.resolution_arcsec[0] < self.resolution_arcsec[1]:
            raise ConfigError(f"resolution_arcsec: the major axis comes first, got {list(self.resolution_arcsec)}")
        if not 0.0 < self.annulus_beams[0] < self.annulus_beams[1]:
            raise ConfigError(f"annulus_beams must run upwards from above 0, got {list(self.annulus_beams)}")


@dataclass(frozen=True)
class IonosphereOptions:
    """How Faraday rotation in the ionosphere is taken out."""

    kind: str = option(
        "none",
        "where its RM comes from: a table of RM against time, or IONEX maps of electron content and the IGRF",
        choices=("none", "series", "ionex"),
    )
    path: str | None = option(
        None, "that table (columns mjd and rm, in d and rad/m2; also exposure) or map, relative to the repository"
    )
    longitude_deg: float | None = option(None, "east longitude of the telescope, for IONEX", unit="deg")
    latitude_deg: float | None = option(None, "geodetic latitude of the telescope, for IONEX", unit="deg")
    step_s: float = option(60.0, "step in time of the mean over an exposure", unit="s", minimum=0.1)

    def __post_init__(self) -> None:
        if self.kind != "none" and self.path is None:
            raise ConfigError(f"kind = {self.kind!r} needs path, the file with the ionosphere")
        if self.kind == "ionex" and (self.longitude_deg is None or self.latitude_deg is None):
            raise ConfigError("kind = 'ionex' needs longitude_deg and latitude_deg of the telescope")


@dataclass(frozen=True)
class QUFittingOptions:
    """Which models are fitted to Q and U of catalogued sources against wavelength squared."""

    models: tuple[str, ...] = option((), "models: thin, two (components), slab; empty: none are fitted")
    criterion: str = option("bic", "what tells which model the data prefer", choices=("aic", "bic", "evidence"))
    phi_max_radm2: float | None = option(None, "largest depth allowed; unset: as for RM synthesis", unit="rad/m2")

    def __post_init__(self) -> None:
        unknown = [model for model in self.models if model not in ("thin", "two", "slab")]
        if unknown:
            raise ConfigError(f"models: expected some of thin, two, slab, got {unknown[0]!r}")


@dataclass(frozen=True)
class RMTableOptions:
    """What the RM table says of its sources beside their measurements."""

    telescope: str = option("Unknown", "telescope, as the standard spells it: ASKAP, MWA, LOFAR, VLA …")
    catalog_name: str = option("", "name of the catalogue")
    dataref: str = option("", "reference to the paper, as a DOI or bibcode")
    min_snr: float = option(8.0, "S/N of polarised intensity below which snr_flag is set", minimum=0.0)
    min_channels: float = option(0.5, "share of the most channels below which channel_flag is set", minimum=0.0)
    leakage_snr: float = option(30.0, "S/N of Stokes I of the sources from which leakage is estimated", minimum=1.0)
    leakage_offset: float = option(0.002, "added to the fitted leakage before leakage_flag is set", minimum=0.0)
    neighbours: int = option(30, "neighbours with which an RM is compared for local_rm_flag", minimum=3)
    local_rm_sigma: float = option(3.0, "standard deviations of them beyond which it is set", minimum=0.1)
