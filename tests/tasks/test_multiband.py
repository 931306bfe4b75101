"""Multiband: what is detected, measured, forced and joined on simulated coadds of known truth."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from astropy.wcs import WCS
from scipy import ndimage
from scipy.spatial import cKDTree

from mpidriver.errors import ConfigError, DataError
from mpidriver.tasks.image import MaskedImage, MaskPlane
from mpidriver.tasks.multiband import (
    DETECTION_UNITS,
    FORCED_UNITS,
    MEASUREMENT_UNITS,
    MERGED_UNITS,
    OBJECT_FLAGS,
    REFERENCE_UNITS,
    MultibandOptions,
    ObjectFlag,
    detect,
    detection_dtype,
    force,
    forced_dtype,
    join_bands,
    join_catalogues,
    measure,
    measurement_dtype,
    merge_detections,
    merge_measurements,
    object_descriptions,
    object_dtype,
    object_id,
    object_units,
    reference_dtype,
    split_object_id,
)
from mpidriver.tasks.multiband._descriptions import BAND_COLUMNS, OBJECT_COLUMNS

SHAPE = (700, 700)
SCALE_ARCSEC = 0.2
OPTIONS = MultibandOptions(aperture_radii_arcsec=(0.8, 1.6, 3.0))
#: Colour of the simulated stars: flux in g over flux in i.
COLOUR = 0.3


def make_wcs():
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = [359.999, 2.0]
    wcs.wcs.crpix = [SHAPE[1] / 2, SHAPE[0] / 2]
    wcs.wcs.cd = SCALE_ARCSEC / 3600.0 * np.array([[-1.0, 0.0], [0.0, 1.0]])
    return wcs


def draw(x, y, flux, fwhm_px, *, beta=3.5):
    """Return an image of Moffat stars; at FWHM 4 px pixel centres integrate it to 1e-4."""
    alpha = fwhm_px / 2 / np.sqrt(2 ** (1 / beta) - 1)
    image = np.zeros(SHAPE)
    rows, cols = np.indices(SHAPE)
    for xi, yi, fi, wi in np.broadcast(x, y, flux, alpha):
        near = np.s_[max(int(yi) - 80, 0) : int(yi) + 80, max(int(xi) - 80, 0) : int(xi) + 80]
        radius2 = (cols[near] - xi) ** 2 + (rows[near] - yi) ** 2
        image[near] += fi * (beta - 1) / (np.pi * wi**2) * (1 + radius2 / wi**2) ** -beta
    return image


def noisy(light, sky_sigma, seed, *, correlate=0.0):
    rng = np.random.default_rng(seed)
    variance = sky_sigma**2 + light / 10.0
    noise = rng.normal(size=SHAPE) * np.sqrt(variance)
    if correlate:
        noise = ndimage.gaussian_filter(noise, correlate)
        variance = variance * (noise.var() / variance.mean())
    return MaskedImage((light + noise).astype(np.float32), variance.astype(np.float32), np.zeros(SHAPE, np.int32))


@dataclasses.dataclass(frozen=True)
class Truth:
    x: np.ndarray
    y: np.ndarray
    flux: np.ndarray
    fwhm_px: np.ndarray


@pytest.fixture(scope="module")
def truth():
    """Return a jittered grid of stars of 300 to 100,000 nJy; every third is a galaxy 1.5 to 2.5 times as wide."""
    rng = np.random.default_rng(11)
    grid = np.stack(np.meshgrid(np.arange(10), np.arange(10)), axis=-1).reshape(-1, 2) * 64.0 + 60.0
    x, y = (grid + rng.uniform(-12, 12, size=grid.shape)).T
    flux = 10 ** rng.uniform(2.5, 5.0, x.size)
    return Truth(x, y, flux, 4.0 * np.where(np.arange(x.size) % 3 == 2, rng.uniform(1.5, 2.5, x.size), 1.0))


@pytest.fixture(scope="module")
def coadds(truth):
    light = draw(truth.x, truth.y, truth.flux, truth.fwhm_px)
    fainter = draw(truth.x, truth.y, COLOUR * truth.flux, truth.fwhm_px * 1.15)
    return {"g": noisy(fainter, 3.0, 1), "i": noisy(light, 4.0, 2)}


@pytest.fixture(scope="module")
def detections(coadds):
    return {band: detect(coadd, make_wcs(), options=OPTIONS) for band, coadd in coadds.items()}


@pytest.fixture(scope="module")
def merged(detections):
    return merge_detections(detections, tract=3, patch=(2, 5), options=OPTIONS)


@pytest.fixture(scope="module")
def measured(coadds, merged):
    return {band: measure(coadd, make_wcs(), merged, options=OPTIONS) for band, coadd in coadds.items()}


@pytest.fixture(scope="module")
def reference(measured):
    return merge_measurements(measured, options=OPTIONS)


@pytest.fixture(scope="module")
def forced(coadds, reference):
    return {band: force(coadd, make_wcs(), reference, options=OPTIONS) for band, coadd in coadds.items()}


def matched(truth, x, y):
    """Return for each position the row of the truth within 2.5 px."""
    distance, row = cKDTree(np.column_stack([truth.x, truth.y])).query(np.column_stack([x, y]))
    assert (distance < 2.5).all()
    return row


def blank():
    planes = np.full(SHAPE, np.nan, np.float32), np.full(SHAPE, np.nan, np.float32)
    return MaskedImage(*planes, np.full(SHAPE, int(MaskPlane.NO_DATA), np.int32))


# Detection and merging


def test_every_source_is_detected_once_and_nothing_else(detections, truth):
    found = detections["i"]
    assert found.dtype == detection_dtype()
    expected = truth.flux / truth.fwhm_px > 150
    rows = matched(truth, found["x"], found["y"])
    assert np.unique(rows).size == rows.size
    assert np.isin(np.flatnonzero(expected), rows).all()
    assert (np.diff(found["y"]) >= 0).all()


def test_a_coadd_that_fills_a_corner_of_its_patch_is_searched_as_well(coadds, detections):
    corner = coadds["i"]
    rows, cols = corner.image.shape
    planes = [np.full((2500, cols), np.nan, np.float32), np.full((2500, cols), np.nan, np.float32)]
    mask = np.full((2500, cols), int(MaskPlane.NO_DATA), np.int32)
    for whole, part in zip([*planes, mask], [corner.image, corner.variance, corner.mask], strict=True):
        whole[900 : 900 + rows] = part
    found = detect(MaskedImage(*planes, mask), make_wcs(), options=OPTIONS)
    assert abs(len(found) - len(detections["i"])) <= 2


def test_positions_on_the_sky_are_those_of_the_pixels(detections):
    found = detections["i"]
    x, y = make_wcs().all_world2pix(found["ra"], found["dec"], 0)
    np.testing.assert_allclose([x, y], [found["x"], found["y"]], atol=1e-6)


def test_noise_alone_gives_hardly_any_detection_even_if_correlated():
    for correlate in (0.0, 0.7):
        found = detect(noisy(np.zeros(SHAPE), 4.0, 5, correlate=correlate), make_wcs(), options=OPTIONS)
        # 5 sigma, some 50,000 independent places: 0.01 expected.
        assert found.size <= 1


def test_the_bands_merge_into_one_object_a_source(merged, truth, detections):
    rows = matched(truth, merged["x"], merged["y"])
    assert np.unique(rows).size == rows.size
    assert merged.size >= max(table.size for table in detections.values())
    assert merged["detected_i"].sum() == detections["i"].size
    assert (merged["detected_i"] | merged["detected_g"]).all()
    np.testing.assert_array_equal(merged["x"][merged["detected_i"]], detections["i"]["x"])


def test_ids_follow_the_position_and_name_tract_and_patch(merged):
    assert (np.diff(merged["id"]) == 1).all()
    assert (np.diff(merged["y"]) >= 0).all()
    tract, patch_x, patch_y, number = split_object_id(merged["id"])
    assert set(zip(tract.tolist(), patch_x.tolist(), patch_y.tolist(), strict=True)) == {(3, 2, 5)}
    np.testing.assert_array_equal(number, np.arange(merged.size))


def rows_at(x, *, y=10.0):
    table = np.zeros(len(x), detection_dtype())
    table["x"], table["y"] = x, y
    table["ra"], table["dec"] = make_wcs().all_pix2world(table["x"], table["y"], 0)
    return table


def test_detections_of_one_band_stay_apart_and_other_bands_join_the_nearest():
    options = MultibandOptions(merge_radius_arcsec=1.0, priority=("i",))
    merged = merge_detections({"g": rows_at([13.0, 30.0]), "i": rows_at([10.0, 14.0])}, options=options)
    np.testing.assert_array_equal(merged["x"], [10.0, 14.0, 30.0])
    np.testing.assert_array_equal(merged["detected_i"], [True, True, False])
    np.testing.assert_array_equal(merged["detected_g"], [False, True, True])
    assert merged.dtype.names == (*MERGED_UNITS, "detected_i", "detected_g", "detected_combined")


def test_bands_without_priority_follow_by_name():
    options = MultibandOptions(priority=("r",))
    merged = merge_detections({b: rows_at([10.0]) for b in ("VR", "B", "r")}, options=options)
    assert merged.dtype.names[-4:-1] == ("detected_r", "detected_B", "detected_VR")


def test_the_order_of_the_bands_given_does_not_matter(detections, merged):
    again = merge_detections(dict(reversed(detections.items())), tract=3, patch=(2, 5), options=OPTIONS)
    assert again.tobytes() == merged.tobytes()


# Ids


def test_ids_come_apart_again_and_do_not_collide():
    largest = object_id(2**27 - 1, (127, 127), [0, 2**22 - 1])
    assert largest.dtype == np.int64
    assert (largest > 0).all()
    assert [int(part[1]) for part in split_object_id(largest)] == [2**27 - 1, 127, 127, 2**22 - 1]


@pytest.mark.parametrize(
    ("tract", "patch", "number"), [(2**27, (0, 0), 0), (-1, (0, 0), 0), (0, (128, 0), 0), (0, (0, 0), 2**22)]
)
def test_ids_out_of_range_are_refused(tract, patch, number):
    with pytest.raises(DataError, match="below"):
        object_id(tract, patch, [number])


# Measurement


def test_fluxes_of_bright_stars_are_unbiased_within_a_percent(measured, truth):
    table = measured["i"]
    row = matched(truth, table["x"], table["y"])
    stars = (table["snr"] > 50) & (truth.fwhm_px[row] == 4.0)
    assert stars.sum() > 30
    for flux in (table["flux_psf"], table["flux_auto"], *table["flux_aper"].T):
        ratio = flux[stars] / truth.flux[row][stars]
        assert abs(np.median(ratio) - 1) < 0.01
        assert abs(np.mean(ratio) - 1) < 0.01


def test_total_fluxes_of_galaxies_are_near_the_truth(measured, truth):
    table = measured["i"]
    row = matched(truth, table["x"], table["y"])
    galaxies = (table["snr"] > 50) & (truth.fwhm_px[row] > 4.0)
    # Kron apertures lose a few per cent of a profile wider than the PSF.
    assert np.median(table["flux_auto"][galaxies] / truth.flux[row][galaxies]) == pytest.approx(1, abs=0.04)


@pytest.mark.parametrize("band", ["i", "g"])
def test_errors_predict_the_scatter_of_stars(measured, truth, band):
    table = measured[band]
    row = matched(truth, table["x"], table["y"])
    stars = (truth.fwhm_px[row] == 4.0) & (table["snr"] > 5)
    want = truth.flux[row] * (1.0 if band == "i" else COLOUR)
    for name in ("flux_psf", "flux_auto"):
        pull = (table[name] - want * 1.0)[stars] / table[f"{name}_err"][stars]
        # About 65 stars: 9 % one sigma on the scatter; the bias of 0.2 % adds little.
        assert 0.7 < np.std(pull) < 1.4


def test_positions_are_right_within_their_errors(measured, truth):
    table = measured["i"]
    row = matched(truth, table["x"], table["y"])
    stars = truth.fwhm_px[row] == 4.0
    for axis in ("x", "y"):
        pull = (table[axis] - getattr(truth, axis)[row])[stars] / table[f"{axis}_err"][stars]
        assert 0.7 < np.std(pull) < 1.3
        assert abs(np.mean(pull)) < 4 / np.sqrt(stars.sum())
    assert np.hypot(table["x"] - truth.x[row], table["y"] - truth.y[row])[table["snr"] > 100].max() < 0.1


def test_sizes_tell_stars_from_galaxies(measured, truth):
    table = measured["i"]
    row = matched(truth, table["x"], table["y"])
    clear = table["snr"] > 30
    assert (table["extendedness"][clear] == (truth.fwhm_px[row] > 4.0)[clear]).mean() > 0.97
    np.testing.assert_allclose(table["psf_fwhm_arcsec"], 4.0 * SCALE_ARCSEC, rtol=0.03)
    stars = clear & (truth.fwhm_px[row] == 4.0)
    np.testing.assert_allclose(np.median(table["fwhm_arcsec"][stars]), 4.0 * SCALE_ARCSEC, rtol=0.03)
    # Half of a Moffat of beta 3.5 lies within alpha sqrt(2^(1/2.5) - 1).
    alpha = 4.0 * SCALE_ARCSEC / 2 / np.sqrt(2 ** (1 / 3.5) - 1)
    half_light = alpha * np.sqrt(2 ** (1 / 2.5) - 1)
    np.testing.assert_allclose(np.median(table["half_light_radius_arcsec"][stars]), half_light, rtol=0.05)


def test_correlated_noise_is_in_the_errors(truth):
    flux = np.full(truth.x.size, 2000.0)
    flux[::5] = 30_000.0
    coadd = noisy(draw(truth.x, truth.y, flux, 4.0), 4.0, 7, correlate=0.6)
    objects = merge_detections({"i": detect(coadd, make_wcs(), options=OPTIONS)}, options=OPTIONS)
    table = measure(coadd, make_wcs(), objects, options=OPTIONS)
    row = matched(truth, table["x"], table["y"])
    faint = flux[row] == 2000.0
    pull = (table["flux_psf"] - flux[row])[faint] / table["flux_psf_err"][faint]
    assert 0.75 < np.std(pull) < 1.3


def test_a_background_that_was_left_in_does_not_bias(coadds, merged, measured):
    rows = np.arange(SHAPE[0])[:, None]
    tilted = dataclasses.replace(coadds["i"], image=coadds["i"].image + (0.01 * rows + 20.0).astype(np.float32))
    table = measure(tilted, make_wcs(), merged, options=OPTIONS)
    bright = measured["i"]["snr"] > 50
    np.testing.assert_allclose(table["flux_psf"][bright], measured["i"]["flux_psf"][bright], rtol=0.01)


def test_flags_name_what_lies_under_an_object(coadds, merged):
    mask = coadds["i"].mask.copy()
    names = ("SATURATED", "BAD", "INTERPOLATED", "CLIPPED", "SUSPECT")
    for k, name in enumerate(names):
        mask[round(merged["y"][k]), round(merged["x"][k])] = int(MaskPlane[name])
    table = measure(dataclasses.replace(coadds["i"], mask=mask), make_wcs(), merged, options=OPTIONS)
    want = [ObjectFlag[name if name != "BAD" else "BAD_PIXEL"] for name in names]
    for k, flag in enumerate(want):
        assert table["flags"][k] & int(flag)
    assert OBJECT_FLAGS["SATURATED"] == 2
    assert all(ObjectFlag[name] == 1 << bit for name, bit in OBJECT_FLAGS.items())


def test_a_hole_makes_nan_there_and_edge_flags_beside_it(coadds, merged):
    image = coadds["i"].image.copy()
    x, y = round(merged["x"][20]), round(merged["y"][20])
    image[y - 4 : y + 5, x - 4 : x + 5] = np.nan
    near = int(np.argmin(np.hypot(merged["x"] - merged["x"][30], merged["y"] - merged["y"][30])))
    image[int(merged["y"][near]) + 6, int(merged["x"][near])] = np.nan
    table = measure(dataclasses.replace(coadds["i"], image=image), make_wcs(), merged, options=OPTIONS)
    assert np.isnan(table["flux_psf"][20])
    assert table["flags"][20] & int(ObjectFlag.NO_DATA)
    assert np.isfinite(table["flux_psf"][near])
    assert table["flags"][near] & int(ObjectFlag.EDGE)


def test_neighbours_are_flagged():
    light = draw(np.array([300.0, 306.5]), np.array([300.0, 300.0]), 20_000.0, 4.0)
    coadd = noisy(light, 4.0, 3)
    objects = merge_detections({"i": detect(coadd, make_wcs(), options=OPTIONS)}, options=OPTIONS)
    assert objects.size == 2
    table = measure(coadd, make_wcs(), objects, options=OPTIONS)
    assert (table["flags"] & int(ObjectFlag.NEIGHBOUR) != 0).all()


def test_without_stars_the_psf_of_the_options_stands_and_says_so():
    light = draw(np.array([300.0]), np.array([310.0]), 3000.0, 4.0)
    options = dataclasses.replace(OPTIONS, default_fwhm_arcsec=0.8)
    coadd = noisy(light, 4.0, 3)
    objects = merge_detections({"i": detect(coadd, make_wcs(), options=options)}, options=options)
    table = measure(coadd, make_wcs(), objects, options=options)
    assert table.size == 1
    assert table["flags"][0] & int(ObjectFlag.NO_PSF)
    assert table["flux_psf"][0] == pytest.approx(3000.0, abs=5 * table["flux_psf_err"][0] + 100)


# Reference, forced photometry and join


def test_the_reference_band_is_the_first_that_is_good_enough(measured, reference):
    assert reference.dtype == reference_dtype()
    strong = (measured["i"]["snr"] > 10) & (measured["i"]["flags"] == 0)
    assert strong.sum() > 60
    assert (reference["ref_band"][strong] == "i").all()
    np.testing.assert_array_equal(reference["x"][strong], measured["i"]["x"][strong])


def test_the_reference_band_falls_back_to_the_best():
    table = np.zeros(4, measurement_dtype(1))
    table["id"] = np.arange(4)
    i_band, r_band, g_band = table.copy(), table.copy(), table.copy()
    i_band["snr"] = [50, 5, 50, np.nan]
    r_band["snr"] = [90, 8, 90, np.nan]
    g_band["snr"] = [99, 9, 20, np.nan]
    i_band["flags"][2] = int(ObjectFlag.SATURATED)
    merged = merge_measurements({"g": g_band, "r": r_band, "i": i_band})
    assert merged["ref_band"].tolist() == ["i", "g", "r", "i"]


def test_forced_is_measured_for_the_same_band_and_position(measured, reference, forced):
    own = reference["ref_band"] == "i"
    assert own.sum() > 60
    for name, rtol in (("flux_psf", 1e-3), ("flux_aper", 1e-3), ("flux_auto", 1e-3), ("flux_psf_err", 0.02)):
        # A few objects stand where another band has them: PSF stars and empty places are not quite the same.
        np.testing.assert_allclose(forced["i"][name][own], measured["i"][name][own], rtol=rtol)
    alone = merge_measurements({"i": measured["i"]}, options=OPTIONS)
    np.testing.assert_array_equal(alone["x"], measured["i"]["x"])


def test_forced_is_measured_with_one_band(coadds, measured):
    alone = merge_measurements({"i": measured["i"]}, options=OPTIONS)
    table = force(coadds["i"], make_wcs(), alone, options=OPTIONS)
    assert table.dtype == forced_dtype(3)
    for name in ("flux_psf", "flux_psf_err", "flux_aper", "flux_aper_err", "flux_auto", "flux_auto_err"):
        # The PSF's stars stand at their centroids, which are with and without the neighbours' light.
        np.testing.assert_allclose(table[name], measured["i"][name], rtol=2e-3 if name.endswith("err") else 1e-4)


def test_colours_of_forced_photometry_are_unbiased(forced, truth, reference):
    row = matched(truth, reference["x"], reference["y"])
    stars = (forced["g"]["snr"] > 50) & (truth.fwhm_px[row] == 4.0)
    assert stars.sum() > 15
    assert np.median(forced["g"]["flux_psf"][stars] / forced["i"]["flux_psf"][stars]) == pytest.approx(COLOUR, rel=0.01)


def test_the_joined_table_has_documented_columns_and_magnitudes(reference, forced):
    primary = reference["x"] < 350
    table = join_bands(reference, forced, bands=["g", "i", "z"], is_primary=primary, tract=3, patch=(2, 5))
    assert table.dtype == object_dtype(["g", "i", "z"], 3)
    assert table.dtype.names == tuple(object_units(["g", "i", "z"]))
    np.testing.assert_array_equal(table["is_primary"], primary)
    np.testing.assert_array_equal(table["flux_psf_i"], forced["i"]["flux_psf"])
    np.testing.assert_allclose(table["mag_psf_i"], 31.4 - 2.5 * np.log10(forced["i"]["flux_psf"]))
    np.testing.assert_allclose(table["mag_psf_i_err"], 1.0857 / forced["i"]["snr"], rtol=1e-3)
    assert np.isnan(table["flux_psf_z"]).all()
    np.testing.assert_array_equal(table["flags_z"], int(ObjectFlag.NO_DATA))
    assert set(table["tract"]) == {3}
    assert (table["patch_x"][0], table["patch_y"][0]) == (2, 5)


def test_catalogues_keep_primary_rows_in_order_of_ids(reference, forced):
    odd = np.arange(reference.size) % 2 == 1
    first = join_bands(reference, forced, is_primary=odd)
    second = join_bands(reference, {"i": forced["i"]}, is_primary=~odd)
    joined, bands = join_catalogues([second, first])
    assert bands == ["g", "i"]
    np.testing.assert_array_equal(joined["id"], reference["id"])
    assert np.isnan(joined["flux_psf_g"][::2]).all()
    np.testing.assert_array_equal(joined["flux_psf_g"][1::2], forced["g"]["flux_psf"][1::2])
    np.testing.assert_array_equal(joined["flags_g"][::2], int(ObjectFlag.NO_DATA))
    assert set(joined["flags_i"]) == set(forced["i"]["flags"])


def test_every_table_has_its_units(detections, measured, reference, forced):
    for table, units in (
        (detections["i"], DETECTION_UNITS),
        (measured["i"], MEASUREMENT_UNITS),
        (reference, REFERENCE_UNITS),
        (forced["i"], FORCED_UNITS),
    ):
        assert table.dtype.names == tuple(units)


def test_every_column_and_flag_is_explained():
    bands = ["g", "r"]
    words = object_descriptions(bands)
    assert set(words) == set(object_units(bands))
    page = Path(__file__).parents[2] / "docs" / "catalogue.md"
    text = page.read_text(encoding="utf-8")
    assert [name for name in (*OBJECT_COLUMNS, *BAND_COLUMNS) if f"`{name}`" not in text] == []
    assert [
        flag.name for flag in ObjectFlag if f"| {flag.bit_length() - 1} | {int(flag)} | {flag.name} |" not in text
    ] == []


def test_rows_that_belong_to_other_objects_are_refused(reference, forced, measured):
    with pytest.raises(DataError, match="band 'g'"):
        join_bands(reference, {"g": forced["g"][::-1]})
    with pytest.raises(DataError, match="band g"):
        merge_measurements({"i": measured["i"], "g": measured["g"][1:]})
    with pytest.raises(DataError, match="not among"):
        join_bands(reference, forced, bands=["g"])


# Nothing to see


def test_an_empty_sky_goes_through_with_empty_tables():
    for coadd in (blank(), noisy(np.zeros(SHAPE), 4.0, 9)):
        options = dataclasses.replace(OPTIONS, threshold_sigma=20.0)
        found = detect(coadd, make_wcs(), options=options)
        assert (found.size, found.dtype) == (0, detection_dtype())
        merged = merge_detections({"i": found}, options=options)
        table = measure(coadd, make_wcs(), merged, options=options)
        assert (table.size, table.dtype) == (0, measurement_dtype(3))
        reference = merge_measurements({"i": table}, options=options)
        assert (reference.size, reference.dtype) == (0, reference_dtype())
        forced = force(coadd, make_wcs(), reference, options=options)
        assert (forced.size, forced.dtype) == (0, forced_dtype(3))
        joined = join_bands(reference, {"i": forced}, bands=["i"], is_primary=np.zeros(0, bool))
        assert (joined.size, joined.dtype) == (0, object_dtype(["i"], 3))


def test_a_blank_band_gives_nan_and_says_so(coadds, merged, measured):
    table = measure(blank(), make_wcs(), merged, options=OPTIONS)
    for name in ("flux_psf", "flux_psf_err", "flux_aper", "flux_auto", "snr"):
        assert np.isnan(table[name]).all()
    assert (table["flags"] & int(ObjectFlag.NO_DATA) != 0).all()
    reference = merge_measurements({"i": measured["i"], "z": table}, options=OPTIONS)
    assert (reference["ref_band"] == "i").all()
    assert np.isnan(force(blank(), make_wcs(), reference, options=OPTIONS)["flux_psf"]).all()


def test_no_bands_and_no_tables_are_empty():
    assert merge_detections({}).size == 0
    assert merge_measurements({}).size == 0
    joined, bands = join_catalogues([])
    assert (joined.size, bands) == (0, [])


def test_equal_inputs_give_equal_bytes(coadds, merged, measured):
    again = measure(coadds["i"], make_wcs(), merged, options=OPTIONS)
    assert again.tobytes() == measured["i"].tobytes()


def test_inputs_are_left_as_they_were(coadds, merged):
    before = [plane.tobytes() for plane in (coadds["g"].image, coadds["g"].variance, coadds["g"].mask)]
    force(coadds["g"], make_wcs(), measure(coadds["g"], make_wcs(), merged, options=OPTIONS), options=OPTIONS)
    assert before == [plane.tobytes() for plane in (coadds["g"].image, coadds["g"].variance, coadds["g"].mask)]


def test_apertures_must_have_a_radius():
    with pytest.raises(ConfigError, match="aperture_radii_arcsec"):
        MultibandOptions(aperture_radii_arcsec=(0.0,))
