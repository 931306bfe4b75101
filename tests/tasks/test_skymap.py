"""The sky map: LSST's numbers, complete and unambiguous cover of the sky, overlap queries against brute force."""

import pickle
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpidriver.errors import ConfigError, DataError
from mpidriver.options import from_mapping
from mpidriver.sphere import angular_separation_deg, polygons_overlap, unit_vectors
from mpidriver.tasks.skymap import Box, SkyMapOptions, TangentPlane, make_skymap, patches_under

RAS = st.sampled_from([0.0, 1e-9, 359.999999, 180.0, 90.0]) | st.floats(0.0, 360.0)
DECS = st.sampled_from([-90.0, -89.9999, 0.0, 89.9999, 90.0]) | st.floats(-90.0, 90.0)
QUICK = settings(max_examples=35, deadline=None, derandomize=True, database=None)

#: Small maps of each kind; pixels are coarse, so that a tract has a few patches.
RINGS = SkyMapOptions(rings=12, pixel_scale_arcsec=300.0, patch_inner_px=60, patch_border_px=5)
HEALPIX = SkyMapOptions(kind="healpix", order=2, pixel_scale_arcsec=300.0, patch_inner_px=60, patch_border_px=5)
DISCRETE = SkyMapOptions(
    kind="discrete",
    centres=((0.1, 0.0), (359.0, 0.5), (40.0, 90.0), (200.0, -89.0)),
    tract_radius_deg=(1.0, 1.0, 1.5, 2.0),
    pixel_scale_arcsec=20.0,
    patch_inner_px=100,
)
WHOLE_SKY = [RINGS, HEALPIX]


def footprint(ra, dec, half_deg, angle_deg):
    """Return the corners of a square frame, shape (4, 3)."""
    angles = np.radians(angle_deg + np.array([45.0, 135.0, 225.0, 315.0]))
    radius = half_deg * np.sqrt(2.0)
    return TangentPlane(ra, dec).deproject_xyz(radius * np.cos(angles), radius * np.sin(angles))


def test_rings_keep_the_numbers_of_lsst():
    """COSMOS and ECDFS as in LSST's ``rings_v1`` and HSC's data releases, 18,938 tracts in all."""
    sky = make_skymap(SkyMapOptions())
    assert sky.find_tract(150.1163, 2.2058) == 9813
    assert sky.find_tract(53.13, -28.10) == 5063
    assert len(sky) == 18938
    assert sky.find_tract(123.0, -90.0) == 0
    assert sky.find_tract(123.0, 90.0) == 18937


def test_rings_tract_has_the_patches_of_hsc():
    """HSC tracts hold 9 x 9 patches of 4000 pixels with the tangent point at FITS pixel 18000."""
    tract = make_skymap(SkyMapOptions()).tract(9813)
    assert tract.grid == (9, 9)
    assert tract.shape == (36000, 36000)
    assert tuple(tract.wcs().wcs.crpix) == (18000.0, 18000.0)
    assert tract.patch((0, 0)).outer == Box(0, 0, 4100, 4100)
    assert tract.patch("4,5").outer == Box(15900, 19900, 20100, 24100)
    assert tract.patch("4,5").name == "4,5"


@pytest.mark.parametrize("options", [SkyMapOptions(), RINGS, SkyMapOptions(rings=12, ra_start_deg=77.7), HEALPIX])
def test_each_tract_holds_its_own_centre(options):
    sky = make_skymap(options)
    assert np.array_equal(sky.find_tract(*sky._centres_deg), np.arange(len(sky)))


@pytest.mark.parametrize("order", [0, 1, 3, 6])
def test_healpix_pixels_agree_with_astropy_healpix(order):
    astropy_healpix = pytest.importorskip("astropy_healpix")
    grid = astropy_healpix.HEALPix(nside=2**order, order="ring")
    sky = make_skymap(SkyMapOptions(kind="healpix", order=order))
    lon, lat = grid.healpix_to_lonlat(np.arange(grid.npix))
    expected = unit_vectors(lon.deg, lat.deg)
    assert np.max(angular_separation_deg(sky._centres_xyz, expected)) < 1e-11
    rng = np.random.default_rng(order)
    ra, dec = rng.uniform(0.0, 360.0, 5000), np.degrees(np.arcsin(rng.uniform(-1.0, 1.0, 5000)))
    import astropy.units as u

    assert np.array_equal(sky.find_tract(ra, dec), grid.lonlat_to_healpix(ra * u.deg, dec * u.deg))


