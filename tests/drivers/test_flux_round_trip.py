"""From Jy on the sky to Jy in the catalogue, with images that are made here by their definitions alone.

Two beams of a dish at ASKAP's place look at four sources through an ionosphere whose content grows while they do. The
images of the second are sharper, in mJy/beam, with the Stokes parameters the other way round, and a tenth too bright;
maps of inverse variance say channel by channel how much each counts.
"""

import csv
import functools

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS
from ionex_text import ionex
from survey import run, run_in_turn

from mpidriver.drivers.pipeline import open_context
from mpidriver.store import open_state, read_table
from mpidriver.tasks.polarisation import TecMaps, slant_rm

C_M_S = 299792458.0
FREQ_HZ = np.linspace(804e6, 1084e6, 12)
LAMBDA_SQ = (C_M_S / FREQ_HZ) ** 2
MID_HZ = 940e6
NOISE_JY = 2e-4
PIXEL_DEG, SIZE = 2.5 / 3600, 88
START_MJD, HOURS = 59001.1, 3.0
TELESCOPE = {"longitude_deg": 116.637, "latitude_deg": -26.697}
TECU = np.array([10.0, 150.0])
MAP_HOURS = (2, 6)
#: Right ascension overhead in the middle of the exposure, and the declination of the zenith.
CENTRE = (71.6, -26.7)
#: East and north in arcsec, Jy at 940 MHz, index, fraction, angle at λ² = 0 (deg), RM, FWHM (arcsec, circular).
SOURCES = {
    "point": (-50.0, -45.0, 0.200, -0.8, 0.12, 20.0, 37.0, 0.0),
    "faint": (48.0, -50.0, 0.080, 0.3, 0.30, 95.0, -110.0, 0.0),
    "steep": (-46.0, 50.0, 0.150, -1.4, 0.20, 160.0, 64.0, 0.0),
    "wide": (45.0, 45.0, 0.300, -0.6, 0.10, 60.0, 12.0, 9.0),
}
FWHM_DEG = np.array([16.0, 13.0]) / 3600
BRIGHTER = np.array([1.0, 1.1])


def weights(beam):
    """Return the weight of a beam in each channel, as a share of both."""
    second = np.linspace(0.1, 0.6, FREQ_HZ.size)
    return second if beam else 1.0 - second


def pointing(beam):
    return CENTRE[0] + (-8.0, 8.0)[beam] / 3600, CENTRE[1]


@functools.cache
def ionosphere(beam):
    """Return by what the ionosphere multiplies Q + iU in each channel: the mean over the exposure, moment by moment."""
    mjd = START_MJD + HOURS / 24 * (np.arange(1000) + 0.5) / 1000
    maps = TecMaps(
        59001.0 + np.array(MAP_HOURS) / 24,
        np.arange(-87.5, 88.0, 2.5),
        np.arange(-180.0, 181.0, 5.0),
        np.broadcast_to(TECU[:, None, None], (2, 71, 73)),
        450.0,
    )
    rm = slant_rm(maps, mjd, *pointing(beam), **TELESCOPE)
    return np.exp(2j * np.multiply.outer(LAMBDA_SQ, rm)).mean(axis=1)


def true_stokes(name, freq_hz):
    """Return Stokes I in Jy and Q + iU of a source."""
    _, _, flux, index, fraction, angle, rm, _ = SOURCES[name]
    stokes_i = flux * (freq_hz / MID_HZ) ** index
    return stokes_i, stokes_i * fraction * np.exp(2j * (np.deg2rad(angle) + rm * (C_M_S / freq_hz) ** 2))


def positions():
    """Return right ascensions and declinations of the sources."""
    wcs = beam_wcs(*CENTRE)
    east, north = np.array([source[:2] for source in SOURCES.values()]).T / 3600 / PIXEL_DEG
    return wcs.wcs_pix2world((SIZE - 1) / 2 - east, (SIZE - 1) / 2 + north, 0)


def beam_wcs(ra, dec):
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval, wcs.wcs.crpix = ["RA---TAN", "DEC--TAN"], [ra, dec], [(SIZE + 1) / 2] * 2
    wcs.wcs.cdelt = [-PIXEL_DEG, PIXEL_DEG]
    return wcs


