"""Cubes by regions: every format and order of axes gives the same values, cubes are filled in place."""

import itertools
import json
import os

import h5py
import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from stokes_cubes import FREQ_HZ, cube_header, stokes_cubes, write_fits_cube

from mpidriver.errors import DataError, RepositoryError
from mpidriver.store import (
    NewCube,
    RegionJournal,
    RegionWriter,
    create_cubes,
    depth_axis,
    depth_cards,
    find_cubes,
    open_cube,
    publish_cubes,
    read_channel_values,
)

ORDERS = [
    ("RA---SIN", "DEC--SIN", "FREQ"),
    ("RA---SIN", "DEC--SIN", "FREQ", "STOKES"),
    ("RA---SIN", "DEC--SIN", "STOKES", "FREQ"),
    ("FREQ", "RA---SIN", "DEC--SIN"),
    ("FREQ", "STOKES", "RA---SIN", "DEC--SIN"),
    ("STOKES", "FREQ", "RA---SIN", "DEC--SIN"),
    ("STOKES", "RA---SIN", "DEC--SIN", "FREQ"),
    ("RA---SIN", "FREQ", "DEC--SIN"),
]
REGIONS = [(slice(0, 12), slice(0, 10)), (slice(3, 5), slice(0, 10)), (slice(4, 11), slice(2, 9))]


@pytest.mark.parametrize("order", ORDERS, ids="-".join)
@pytest.mark.parametrize("dtype", [">f4", ">f8"])
def test_regions_of_fits_cubes_are_right_whatever_the_order_of_axes(tmp_path, order, dtype):
    q, u = stokes_cubes()
    both = np.stack([q, u]) if "STOKES" in order else u
    path = write_fits_cube(tmp_path / "cube.fits", both, order=order, dtype=dtype)
    source = open_cube(path, stokes="U")
    assert source.shape == q.shape
    assert source.freq_hz == pytest.approx(FREQ_HZ)
    for rows, cols in REGIONS:
        assert np.array_equal(source.read(rows, cols), u[:, rows, cols], equal_nan=True)
    assert np.array_equal(source.read(*REGIONS[1], slice(4, 6)), u[4:6, 3:5], equal_nan=True)


def hdf5_cube(path, u, **storage):
    """Write a cube as CARTA does."""
    with h5py.File(path, "w") as file:
        group = file.create_group("0")
        for key, value in cube_header("Q").items():
            group.attrs[key] = value
        group.create_dataset("DATA", data=np.stack([u, u])[1:], **storage)
    return path


@pytest.mark.parametrize("storage", [{}, {"chunks": (1, 4, 3, 7), "compression": "gzip"}], ids=["contiguous", "chunks"])
def test_regions_of_hdf5_cubes(tmp_path, storage):
    _, u = stokes_cubes()
    source = open_cube(hdf5_cube(tmp_path / "cube.h5", u, **storage))
    assert source.freq_hz == pytest.approx(FREQ_HZ)
    assert source.granularity == ((3, 7) if storage else (1, 1))
    assert source.header["OBJECT"] == "field"
    for rows, cols in REGIONS:
        assert np.array_equal(source.read(rows, cols), u[:, rows, cols], equal_nan=True)
    assert np.array_equal(source.read(*REGIONS[1], slice(4, 6)), u[4:6, 3:5], equal_nan=True)


def casa_cube(path, u, mask=None):
    """Write a CASA image with the coordinates of `cube_header`."""
    from casacore.images import coordinates, image

    plain = image(str(path) + ".plain", values=u[:, None])
    system = plain.coordinates().dict()
    system["direction0"] |= {"crval": np.radians([10.0, -30.0]), "crpix": np.array([4.0, 5.0]), "units": ["rad", "rad"]}
    system["direction0"]["cdelt"] = np.radians([-0.001, 0.001])
    system["spectral2"]["wcs"] |= {"crval": FREQ_HZ[0], "crpix": 0.0, "cdelt": FREQ_HZ[1] - FREQ_HZ[0]}
    made = image(str(path), values=np.ma.array(u[:, None], mask=mask), coordsys=coordinates.coordinatesystem(system))
    del made, plain
    return path


