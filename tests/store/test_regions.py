"""Boxes of pixels and headers of cutouts, from every kind of FITS file."""

import gzip

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from hypothesis import given
from hypothesis import strategies as st

from mpidriver.errors import DataError
from mpidriver.store import Cards, CutoutHeader, atomic_batch, hdu_bytes, physical_values, region_planes, write_image
from mpidriver.store._fits._cards import card_text

RNG = np.random.default_rng(3)
BOXES = [(slice(0, 5), slice(2, 9)), (slice(40, 41), slice(0, 80)), (slice(55, 60), slice(70, 80))]
TYPES = ("u1", "i2", "u2", "i4", "f4", "f8")


def image(kind, shape=(60, 80)):
    values = RNG.normal(100.0, 20.0, shape)
    return values.astype(kind) if kind[0] == "f" else np.abs(values).astype(kind)


def physical(stored, header):
    """Return stored values as astropy shows them."""
    return stored * float(header.get("BSCALE", 1)) + float(header.get("BZERO", 0))


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("form", ["plain", "gzipped", "compressed"])
def test_boxes_hold_the_stored_pixels(tmp_path, kind, form):
    pixels = image(kind)
    path = tmp_path / "a.fits"
    if form == "compressed":
        fits.HDUList(
            [fits.PrimaryHDU(), fits.CompImageHDU(pixels, compression_type="GZIP_2", quantize_level=0)]
        ).writeto(path)
    else:
        fits.PrimaryHDU(pixels).writeto(path)
    if form == "gzipped":
        path.write_bytes(gzip.compress(path.read_bytes()))
    with region_planes(path) as planes:
        assert [plane.shape for plane in planes] == [pixels.shape]
        for boxes in (BOXES, BOXES * 40):  # few are read piece by piece, many as a whole
            for box, part in zip(boxes, planes[0].read(boxes), strict=True):
                assert part.dtype.byteorder in ">|"
                assert np.array_equal(physical(part, planes[0].header), pixels[box])


def test_boxes_of_a_cube_hold_all_of_its_planes(tmp_path):
    cube = image("f4", (3, 2, 60, 80))
    write_image(tmp_path / "cube.fits", cube)
    with region_planes(tmp_path / "cube.fits") as (plane,):
        for box, part in zip(BOXES, plane.read(BOXES), strict=True):
            assert np.array_equal(part, cube[(..., *box)])


def test_little_is_read_of_a_large_image(tmp_path, monkeypatch):
    import os

    write_image(tmp_path / "a.fits", np.zeros((2000, 2000), "f4"))
    read, original = [], os.pread
    monkeypatch.setattr(os, "pread", lambda *arguments: read.append(arguments[1]) or original(*arguments))
    with region_planes(tmp_path / "a.fits") as (plane,):
        (part,) = plane.read([(slice(7, 27), slice(100, 120))])
    assert part.shape == (20, 20)
    assert sum(read) == 20 * 20 * 4


@pytest.mark.parametrize("harm", ["missing", "empty", "garbage", "truncated", "truncated gzip"])
def test_a_damaged_file_is_named(tmp_path, harm):
    path = tmp_path / "a.fits"
    write_image(path, image("f4"))
    content = path.read_bytes()
    if harm == "missing":
        path.unlink()
    else:
        harmed = {
            "empty": b"",
            "garbage": b"no FITS" * 1000,
            "truncated": content[:9000],
            "truncated gzip": gzip.compress(content)[:9000],
        }
        path.write_bytes(harmed[harm])
    with pytest.raises(DataError, match=r"a\.fits"), region_planes(path) as planes:
        list(planes[0].read([(slice(50, 60), slice(0, 10))]))