def channel_image(rng, beam, chan):
    """Return Stokes I, Q, U in Jy/beam (stokes, row, col)."""
    rows, cols = np.indices((SIZE, SIZE))
    x, y = beam_wcs(*pointing(beam)).wcs_world2pix(*positions(), 0)
    image = NOISE_JY * correlated(rng, FWHM_DEG[beam] / PIXEL_DEG)
    turned = ionosphere(beam)[chan]
    for number, (name, source) in enumerate(SOURCES.items()):
        stokes_i, p = true_stokes(name, FREQ_HZ[chan])
        area, width = FWHM_DEG[beam] ** 2, FWHM_DEG[beam] ** 2 + (source[-1] / 3600) ** 2
        profile = np.exp(-4 * np.log(2) * ((rows - y[number]) ** 2 + (cols - x[number]) ** 2) * PIXEL_DEG**2 / width)
        p = p * turned
        image += BRIGHTER[beam] * area / width * np.array([stokes_i, p.real, p.imag])[:, None, None] * profile
    return image


def correlated(rng, fwhm_px):
    """Return noise of unit rms, correlated like the beam."""
    from scipy.ndimage import gaussian_filter

    noise = gaussian_filter(
        rng.standard_normal((3, SIZE, SIZE)), (0, *[fwhm_px / np.sqrt(8 * np.log(2))] * 2), mode="wrap"
    )
    return noise / noise.std()