@pytest.mark.parametrize("options", WHOLE_SKY, ids=lambda options: options.kind)
@given(ra=RAS, dec=DECS)
@QUICK
def test_each_position_is_primary_in_exactly_one_patch(options, ra, dec):
    sky = make_skymap(options)
    touching = sky.tracts_overlapping(footprint(ra, dec, 0.1, 0.0))
    primary = [patch for tract in touching for patch in sky.tract(tract).patches if patch.is_primary(ra, dec)]
    assert len(primary) == 1
    assert primary[0].tract.id == sky.find_tract(ra, dec)


@pytest.mark.parametrize("rings", [1, 2, 5, 30, 120])
def test_rings_tract_holds_its_whole_region(rings):
    """Also where LSST's square is too small: parallels bend out of it near the poles."""
    sky = make_skymap(SkyMapOptions(rings=rings, patch_inner_px=1, pixel_scale_arcsec=5.0, tract_overlap_deg=0.0))
    ring_firsts = np.flatnonzero(np.diff(sky._centres_deg[1], prepend=-100.0) > 1e-9)
    half = 90.0 / (rings + 1)
    for tract in map(sky.tract, ring_firsts):
        ra, dec = tract.centre[0] + np.linspace(-180, 180, 721)[:, None], tract.centre[1] + np.linspace(-half, half, 9)
        dec = np.clip(dec, -90.0, 90.0)
        own = sky.find_tract(ra, dec) == tract.id
        assert own.any()
        assert np.all(tract.contains(ra, dec)[own])


@given(RAS, DECS)
@QUICK
def test_position_of_a_discrete_map_is_primary_once_where_a_tract_holds_it(ra, dec):
    sky = make_skymap(DISCRETE)
    tracts = [sky.tract(index) for index in range(len(sky))]
    primary = sum(bool(patch.is_primary(ra, dec)) for tract in tracts for patch in tract.patches)
    held = any(tract.contains(ra, dec) for tract in tracts)
    assert primary == int(held)
    assert (sky.find_tract(ra, dec) >= 0) == held


@pytest.mark.parametrize("options", [*WHOLE_SKY, DISCRETE], ids=lambda options: options.kind)
@given(RAS, DECS, st.floats(0.01, 8.0), st.floats(0.0, 90.0))
@QUICK
def test_tracts_overlapping_agrees_with_brute_force(options, ra, dec, half_deg, angle_deg):
    sky = make_skymap(options)
    corners = footprint(ra, dec, half_deg, angle_deg)
    expected = [i for i in range(len(sky)) if polygons_overlap(sky.tract(i).corners_xyz, corners)]
    assert sky.tracts_overlapping(corners) == expected


@pytest.mark.parametrize("options", [*WHOLE_SKY, DISCRETE], ids=lambda options: options.kind)
@given(RAS, DECS, st.floats(0.01, 8.0), st.floats(0.0, 90.0))
@settings(QUICK, max_examples=20)
def test_patches_overlapping_agrees_with_brute_force(options, ra, dec, half_deg, angle_deg):
    sky = make_skymap(options)
    corners = footprint(ra, dec, half_deg, angle_deg)
    for tract in map(sky.tract, sky.tracts_overlapping(corners)):
        expected = [patch for patch in tract.patches if polygons_overlap(patch.corners_xyz, corners)]
        assert tract.patches_overlapping(corners) == expected


@pytest.mark.parametrize("options", [*WHOLE_SKY, DISCRETE], ids=lambda options: options.kind)
@given(st.lists(st.tuples(RAS, DECS, st.floats(0.01, 8.0), st.floats(0.0, 90.0)), max_size=12))
@settings(QUICK, max_examples=20)
def test_patches_under_many_footprints_are_those_under_each(options, places):
    sky = make_skymap(options)
    corners = np.array([footprint(*place) for place in places]).reshape(-1, 4, 3)
    expected = [
        sorted((tract, patch.index) for tract in sky.tracts_overlapping(one) for patch in _patches(sky, tract, one))
        for one in corners
    ]
    assert patches_under(sky, corners) == expected


def _patches(sky, tract, corners):
    return sky.tract(tract).patches_overlapping(corners)


def test_footprint_around_a_far_horizon_finds_its_patches():
    tract = make_skymap(RINGS).tract(50)
    centre = tract.centre
    corners = TangentPlane(centre[0] + 60.0, centre[1]).deproject_xyz(
        np.array([-80.0, 80.0, 80.0, -80.0]), np.array([-80.0, -80.0, 80.0, 80.0])
    )
    assert all(polygons_overlap(patch.corners_xyz, corners) for patch in tract.patches_overlapping(corners))


