import logging
import pickle

import numpy as np
import pytest

from mpidriver.report import draw_all, picture_jobs
from mpidriver.report._assembly import canvas_of
from mpidriver.report._faraday_loading import brightest_spectra
from mpidriver.report._inventory import stored, stored_by_tract
from mpidriver.report._loading import (
    catalogue_magnitudes,
    detector_images,
    frame_points,
    frame_stars,
    last_exposures,
    patch_states,
    seeing_by_band,
)
from mpidriver.store import Frame, QuantumRecord, Repository, open_state, read_table, write_image, write_masked_image

NAMES = {
    "clipped-00007.png",
    "coadd-00007.png",
    "coverage-00007.png",
    "faraday-00007.png",
    "faraday-spectra.png",
    "frames.png",
    "objects.png",
    "stars-00007.png",
    "timeline.png",
}


def test_everything_that_a_repository_holds_is_drawn(repo):
    with open_state(repo, readonly=True) as state:
        drawn = draw_all(repo, state)
    assert {path.name for path in drawn} == NAMES
    assert all(path.parent == repo.root / "reports" and path.stat().st_size > 5000 for path in drawn)


def test_a_picture_that_fails_is_named_and_the_others_are_drawn(repo, caplog):
    broken = repo.path("coadd", tract=7, patch="0,0", band="g")
    broken.write_bytes(b"not a FITS file")
    for name in ("mosaic/00007.fits", "catalogues/rm.fits", "faraday/00007/0,0/FDF_maxPI.fits"):
        (repo.root / name).unlink()
    with open_state(repo, readonly=True) as state, caplog.at_level(logging.WARNING):
        drawn = {path.name for path in draw_all(repo, state)}
    assert drawn == {"frames.png", "objects.png", "timeline.png"}
    assert "coadd-00007.png was not drawn" in caplog.text
    assert str(broken) in caplog.text


def test_pictures_travel_to_other_ranks(repo):
    with open_state(repo, readonly=True) as state:
        jobs = {job.name: job for job in picture_jobs(repo, state)}
    assert set(jobs) == NAMES
    drawn = pickle.loads(pickle.dumps(jobs["frames.png"])).run()
    assert drawn == repo.root / "reports" / "frames.png"
    assert drawn.exists()


def test_patches_are_counted_by_stage_and_state():
    records = [
        QuantumRecord("a", "coadd", {"tract": "3", "patch": "1,0", "band": "g"}, "done"),
        QuantumRecord("b", "coadd", {"tract": "3", "patch": "1,0", "band": "r"}, "failed"),
        QuantumRecord("c", "single_frame", {"exposure": "1"}, "done"),
    ]
    assert patch_states(records) == {3: {"coadd": {(1, 0): {"done": 1, "failed": 1}}}}


def test_a_map_of_mask_bits_counts_pixels_with_data_alone(tmp_path, make_wcs):
    mask = np.zeros((4, 6), "i4")
    mask[0, :2], mask[3, 5], mask[2:, :2] = 128, 128, 32 | 128
    path = tmp_path / "coadd.fits"
    planes = np.ones((4, 6), "f4"), np.ones((4, 6), "f4"), mask
    write_masked_image(path, *planes, wcs=make_wcs(10.0, 2.0, 1.0, (4, 6)), mask_planes={"CLIPPED": 7, "NO_DATA": 5})
    share = canvas_of([path], largest_px=3).share_of([path], 128, no_data=32)
    np.testing.assert_array_equal(share, np.array([[0.5, 0, 0], [np.nan, 0, 0.25]], "f4"))


def test_an_empty_repository_has_no_pictures(tmp_path):
    repo = Repository.create(tmp_path / "survey")
    with open_state(repo) as state:
        assert picture_jobs(repo, state) == []


def test_the_layout_gives_data_ids_back(repo):
    (repo.root / "frames/000000000001/000-cat.fits").rename(repo.root / "frames/000000000001/012-cat.fits")
    assert [data_id for data_id, _ in stored(repo, "frame_catalogue")][1] == {"exposure": 1, "detector": 12}
    assert stored(repo, "frame") == []
    coadds = stored_by_tract(repo, "coadd")
    assert [(data_id["patch"], data_id["band"]) for data_id, _ in coadds[7]] == [
        (patch, band) for patch in ("0,0", "1,0") for band in ("g", "i", "r")
    ]
    assert stored(repo, "faraday", name="FDF_maxPI") == [
        ({"tract": 7, "patch": "0,0"}, repo.path("faraday", tract=7, patch="0,0", name="FDF_maxPI"))
    ]


