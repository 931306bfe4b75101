"""Raw headers to frames: by tables of keywords, and with the presets on real frames."""

import tomllib

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from mpidriver.errors import ConfigError, DataError
from mpidriver.options import from_mapping, to_toml
from mpidriver.store import (
    PRESETS,
    InstrumentOptions,
    file_digest,
    instrument_preset,
    jy_per_beam,
    read_headers,
    read_raw,
    wcs_from_header,
    write_image,
)

TAN = {
    "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 10.0, "CRVAL2": 20.0, "CRPIX1": 20.5, "CRPIX2": 10.5,
    "CDELT1": -1e-3, "CDELT2": 1e-3, "CUNIT1": "deg", "CUNIT2": "deg",
}  # fmt: skip
OPTICAL = TAN | {
    "EXPID": 12, "DETECTOR": 3, "FILTER": "r", "EXPTIME": 30.0, "MJD-OBS": 60000.5, "GAIN": 1.5, "RDNOISE": 4.0,
    "SATURATE": 60000.0,
}  # fmt: skip
STOKES = TAN | {
    "CTYPE3": "STOKES", "CRVAL3": 1.0, "CDELT3": 1.0, "CRPIX3": 1.0, "CTYPE4": "FREQ", "CRVAL4": 1.4e9, "CDELT4": 1e6,
    "CRPIX4": 1.0, "CUNIT4": "Hz", "EXPID": 900, "BEAM": 2, "CHANNEL": 12, "EXPTIME": 600.0, "MJD-OBS": 60000.5,
    "NOISE": 1e-4, "BUNIT": "Jy/beam", "BMAJ": 3e-3, "BMIN": 2e-3, "BPA": 10.0,
}  # fmt: skip


def options(**changes):
    return from_mapping(InstrumentOptions, changes, "survey.toml [instrument]")


@pytest.fixture
def raw(tmp_path):
    """Return a writer of raw files."""

    def write(name="raw.fits", header=OPTICAL, shape=(20, 40), **changes):
        values = {key: value for key, value in {**header, **changes}.items() if value is not None}
        write_image(tmp_path / name, np.zeros(shape, "u2"), header=values)
        return tmp_path / name

    return write


@pytest.mark.filterwarnings("ignore::astropy.wcs.FITSFixedWarning")
def test_a_simulated_frame(raw):
    path = raw()
    (frame,) = read_headers(path, instrument_preset("simulated"))
    assert frame.key == (12, 3, "r")
    assert (frame.exptime_s, frame.mjd, frame.gain, frame.read_noise, frame.saturation) == (30, 60000.5, 1.5, 4, 60000)
    assert (frame.path, frame.hdu, frame.digest) == (str(path), 0, file_digest(path))
    assert (frame.kind, frame.shape, frame.zero_point_mag) == ("image", (20, 40), None)
    with fits.open(path) as hdus:
        expected = WCS(hdus[0].header).calc_footprint(center=False)
    np.testing.assert_allclose(sorted(frame.corners.tolist()), sorted(expected.tolist()), rtol=0, atol=1e-10)
    again = wcs_from_header(frame.wcs_header).all_pix2world([[3, 4]], 0)
    np.testing.assert_allclose(again, WCS(fits.getheader(path)).all_pix2world([[3, 4]], 0), rtol=0, atol=1e-11)


def test_a_simulated_channel(raw):
    path = raw(header=STOKES, shape=(1, 3, 20, 40))
    (frame,) = read_headers(path, instrument_preset("simulated-stokes"))
    assert frame.key == (900, 2, "c0012")
    assert frame.kind == "stokes"
    assert frame.metadata == {
        "freq_hz": 1.4e9, "stokes": "IQU", "noise_jy_beam": 1e-4, "bmaj_deg": 3e-3, "bmin_deg": 2e-3, "bpa_deg": 10.0,
        "unit": "Jy/beam",
    }  # fmt: skip
    assert frame.corners.shape == (4, 2)
    assert wcs_from_header(frame.wcs_header).naxis == 2


