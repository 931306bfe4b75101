"""Cutouts of a survey and of plain files: which images, which pixels, and what is said of what is not there."""

import csv
import shutil

import numpy as np
import pytest
from astropy.io import fits
from astropy.nddata import Cutout2D
from astropy.wcs import WCS
from survey import digests, run

from mpidriver.drivers._cutouts._images import images_of_files, images_of_survey
from mpidriver.drivers._cutouts._positions import positions_at, read_catalogue
from mpidriver.drivers.cutout import CutoutShape, cut_out
from mpidriver.drivers.pipeline import open_context
from mpidriver.errors import ConfigError
from mpidriver.pool import Pool
from mpidriver.store import open_state, wcs_from_header

SMALL = ["--bands", "r", "--exposures", "1", "--detectors", "1x2", "--detector-size", "160", "--channels", "2"]


@pytest.fixture(scope="module")
def survey(tmp_path_factory):
    """A tiny simulated repository, reduced, with the list of its objects."""
    root = tmp_path_factory.mktemp("cutout") / "repo"
    assert run("simulate", root, *SMALL, "--quiet").code == 0
    assert run("pipeline", root, "--quiet", "--no-pictures").code == 0
    return root


@pytest.fixture(scope="module")
def everything(survey, tmp_path_factory):
    """The folder with cutouts of all objects out of all kinds of images."""
    folder = tmp_path_factory.mktemp("everything")
    ended = run("cutout", survey, "--catalogue", survey / "catalogues" / "objects.fits", "--out", folder, *KINDS)
    assert ended.code == 0, ended.text
    return folder


KINDS = ["--dataset", "frames", "coadds", "cubes", "raw"]