def distorted(kind):
    """Return a header whose coordinates are distorted in one of the ways that there are."""
    header = fits.Header()
    header["CTYPE1"], header["CTYPE2"], header["CRPIX1"], header["CRPIX2"] = "RA---TAN", "DEC--TAN", 30.25, 41.5
    header["CRVAL1"], header["CRVAL2"], header["CD1_1"], header["CD2_2"] = 150.0, 2.0, -1e-4, 1e-4
    if kind == "sip":
        header["CTYPE1"], header["CTYPE2"], header["A_ORDER"], header["B_ORDER"] = "RA---TAN-SIP", "DEC--TAN-SIP", 2, 2
        header["A_2_0"], header["B_1_1"] = 1e-4, -2e-4
    if kind == "tpv":
        header["CTYPE1"], header["CTYPE2"] = "RA---TPV", "DEC--TPV"
        header["PV1_1"], header["PV2_1"], header["PV1_4"] = 1.0, 1.0, 0.3
    if kind == "alternate":
        for key in ("CTYPE1", "CTYPE2", "CRPIX1", "CRPIX2", "CRVAL1", "CRVAL2", "CD1_1", "CD2_2"):
            header[f"{key}B"] = header[key] if key != "CRVAL1" else 20.0
    if kind == "without CRPIX":
        del header["CRPIX1"], header["CRPIX2"]
    return header


@pytest.mark.parametrize("kind", ["plain", "sip", "tpv", "alternate", "without CRPIX"])
def test_a_cutout_has_the_coordinates_of_its_image(tmp_path, kind):
    pixels, made = image("f4"), distorted(kind)
    fits.PrimaryHDU(pixels, made).writeto(tmp_path / "a.fits")
    with region_planes(tmp_path / "a.fits") as (plane,):
        (part,) = plane.read([(slice(30, 50), slice(10, 30))])
        header = CutoutHeader(plane.header).of_box(10, 30, part.shape, name=None, values={"CUTNAME": "it's"})
    (tmp_path / "cut.fits").write_bytes(b"".join(hdu_bytes(header, part)))
    with fits.open(tmp_path / "cut.fits") as hdus:
        hdus.verify("exception")
        assert hdus[0].header["CUTNAME"] == "it's"
        assert np.array_equal(hdus[0].data, pixels[30:50, 10:30])
        cut = hdus[0].header
        grid = np.meshgrid(np.arange(20.0), np.arange(20.0))
    for key in ("", "B") if kind == "alternate" else ("",):
        expected = WCS(made, key=key or " ").all_pix2world(grid[0] + 10, grid[1] + 30, 0)
        assert np.allclose(WCS(cut, key=key or " ").all_pix2world(*grid, 0), expected, rtol=0, atol=1e-12)


def spectral_cube(path):
    """Write a cube whose third axis stands in a table, and return its wavelengths."""
    header = distorted("plain")
    header["CTYPE3"], header["CRPIX3"], header["CRVAL3"], header["CD3_3"] = "WAVE-TAB", 1.0, 1.0, 1.0
    header["CUNIT3"], header["PS3_0"], header["PS3_1"], header["WCSAXES"] = "m", "WCS-TABLE", "WAVES", 3
    wavelengths = np.array([4e-7, 5e-7, 7e-7])
    column = fits.Column("WAVES", "3D", array=wavelengths[None], dim="(1,3)")
    table = fits.BinTableHDU.from_columns([column], name="WCS-TABLE")
    fits.HDUList([fits.PrimaryHDU(image("f4", (3, 60, 80)), header), fits.ImageHDU(), table]).writeto(path)
    return wavelengths


def test_tables_of_coordinates_go_with_a_cutout(tmp_path):
    wavelengths = spectral_cube(tmp_path / "cube.fits")
    with region_planes(tmp_path / "cube.fits") as (plane,):
        (part,) = plane.read([(slice(30, 50), slice(10, 30))])
        header = CutoutHeader(plane.header).of_box(10, 30, part.shape, name=None, values={})
        (tmp_path / "cut.fits").write_bytes(b"".join([*hdu_bytes(header, part), *plane.tables()]))
    with fits.open(tmp_path / "cube.fits") as whole, fits.open(tmp_path / "cut.fits") as cut:
        cut.verify("exception")
        expected = WCS(whole[0].header, whole).all_pix2world(12.0, 33.0, np.arange(3), 0)
        found = WCS(cut[0].header, cut).all_pix2world(2.0, 3.0, np.arange(3), 0)
    assert np.allclose(found[2], wavelengths)
    assert np.allclose(found, expected, rtol=0, atol=1e-12)


