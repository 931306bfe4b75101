"""Images as FITS: astropy is the independent reader, equal input gives equal bytes."""

import os

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from mpidriver.errors import DataError
from mpidriver.store import (
    ImageWriter,
    MaskedImageReader,
    MaskedImageWriter,
    file_digest,
    read_header,
    read_image,
    read_masked_image,
    read_raw,
    wcs_from_header,
    write_image,
    write_masked_image,
)

PLANES = {"BAD": 0, "COSMIC_RAY": 3}
HEADER = {"EXPOSURE": 12, "BAND": "r", "ZEROPNT": 27.25, "GOOD": True, "LONG_KEYWORD": 1.5, "NOTHING": float("nan")}


@pytest.fixture
def tan_sip():
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN-SIP", "DEC--TAN-SIP"]
    wcs.wcs.crval, wcs.wcs.crpix = [150.1163, 2.2058], [20.5, 11.25]
    wcs.wcs.cd = np.array([[-1e-4, 2e-6], [2e-6, 1e-4]])
    a, b = np.zeros((3, 3)), np.zeros((3, 3))
    a[2, 0], b[1, 1] = 1e-5, -2e-5
    from astropy.wcs import Sip

    wcs.sip = Sip(a, b, None, None, wcs.wcs.crpix)
    return wcs


@pytest.fixture
def planes():
    rng = np.random.default_rng(3)
    image = rng.normal(size=(37, 23)).astype("f4")
    image[3, 4] = np.nan
    return image, np.abs(image) + 1, rng.integers(0, 1 << 10, image.shape, dtype="i4")


def test_a_masked_image_comes_back_and_astropy_agrees(tmp_path, planes, tan_sip):
    path = tmp_path / "a.fits"
    written = write_masked_image(path, *planes, wcs=tan_sip, header=HEADER, mask_planes=PLANES)
    read = read_masked_image(path)
    for got, expected in zip((read.image, read.variance, read.mask), planes, strict=True):
        np.testing.assert_array_equal(got, expected)
        assert got.dtype == expected.dtype
    assert read.header == {**HEADER, "NOTHING": None}
    assert read.mask_planes == PLANES
    assert written.digest == file_digest(path)
    assert written.size == path.stat().st_size
    with fits.open(path) as hdus:
        hdus.verify("exception")
        np.testing.assert_array_equal(hdus["VARIANCE"].data, planes[1])
        assert hdus["MASK"].header["MP_COSMIC_RAY"] == 3


def test_coordinates_with_distortion_survive(tmp_path, planes, tan_sip):
    write_masked_image(tmp_path / "a.fits", *planes, wcs=tan_sip, mask_planes={})
    expected = tan_sip.all_pix2world([[0, 0], [22, 36]], 0)
    for wcs in (
        read_masked_image(tmp_path / "a.fits").wcs,
        wcs_from_header(tan_sip.to_header_string(relax=True)),
        wcs_from_header(tan_sip.to_header(relax=True).tostring(sep="\n")),
    ):
        np.testing.assert_allclose(wcs.all_pix2world([[0, 0], [22, 36]], 0), expected, rtol=0, atol=1e-11)


def test_equal_input_gives_equal_bytes_whole_or_by_rows(tmp_path, planes, tan_sip):
    extra = {"NIMAGE": planes[2] % 7}
    write_masked_image(tmp_path / "a.fits", *planes, wcs=tan_sip, header=HEADER, mask_planes=PLANES, extra=extra)
    arguments = {"wcs": tan_sip, "header": HEADER, "mask_planes": PLANES, "extra": {"NIMAGE": "i4"}}
    with MaskedImageWriter(tmp_path / "b.fits", planes[0].shape, **arguments) as writer:
        for first in (10, 20, 30, 0):
            rows = slice(first, first + 10)
            writer.write(first, *(plane[rows] for plane in planes), {"NIMAGE": extra["NIMAGE"][rows]})
    assert (tmp_path / "a.fits").read_bytes() == (tmp_path / "b.fits").read_bytes()
    np.testing.assert_array_equal(read_image(tmp_path / "a.fits", hdu="NIMAGE")[0], extra["NIMAGE"])