def table(folder):
    with open(folder / "cutouts.csv", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def expected(path, hdu, row, wcs=None):
    """Return what astropy cuts for a row of the table, first plane of a cube."""
    with fits.open(path) as hdus:
        found = hdus[hdu]
        wcs = WCS(found.header).celestial if wcs is None else wcs.celestial
        x, y = wcs.all_world2pix(float(row["ra"]), float(row["dec"]), 0)
        pixels = found.data.reshape(-1, *found.data.shape[-2:])[0]
        fill = np.nan if pixels.dtype.kind == "f" else 0
        if row["status"] == "partial" and pixels.dtype.kind != "f" and found.name in ("", "PRIMARY"):
            pixels, fill = pixels.astype("f4"), np.nan
        return x, y, Cutout2D(pixels, (x, y), int(row["size"]), wcs, mode="partial", fill_value=fill)


def test_cutouts_hold_the_pixels_and_coordinates_that_astropy_cuts(survey, everything):
    rows = table(everything)
    assert {row["dataset"] for row in rows} == {"frame", "coadd", "cube", "raw", "channel_frame"}
    assert {row["status"] for row in rows} == {"whole", "partial"}
    with open_state(open_context(str(survey)).repository, readonly=True) as state:
        raw = {frame.path: wcs_from_header(frame.wcs_header) for frame in state.frames()}
    for row in rows[::5]:
        x, y, cutout = expected(survey / row["file"], int(row["hdu"]), row, raw.get(row["file"]))
        assert (float(row["x"]), float(row["y"])) == pytest.approx((float(x), float(y)), abs=1e-5)
        with fits.open(everything / row["cutout"]) as hdus:
            ours = hdus[0]
            pixels = ours.data.reshape(-1, *ours.data.shape[-2:])[0]
            assert np.array_equal(pixels, cutout.data, equal_nan=True), row
            assert ours.header["CUTSTATE"] == row["status"]
            sky = WCS(ours.header).celestial.all_pix2world(7.0, 3.0, 0)
        left, low = np.ceil(np.array([x, y]) - 10.0)
        wcs = raw.get(row["file"]) or WCS(fits.getheader(survey / row["file"]))
        assert np.allclose(sky, wcs.celestial.all_pix2world(7.0 + left, 3.0 + low, 0), rtol=0, atol=1e-10)


def test_variance_and_mask_go_with_their_image_and_nothing_is_there_beyond_the_edge(survey, everything):
    partial = [row for row in table(everything) if row["dataset"] == "frame" and row["status"] == "partial"]
    for row in partial[:10]:
        with fits.open(everything / row["cutout"]) as hdus:
            assert [hdu.name for hdu in hdus] == ["PRIMARY", "VARIANCE", "MASK"]
            beyond = np.isnan(hdus["VARIANCE"].data)
            assert beyond.any()
            no_data = 1 << hdus["MASK"].header["MP_NO_DATA"]
            assert (hdus["MASK"].data[beyond] == no_data).all()
            _, _, mask = expected(survey / row["file"], "MASK", row)
            assert np.array_equal(hdus["MASK"].data[~beyond], mask.data[~beyond])
        plain = [row for row in table(everything) if row["dataset"] == "cube"]
        with fits.open(everything / plain[0]["cutout"]) as hdus:
            assert hdus[0].data.shape == (2, 20, 20)


@pytest.mark.mpi
def test_any_number_of_ranks_makes_the_same_files(survey, everything, tmp_path):
    objects = survey / "catalogues" / "objects.fits"
    assert run("-n", 3, "cutout", survey, "--catalogue", objects, "--out", tmp_path / "three", *KINDS).code == 0
    made, same = digests(tmp_path / "three", ["."]), digests(everything, ["."])
    assert len(made) > 50
    assert made == same


def test_a_packed_file_holds_all_cutouts_of_its_source(survey, everything, tmp_path):
    objects = survey / "catalogues" / "objects.fits"
    ended = run("cutout", survey, "--catalogue", objects, "--out", tmp_path, *KINDS, "--packed", "--image-only")
    assert ended.code == 0, ended.text
    single = {(row["name"], row["file"]): row["cutout"] for row in table(everything)}
    packed = table(tmp_path)
    assert len(packed) == len(single)
    assert len(list(tmp_path.glob("*.fits"))) == len({row["name"] for row in packed})
    for row in packed[::20]:
        with (
            fits.open(tmp_path / row["cutout"]) as hdus,
            fits.open(everything / single[row["name"], row["file"]]) as one,
        ):
            assert np.array_equal(hdus[row["extension"]].data, one[0].data, equal_nan=one[0].data.dtype.kind == "f")
            assert len(hdus) - 1 == sum(other["name"] == row["name"] for other in packed)


def test_no_image_without_a_position_is_opened_and_those_with_one_once(survey, tmp_path, monkeypatch):
    from mpidriver.drivers._cutouts import _cutting

    opened = []
    planes = _cutting.region_planes
    monkeypatch.setattr(_cutting, "region_planes", lambda path: opened.append(path) or planes(path))
    context = open_context(str(survey))
    objects = read_catalogue(str(survey / "catalogues" / "objects.fits"))
    with open_state(context.repository, readonly=True) as state:
        inside = list(zip(objects.ra_deg, objects.dec_deg, strict=True))[:40]
        positions = positions_at([f"{ra},{dec}" for ra, dec in inside])
        images = images_of_survey(context, state, positions, ["raw", "frames"], lambda ids: ids.detector == 0)
    assert opened == []
    with Pool() as pool:
        report = cut_out(images, positions, tmp_path, shape=CutoutShape(), root=survey, pool=pool)
    assert sorted(opened) == sorted({image.path for image in images})
    cut = {row.file for row in report.rows if row.status != "off"}
    assert len(cut) == len(opened)


def test_a_selection_leaves_out_the_rest(survey, tmp_path):
    objects = survey / "catalogues" / "objects.fits"
    asked = [
        "--dataset",
        "frames",
        "cubes",
        "coadds",
        "--bands",
        "r^Q",
        "--image-only",
        "--size",
        3,
        "--unit",
        "arcsec",
    ]
    ended = run("cutout", survey, "--catalogue", objects, "--out", tmp_path, *asked)
    assert ended.code == 0, ended.text
    rows = [row for row in table(tmp_path) if row["status"] != "off"]
    assert {(row["dataset"], row["band"]) for row in rows} == {("frame", "r"), ("coadd", "r"), ("cube", "Q")}
    sizes = {row["dataset"]: row["size"] for row in rows}
    scale = 3600 * np.sqrt(
        np.abs(np.linalg.det(WCS(fits.getheader(survey / rows[0]["file"])).celestial.pixel_scale_matrix))
    )
    assert int(sizes[rows[0]["dataset"]]) == np.ceil(3 / scale - 1e-9)


def test_positions_on_no_image_are_named(survey, tmp_path):
    with fits.open(next((survey / "frames").glob("*/000.fits"))) as hdus:
        ra, dec = WCS(hdus[0].header).all_pix2world(50, 60, 0)
    ended = run("cutout", survey, "--at", f"{ra},{dec}", "--at", "10,-10", "--dataset", "frames", "--out", tmp_path)
    assert ended.code == 0
    assert "1 positions on no image: J004000.00-100000.0" in ended.text
    rows = table(tmp_path)
    assert [(row["name"], row["cutout"]) for row in rows if row["status"] == "off"] == [("J004000.00-100000.0", "")]
    assert len(rows) >= 2


@pytest.fixture
def files(survey, tmp_path):
    """A folder with frames as anyone has them: plain, compressed, one garbage, one cut off."""
    folder = tmp_path / "files"
    folder.mkdir()
    paths = sorted((survey / "raw").glob("frame-*.fits"))
    shutil.copy(paths[0], folder / "plain.fits")
    with fits.open(paths[0]) as hdus:
        header = hdus[0].header
        tiles = fits.CompImageHDU(hdus[0].data, header, compression_type="RICE_1")
        fits.HDUList([fits.PrimaryHDU(), tiles]).writeto(folder / "tiles.fits.fz")
    (folder / "garbage.fits").write_bytes(b"garbage" * 1000)
    (folder / "cut-off.fits").write_bytes(paths[1].read_bytes()[:20_000])
    return folder


def test_plain_files_need_no_repository_and_damaged_ones_are_named(files, tmp_path):
    with fits.open(files / "plain.fits") as hdus:
        ra, dec = WCS(hdus[0].header).all_pix2world([50, 3], [60, 100], 0)
        pixels = hdus[0].data
    places = [argument for place in zip(ra, dec, strict=True) for argument in ("--at", f"{place[0]},{place[1]}")]
    ended = run("cutout", *places, "--files", files, "--out", tmp_path / "out")
    assert ended.code == 1
    assert [name for name in ("garbage.fits", "cut-off.fits") if name not in ended.text] == []
    assert "Traceback" not in ended.text
    rows = table(tmp_path / "out")
    assert [(row["file"].split("/")[-1], row["status"]) for row in rows] == [
        ("plain.fits", "whole"),
        ("tiles.fits.fz", "whole"),
        ("plain.fits", "partial"),
        ("tiles.fits.fz", "partial"),
    ]
    for row in rows[:2]:
        assert np.array_equal(fits.getdata(tmp_path / "out" / row["cutout"]), pixels[50:70, 40:60])
    for row in rows[2:]:
        partial = fits.getdata(tmp_path / "out" / row["cutout"])
        assert np.isnan(partial[:, :7]).all()
        assert np.array_equal(partial[:, 7:], pixels[90:110, :13])


def test_nothing_to_cut_is_no_error(tmp_path):
    (tmp_path / "none.csv").write_text("ra,dec\n")
    positions = read_catalogue(str(tmp_path / "none.csv"))
    with Pool() as pool:
        images = images_of_files([], positions, None)
        report = cut_out(images, positions, tmp_path / "out", shape=CutoutShape(), root=tmp_path, pool=pool)
    assert report.rows == []
    assert table(tmp_path / "out") == []


@pytest.mark.parametrize(
    ("text", "ra", "dec"),
    [("150.5,-2.25", 150.5, -2.25), ("10:02:00,-02:15:00", 150.5, -2.25), ("0:0:0,+0:30", 0.0, 0.5), ("-1,1", -1, 1)],
)
def test_positions_are_degrees_or_sexagesimal(text, ra, dec):
    positions = positions_at([text])
    assert (positions.ra_deg[0], positions.dec_deg[0]) == pytest.approx((ra, dec))


def test_names_of_positions_are_unlike_and_fit_for_files(tmp_path):
    (tmp_path / "a.csv").write_text("# made by hand\nName,RA,Dec\nM 31,10.68,41.27\n../x,1,2\nM 31,10.7,41.2\n")
    assert read_catalogue(str(tmp_path / "a.csv")).names == ("M_31", "x", "M_31-2")
    assert positions_at(["150.1234,2.2"] * 2).names == ("J100029.61+021200.0", "J100029.61+021200.0-2")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("a,b\n1,2\n", ["no columns ra and dec", "a, b"]),
        ("ra,dec\n1,2,3\n", ["line 2", "3 values"]),
        ("ra,dec\n1,x\n", ["degrees", "'x'"]),
        ("ra,dec\n1,95\n", ["position 1", "95"]),
    ],
)
def test_a_wrong_catalogue_is_named(tmp_path, content, words):
    (tmp_path / "a.csv").write_text(content)
    with pytest.raises(ConfigError) as raised:
        read_catalogue(str(tmp_path / "a.csv"))
    assert [word for word in words if word not in str(raised.value)] == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], ["--at", "--catalogue"]),
        (["--at", "1,2"], ["REPO", "--files"]),
        (["--at", "here", "--files", "x.fits"], ["--at 'here'", "10:00:28.6"]),
        (["--at", "1,2", "--files", "x.fits", "--size", "2.5"], ["--size", "2.5"]),
    ],
)
def test_a_wrong_command_says_what_would_do(arguments, words):
    ended = run("cutout", *arguments)
    assert ended.code == 2, ended.text
    assert [word for word in words if word not in ended.text] == []