def test_a_named_channel_stays_as_it_is(raw):
    (frame,) = read_headers(
        raw(header=STOKES, shape=(1, 4, 5, 5), CHANNEL="c0007"), instrument_preset("simulated-stokes")
    )
    assert frame.band == "c0007"
    assert frame.metadata["stokes"] == "IQUV"


def test_each_instrument_refuses_the_other_kind(raw):
    with pytest.raises(DataError, match="image of two axes"):
        read_headers(raw(header=STOKES | OPTICAL, shape=(1, 3, 5, 5)), instrument_preset("simulated"))
    with pytest.raises(DataError, match="STOKES axis of length 3 or 4"):
        read_headers(raw(), instrument_preset("simulated-stokes"))
    with pytest.raises(DataError, match="FREQ axis of length 1"):
        read_headers(raw(header=STOKES, shape=(2, 3, 5, 5)), instrument_preset("simulated-stokes"))


@pytest.mark.parametrize(
    ("cards", "said"),
    [
        ({"CRVAL4": 888.5}, "got 888.5; if it is in MHz or GHz, CUNIT4 has to say so"),
        ({"CRVAL4": 0.9, "CUNIT4": "MHz"}, "expected a frequency above 1e\\+06 Hz, got 900000"),
        ({"CUNIT4": "m/s"}, "expected Hz, kHz, MHz, GHz or THz, got 'm/s'"),
        ({"CRVAL3": 2.0}, "expected Stokes I, Q and U, its STOKES axis has QUV"),
    ],
)
def test_a_channel_without_frequency_or_stokes_parameters_is_refused(raw, cards, said):
    path = raw(header=STOKES | cards, shape=(1, 3, 5, 5))
    with pytest.raises(DataError, match=said):
        read_headers(path, instrument_preset("simulated-stokes"))


@pytest.mark.parametrize(
    ("unit", "factor"),
    [("Jy/beam", 1.0), ("JY/BEAM", 1.0), ("mJy / beam", 1e-3), ("uJy beam-1", 1e-6), ("nJy.beam^-1", 1e-9)],
)
def test_brightness_in_parts_of_jy_a_beam(unit, factor):
    assert jy_per_beam(unit) == factor


@pytest.mark.parametrize("unit", ["K", "MJy/beam", "Jy", "Jy beam", "Jy/pixel", ""])
def test_other_brightness_is_refused(unit):
    with pytest.raises(DataError, match="expected Jy/beam"):
        jy_per_beam(unit)


def test_values_come_from_keywords_paths_constants_and_means(raw):
    path = raw("x_042_z.fits", DATE="2013-06-27T12:00:00", OBS="night 130627 #5", G2=2.5)
    (frame,) = read_headers(
        path,
        options(
            exposure={"keyword": "OBS", "pattern": r"(\d+) #(\d)"},
            detector={"path": r"_(\d+)_"},
            band={"path": r"_([a-z])\.fits"},
            exptime_s={"keyword": "EXPTIME", "scale": 2.0, "offset": 1.0},
            mjd="DATE",
            gain={"keyword": ["GAIN", "G2"]},
            read_noise=7,
            saturation={"keyword": "NOPE", "default": 5e4},
            zero_point={"value": 25.0},
            zero_point_unit="ADU/s",
            metadata={"rate": {"keyword": "G2", "offset": 1.0}, "absent": "NOPE"},
        ),
    )
    assert frame.key == (1306275, 42, "z")
    assert (frame.exptime_s, frame.mjd, frame.gain, frame.read_noise) == (61.0, 56470.5, 2.0, 7.0)
    assert frame.saturation == 5e4
    assert frame.metadata == {"rate": 3.5}
    # m = 25 - 2.5 log10(electrons / (gain exptime)), so one electron in the frame has 25 + 2.5 log10(2 * 61).
    assert frame.zero_point_mag == pytest.approx(25 + 2.5 * np.log10(122))


