"""What the simulated survey consists of: one option record, in five parts."""

import dataclasses

from mpidriver.errors import ConfigError
from mpidriver.options import option

__all__ = ["CameraOptions", "ErrorOptions", "RadioOptions", "SimulationOptions", "SkyOptions"]


@dataclasses.dataclass(frozen=True)
class CameraOptions:
    """The camera: detectors, pixels and electronics."""

    grid: tuple[int, int] = option((2, 2), "Rows and columns of detectors in the focal plane")
    detector_shape: tuple[int, int] = option((512, 512), "Rows and columns of pixels of a detector", unit="pixel")
    gap_arcsec: float = option(10.0, "Gap between neighbouring detectors", unit="arcsec", minimum=0.0)
    pixel_scale_arcsec: float = option(0.4, "Nominal size of a pixel", unit="arcsec", minimum=1e-3)
    exptime_s: float = option(60.0, "Exposure time", unit="s", minimum=1e-3)
    gain: float = option(1.6, "Electrons of one count", unit="electron/adu", minimum=1e-3)
    read_noise: float = option(5.0, "Read noise", unit="electron", minimum=0.0)
    saturation: int = option(60000, "Level at which a pixel is full, bias included", unit="adu", minimum=1)
    bias_level: float = option(1000.0, "Mean level of the bias", unit="adu", minimum=0.0)
    flat_amplitude: float = option(0.04, "Loss of light from the middle of a detector to its corner", minimum=0.0)
    flat_noise: float = option(0.005, "Scatter of the response from pixel to pixel", minimum=0.0)
    bad_columns: int = option(2, "Bad columns of a detector, dead and hot in turn", minimum=0)
    cosmic_rays: float = option(12.0, "Mean number of cosmic rays in a frame", minimum=0.0)

    def __post_init__(self) -> None:
        if min(self.grid) < 1 or min(self.detector_shape) < 16:
            raise ConfigError(
                f"camera: grid needs 1x1 and detector_shape 16x16 or more, got {self.grid} and {self.detector_shape}"
            )
        if not self.bias_level < self.saturation <= 65535:
            raise ConfigError(f"camera: saturation must lie above bias_level and within 65535, got {self.saturation}")

    @property
    def n_detectors(self) -> int:
        """Number of detectors in the focal plane."""
        return self.grid[0] * self.grid[1]


@dataclasses.dataclass(frozen=True)
class SkyOptions:
    """The sky that the camera looks at; magnitudes and counts are those of the reference band."""

    star_density: float = option(9.0, "Stars on the sky", unit="arcmin-2", minimum=0.0)
    star_mag_range: tuple[float, float] = option((14.5, 22.5), "Brightest and faintest star", unit="mag")
    star_slope: float = option(0.15, "Slope of the stars' number counts", unit="dex/mag")
    galaxy_density: float = option(16.0, "Galaxies on the sky", unit="arcmin-2", minimum=0.0)
    galaxy_mag_range: tuple[float, float] = option((17.5, 23.5), "Brightest and faintest galaxy", unit="mag")
    galaxy_slope: float = option(0.35, "Slope of the galaxies' number counts", unit="dex/mag")
    half_light_range_arcsec: tuple[float, float] = option((0.4, 2.0), "Half-light radii of galaxies", unit="arcsec")
    seeing_range_arcsec: tuple[float, float] = option(
        (1.2, 1.6), "Full width of the PSF at half maximum", unit="arcsec"
    )
    sky_gradient: float = option(0.03, "Change of the sky level from the axis to the field's edge", minimum=0.0)

    def __post_init__(self) -> None:
        for name in ("star_mag_range", "galaxy_mag_range", "half_light_range_arcsec", "seeing_range_arcsec"):
            low, high = getattr(self, name)
            if low > high:
                raise ConfigError(f"sky: {name} must run upwards, got {low} .. {high}")
        if min(self.half_light_range_arcsec + self.seeing_range_arcsec) <= 0.0:
            raise ConfigError("sky: half_light_range_arcsec and seeing_range_arcsec must lie above 0")


