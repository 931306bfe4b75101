"""Options of the mosaic."""

from dataclasses import dataclass

from mpidriver.options import option

__all__ = ["MosaicOptions"]


@dataclass(frozen=True)
class MosaicOptions:
    """How the frames of a tract are tied to each other and to the reference."""

    degree: int = option(
        1, "Degree of the polynomial that corrects a frame's WCS; frames with few stars get less.", choices=(0, 1, 2, 3)
    )
    detector_degree: int = option(
        3,
        "Degree of the polynomial whose higher terms all exposures of a detector in a band have in common.",
        choices=(0, 1, 2, 3, 4, 5),
    )
    exposure_degree: int = option(
        3,
        "Degree of the polynomial over the focal plane that moves an exposure's frames; few frames get less.",
        choices=(0, 1, 2, 3, 4, 5),
    )
    frame_scatter_mas: float = option(
        0.5,
        "Least expected deviation of a frame's position from what its exposure and its detector say.",
        unit="mas",
        minimum=1e-3,
    )
    search_radius_arcsec: float = option(
        10.0, "Largest offset of a frame that is looked for.", unit="arcsec", minimum=0.1
    )
    match_radius_arcsec: float = option(
        1.0, "Largest distance of a match after a frame's offset is taken out.", unit="arcsec", minimum=0.01
    )
    correction_prior_arcsec: float = option(
        1.0,
        "Expected size of a polynomial term at the frame's edge; keeps frames with few stars near their input WCS.",
        unit="arcsec",
        minimum=1e-3,
    )
    join_tied_tracts: bool = option(
        False,
        "Join tracts that have frames in common though a reference ties them: for bands of which it has no magnitudes.",
    )
    min_snr: float = option(10.0, "Fainter stars are not used.", minimum=0.0)
    max_stars: int = option(2000, "Brightest stars of a frame that are used.", minimum=1)
    centroid_floor_mas: float = option(2.0, "Added in quadrature to the error of a centroid.", unit="mas", minimum=1e-3)
    magnitude_floor_mmag: float = option(
        2.0, "Added in quadrature to the error of a magnitude.", unit="mmag", minimum=1e-3
    )
    zero_point_prior_mag: float = option(
        0.5, "Expected error of the input zero points of an exposure or a detector.", unit="mag", minimum=1e-3
    )
    zero_point_scatter_mmag: float = option(
        1.0,
        "Least expected deviation of a frame's zero point from the sum of its exposure's and its detector's.",
        unit="mmag",
        minimum=1e-3,
    )
    flat_degree: int = option(
        2,
        "Degree of the polynomial by which zero points vary over a detector, alike in a band's exposures; 0: none.",
        choices=(0, 1, 2, 3),
    )
    flat_prior_mmag: float = option(10.0, "Expected size of each of its terms.", unit="mmag", minimum=1e-3)
    reference_error_mas: float = option(
        20.0, "Error of a reference position where the catalogue has none.", unit="mas", minimum=1e-3
    )
    reference_error_mmag: float = option(
        20.0, "Error of a reference magnitude where the catalogue has none.", unit="mmag", minimum=1e-3
    )
    clip_sigma: float = option(5.0, "Measurements farther than this from the solution are dropped.", minimum=1.0)
    max_iterations: int = option(10, "Solutions at most, each after dropping what is too far off.", minimum=1)
    validation_fraction: float = option(
        0.2, "Fraction of the stars kept out of the astrometric solution to check it.", minimum=0.0
    )
    wcs_tolerance_mas: float = option(0.1, "Largest error of the written TAN or TAN-SIP WCS.", unit="mas", minimum=1e-3)