def test_regions_of_casa_images_and_their_masks(tmp_path):
    _, u = stokes_cubes()
    mask = np.zeros(u[:, None].shape, bool)
    mask[7, 0, 4] = True
    source = open_cube(casa_cube(tmp_path / "cube.im", np.nan_to_num(u), mask))
    expected = np.where(mask[:, 0], np.nan, np.nan_to_num(u))
    assert source.freq_hz == pytest.approx(FREQ_HZ)
    for rows, cols in REGIONS:
        assert np.array_equal(source.read(rows, cols), expected[:, rows, cols], equal_nan=True)
    assert np.array_equal(source.read(*REGIONS[1], slice(6, 8)), expected[6:8, 3:5], equal_nan=True)
    header = source.header
    assert [header["CTYPE1"], header["CTYPE2"]] == ["RA---SIN", "DEC--SIN"]
    assert [header["CRVAL1"], header["CRPIX1"], header["CDELT1"]] == pytest.approx([10.0, 5.0, -0.001])


def test_scaled_integers_become_physical_values(tmp_path):
    stored = np.arange(2 * 3 * 4, dtype=np.int16).reshape(2, 3, 4)
    header = cube_header("Q", FREQ_HZ[:2], ("RA---SIN", "DEC--SIN", "FREQ"))
    fits.writeto(tmp_path / "cube.fits", stored, header)
    for key, value in (("BSCALE", 0.5), ("BZERO", 3.0), ("BLANK", 5)):
        fits.setval(tmp_path / "cube.fits", key, value=value)
    values = open_cube(tmp_path / "cube.fits").read(slice(0, 3), slice(0, 4))
    assert np.array_equal(values, np.where(stored == 5, np.nan, stored * 0.5 + 3.0), equal_nan=True)


def test_the_header_of_the_sky_follows_its_axes(tmp_path):
    q, _ = stokes_cubes()
    path = write_fits_cube(tmp_path / "cube.fits", q, order=("FREQ", "RA---SIN", "DEC--SIN"))
    fits.setval(path, "PC2_3", value=0.25)
    header = open_cube(path).header
    assert header["CTYPE1"] == "RA---SIN"
    assert header["CDELT2"] == 0.001
    assert header["PC1_2"] == 0.25
    assert [header["BMAJ"], header["OBJECT"], header["BUNIT"]] == [0.01, "field", "Jy/beam"]
    assert "CTYPE3" not in header


