"""Radio sources, beams and channels of the simulated survey."""

import numpy as np

from mpidriver.errors import ConfigError
from mpidriver.sphere import angular_separation_deg, unit_vectors
from mpidriver.tasks.simulate._options import RadioOptions, SimulationOptions
from mpidriver.tasks.simulate._streams import Stream, generator
from mpidriver.tasks.simulate._tables import empty_table
from mpidriver.tasks.simulate._tangent import offset_position

__all__ = ["BEAM_UNITS", "RADIO_SOURCE_UNITS", "channel_frequencies", "make_beams", "make_radio_sources"]

#: Units of the radio sources' columns. `kind` is unpolarised, thin, two or slab; what a kind lacks is zero. Angles
#: are those at λ² = 0, from north to east.
RADIO_SOURCE_UNITS = {
    "id": "",
    "kind": "",
    "ra": "deg",
    "dec": "deg",
    "i_jy": "Jy",
    "spectral_index": "",
    "fraction_1": "",
    "rm_1_radm2": "rad/m2",
    "angle_1_deg": "deg",
    "slab_radm2": "rad/m2",
    "fraction_2": "",
    "rm_2_radm2": "rad/m2",
    "angle_2_deg": "deg",
}

#: Units of the beams' columns: centres of the beams' images.
BEAM_UNITS = {"beam": "", "ra": "deg", "dec": "deg"}

#: Least distance between sources, and between a source and the border, in beam widths.
_SEPARATION_BEAMS = 3.0
_BORDER_BEAMS = 2.0
#: So many failures in a row, and the field is full.
_MOST_FAILURES = 2000


def channel_frequencies(options: SimulationOptions) -> np.ndarray:
    """Return the channels' middle frequencies, float64, shape (chan,), Hz."""
    low, high = options.radio.freq_range_hz
    return low + (high - low) * (np.arange(options.radio.n_channels) + 0.5) / options.radio.n_channels


def reference_frequency(options: SimulationOptions) -> float:
    """Return the frequency in Hz at which `i_jy` holds: the middle of the band."""
    return float(np.mean(options.radio.freq_range_hz))


def make_beams(options: SimulationOptions) -> np.ndarray:
    """Return the beams, from east to west, as a structured array with the columns of `BEAM_UNITS`."""
    radio = options.radio
    table = empty_table(BEAM_UNITS, radio.n_beams)
    table["beam"] = np.arange(radio.n_beams)
    east = ((radio.n_beams - 1) / 2 - np.arange(radio.n_beams)) * radio.beam_spacing_arcsec
    table["ra"], table["dec"] = offset_position(options.ra_deg, options.dec_deg, east, 0.0)
    return table


def make_radio_sources(options: SimulationOptions) -> np.ndarray:
    """Return the radio sources as a structured array with the columns of `RADIO_SOURCE_UNITS`.

    Raises
    ------
    ConfigError
        If so many sources do not fit at three beams' distance.
    """
    radio = options.radio
    n = radio.n_sources if radio.n_beams else 0
    table = empty_table(RADIO_SOURCE_UNITS, n)
    rng = generator(options.seed, Stream.RADIO_SOURCES)
    table["id"] = np.arange(1, n + 1)
    table["ra"], table["dec"] = _positions(options, rng, n)
    table["i_jy"] = np.exp(rng.uniform(*np.log(radio.flux_range_jy), n))
    table["spectral_index"] = rng.normal(-0.7, 0.2, n)
    for component in "12":
        table[f"fraction_{component}"] = rng.uniform(*radio.fraction_range, n)
        table[f"rm_{component}_radm2"] = rng.uniform(-radio.rm_max_radm2, radio.rm_max_radm2, n)
        table[f"angle_{component}_deg"] = rng.uniform(0.0, 180.0, n)
    table["slab_radm2"] = rng.uniform(*radio.slab_range_radm2, n)
    table["kind"] = _kinds(radio, n)
    _clear(table)
    return table


def _kinds(radio: RadioOptions, n: int) -> list[str]:
    """Return the kind of each source; shares are kept as exactly as whole numbers allow."""
    bounds = np.rint(np.cumsum([radio.unpolarised, radio.two_component, radio.slab]) * n).astype(int)
    names = np.array(["unpolarised", "two", "slab", "thin"])
    return names[np.searchsorted(bounds, np.arange(n), side="right")].tolist()


def _clear(table: np.ndarray) -> None:
    """Set to zero what a source of its kind does not have, in place."""
    table["slab_radm2"][table["kind"] != "slab"] = 0.0
    for component, without in (("1", ["unpolarised"]), ("2", ["unpolarised", "thin", "slab"])):
        lacking = np.isin(table["kind"], without)
        for name in (f"fraction_{component}", f"rm_{component}_radm2", f"angle_{component}_deg"):
            table[name][lacking] = 0.0


def _positions(options: SimulationOptions, rng: np.random.Generator, n: int):
    """Draw positions within the beams' images, none closer to another than three beams."""
    radio = options.radio
    half_east, half_north = _half_size_arcsec(radio)
    least_deg = _SEPARATION_BEAMS * radio.beam_fwhm_arcsec / 3600.0
    ra, dec, vectors = np.zeros(n), np.zeros(n), np.zeros((n, 3))
    placed = failures = 0
    while placed < n and failures < _MOST_FAILURES:
        east, north = rng.uniform(-half_east, half_east), rng.uniform(-half_north, half_north)
        ra[placed], dec[placed] = offset_position(options.ra_deg, options.dec_deg, east, north)
        vectors[placed] = unit_vectors(ra[placed], dec[placed])
        apart = bool(np.all(angular_separation_deg(vectors[:placed], vectors[placed]) >= least_deg))
        placed, failures = (placed + 1, 0) if apart else (placed, failures + 1)
    if placed < n:
        raise ConfigError(
            f"simulate [radio]: n_sources = {n} do not fit three beams apart; {placed} did, so ask for no more"
        )
    return ra, dec


def _half_size_arcsec(radio: RadioOptions) -> tuple[float, float]:
    """Return half the extent (east, north) of the beams' images together, less a border."""
    rows, cols = radio.image_shape
    border = _BORDER_BEAMS * radio.beam_fwhm_arcsec
    half_east = cols * radio.pixel_scale_arcsec / 2 + (radio.n_beams - 1) * radio.beam_spacing_arcsec / 2 - border
    half_north = rows * radio.pixel_scale_arcsec / 2 - border
    if min(half_east, half_north) <= 0.0:
        raise ConfigError(f"simulate [radio]: image_shape {radio.image_shape} is smaller than four beams")
    return half_east, half_north