def test_a_table_of_coordinates_that_is_not_there_is_named(tmp_path):
    spectral_cube(tmp_path / "cube.fits")
    with fits.open(tmp_path / "cube.fits", mode="update") as hdus:
        del hdus["WCS-TABLE"]
    with region_planes(tmp_path / "cube.fits") as (plane,), pytest.raises(DataError, match="'WCS-TABLE'"):
        plane.tables()


def test_other_coordinates_take_the_place_of_those_of_the_file():
    made = distorted("sip")
    made["OBJECT"], made["CTYPE3"], made["CRPIX3"] = "M 31", "STOKES", 1.0
    base = fits.Header([("SIMPLE", True), ("BITPIX", -32), ("NAXIS", 0)])
    base.extend(made)
    given_header = distorted("tpv").tostring()
    text = CutoutHeader(Cards(base.tostring()), wcs_header=given_header).of_box(0, 0, (1, 2, 2), name=None, values={})
    header = fits.Header.fromstring(text.decode())
    assert (header["CTYPE1"], header["CTYPE3"], header["OBJECT"]) == ("RA---TPV", "STOKES", "M 31")
    assert "A_ORDER" not in header


def test_blanks_of_integers_become_nan(tmp_path):
    pixels = image("i2")
    pixels[3, 4] = -9
    header = fits.PrimaryHDU(pixels).header
    header["BSCALE"], header["BZERO"], header["BLANK"] = 0.5, 10.0, -9
    content = b"".join(hdu_bytes(header.tostring().encode(), pixels.astype(">i2")))
    (tmp_path / "a.fits").write_bytes(content)
    with region_planes(tmp_path / "a.fits") as (plane,):
        (part,) = plane.read([(slice(0, 10), slice(0, 10))])
        values = physical_values(part, plane.header)
    assert np.isnan(values[3, 4])
    assert values[0, 0] == pixels[0, 0] * 0.5 + 10.0
    assert values.dtype == np.dtype(">f4")


TEXTS = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=60).map(str.rstrip)
TEXTS = TEXTS.filter(lambda text: "'/" not in text.replace(" ", ""))  # astropy takes the slash for that of a comment
VALUES = st.booleans() | st.integers(-(10**18), 10**18) | st.floats(allow_nan=False, allow_infinity=False) | TEXTS


@given(VALUES)
def test_cards_are_read_by_astropy_and_those_of_astropy_by_us(value):
    ours = card_text("KEY", value)
    assert len(ours) == 80
    assert fits.Card.fromstring(ours).value == value
    theirs = str(fits.Card("KEY", value, "a comment / with a slash"[: 0 if isinstance(value, str) else None]))
    assert Cards(theirs).get("KEY") == fits.Card.fromstring(theirs).value


def test_letters_that_fits_cannot_hold_and_long_texts_still_make_one_card():
    assert fits.Card.fromstring(card_text("KEY", "Ångström")).value == "\\xc5ngstr\\xf6m"
    assert fits.Card.fromstring(card_text("KEY", "it's " * 40)).value.startswith("it's it's")


def test_files_of_a_batch_appear_together_or_not_at_all(tmp_path):

    def stopped():
        with atomic_batch(tmp_path / "new") as begin:
            begin("a.fits").write_bytes(b"a")
            begin("b.fits").write_bytes(b"b")
            assert not (tmp_path / "new" / "a.fits").exists()
            raise ValueError

    with pytest.raises(ValueError):
        stopped()
    assert list((tmp_path / "new").iterdir()) == []
    with atomic_batch(tmp_path / "new") as begin:
        begin("a.fits").write_bytes(b"a")
        begin("b.fits").write_bytes(b"b")
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["a.fits", "b.fits"]
