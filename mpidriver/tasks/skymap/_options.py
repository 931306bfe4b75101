"""Options of the sky map."""

import dataclasses

from mpidriver.errors import ConfigError
from mpidriver.options import option

__all__ = ["SkyMapOptions"]


@dataclasses.dataclass(frozen=True)
class SkyMapOptions:
    """How the sky is divided into tracts and patches."""

    kind: str = option(
        "rings",
        "Layout of the tracts: rings of declination (LSST numbering), HEALPix pixels, or a list of centres.",
        choices=("rings", "healpix", "discrete"),
    )
    rings: int = option(120, "Number of rings of declination between the two polar caps (rings).", minimum=1)
    ra_start_deg: float = option(0.0, "Right ascension of the first tract of each ring (rings).", unit="deg")
    order: int = option(5, "HEALPix order: 12 * 4**order tracts in ring ordering (healpix).", minimum=0)
    centres: tuple[tuple[float, float], ...] = option(
        (), "Right ascension and declination of each tract's centre (discrete).", unit="deg"
    )
    tract_radius_deg: float | tuple[float, ...] = option(
        0.5, "Half the side of a tract, one value for all or one a centre (discrete).", unit="deg"
    )
    tract_overlap_deg: float = option(1 / 60, "How far a tract reaches beyond its own region.", unit="deg", minimum=0.0)
    pixel_scale_arcsec: float = option(0.168, "Side of a pixel at the tract's centre.", unit="arcsec", minimum=1e-6)
    patch_inner_px: int = option(4000, "Side of a patch without its border.", unit="pixel", minimum=1)
    patch_border_px: int = option(100, "How far a patch reaches into its neighbours.", unit="pixel", minimum=0)

    def __post_init__(self) -> None:
        if self.kind == "discrete":
            self._check_discrete()

    def _check_discrete(self) -> None:
        if not self.centres:
            raise ConfigError("centres must hold at least one [ra, dec] where kind is 'discrete', got []")
        for ra, dec in self.centres:
            if not -90.0 <= dec <= 90.0:
                raise ConfigError(f"centres: declination must be within -90..90 deg, got {[ra, dec]}")
        for radius in self.radii_deg:
            if not 0.0 < radius <= 60.0:
                raise ConfigError(f"tract_radius_deg must be above 0 and at most 60, got {radius}")
        if len(self.radii_deg) != len(self.centres):
            raise ConfigError(
                f"tract_radius_deg must be one number or one for each of the {len(self.centres)} centres, "
                f"got {len(self.radii_deg)}"
            )

    @property
    def radii_deg(self) -> tuple[float, ...]:
        """One radius for each discrete centre."""
        if isinstance(self.tract_radius_deg, tuple):
            return self.tract_radius_deg
        return (self.tract_radius_deg,) * len(self.centres)