@pytest.mark.parametrize("ra_dec", [(0.0, 90.0), (0.0, -90.0), (0.0, 0.0), (359.9, -45.0), (150.1163, 2.2058)])
@pytest.mark.parametrize("binning", [1, 3, 16])
def test_wcs_agrees_with_the_maths_and_survives_a_header(ra_dec, binning):
    from astropy.wcs import WCS

    sky = make_skymap(SkyMapOptions())
    tract = sky.tract(sky.find_tract(*ra_dec))
    patch = tract.patch((1, 7))
    rng = np.random.default_rng(5)
    x, y = rng.uniform(patch.outer.x0, patch.outer.x1, 50), rng.uniform(patch.outer.y0, patch.outer.y1, 50)
    expected = unit_vectors(*tract.pixel_to_sky(x, y))
    binned = [
        (position - start + 0.5) / binning - 0.5 for position, start in ((x, patch.outer.x0), (y, patch.outer.y0))
    ]
    for wcs in (patch.wcs(binning), WCS(patch.wcs(binning).to_header())):
        got = unit_vectors(*wcs.all_pix2world(*binned, 0))
        assert np.max(angular_separation_deg(expected, got)) < 1e-9
    assert patch.wcs(binning).array_shape == patch.shape(binning)


@given(RAS, DECS, st.floats(-5000.0, 40000.0), st.floats(-5000.0, 40000.0))
@QUICK
def test_pixels_survive_the_way_to_the_sky_and_back(ra, dec, x, y):
    sky = make_skymap(SkyMapOptions())
    tract = sky.tract(sky.find_tract(ra, dec))
    assert tract.xyz_to_pixel(tract.pixel_to_xyz(x, y)) == pytest.approx((x, y), abs=1e-6)


def test_far_hemisphere_and_blank_positions_have_no_pixel_and_no_tract():
    sky = make_skymap(SkyMapOptions())
    tract = sky.tract(9813)
    assert np.isnan(tract.sky_to_pixel(tract.centre[0] + 180.0, -tract.centre[1])).all()
    assert not tract.contains(np.nan, 2.0)
    assert sky.find_tract([150.1163, np.nan], [2.2058, 2.0]).tolist() == [9813, -1]
    assert not tract.patch((4, 4)).is_primary(np.nan, 2.0)


def test_inner_boxes_tile_the_tract_and_shapes_count_partial_bins():
    tract = make_skymap(RINGS).tract(30)
    counts = np.zeros(tract.shape, dtype=int)
    for patch in tract.patches:
        counts[patch.inner.y0 : patch.inner.y1, patch.inner.x0 : patch.inner.x1] += 1
    assert np.all(counts == 1)
    assert tract.patch((0, 0)).shape() == (65, 65)
    assert tract.patch((0, 0)).shape(binning=8) == (9, 9)


def test_map_tract_and_patch_travel_as_options_and_numbers():
    patch = make_skymap(SkyMapOptions()).tract(9813).patch((4, 5))
    wire = pickle.dumps(patch)
    assert len(wire) < 800
    assert pickle.loads(wire) is patch


def test_options_import_neither_numpy_nor_astropy():
    code = (
        "import sys; from mpidriver.tasks.skymap import SkyMapOptions;"
        "SkyMapOptions(); print(sorted({'numpy', 'astropy', 'scipy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


def test_options_from_a_table_keep_centres_and_radii():
    table = {"kind": "discrete", "centres": [[10, 20.0]], "tract_radius_deg": 1}
    options = from_mapping(SkyMapOptions, table, "survey.toml [skymap]")
    assert options.centres == ((10.0, 20.0),)
    assert make_skymap(options).tract(0).centre == (10.0, 20.0)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"kind": "discrete"}, "centres must hold at least one"),
        ({"kind": "discrete", "centres": [[0, 91]]}, "declination must be within"),
        ({"kind": "discrete", "centres": [[0, 1]], "tract_radius_deg": [1.0, 2.0]}, "one for each of the 1 centres"),
        ({"kind": "discrete", "centres": [[0, 1]], "tract_radius_deg": 0.0}, "above 0"),
        ({"kind": "hexagons"}, "kind must be one of"),
        ({"rings": 0}, "rings must be at least 1"),
    ],
)
def test_wrong_options_name_table_and_key(table, message):
    with pytest.raises(ConfigError, match=message) as caught:
        from_mapping(SkyMapOptions, table, "survey.toml [skymap]")
    assert str(caught.value).startswith("survey.toml [skymap]: ")


def test_unknown_tract_and_patch_name_what_exists():
    sky = make_skymap(RINGS)
    with pytest.raises(DataError, match="tract must be within 0"):
        sky.tract(len(sky))
    with pytest.raises(DataError, match="patch must be within 0,0 to"):
        sky.tract(0).patch((-1, 0))