def write_channel(folder, rng, beam, chan):
    """Write the image of one beam in one channel, and its map of inverse variance."""
    header = beam_wcs(*pointing(beam)).to_header()
    for axis, kind, value, step in (
        (3, "STOKES", (1.0, 3.0)[beam], (1.0, -1.0)[beam]),
        (4, "FREQ", FREQ_HZ[chan], 1e6),
    ):
        header[f"CTYPE{axis}"], header[f"CRVAL{axis}"], header[f"CDELT{axis}"] = kind, value, step
        header[f"CRPIX{axis}"] = 1.0
    header["CUNIT4"], header["BUNIT"] = "Hz", ("Jy/beam", "mJy/beam")[beam]
    header["SBID"], header["BEAM"], header["CHAN"], header["PRODUCT"] = 1234, beam, chan, "image"
    header["BMAJ"], header["BMIN"], header["BPA"] = FWHM_DEG[beam], FWHM_DEG[beam], 0.0
    header["MJD-OBS"], header["EXPTIME"] = START_MJD, HOURS * 3600
    image = channel_image(rng, beam, chan)[:: (1, -1)[beam]] * (1.0, 1e3)[beam]
    fits.writeto(folder / f"image-{beam}-{chan:03d}.fits", image[None].astype(np.float32), header)
    header["PRODUCT"] = "weights"
    share = np.full((1, 3, SIZE, SIZE), weights(beam)[chan], np.float32)
    middle = slice(SIZE // 2 - 8, SIZE // 2 + 9)
    share[..., middle, middle] = 0.0
    fits.writeto(folder / f"weights-{beam}-{chan:03d}.fits", share, header)


def write_catalogue(path):
    """Write the components as RACS has them, with integrated fluxes in mJy."""
    ra, dec = (np.append(values, centre) for values, centre in zip(positions(), CENTRE, strict=True))
    flux = np.array([*(source[2] for source in SOURCES.values()), 0.1]) * 1e3
    width = np.array([*(source[-1] for source in SOURCES.values()), 0.0])
    peak = flux * 16.0**2 / (16.0**2 + width**2)
    names = [*SOURCES, "unseen"]
    columns = {"Gaussian_ID": names, "Source_ID": [f"island-{name}" for name in names], "RA": ra, "Dec": dec}
    columns |= {
        "Total_flux_Gaussian": flux,
        "Peak_flux": peak,
        "Maj": np.hypot(16.0, width),
        "Min": np.hypot(16.0, width),
    }
    table = Table(columns)
    units = {
        "RA": "deg",
        "Dec": "deg",
        "Total_flux_Gaussian": "mJy",
        "Peak_flux": "mJy/beam",
        "Maj": "arcsec",
        "Min": "arcsec",
    }
    for name, unit in units.items():
        table[name].unit = unit
    table.write(path)


CONFIG = """
[polarimeter]
kind = "stokes"
only = {PRODUCT = "image"}
exposure = "SBID"
detector = "BEAM"
band = {keyword = "CHAN", template = "c{:03d}"}
weight = ["image", "weights"]
metadata = {bmaj_deg = "BMAJ", bmin_deg = "BMIN", bpa_deg = "BPA"}

[sources]
primary_beam = "weights"
keep_cutouts = true

[ionosphere]
kind = "ionex"
path = "calib/site.20i"
longitude_deg = 116.637
latitude_deg = -26.697
"""


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """The survey, measured from images and catalogue to the table that is written again."""
    folder = tmp_path_factory.mktemp("round-trip")
    root, raw = folder / "repo", folder / "raw"
    for made in (root, root / "calib", raw):
        made.mkdir()
    (root / "survey.toml").write_text(CONFIG)
    tecu = np.broadcast_to(np.rint(10 * TECU).astype(int)[:, None, None], (2, 71, 73))
    (root / "calib" / "site.20i").write_text(ionex(tecu, hours=MAP_HOURS, minute=0))
    rng = np.random.default_rng(8)
    for beam in (0, 1):
        for chan in range(FREQ_HZ.size):
            write_channel(raw, rng, beam, chan)
    write_catalogue(folder / "gaussians.fits")
    ended = run_in_turn(
        ("ingest", root, raw),
        ("catalogue", root, folder / "gaussians.fits"),
        ("sources", root, "--no-pictures"),
    )
    assert ended.code == 1, ended.text
    assert "blank in all 12 channels" in ended.text
    ended = run("catalogue", root, "--write")
    assert ended.code == 0, ended.text
    return root


def by_source(rows):
    """Return the rows of a table in the order of the sources."""
    return rows[[rows["cat_id"].tolist().index(name) for name in SOURCES]]


def brightness(name, freq_hz):
    """Return what a source's Jy are in Jy/beam of both beams together, those of the first, at frequencies."""
    second = np.interp(freq_hz, FREQ_HZ, weights(1))
    area = FWHM_DEG[0] ** 2
    return (1.0 + (BRIGHTER[1] - 1.0) * second) * area / (area + (SOURCES[name][-1] / 3600) ** 2)


def test_every_channel_has_the_weighted_mean_of_its_beams_without_the_ionosphere(measured):
    (path,) = (measured / "faraday" / "cells").glob("*/spectra.fits")
    rows = by_source(read_table(path))
    assert np.abs(ionosphere(0)).min() < 0.8
    pulls = []
    for name, row in zip(SOURCES, rows, strict=True):
        stokes_i, p = (values * brightness(name, FREQ_HZ) for values in true_stokes(name, FREQ_HZ))
        for letter, expected in zip("IQU", (stokes_i, p.real, p.imag), strict=True):
            assert row[f"stokes{letter}"] == pytest.approx(expected, abs=6 * NOISE_JY)
            pulls.append((row[f"stokes{letter}"] - expected) / row[f"stokes{letter}_error"])
    assert np.sqrt(np.mean(np.square(pulls))) == pytest.approx(1.0, abs=0.25)
    with fits.open(next((measured / "cutouts").glob("*.fits"))) as hdus:
        for name, row in zip(SOURCES, rows, strict=True):
            middle = hdus[name].data[:, :, hdus[name].data.shape[2] // 2, hdus[name].data.shape[3] // 2]
            for plane, letter in zip(middle, "IQU", strict=True):
                assert plane == pytest.approx(row[f"stokes{letter}"] + row[f"stokes{letter}_bkg"], abs=1e-6)


def test_a_component_whose_weights_are_zero_fails_alone(measured):
    with open_state(open_context(str(measured)).repository, readonly=True) as state:
        failed = {record.data_id["source"]: record.error for record in state.quanta("source", status="failed")}
        assert state.counts()["source"] == {"done": 4, "failed": 1}
    assert list(failed) == ["unseen"]
    assert "blank in all 12 channels of the 24 images around it" in failed["unseen"]


def test_the_catalogue_has_the_fluxes_angles_and_rotation_measures_of_the_sky(measured):
    rows = by_source(read_table(measured / "catalogues" / "rmtable.fits"))
    _, _, flux, _, fraction, angle, rm, width = np.array(list(SOURCES.values())).T
    assert rows["total_I_flux"] == pytest.approx(flux, rel=1e-6)
    assert rows["peak_I_flux"] == pytest.approx(flux * 256.0 / (256.0 + width**2), rel=1e-6)
    assert rows["source_id"].tolist() == [f"island-{name}" for name in SOURCES]
    at_reference = zip(SOURCES, rows["reffreq_pol"].astype(float), strict=True)
    stokes_i, p = np.array([[x * brightness(name, nu) for x in true_stokes(name, nu)] for name, nu in at_reference]).T
    found = {
        "stokesI": rows["stokesI"] - stokes_i.real,
        "polint": rows["polint"] - np.abs(p),
        "stokesQ": rows["stokesQ"] - p.real,
        "stokesU": rows["stokesU"] - p.imag,
        "fracpol": rows["fracpol"] - fraction,
        "derot_polangle": (rows["derot_polangle"] - angle + 90.0) % 180.0 - 90.0,
        "rm": rows["rm"] - rm,
    }
    for name, difference in found.items():
        error = np.hypot(rows[f"{name}_err"], 5e-4 * stokes_i.real if name == "stokesI" else 0.0)
        assert np.abs(difference / error).max() < 4.0, name
    assert rows["polint_err"].max() < 0.005 * np.abs(p).min()
    island = rows["fracpol"] * rows["total_I_flux"]
    assert island == pytest.approx(fraction * flux, rel=0.02)
    assert set(rows["ionosphere"]) == {"FRion"}


@pytest.mark.parametrize("dataset", ["frames", "raw"])
def test_cutouts_of_channels_have_the_brightness_of_the_sky_in_the_unit_that_their_headers_say(
    measured, tmp_path, dataset
):
    """Raw images of the second beam are in mJy/beam, with their Stokes parameters the other way round."""
    catalogue = measured / "catalogues" / "rmtable.fits"
    ended = run(
        "cutout", measured, "--catalogue", catalogue, "--columns", "ra,dec,cat_id", "--dataset", dataset, "--size", "9",
        "--out", tmp_path, "--image-only", "--bands", "c000^c007",
    )  # fmt: skip
    assert ended.code == 0, ended.text
    with open(tmp_path / "cutouts.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * 2 * len(SOURCES)
    units = set()
    for row in rows:
        name, beam, chan = row["name"], int(row["detector"]), int(row["band"][1:])
        with fits.open(tmp_path / row["cutout"]) as hdus:
            header, wcs = hdus[0].header, WCS(hdus[0].header).celestial
            pixels = hdus[0].data.reshape(3, 9, 9)[:: -1 if header.get("CDELT3", 1.0) < 0 else 1]
        units.add(header["BUNIT"])
        jy = {"Jy/beam": 1.0, "mJy/beam": 1e-3}[header["BUNIT"]] * pixels
        stokes_i, p = true_stokes(name, FREQ_HZ[chan])
        p = p * ionosphere(beam)[chan]
        x, y = wcs.world_to_pixel_values(*(values[list(SOURCES).index(name)] for values in positions()))
        down, right = np.indices((9, 9))
        area, width = FWHM_DEG[beam] ** 2, FWHM_DEG[beam] ** 2 + (SOURCES[name][-1] / 3600) ** 2
        profile = np.exp(-4 * np.log(2) * ((down - y) ** 2 + (right - x) ** 2) * PIXEL_DEG**2 / width)
        expected = BRIGHTER[beam] * area / width * np.array([stokes_i, p.real, p.imag])[:, None, None] * profile
        assert np.abs(jy - expected).max() < 6 * NOISE_JY, row
    assert units == ({"Jy/beam", "mJy/beam"} if dataset == "raw" else {"Jy/beam"})
