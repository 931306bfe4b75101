"""Options of detection and measurement on coadds."""

import dataclasses

from mpidriver.errors import ConfigError
from mpidriver.options import option

__all__ = ["MultibandOptions"]


@dataclasses.dataclass(frozen=True)
class MultibandOptions:
    """How objects are found on the coadds of all bands and measured."""

    priority: tuple[str, ...] = option(
        ("i", "r", "z", "y", "g", "u"), "bands in the order in which they name objects; others follow by name"
    )
    background_box_px: int = option(
        128, "box of the background that is taken off the coadd; 0 leaves it as it is", unit="px", minimum=0
    )
    threshold_sigma: float = option(5.0, "detection threshold in units of the noise after filtering", minimum=0.0)
    filter_fwhm_px: float = option(3.0, "Gaussian the coadd is filtered with for detection", unit="px", minimum=0.5)
    min_area_px: int = option(4, "smallest number of pixels above the threshold", unit="px", minimum=1)
    deblend_levels: int = option(32, "levels at which blends are split", minimum=1)
    deblend_contrast: float = option(0.003, "least share of the light of a blend that makes an object", minimum=0.0)
    merge_radius_arcsec: float = option(
        1.0, "detections of two bands this close are one object", unit="arcsec", minimum=0.0
    )
    sky_objects: int = option(
        50, "empty places of a patch that are measured as objects are, to show the noise", minimum=0
    )
    fake_spacing_px: float = option(60.0, "grid on which fakes are added with --fakes", unit="px", minimum=10.0)
    aperture_radii_arcsec: tuple[float, ...] = option((1.0, 1.5, 2.0, 3.0), "radii of the apertures", unit="arcsec")
    default_fwhm_arcsec: float = option(
        0.8, "width of the PSF where too few stars show it", unit="arcsec", minimum=0.01
    )
    star_snr: float = option(50.0, "stars for the PSF have at least this signal-to-noise ratio", minimum=5.0)
    reference_snr: float = option(
        10.0, "the reference band is the first by priority with this signal-to-noise ratio, or the best", minimum=0.0
    )

    def __post_init__(self) -> None:
        if not self.aperture_radii_arcsec or min(self.aperture_radii_arcsec) <= 0.0:
            raise ConfigError(f"aperture_radii_arcsec needs radii above 0, got {self.aperture_radii_arcsec}")