def test_a_file_of_several_images_gives_several_frames(tmp_path):
    primary = fits.PrimaryHDU(header=fits.Header({"EXPID": 5, "FILTER": "g", "EXPTIME": 1.0, "MJD-OBS": 6e4}))
    images = [
        fits.ImageHDU(np.zeros((4, 4), "f4"), name=f"N{n}", header=fits.Header(TAN | {"CCD": n, "ROLE": role}))
        for n, role in ((1, "science"), (2, "science"), (3, "guide"))
    ]
    table = fits.BinTableHDU.from_columns([fits.Column("x", "D", array=[1.0])])
    fits.HDUList([primary, images[0], table, *images[1:]]).writeto(tmp_path / "m.fits")
    numbers = {"detector": "CCD", "gain": 1.0, "read_noise": 1.0, "saturation": 1.0}

    def found(**changes):
        return [(f.detector, f.hdu) for f in read_headers(tmp_path / "m.fits", options(**numbers, **changes))]

    assert found() == [(1, 1), (2, 3), (3, 4)]
    assert found(only={"ROLE": "^science$"}) == [(1, 1), (2, 3)]
    assert found(hdus="first") == [(1, 1)]
    assert found(hdus=["N3", 1]) == [(3, 4), (1, 1)]
    with pytest.raises(DataError, match="no image HDU 'N9'"):
        found(hdus=["N9"])
    with pytest.raises(DataError, match="no image that"):
        found(only={"ROLE": "dark"})


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"EXPID": None}, r"raw\.fits\[0\]: exposure: no keyword 'EXPID' in the header"),
        ({"EXPID": "none"}, "exposure: no digits in 'none'"),
        ({"EXPID": 1.5}, r"exposure: expected a whole number from 0 to 2\^63 - 1, got 1.5"),
        ({"EXPID": -3}, "exposure: expected a whole number from 0 .*, got -3"),
        ({"EXPID": 2**70}, "exposure: expected a whole number from 0 .*, got 1180591620717411303424"),
        ({"EXPID": "9" * 30}, "exposure: expected a whole number from 0 .*, got 9+"),
        ({"EXPTIME": -5.0}, "exptime_s: expected at least 0 s, got -5.0"),
        ({"GAIN": "high"}, "gain: expected a number, got 'high'"),
        ({"FILTER": "z DECam"}, "band 'z DECam' cannot be part of a file name; give band a pattern"),
        ({"MJD-OBS": "yesterday"}, "mjd: not a date in ISO 8601: 'yesterday'"),
        ({"CTYPE1": None, "CTYPE2": None}, "no celestial coordinates in the header"),
        ({"CRVAL1": "abc"}, r"raw\.fits\[0\]: the coordinates cannot be used: CRVAL1 = 'abc' is not a number"),
        ({"CDELT1": 0.0}, "the coordinates cannot be used|give no position"),
    ],
)
def test_headers_that_lack_something_are_named(raw, changes, what):
    with pytest.raises(DataError, match=what):
        read_headers(raw(**changes), instrument_preset("simulated"))


def test_coordinates_may_be_absent_or_come_from_a_table(raw, tmp_path):
    path = raw(CTYPE1=None, CTYPE2=None)
    assert read_headers(path, options(wcs="none"))[0].corners is None
    (tmp_path / "wcs.csv").write_text(
        "name,CRVAL1,CRVAL2,CRPIX1,CRPIX2,CD1_1,CD2_2,seeing\nraw.fits,10,20,1,1,1e-4,1e-4,2\n"
    )
    told = options(wcs="table", table="wcs.csv", table_key="name", metadata={"seeing": {"column": "seeing"}})
    (frame,) = read_headers(path, told)
    np.testing.assert_allclose(wcs_from_header(frame.wcs_header).all_pix2world([[0, 0]], 0), [[10, 20]], atol=1e-12)
    assert frame.metadata == {"seeing": 2}
    with pytest.raises(DataError, match=r"other\.fits: wcs\.csv has no row with name = 'other\.fits'"):
        read_headers(raw("other.fits"), told)
    with pytest.raises(DataError, match=r"no table 'gone\.csv' beside it"):
        read_headers(path, options(wcs="table", table="gone.csv"))


