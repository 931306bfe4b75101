"""Stars and galaxies of the simulated sky."""

import numpy as np

from mpidriver.tasks.simulate._options import SimulationOptions
from mpidriver.tasks.simulate._streams import Stream, generator
from mpidriver.tasks.simulate._survey import field_centres, field_half_size_arcsec
from mpidriver.tasks.simulate._tables import empty_table
from mpidriver.tasks.simulate._tangent import offset_position

__all__ = ["galaxy_units", "make_galaxies", "make_stars", "star_units"]

#: Effective wavelengths (SDSS/LSST); bands of other names are spread evenly over 400–1000 nm.
_WAVELENGTHS_NM = {"u": 365.0, "g": 475.0, "r": 622.0, "i": 763.0, "z": 905.0, "y": 1000.0}
#: Range of g − i of stars and of galaxies, mag.
_STAR_COLOURS = (0.3, 2.4)
_GALAXY_COLOURS = (0.4, 2.0)
#: Share of galaxies that are spheroids.
_SPHEROIDS = 0.3


def star_units(options: SimulationOptions) -> dict[str, str]:
    """Return columns and units of the table of stars; `field` is 0 for the survey and above for strays."""
    return {"id": "", "field": "", "ra": "deg", "dec": "deg"} | {f"mag_{band}": "mag" for band in options.bands}


def galaxy_units(options: SimulationOptions) -> dict[str, str]:
    """Return columns and units of the table of galaxies.

    The profile is Spergel's of index `spergel_nu` (0.5: exponential disc; 0: spheroid), `half_light_arcsec` the
    geometric mean of the half-light ellipse's axes a and b, `ellipticity` 1 − b/a, the angle of a from north to east.
    """
    shape = {"half_light_arcsec": "arcsec", "ellipticity": "", "position_angle_deg": "deg", "spergel_nu": ""}
    return star_units(options) | shape


def make_stars(options: SimulationOptions) -> np.ndarray:
    """Return the stars of all fields as a structured array with the columns of `star_units`."""
    sky = options.sky

    def one_field(field: int, centre: tuple[float, float]) -> np.ndarray:
        rng = generator(options.seed, Stream.STARS, field)
        stars = _scattered(options, rng, field, centre, sky.star_density, star_units(options))
        mag = _magnitudes(rng, len(stars), sky.star_mag_range, sky.star_slope)
        _set_magnitudes(stars, options, mag, rng.uniform(*_STAR_COLOURS, len(stars)))
        return stars

    return _numbered([one_field(*item) for item in enumerate(field_centres(options))])


def make_galaxies(options: SimulationOptions) -> np.ndarray:
    """Return the galaxies of all fields as a structured array with the columns of `galaxy_units`."""
    sky = options.sky

    def one_field(field: int, centre: tuple[float, float]) -> np.ndarray:
        rng = generator(options.seed, Stream.GALAXIES, field)
        galaxies = _scattered(options, rng, field, centre, sky.galaxy_density, galaxy_units(options))
        n = len(galaxies)
        mag = _magnitudes(rng, n, sky.galaxy_mag_range, sky.galaxy_slope)
        _set_magnitudes(galaxies, options, mag, rng.uniform(*_GALAXY_COLOURS, n))
        galaxies["half_light_arcsec"] = np.exp(rng.uniform(*np.log(sky.half_light_range_arcsec), n))
        galaxies["ellipticity"] = rng.uniform(0.0, 0.7, n)
        galaxies["position_angle_deg"] = rng.uniform(0.0, 180.0, n)
        galaxies["spergel_nu"] = np.where(rng.random(n) < _SPHEROIDS, 0.0, 0.5)
        return galaxies

    return _numbered([one_field(*item) for item in enumerate(field_centres(options))])


def _scattered(options, rng, field, centre, density_arcmin2, units):
    """Return a table of sources spread evenly over one field's tangent plane."""
    half_east, half_north = field_half_size_arcsec(options)
    n = round(density_arcmin2 * 4.0 * half_east * half_north / 3600.0)
    table = empty_table(units, n)
    east, north = rng.uniform(-half_east, half_east, n), rng.uniform(-half_north, half_north, n)
    table["field"] = field
    table["ra"], table["dec"] = offset_position(*centre, east, north)
    return table


def _numbered(tables: list[np.ndarray]) -> np.ndarray:
    table = np.concatenate(tables)
    table["id"] = np.arange(1, len(table) + 1)
    return table


def _magnitudes(rng, n: int, mag_range: tuple[float, float], slope: float) -> np.ndarray:
    """Draw magnitudes whose number counts rise as 10**(slope · mag)."""
    bright, faint = mag_range
    u = rng.random(n)
    if abs(slope) < 1e-9:
        return bright + (faint - bright) * u
    return bright + np.log10(1.0 + u * (10.0 ** (slope * (faint - bright)) - 1.0)) / slope


def _set_magnitudes(table, options: SimulationOptions, mag, g_minus_i) -> None:
    """Set all bands from the reference magnitude and the colour, linear in 1/wavelength (a black body's, nearly)."""
    n_bands = len(options.bands)
    spread = {band: 400.0 + 600.0 * (i + 0.5) / n_bands for i, band in enumerate(options.bands)}
    per_nm = {band: 1.0 / _WAVELENGTHS_NM.get(band, spread[band]) for band in options.bands}
    g_to_i = 1.0 / _WAVELENGTHS_NM["g"] - 1.0 / _WAVELENGTHS_NM["i"]
    for band in options.bands:
        table[f"mag_{band}"] = mag + g_minus_i * (per_nm[band] - per_nm[options.reference_band]) / g_to_i