def broken_inputs(folder):
    """Yield files that cannot be used, with what their errors say."""
    q, _ = stokes_cubes()
    good = write_fits_cube(folder / "good.fits", q).read_bytes()
    for name, content, says in (
        ("missing", None, "cannot be read"),
        ("empty", b"", "empty"),
        ("garbage", b"\x00" * 9000, "not a FITS file"),
        ("short", good[: len(good) // 2], "truncated"),
        ("packed", b"\x1f\x8b" + good, "compressed"),
        ("hdf5", b"\x89HDF\r\n\x1a\n" + bytes(100), "HDF5"),
    ):
        if content is not None:
            (folder / name).write_bytes(content)
        yield folder / name, says
    (folder / "folder").mkdir()
    yield folder / "folder", "no CASA image"
    fits.writeto(folder / "image", q[0])
    yield folder / "image", "three axes"
    write_fits_cube(folder / "two", np.stack([q, q]), stokes="I")
    yield folder / "two", "its STOKES axis has I, Q"


def test_files_that_are_no_cubes_are_named_with_what_is_wrong(tmp_path):
    for path, says in broken_inputs(tmp_path):
        with pytest.raises(DataError, match=says) as caught:
            open_cube(path, stokes="U")
        assert str(path) in str(caught.value)


def test_channel_values_come_from_texts_and_tables(tmp_path):
    (tmp_path / "text").write_text("# Hz\n1.0e9\n1.1e9, 3\n\n1.2e9  # last\n")
    Table({"chan": [0, 1, 2], "freq": [1000.0, 1100.0, 1200.0]}, units={"freq": "MHz"}).write(tmp_path / "t.ecsv")
    Table({"anything": [1e9, 1.1e9, 1.2e9]}).write(tmp_path / "t.fits")
    for name in ("text", "t.ecsv", "t.fits"):
        assert read_channel_values(tmp_path / name, column="freq", unit="Hz") == pytest.approx([1e9, 1.1e9, 1.2e9])
    (tmp_path / "words").write_text("1e9\nfrequency\n")
    with pytest.raises(DataError, match="line 2: expected a number, got 'frequency'"):
        read_channel_values(tmp_path / "words", column="freq")
    (tmp_path / "nothing").write_text("# none\n")
    with pytest.raises(DataError, match="a number for each channel"):
        read_channel_values(tmp_path / "nothing", column="freq")


def test_depth_axes_come_back():
    phi = np.arange(-30.0, 75.0, 5.0)
    cards = {key[:-1]: value for key, value in depth_cards(phi).items()}
    assert depth_axis(cards, len(phi), "x") == pytest.approx(phi)
    with pytest.raises(DataError, match="FDEP"):
        depth_axis({"CTYPE": "FREQ"}, 3, "x")


@pytest.mark.parametrize(("suffix", "dtype"), [(".fits", "f4"), (".fits", "i4"), (".h5", "f8"), (".h5", "f4")])
def test_cubes_filled_in_any_order_are_those_written_at_once(tmp_path, suffix, dtype):
    header = cube_header("Q", order=("RA---SIN", "DEC--SIN", "FREQ"))
    values = np.arange(3 * 12 * 10).reshape(3, 12, 10).astype(dtype)
    cubes = {"a": NewCube(tmp_path / f"a{suffix}", (3, 12, 10), dtype, header)}
    files = create_cubes(cubes, verb="test")
    pieces = list(itertools.product([(0, 5), (5, 12)], [(0, 4), (4, 10)]))[::-1]
    for (top, bottom), (left, right) in pieces:
        with RegionWriter(files, slice(top, bottom), slice(left, right)) as out:
            for plane in range(3):
                piece = values[plane, top:bottom, left:right]
                out.write("a", plane, np.ascontiguousarray(piece, dtype=files["a"].stored))
    assert not (tmp_path / f"a{suffix}").exists()
    publish_cubes(list(files.values()))
    assert [path.name for path in tmp_path.iterdir()] == [f"a{suffix}"]
    if suffix == ".fits":
        assert np.array_equal(fits.getdata(tmp_path / "a.fits"), values)
        assert fits.getheader(tmp_path / "a.fits")["OBJECT"] == "field"
    else:
        with h5py.File(tmp_path / "a.h5") as file:
            assert np.array_equal(file["0/DATA"][:], values)
            assert file["0"].attrs["OBJECT"] == "field"
        assert np.array_equal(open_cube(tmp_path / "a.h5").read(slice(0, 12), slice(0, 10)), values)


def test_cubes_that_find_no_room_leave_nothing_behind(tmp_path, full_disk):
    header = cube_header("Q", order=("RA---SIN", "DEC--SIN", "FREQ"))
    cubes = {
        name: NewCube(tmp_path / f"{name}.fits", (size, 12, 10), "f4", header) for name, size in (("a", 1), ("b", 500))
    }
    with pytest.raises(RepositoryError, match=r"b.fits: not written, File too large"):
        create_cubes(cubes, verb="test")
    assert list(tmp_path.iterdir()) == []


def test_cubes_of_another_size_are_not_taken_for_those_of_an_earlier_run(tmp_path):
    header = cube_header("Q", order=("RA---SIN", "DEC--SIN", "FREQ"))
    cubes = {name: NewCube(tmp_path / f"{name}.fits", (2, 12, 10), "f4", header) for name in "ab"}
    assert find_cubes(cubes, verb="test", filled=True) is None
    files = create_cubes(cubes, verb="test")
    assert find_cubes(cubes, verb="test", filled=False) == files
    publish_cubes([files["a"]])
    assert find_cubes(cubes, verb="test", filled=False) is None
    assert find_cubes(cubes, verb="test", filled=True) == files
    os.truncate(files["b"].partial, 100)
    assert find_cubes(cubes, verb="test", filled=True) is None


def test_the_journal_tells_what_an_earlier_run_of_the_same_job_has_filled(tmp_path):
    with RegionJournal(tmp_path, "test", "job") as journal:
        journal.start(fresh=True)
        journal.add(3, [1, 2])
        with pytest.raises(RepositoryError, match="another run"), RegionJournal(tmp_path, "test", "other"):
            pass
    path = next(path for path in tmp_path.iterdir() if path.name.endswith("journal"))
    path.write_text(path.read_text() + json.dumps({"region": 4, "value": 5})[:-3])  # torn by a kill
    with RegionJournal(tmp_path, "test", "job") as journal:
        assert journal.filled == {3: [1, 2]}
        journal.start(fresh=False)
        journal.add(5, None)
    with RegionJournal(tmp_path, "test", "another job") as journal:
        assert journal.filled == {}
    with RegionJournal(tmp_path, "test", "job") as journal:
        assert journal.filled == {3: [1, 2], 5: None}
        journal.start(fresh=False)
        journal.close(keep=True)
    with RegionJournal(tmp_path, "test", "job") as journal:
        assert journal.is_done
    assert [path.name for path in tmp_path.iterdir()] == [".test.done"]