def test_maps_stand_beside_the_image_and_count_in_its_digest(raw):
    path = raw("a_ooi_r.fits")
    told = options(weight=["_ooi_", "_oow_"], mask=["_ooi_", "_ood_"], mask_bits=6)
    with pytest.raises(DataError, match=r"its map a_oow_r\.fits is not beside it"):
        read_headers(path, told)
    weight, mask = raw("a_oow_r.fits"), raw("a_ood_r.fits")
    (frame,) = read_headers(path, told)
    assert (frame.weight_path, frame.mask_path, frame.mask_bits) == (str(weight), str(mask), 6)
    before = frame.digest
    raw("a_ood_r.fits", CHANGED=True)
    assert read_headers(path, told)[0].digest != before
    with pytest.raises(DataError, match="is not in the file's name"):
        read_headers(weight, told)


@pytest.mark.parametrize("content", [b"", b"garbage" * 1000, b"SIMPLE  =                    T"])
def test_broken_files_are_data_errors(tmp_path, content):
    (tmp_path / "x.fits").write_bytes(content)
    with pytest.raises(DataError, match=r"x\.fits"):
        read_headers(tmp_path / "x.fits", instrument_preset("simulated"))


def test_a_truncated_file_is_not_ingested(raw):
    path = raw(shape=(100, 100))
    path.write_bytes(path.read_bytes()[:9000])
    with pytest.raises(DataError, match="truncated"):
        read_headers(path, instrument_preset("simulated"))


@pytest.mark.parametrize("name", PRESETS)
def test_presets_survive_toml(name):
    text = to_toml(instrument_preset(name), "instrument")
    assert from_mapping(InstrumentOptions, tomllib.loads(text)["instrument"], "x") == instrument_preset(name)


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"exposure": {"keyword": "A", "path": "b"}}, r"\[instrument\]: exposure must have one of keyword"),
        ({"band": {"keyword": "A", "patern": "b"}}, "band: unknown key 'patern'"),
        ({"band": {"keyword": "A", "pattern": "("}}, "band.pattern is no regular expression"),
        ({"weight": ["a"]}, "weight must be two texts"),
        ({"wcs": "table"}, "needs the option table"),
        ({"hdus": "all"}, "hdus must be 'all-images', 'first' or a list, got 'all'"),
    ],
)
def test_wrong_tables_are_configuration_errors(changes, what):
    with pytest.raises(ConfigError, match=what):
        options(**changes)


def test_an_unknown_preset_names_the_known():
    with pytest.raises(ConfigError, match="unknown instrument 'lsst'; known: simulated"):
        instrument_preset("lsst")


def test_real_frames_of_saao(real_data):
    files = sorted((real_data / "saao").glob("*.fits"))
    frames = [read_headers(path, instrument_preset("saao"))[0] for path in files]
    assert len(frames) == 12
    assert [frame.exposure for frame in frames] == [1, 2, 3, 5, 7, 8, 10, 12, 14, 17, 21, 26]
    assert {(frame.detector, frame.band, frame.gain, frame.read_noise) for frame in frames} == {(0, "58", 1.9, 5.0)}
    assert all(300 < frame.exptime_s < 301 and 56470 < frame.mjd < 56482 for frame in frames)
    # 512 pixels of 0.31 arcsec about the pointing of the headers
    for frame in frames:
        assert np.ptp(frame.corners[:, 1]) == pytest.approx(512 * 0.31 / 3600, rel=0.005)
        np.testing.assert_allclose(frame.corners.mean(axis=0), [273.8708, -25.285], atol=0.005)
    pixels, _ = read_raw(files[0], 0)
    assert pixels.dtype == np.dtype("u2")
    assert pixels.max() == 65300