@dataclasses.dataclass(frozen=True)
class ErrorOptions:
    """How far headers and reference catalogue are from the truth."""

    pointing_arcsec: float = option(1.0, "Rms error of an exposure's pointing, an axis", unit="arcsec", minimum=0.0)
    rotation_deg: float = option(0.02, "Rms error of an exposure's rotation", unit="deg", minimum=0.0)
    scale: float = option(2e-4, "Rms relative error of an exposure's plate scale", minimum=0.0)
    distortion: float = option(3e-4, "Radial stretch at the focal plane's corner that no header tells")
    detector_shift_arcsec: float = option(0.2, "Rms displacement of a detector, an axis", unit="arcsec", minimum=0.0)
    detector_rotation_deg: float = option(0.01, "Rms rotation of a detector", unit="deg", minimum=0.0)
    exposure_zero_point_mag: float = option(0.05, "Rms of exposures' zero points", unit="mag", minimum=0.0)
    detector_zero_point_mag: float = option(0.02, "Rms of detectors' zero points", unit="mag", minimum=0.0)
    reference_mas: float = option(5.0, "Rms error of a reference position, an axis", unit="mas", minimum=0.0)
    reference_mmag: float = option(5.0, "Rms error of a reference magnitude", unit="mmag", minimum=0.0)
    reference_mag_range: tuple[float, float] = option((15.0, 20.5), "Stars in the reference catalogue", unit="mag")

    def __post_init__(self) -> None:
        if self.reference_mag_range[0] > self.reference_mag_range[1]:
            raise ConfigError(f"errors: reference_mag_range must run upwards, got {self.reference_mag_range}")


@dataclasses.dataclass(frozen=True)
class RadioOptions:
    """The radio telescope: beams, channels and polarised sources.

    Noise is uniform over a beam's image. Without a primary beam so is the response; with one, sources fade away from
    the beam's axis, as in an image that is not corrected. Synthesised beams are circular.
    """

    n_beams: int = option(2, "Beams, side by side in right ascension; 0 leaves the radio part out", minimum=0)
    beam_spacing_arcsec: float = option(180.0, "Distance of neighbouring beams' centres", unit="arcsec", minimum=0.0)
    image_shape: tuple[int, int] = option((96, 96), "Rows and columns of a channel image", unit="pixel")
    pixel_scale_arcsec: float = option(4.0, "Size of a pixel", unit="arcsec", minimum=1e-3)
    beam_fwhm_arcsec: float = option(16.0, "Full width of the synthesised beam", unit="arcsec", minimum=1e-3)
    beam_growth: float = option(0.0, "Relative growth of the synthesised beam from one beam to the next", minimum=0.0)
    chromatic: bool = option(False, "Whether the synthesised beam grows with wavelength; else it is that of mid-band")
    primary_fwhm_arcsec: float = option(
        0.0,
        "FWHM of the Gaussian primary beam at mid-band, proportional to wavelength; 0: none",
        unit="arcsec",
        minimum=0.0,
    )
    ionosphere_radm2: tuple[float, float] = option(
        (0.0, 0.0), "RM of the ionosphere at the start and at the end of the exposure, steady between", unit="rad/m2"
    )
    n_channels: int = option(64, "Frequency channels", minimum=1)
    exptime_s: float = option(36000.0, "Integration time", unit="s", minimum=1e-3)
    freq_range_hz: tuple[float, float] = option((744e6, 1032e6), "Lower and upper edge of the band", unit="Hz")
    noise_jy: float = option(3e-4, "Rms noise of a channel in each of I, Q, U", unit="Jy/beam", minimum=0.0)
    n_sources: int = option(24, "Radio sources, at least three beams apart", minimum=0)
    flux_range_jy: tuple[float, float] = option((0.01, 0.3), "Stokes I at the middle of the band", unit="Jy")
    fraction_range: tuple[float, float] = option((0.05, 0.15), "Polarised fraction of a component")
    rm_max_radm2: float = option(150.0, "Largest absolute rotation measure", unit="rad/m2", minimum=0.0)
    slab_range_radm2: tuple[float, float] = option(
        (8.0, 18.0), "Faraday depth of a slab; below pi/max(lambda2) its spectrum peaks at its middle", unit="rad/m2"
    )
    unpolarised: float = option(0.15, "Share of sources without polarisation", minimum=0.0)
    two_component: float = option(0.2, "Share of sources of two Faraday components", minimum=0.0)
    slab: float = option(0.2, "Share of Faraday-thick sources", minimum=0.0)

    def __post_init__(self) -> None:
        if self.unpolarised + self.two_component + self.slab > 1.0:
            raise ConfigError("radio: unpolarised, two_component and slab are shares of one whole; their sum exceeds 1")
        if not 0.0 < self.freq_range_hz[0] < self.freq_range_hz[1]:
            raise ConfigError(f"radio: freq_range_hz must run upwards from above 0, got {self.freq_range_hz}")
        if not 0.0 < self.flux_range_jy[0] <= self.flux_range_jy[1]:
            raise ConfigError(f"radio: flux_range_jy must run upwards from above 0, got {self.flux_range_jy}")