def test_rows_are_read_without_the_rest(tmp_path, planes):
    write_masked_image(tmp_path / "a.fits", *planes, mask_planes=PLANES)
    with MaskedImageReader(tmp_path / "a.fits") as reader:
        assert reader.shape == (37, 23)
        for rows in (slice(0, 5), slice(30, 99), slice(5, 5)):
            np.testing.assert_array_equal(reader.read(rows).image, planes[0][rows])
            np.testing.assert_array_equal(reader.read(rows).mask, planes[2][rows])


@pytest.mark.parametrize("byte_order", ["<", ">"])
@pytest.mark.parametrize("step", [1, 2])
def test_rows_are_read_into_arrays_whatever_their_byte_order_and_layout(tmp_path, planes, byte_order, step):
    write_masked_image(tmp_path / "a.fits", *planes, mask_planes=PLANES)
    reader = MaskedImageReader(tmp_path / "a.fits")
    for rows in (slice(0, 5), slice(30, 37), slice(5, 5)):
        shape = (rows.stop - rows.start, 23 * step)
        into = [np.zeros(shape, byte_order + kind)[:, ::step] for kind in ("f4", "f4", "i4")]
        reader.read_into(rows, *into)
        for got, plane in zip(into, planes, strict=True):
            np.testing.assert_array_equal(got, plane[rows])
    with pytest.raises(DataError, match="do not fit"):
        reader.read_into(slice(0, 6), *into)


def test_a_file_that_shrinks_while_rows_are_read_is_named(tmp_path, planes):
    write_masked_image(tmp_path / "a.fits", *planes, mask_planes=PLANES)
    reader = MaskedImageReader(tmp_path / "a.fits")
    os.truncate(tmp_path / "a.fits", 6000)
    into = [np.zeros((37, 23), kind) for kind in (">f4", ">f4", ">i4")]
    with pytest.raises(DataError, match=r"a\.fits.*truncated"):
        reader.read_into(slice(0, 37), *into)


def test_cubes_are_written_and_read_by_rows(tmp_path):
    cube = np.arange(3 * 8 * 5, dtype="f4").reshape(3, 8, 5)
    header = {"CTYPE3": "FDEP", "CUNIT3": "rad/m^2", "CRVAL3": -200.0}
    write_image(tmp_path / "a.fits", cube, header=header)
    with ImageWriter(tmp_path / "b.fits", cube.shape, header=header) as writer:
        writer.write(5, cube[:, 5:])
        writer.write(0, cube[:, :5])
    assert (tmp_path / "a.fits").read_bytes() == (tmp_path / "b.fits").read_bytes()
    got, read = read_image(tmp_path / "a.fits", rows=slice(2, 6))
    np.testing.assert_array_equal(got, cube[:, 2:6])
    assert read["CUNIT3"] == "rad/m^2"
    assert read_header(tmp_path / "a.fits")["NAXIS3"] == 3


def test_two_dimensional_coordinates_stand_beside_further_axes(tmp_path, tan_sip):
    header = {"CTYPE3": "FREQ", "CRVAL3": 1.4e9, "CDELT3": 1e6, "CRPIX3": 1.0, "CUNIT3": "Hz"}
    for name, wcs, axes in (("tan", tan_sip.sub(2), 3), ("sip", tan_sip, 2)):
        wcs = wcs.deepcopy()
        if axes == 3:
            wcs.sip = None
            wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
        write_image(tmp_path / name, np.zeros((2, 4, 4), "f4"), wcs=wcs, header=header)
        read = wcs_from_header(read_header(tmp_path / name))
        assert read.naxis == axes
        got = read.celestial.all_pix2world([[1, 2]], 0)
        np.testing.assert_allclose(got, wcs.all_pix2world([[1, 2]], 0), rtol=0, atol=1e-11)