def test_real_cutouts_of_decam(real_data):
    files = sorted((real_data / "decam").glob("*.fits"))
    frames = [read_headers(path, instrument_preset("decam-cutout"))[0] for path in files]
    assert len({frame.key for frame in frames}) == 10
    assert {(frame.detector, frame.band, frame.exptime_s) for frame in frames} == {(37, "i", 330.0)}
    assert sorted({int(frame.mjd) for frame in frames}) == [57618, 58334]  # 2016-08-18 and 2018-08-04
    header = fits.getheader(files[0])
    expected = WCS(header).calc_footprint(center=False)
    np.testing.assert_allclose(sorted(frames[0].corners.tolist()), sorted(expected.tolist()), rtol=0, atol=1e-9)
    kept = wcs_from_header(frames[0].wcs_header)
    assert "RA---TPV" in frames[0].wcs_header
    np.testing.assert_allclose(
        kept.all_pix2world([[0, 0], [255, 255]], 0), WCS(header).all_pix2world([[0, 0], [255, 255]], 0), atol=1e-10
    )


def test_real_frames_of_the_legacy_survey_with_their_maps(real_data):
    files = sorted((real_data / "decam_grz" / "images").rglob("*_ooi_*.fits"))
    frames = [read_headers(path, instrument_preset("decam-legacy"))[0] for path in files]
    assert sorted(frame.band for frame in frames) == ["g", "g", "g", "r", "r", "z", "z", "z"]
    assert {frame.detector for frame in frames} == {41, 42, 43}
    for frame in frames:
        assert frame.hdu == frame.weight_hdu == 1
        assert read_raw(frame.weight_path, frame.weight_hdu)[0].shape == frame.shape
        assert read_raw(frame.mask_path, frame.mask_hdu)[0].dtype == np.dtype("i4")
        # The 4 m telescope: about 25 mag for one electron a second in each band.
        assert frame.zero_point_mag - 2.5 * np.log10(frame.exptime_s) == pytest.approx(26.0, abs=1.0)
        np.testing.assert_allclose(frame.corners.mean(axis=0), [244.778, 12.0756], atol=0.01)


@pytest.mark.filterwarnings("ignore::astropy.wcs.FITSFixedWarning")
def test_real_frames_of_an_instrument_that_the_translator_knows(real_data):
    """What it makes of DECam's headers is what they say by our own table of keywords."""
    (path, *_) = sorted((real_data / "decam_grz" / "images").rglob("*_ooi_*.fits*"))
    (frame,) = read_headers(path, instrument_preset("auto"))
    (mapped,) = read_headers(path, instrument_preset("decam-legacy"))
    assert (frame.key, frame.exptime_s) == (mapped.key, mapped.exptime_s)
    assert frame.mjd == pytest.approx(mapped.mjd, abs=0.01 / 86400)
    assert frame.metadata["instrument"] == "DECam"
    assert frame.metadata["object"] == mapped.metadata["object"]


def test_headers_that_the_translator_does_not_know_and_properties_that_it_does_not_have(raw):
    with pytest.raises(DataError, match=r"raw\.fits: .* knows no instrument with such a header; it knows DECam, HSC"):
        read_headers(raw(), instrument_preset("auto"))
    decam = {"INSTRUME": "DECam", "TELESCOP": "CTIO 4.0-m telescope", "CCDNUM": 7, "EXPNUM": 12, "FILTER": "r DECam"}
    path = raw(**decam)
    (frame,) = read_headers(
        path,
        options(
            exposure={"translated": "visit_id"},
            detector={"translated": "detector_num"},
            band={"translated": "physical_filter", "pattern": r"^\w+"},
        ),
    )
    assert frame.key == (12, 7, "r")
    with pytest.raises(DataError, match=r"colour by DECam: no property of that name"):
        read_headers(path, options(detector={"translated": "colour"}))
    with pytest.raises(DataError, match=r"visit_id by DECam: .*EXPNUM"):
        read_headers(raw(**{**decam, "EXPNUM": None}), options(exposure={"translated": "visit_id"}))