@pytest.mark.parametrize("largest_px", [80, 30, 12])
def test_patches_are_put_together_where_they_belong(repo, field, make_wcs, largest_px):
    paths = [path for data_id, path in stored(repo, "coadd") if data_id["band"] == "r"]
    canvas = canvas_of(paths, largest_px=largest_px)
    assert canvas.shape == (60, 80)
    assert canvas.binning == -(-80 // largest_px)
    step = canvas.binning
    # A pixel of the overlap is in both patches, and counts twice.
    weight = np.where(np.isfinite(field["r"]), 1.0, 0.0)
    weight[:, 35:45] *= 2.0
    mean = canvas.mean(paths)
    for row, col in np.ndindex(mean.shape):
        block = np.s_[row * step : (row + 1) * step, col * step : (col + 1) * step]
        total = weight[block].sum()
        expected = np.nansum(weight[block] * field["r"][block]) / total if total else np.nan
        assert mean[row, col] == pytest.approx(expected, rel=1e-4, abs=1e-3, nan_ok=True)
    whole = make_wcs(10.0, 0.0, 1.0, (60, 80))
    middle = np.array([[2.0, 3.0]])
    unbinned = (middle + 0.5) * step - 0.5
    np.testing.assert_allclose(canvas.binned_wcs().wcs_pix2world(middle, 0), whole.wcs_pix2world(unbinned, 0))


def test_pasted_patches_are_the_field(repo, field):
    paths = [path for data_id, path in stored(repo, "coadd") if data_id["band"] == "i"]
    np.testing.assert_array_equal(canvas_of(paths).pasted(paths), field["i"])


def test_stars_come_back_with_the_mosaics_calibration(repo, star_frames):
    loaded = frame_stars(repo, 7)
    assert [stars.band for stars in loaded] == list("ggrr")
    for found, expected in zip(loaded, star_frames, strict=True):
        np.testing.assert_allclose(found.ra, expected.ra, atol=1e-10)
        np.testing.assert_allclose(found.dec, expected.dec, atol=1e-10)
        np.testing.assert_allclose(found.mag, expected.mag, atol=1e-9)
    assert loaded[0].middle == pytest.approx((10.01, 0.01), abs=2e-3)


def test_spectra_are_cut_at_the_sources(repo, spectrum):
    (found,) = brightest_spectra(repo, read_table(repo.path("rm_survey_catalogue")), 4)
    assert found.name == "00:40:00 +00:00:00"
    assert found.rm_radm2 == 40.0
    np.testing.assert_allclose(found.phi_radm2, spectrum.phi_radm2)
    np.testing.assert_allclose(found.fdf, spectrum.fdf, atol=1e-9)
    np.testing.assert_allclose(found.freq_hz, spectrum.freq_hz)
    np.testing.assert_allclose(found.q, spectrum.q, rtol=1e-6)


def test_the_last_exposure_of_a_band_is_shown_with_the_detectors_whose_images_are_there(repo):
    corners = np.array([[0.0, 0.0], [0.1, 0.0], [0.1, 0.05], [0.0, 0.05]])
    frames = [
        Frame(exposure, detector, band, "raw.fits", corners=corners, quality={"fwhm_px": 3.0})
        for exposure, detector, band in ((8, 1, "g"), (9, 1, "g"), (9, 2, "g"), (7, 1, "r"), (10, 1, "i"))
    ]
    pixels = np.arange(1200.0, dtype="f4").reshape(2, 600)
    for frame in (*frames[:2], frames[3]):
        for dataset in ("frame", "frame_background"):
            write_image(repo.path(dataset, exposure=frame.exposure, detector=frame.detector), pixels)
    last = last_exposures(repo, frames)
    assert last == {"g": [frames[1]], "r": [frames[3]]}
    (shown,) = detector_images(repo, last["g"])
    assert shown.image.shape == (1, 300)
    assert shown.image[0, 0] == np.mean([0, 1, 600, 601])
    np.testing.assert_array_equal(shown.background, pixels)


def test_sources_outside_every_patch_are_passed_over(repo):
    sources = read_table(repo.path("rm_survey_catalogue"))
    far = sources.copy()
    far["ra"] = 190.0
    unknown = sources.copy()
    unknown["polint"] = np.nan
    assert len(brightest_spectra(repo, np.concatenate([far, unknown, sources, sources]), 1)) == 1
    assert brightest_spectra(repo, np.concatenate([far, unknown]), 4) == []


def test_frames_get_seeing_in_arcsec_and_zero_points_of_a_second():
    corners = np.array([[0.0, 0.0], [0.1, 0.0], [0.1, 0.05], [0.0, 0.05]])
    quality = {"fwhm_px": 4.0, "zero_point_mag": 32.5}
    frames = [
        Frame(1, 2, "g", "raw.fits", shape=(180, 360), exptime_s=10.0, corners=corners, quality=quality),
        Frame(2, 2, "g", "raw.fits", corners=corners),
        Frame(3, 2, "g", "raw.fits"),
    ]
    points = frame_points(frames)
    assert len(points) == 2
    assert points[0].fwhm_arcsec == pytest.approx(4.0, rel=1e-6)  # 0.1 deg / 360 px = 1 arcsec
    assert points[0].zero_point_mag == pytest.approx(30.0)
    assert np.isnan([points[1].fwhm_arcsec, points[1].zero_point_mag]).all()
    assert seeing_by_band(points) == {"g": pytest.approx(4.0, rel=1e-6)}


def test_magnitudes_come_from_the_best_column_of_each_band():
    names = [
        "id",
        "mag_auto_g",
        "mag_auto_g_err",
        "mag_psf_g",
        "mag_psf_N921",
        "flux_auto_r",
        "flux_psf_r",
        "flux_psf_i",
    ]
    objects = np.zeros(2, dtype=[*((name, "f8") for name in names), ("flux_aper_i", "f8", (3,))])
    objects["mag_auto_g"], objects["mag_psf_N921"] = 20.0, 21.0
    objects["flux_auto_r"], objects["flux_psf_r"], objects["flux_psf_i"] = (10.0, -1.0), 5.0, (100.0, np.nan)
    magnitudes = catalogue_magnitudes(objects)
    assert list(magnitudes) == ["g", "r", "i", "N921"]
    np.testing.assert_allclose(magnitudes["g"], 20.0)
    np.testing.assert_allclose(magnitudes["r"], [28.9, np.nan])
    np.testing.assert_allclose(magnitudes["i"], [26.4, np.nan])
    np.testing.assert_allclose(magnitudes["N921"], 21.0)