def test_a_writer_that_misses_rows_leaves_nothing(tmp_path):
    with (
        pytest.raises(DataError, match="row 5 and 2 others were not written"),
        ImageWriter(tmp_path / "a.fits", (8, 5)) as writer,
    ):
        writer.write(0, np.zeros((5, 5), "f4"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("dtype", ["u1", "?", "i2", "u2", "i4", "u4", "i8", "f4", "f8", ">f4"])
def test_types_come_back_and_astropy_agrees(tmp_path, dtype):
    image = np.arange(-6, 6).reshape(3, 4).astype(dtype)
    write_image(tmp_path / "a.fits", image)
    np.testing.assert_array_equal(read_image(tmp_path / "a.fits")[0], image)
    np.testing.assert_array_equal(fits.getdata(tmp_path / "a.fits"), image)
    np.testing.assert_array_equal(read_raw(tmp_path / "a.fits", 0)[0], image)


def test_what_fits_cannot_hold_is_named(tmp_path):
    with pytest.raises(DataError, match="cannot hold complex64"):
        write_image(tmp_path / "a.fits", np.zeros((2, 2), "c8"))
    with pytest.raises(DataError, match="header 'X' must be a text"):
        write_image(tmp_path / "a.fits", np.zeros((2, 2)), header={"X": [1, 2]})
    assert list(tmp_path.iterdir()) == []


def test_headers_hold_any_text(tmp_path):
    header = {"UNIT": "µJy", "LINES": "a\nb", "LONG": "x" * 200, "NOTED": (3, "three")}
    write_image(tmp_path / "a.fits", np.zeros((2, 2)), header=header)
    read = read_header(tmp_path / "a.fits")
    assert read["UNIT"] == "\\xb5Jy"
    assert read["LINES"] == "a\\nb"
    assert read["LONG"] == "x" * 200
    assert read.comments["NOTED"] == "three"


def test_scaled_images_are_read_in_physical_values(tmp_path):
    hdu = fits.PrimaryHDU(np.arange(12, dtype="i2").reshape(3, 4))
    hdu.header["BSCALE"], hdu.header["BZERO"] = 0.5, 10.0
    hdu.writeto(tmp_path / "a.fits")
    with fits.open(tmp_path / "a.fits", do_not_scale_image_data=True) as hdus:
        stored = hdus[0].data.copy()
    hdu = fits.PrimaryHDU(stored)
    np.testing.assert_allclose(read_image(tmp_path / "a.fits")[0], read_raw(tmp_path / "a.fits", 0)[0])


def broken_files(folder):
    """Yield broken FITS files with what the error should say."""
    good = folder / "good.fits"
    rows = np.zeros((50, 50), "f4")
    write_masked_image(good, rows, rows, rows.astype("i4"), mask_planes={"BAD": 0})
    content = good.read_bytes()
    for name, what, broken in (
        ("empty", "empty", b""),
        ("garbage", "FITS", bytes(range(256)) * 20),
        ("header", "truncated|FITS", content[:1500]),
        ("data", "truncated", content[: 2880 + 5000]),
    ):
        (folder / f"{name}.fits").write_bytes(broken)
        yield folder / f"{name}.fits", what


@pytest.mark.parametrize("read", [read_masked_image, read_image, read_header, lambda path: read_raw(path, 0)])
def test_broken_files_are_data_errors_that_name_the_file(tmp_path, read):
    for path, what in broken_files(tmp_path):
        with pytest.raises(DataError, match=what) as raised:
            read(path)
        assert str(path) in str(raised.value)


def test_missing_files_and_hdus_are_named(tmp_path):
    write_image(tmp_path / "a.fits", np.zeros((2, 2)))
    with pytest.raises(DataError, match="no HDU 'VARIANCE'; it has PRIMARY"):
        read_masked_image(tmp_path / "a.fits")
    with pytest.raises(DataError, match="no HDU 'SCI'; it has PRIMARY"):
        read_raw(tmp_path / "a.fits", "SCI")
    for read in (read_image, lambda path: read_raw(path, 0)):
        with pytest.raises(DataError, match=r"b\.fits.*[Nn]o such file"):
            read(tmp_path / "b.fits")


def test_raw_frames_may_be_compressed(tmp_path):
    image = np.arange(90_000, dtype="i4").reshape(300, 300) // 900
    fits.PrimaryHDU(image).writeto(tmp_path / "a.fits.gz")
    fits.HDUList([fits.PrimaryHDU(), fits.CompImageHDU(image, name="SCI")]).writeto(tmp_path / "a.fits.fz")
    np.testing.assert_array_equal(read_raw(tmp_path / "a.fits.gz", 0)[0], image)
    np.testing.assert_array_equal(read_raw(tmp_path / "a.fits.fz", "SCI")[0], image)
    (tmp_path / "b.fits.gz").write_bytes((tmp_path / "a.fits.gz").read_bytes()[:200])
    with pytest.raises(DataError):
        read_raw(tmp_path / "b.fits.gz", 0)
