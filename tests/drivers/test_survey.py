"""The main job on the simulated survey: accuracy, the same products on any number of ranks, and damaged input."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from astropy.io import fits
from survey import digests, run

from mpidriver.drivers._quantum import Quantum
from mpidriver.drivers.pipeline import open_context
from mpidriver.store import open_state

ACCURACY = Path(__file__).parents[2] / "benchmarks" / "accuracy.py"


SMALL = ["--bands", "r^i", "--exposures", "3", "--detectors", "1x2", "--detector-size", "300", "--channels", "16"]


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    """A small simulated repository, not yet reduced."""
    root = tmp_path_factory.mktemp("survey") / "repo"
    ended = run("simulate", root, *SMALL, "--quiet")
    assert ended.code == 0, ended.text
    return root


@pytest.fixture(scope="module")
def reduced(raw, tmp_path_factory):
    """The same repository, reduced by one rank in one process."""
    root = tmp_path_factory.mktemp("serial") / "repo"
    shutil.copytree(raw, root)
    ended = run("pipeline", root)
    assert ended.code == 0, ended.text
    assert "all done" in ended.text
    return root


@pytest.mark.slow
@pytest.mark.mpi
def test_the_reduced_survey_is_as_accurate_as_it_must_be(tmp_path):
    root = tmp_path / "repo"
    assert run("-n", 2, "simulate", root, "--bands", "r^i", "--channels", "48", "--quiet").code == 0
    ended = run("-n", 2, "pipeline", root, "--quiet", "--no-pictures")
    assert (ended.code, ended.text) == (0, "")
    beside = {**os.environ, "PYTHONPATH": str(ACCURACY.parent)}
    command = [sys.executable, ACCURACY, root, "--json"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=beside)
    assert done.stderr == ""
    figures = json.loads(done.stdout)
    assert [figure for figure in figures if not figure["value"] <= figure["limit"]] == []
    assert [figure for figure in figures if figure["count"] < 10] == []


def test_the_products_lie_where_the_readme_says_and_pictures_are_drawn(reduced):
    assert (reduced / "catalogues" / "objects.fits").is_file()
    assert (reduced / "catalogues" / "rm.fits").is_file()
    assert list((reduced / "coadds").glob("*/*/r.fits"))
    assert list((reduced / "faraday").glob("*/*/FDF_tot_dirty.fits"))
    assert len(list((reduced / "reports").glob("*.png"))) >= 4


@pytest.mark.mpi
@pytest.mark.parametrize("ranks", [2, pytest.param(3, marks=pytest.mark.slow), pytest.param(5, marks=pytest.mark.slow)])
def test_every_number_of_ranks_gives_the_same_products_bit_for_bit(raw, reduced, tmp_path, ranks):
    root = tmp_path / "repo"
    shutil.copytree(raw, root)
    ended = run("-n", ranks, "pipeline", root, "--no-pictures")
    assert ended.code == 0, ended.text
    assert f"on {ranks} ranks" in ended.text
    assert digests(root) == digests(reduced)


@pytest.mark.mpi
def test_light_curves_and_fakes_are_made_when_they_are_asked_for(reduced, tmp_path):
    roots = [tmp_path / "one", tmp_path / "two"]
    for ranks, root in enumerate(roots, start=1):
        shutil.copytree(reduced, root)
        assert not list((root / "catalogues").glob("*/*/light-curves.fits"))
        ended = run("-n", ranks, "multiband", root, "--light-curves", "--fakes", "--no-pictures", "--patch", "0,0^0,1")
        assert ended.code == 0, ended.text
        assert "point sources: 90 % recovered to" in " ".join(ended.text.split())
    curves = list((roots[0] / "catalogues").glob("*/*/light-curves.fits"))
    assert len(curves) == 2
    assert {row["band"] for row in fits.getdata(curves[0])} == {"r", "i"}
    assert digests(roots[0], ("catalogues", "fakes")) == digests(roots[1], ("catalogues", "fakes"))
    assert digests(roots[0], ("coadds",)) == digests(reduced, ("coadds",))


def test_what_is_unchanged_is_not_run_again(reduced):
    before = {path: path.stat().st_mtime_ns for path in reduced.rglob("*.fits")}
    ended = run("pipeline", reduced, "--no-pictures")
    assert ended.code == 0, ended.text
    assert {path: path.stat().st_mtime_ns for path in reduced.rglob("*.fits")} == before


@pytest.mark.parametrize("selection", [["--band", "r"], ["--exposure", "1001"], ["--patch", "0,0"]], ids=str)
def test_a_selection_after_a_full_run_changes_nothing(reduced, selection):
    before = {path: path.stat().st_mtime_ns for path in reduced.rglob("*.fits")}
    ended = run("pipeline", reduced, "--no-pictures", *selection)
    assert ended.code == 0, ended.text
    assert {path: path.stat().st_mtime_ns for path in reduced.rglob("*.fits")} == before


def test_a_lost_product_is_made_again_and_nothing_else(reduced):
    before = digests(reduced)
    lost = next((reduced / "coadds").glob("*/*/r.fits"))
    lost.unlink()
    others = {path: path.stat().st_mtime_ns for path in reduced.rglob("*.fits")}
    ended = run("pipeline", reduced, "--no-pictures")
    assert ended.code == 0, ended.text
    assert digests(reduced) == before
    assert {path: path.stat().st_mtime_ns for path in others} == others


def coadd_planes(root):
    """Return the bytes of the planes and the table of each coadd; headers name what it was made of."""
    found = {}
    for path in sorted((root / "coadds").rglob("*.fits")):
        with fits.open(path, memmap=False) as hdus:
            found[str(path.relative_to(root))] = [hdu.data.tobytes() for hdu in hdus]
    return found


@pytest.fixture(scope="module")
def without_warps(reduced, tmp_path_factory):
    """The reduced repository, its coadds made again without files of warps."""
    root = tmp_path_factory.mktemp("held") / "repo"
    shutil.copytree(reduced, root)
    survey = (root / "survey.toml").read_text()
    assert "keep_warps = true" in survey
    (root / "survey.toml").write_text(survey.replace("keep_warps = true", "keep_warps = false"))
    ended = run("coadd", root)
    assert ended.code == 0, ended.text
    return root


def test_warps_that_stay_in_memory_give_the_same_coadds_and_leave_no_files(reduced, without_warps):
    planes = coadd_planes(reduced)
    assert len(planes) > 1
    assert coadd_planes(without_warps) == planes
    assert list((without_warps / "warps").rglob("*.fits")) == []


def test_coadds_without_files_of_warps_are_not_made_again(without_warps):
    before = {path: path.stat().st_mtime_ns for path in without_warps.rglob("*.fits")}
    ended = run("coadd", without_warps)
    assert ended.code == 0, ended.text
    assert {path: path.stat().st_mtime_ns for path in without_warps.rglob("*.fits")} == before


@pytest.mark.slow
@pytest.mark.mpi
def test_warps_that_stay_in_memory_of_several_ranks_give_the_same_bytes(without_warps, tmp_path):
    root = tmp_path / "repo"
    shutil.copytree(without_warps, root)
    for path in (root / "coadds").rglob("*.fits"):
        path.unlink()
    ended = run("-n", 3, "coadd", root)
    assert ended.code == 0, ended.text
    assert digests(root, ["coadds"]) == digests(without_warps, ["coadds"])


def test_the_state_database_knows_every_product(reduced):
    state = open_state(open_context(str(reduced)).repository, readonly=True)
    recorded = {product.path for quantum in state.quanta() for product in state.products(key=quantum.key)}
    assert recorded == set(digests(reduced))
    assert {status for counts in state.counts().values() for status in counts} == {"done"}


def test_every_product_names_what_it_was_made_of(reduced):
    """Header and database say the same; every input is a product, or a file that was given."""
    with open_state(open_context(str(reduced)).repository, readonly=True) as state:
        products = {product.path: product.digest for product in state.products()}
        given = {frame.path: frame.digest for frame in state.frames()}
        for record in map(state.quantum, [record.key for record in state.quanta()]):
            made_of = dict(record.provenance["inputs"])
            assert made_of
            assert {path: products.get(path, given.get(path, digest)) for path, digest in made_of.items()} == made_of
            unknown = made_of.keys() - products.keys() - given.keys()
            assert all(path.startswith("calib/") or path == "catalogues/reference.fits" for path in unknown)
            for product in state.products(key=record.key):
                if not product.path.endswith(".fits"):
                    continue
                with fits.open(reduced / product.path) as hdus:
                    header = next(hdu.header for hdu in hdus if "MPD_TASK" in hdu.header)
                assert header["MPD_TASK"] == record.key
                assert header["MPD_OPTS"] == record.provenance["options"]
                assert dict(value.split() for value in header["INP*"].values()) == {
                    path: digest[:16] for path, digest in made_of.items()
                }


def test_damaged_frames_are_named_and_everything_else_is_finished(tmp_path):
    root = tmp_path / "repo"
    small = ["--bands", "r", "--exposures", "4", "--detectors", "1x2", "--detector-size", "300", "--channels", "0"]
    assert run("simulate", root, *small, "--strays", "1", "--quiet").code == 0
    frames = sorted((root / "raw").glob("frame-*.fits"))
    corrupt, empty = frames[0], frames[3]
    corrupt.write_bytes(corrupt.read_bytes()[:50_000])
    header_bytes = 2880 * (empty.read_bytes().find(b"END" + b" " * 77) // 2880 + 1)
    empty.write_bytes(empty.read_bytes()[:header_bytes] + bytes(empty.stat().st_size - header_bytes))
    ended = run("pipeline", root, "--no-pictures")
    assert ended.code == 1, ended.text
    for path in (corrupt, empty):
        exposure, detector = map(int, path.stem.split("-")[1:])
        assert f"single_frame{{exposure={exposure}, detector={detector}, band=r}}" in ended.text
    assert ended.text.count("outside every tract: exposure 1005") == 2
    state = open_state(open_context(str(root)).repository, readonly=True)
    counts = state.counts()
    assert counts["single_frame"] == {"done": 8, "failed": 2}
    assert counts["survey_catalogue"] == {"done": 1}
    assert "failed" not in counts["coadd"]


def test_a_damaged_channel_image_costs_that_channel_of_that_beam_alone(tmp_path):
    root = tmp_path / "repo"
    small = ["--bands", "r", "--exposures", "1", "--detectors", "1x1", "--detector-size", "200", "--channels", "8"]
    assert run("simulate", root, *small, "--quiet").code == 0
    damaged = root / "raw" / "stokes-000501-000-0003.fits"
    damaged.write_bytes(damaged.read_bytes()[:20_000])
    ended = run("faraday", root, "--no-pictures")
    assert ended.code == 1, ended.text
    assert "channel_frame{exposure=501, detector=0, band=c0003}" in ended.text
    counts = open_state(open_context(str(root)).repository, readonly=True).counts()
    assert counts["channel_frame"] == {"done": 15, "failed": 1}
    assert set(counts["cube"]) == set(counts["rm_synthesis"]) == {"done"}


def test_a_frame_of_another_region_is_named_and_no_failure(tmp_path):
    root = tmp_path / "repo"
    small = ["--bands", "r", "--exposures", "2", "--detectors", "1x1", "--detector-size", "300", "--channels", "0"]
    assert run("simulate", root, *small, "--strays", "1", "--quiet").code == 0
    ended = run("pipeline", root, "--no-pictures")
    assert ended.code == 0, ended.text
    assert "outside every tract: exposure 1003, detector 0, band r" in ended.text


@pytest.mark.slow
def test_drivers_one_after_the_other_give_what_the_pipeline_gives(raw, reduced, tmp_path):
    root = tmp_path / "repo"
    shutil.copytree(raw, root)
    for verb in (["single-frame"], ["mosaic"], ["coadd"], ["multiband", "--no-pictures"], ["faraday", "--no-pictures"]):
        ended = run(*verb, root, "--quiet")
        assert (ended.code, ended.text) == (0, "")
    assert digests(root) == digests(reduced)


def test_a_driver_without_its_inputs_says_what_it_waits_for(raw, tmp_path):
    root = tmp_path / "repo"
    shutil.copytree(raw, root)
    ended = run("coadd", root)
    assert ended.code == 1
    assert "blocked" in ended.text
    state = open_state(open_context(str(root)).repository, readonly=True)
    assert "single_frame" in str(state.quanta(task="warp")[0].error)


def test_a_selection_works_on_its_data_ids_alone(raw, tmp_path):
    root = tmp_path / "repo"
    shutil.copytree(raw, root)
    listed = run("pipeline", root, "--dry-run", "--band", "r", "--exposure", "1001..1002").text.splitlines()
    assert any(line.startswith("warp{") for line in listed)
    assert {line for line in listed if "exposure=" in line and "exposure=1001" not in line} == {
        line for line in listed if "exposure=1002" in line
    }
    assert not any("band=i" in line for line in listed)
    assert run("single-frame", root, "--exposure", "1002", "--detector", "1", "--quiet").code == 0
    names = ("001-bkg.fits", "001-cat.fits", "001.fits")
    assert list(digests(root)) == [f"frames/000000001002/{name}" for name in names]


def test_debug_runs_one_quantum_in_this_process(reduced):
    before = {path: path.stat().st_mtime_ns for path in reduced.rglob("*.fits")}
    some = next(
        quantum for quantum in open_state(open_context(str(reduced)).repository, readonly=True).quanta("measure")
    )
    ended = run("debug", reduced, some.key)
    assert ended.code == 0, ended.text
    (product,) = open_state(open_context(str(reduced)).repository, readonly=True).products(key=some.key)
    assert f"made and not kept: {product.path}, {product.size:,} bytes, digest {product.digest}" in ended.text
    assert {path: path.stat().st_mtime_ns for path in reduced.rglob("*.fits")} == before
    assert json.loads(run("debug", reduced, some.key, "--json").text) == [vars(product)]
    ended = run("debug", reduced, str(Quantum("measure")))
    assert ended.code == 2
    assert "no quantum measure{} in this survey" in ended.text