@dataclasses.dataclass(frozen=True)
class SimulationOptions:
    """A simulated survey: what is observed, with what, and how wrong its headers are.

    The defaults are the size of the demonstration: 12 exposures of 4 detectors, 2 radio beams of 64 channels.
    """

    seed: int = option(2024, "Seed of everything random", minimum=0)
    ra_deg: float = option(150.1163, "Right ascension of the field's centre", unit="deg")
    dec_deg: float = option(2.2058, "Declination of the field's centre", unit="deg")
    bands: tuple[str, ...] = option(("g", "r", "i"), "Bands; the reference band is r or else the middle one")
    zero_points_mag: tuple[float, ...] = option(
        (30.0, 30.0, 30.0), "AB magnitude that gives one electron in a frame, a band", unit="mag"
    )
    sky_mag_arcsec2: tuple[float, ...] = option((21.8, 20.9, 20.2), "Brightness of the sky, a band", unit="mag/arcsec2")
    exposures_per_band: int = option(4, "Exposures in each band", minimum=0)
    dither_arcsec: float = option(
        30.0, "Largest offset of an exposure from the centre, an axis", unit="arcsec", minimum=0.0
    )
    first_exposure: int = option(1001, "Number of the first exposure", minimum=0)
    radio_exposure: int = option(501, "Number of the radio observation", minimum=0)
    mjd: float = option(60676.25, "Start of the first exposure", unit="d")
    strays: int = option(0, "More exposures, of other regions of the sky", minimum=0)
    stray_offset_deg: float = option(2.0, "Distance of a stray exposure from the one before", unit="deg", minimum=0.1)
    camera: CameraOptions = CameraOptions()
    sky: SkyOptions = SkyOptions()
    errors: ErrorOptions = ErrorOptions()
    radio: RadioOptions = RadioOptions()

    def __post_init__(self) -> None:
        for name in ("zero_points_mag", "sky_mag_arcsec2"):
            values = getattr(self, name)
            if len(values) != len(self.bands):
                raise ConfigError(f"{name} must hold one value for each of {len(self.bands)} bands, got {len(values)}")
        if not self.bands or len(set(self.bands)) != len(self.bands):
            raise ConfigError(f"bands must be distinct names, at least one, got {self.bands}")
        if self.first_exposure <= self.radio_exposure < self.first_exposure + self.n_exposures:
            raise ConfigError(f"radio_exposure {self.radio_exposure} is also the number of an exposure of the camera")
        sharpest, sampled = self.sky.seeing_range_arcsec[0], 2.5 * self.camera.pixel_scale_arcsec
        if sharpest < sampled:
            raise ConfigError(
                f"sky: seeing_range_arcsec must start at 2.5 pixels, {sampled:g}, or above; got {sharpest:g}"
            )
        if not -90.0 <= self.dec_deg <= 90.0:
            raise ConfigError(f"dec_deg must lie within -90 .. 90, got {self.dec_deg}")

    @classmethod
    def small(cls, **changes: object) -> "SimulationOptions":
        """Return a survey of a second: 2 bands x 3 exposures x 2 detectors of 256x256, 1 beam x 24 channels of 48x48.

        Parameters
        ----------
        **changes
            Options to set otherwise.
        """
        base = cls(
            bands=("g", "r"),
            zero_points_mag=(30.0, 30.0),
            sky_mag_arcsec2=(21.8, 20.9),
            exposures_per_band=3,
            dither_arcsec=15.0,
            camera=CameraOptions(grid=(1, 2), detector_shape=(256, 256)),
            sky=SkyOptions(star_density=24.0),
            radio=RadioOptions(n_beams=1, image_shape=(48, 48), n_channels=24, n_sources=5),
        )
        return dataclasses.replace(base, **changes)

    @property
    def n_exposures(self) -> int:
        """Number of exposures, strays included."""
        return len(self.bands) * self.exposures_per_band + self.strays

    @property
    def reference_band(self) -> str:
        """Band in which magnitude ranges hold."""
        return "r" if "r" in self.bands else self.bands[len(self.bands) // 2]

    def band_index(self, band: str) -> int:
        """Return the place of `band` among the bands.

        Raises
        ------
        ConfigError
            For a band that is not simulated.
        """
        if band not in self.bands:
            raise ConfigError(f"simulate: band {band!r} is not among {', '.join(self.bands)}")
        return self.bands.index(band)
