"""Options of the single-frame stage."""

import dataclasses

from mpidriver.options import option

__all__ = ["SingleFrameOptions"]


@dataclasses.dataclass(frozen=True)
class SingleFrameOptions:
    """How one frame is cleaned, measured and tied to a reference catalogue."""

    saturation_grow_px: int = option(1, "Saturated pixels are grown by this many pixels.", unit="px", minimum=0)
    cosmic_rays: bool = option(True, "Find cosmic rays and interpolate over them.")
    cosmic_ray_sigma: float = option(5.0, "A cosmic ray's Laplacian stands this far above the noise.", unit="sigma")
    cosmic_ray_neighbour: float = option(0.3, "Fraction of that threshold for the neighbours of a hit.", minimum=0.0)
    cosmic_ray_contrast: float = option(5.0, "Ratio of Laplacian to fine structure that tells a hit from a star.")
    cosmic_ray_iterations: int = option(4, "Most passes of the cosmic-ray search.", minimum=1)
    background_mesh_px: int = option(128, "Side of the meshes of the sky background.", unit="px", minimum=8)
    background_filter: int = option(3, "Side of the median filter over the meshes.", unit="meshes", minimum=1)
    superpixel_px: int = option(
        32,
        "Side of the squares that the background is kept in, to be matched to overlapping frames.",
        unit="px",
        minimum=4,
    )
    detection_sigma: float = option(5.0, "Peak of a source in the smoothed image.", unit="sigma", minimum=1.0)
    detection_filter: str = option(
        "auto",
        "Smoothing before detection: a Gaussian, or a Mexican hat that parts crowded stars; auto looks at the frame.",
        choices=("auto", "gaussian", "mexican_hat"),
    )
    detection_min_px: int = option(3, "Fewest connected pixels above the threshold.", unit="px", minimum=1)
    deblend_levels: int = option(32, "Number of thresholds of the deblending.", minimum=1)
    deblend_contrast: float = option(0.001, "Smallest share of its parent's flux for a deblended child.", minimum=0.0)
    aperture_radius_fwhm: float = option(1.0, "Radius of the measuring aperture.", unit="FWHM", minimum=0.3)
    aperture_total_fwhm: float = option(4.0, "Radius the aperture correction reaches to.", unit="FWHM", minimum=1.0)
    star_snr_min: float = option(20.0, "Smallest signal-to-noise ratio of a star for the solutions.", minimum=3.0)
    isolation_fwhm: float = option(2.0, "A star is isolated if nothing that matters is closer.", unit="FWHM")
    isolation_flux_ratio: float = option(0.02, "A neighbour matters above this share of the star's flux.", minimum=0.0)
    refine_wcs: bool = option(True, "Refine the WCS against the reference catalogue, when there is one.")
    search_radius_arcsec: float = option(10.0, "Largest pointing error searched.", unit="arcsec", minimum=0.1)
    blind_radius_arcsec: float = option(
        300.0,
        "Largest pointing error searched if none is found within `search_radius_arcsec`.",
        unit="arcsec",
        minimum=0.0,
    )
    blind_turn_deg: float = option(1.0, "Largest turn of the frame searched then.", unit="deg", minimum=0.0)
    match_radius_arcsec: float = option(1.0, "Largest distance of a match once shifted.", unit="arcsec", minimum=0.01)
    match_brightest: int = option(500, "Stars and reference stars, brightest first, that vote for it.", minimum=10)
    match_min: int = option(5, "Fewest matches that are believed.", minimum=3)
    default_zero_point_mag: float = option(25.0, "Zero point if neither reference nor header gives one.", unit="mag")
