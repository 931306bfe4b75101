"""Every picture: written, the same bytes twice, nothing that tells when or by what; and whatever the input lacks."""

import dataclasses

import numpy as np
import pytest

from mpidriver.report import (
    DetectorImage,
    draw_astrometry,
    draw_catalogue,
    draw_clip_map,
    draw_colour_coadd,
    draw_coverage,
    draw_exposure,
    draw_fakes,
    draw_faraday_maps,
    draw_faraday_spectra,
    draw_focal_plane,
    draw_noise,
    draw_patch_board,
    draw_seams,
    draw_timeline,
    match_stars,
)

NOTHING = np.full((12, 16), np.nan, "f4")


@pytest.fixture
def draw_full(field, star_frames, frame_points, spectrum, quanta, make_wcs, rng):
    """Draw one kind of picture of complete data to a path."""
    wcs = make_wcs(150.0, -30.0, 1.0, (60, 80))
    intensity = 1e-5 * rng.rayleigh(size=(60, 80)) + np.nan_to_num(np.maximum(field["r"], 0)) * 1e-6
    sources = np.array([(150.0, -30.0, 12.0)], dtype=[("ra", "f8"), ("dec", "f8"), ("rm", "f8")])
    magnitudes = {band: rng.normal(22, 1, 200) for band in "gri"}
    depth = {band: np.where(np.isfinite(image), 26.0, np.nan) for band, image in field.items()}
    counts = {band: np.where(np.isfinite(image), 3, 0) for band, image in field.items()}
    board = {"coadd": {(0, 0): {"done": 2}, (1, 0): {"done": 1, "failed": 1}}, "forced": {(0, 0): {"ready": 2}}}
    mags = np.arange(18.0, 25.0)
    fakes = np.array(
        [
            ("r", kind, mag, 20, 1 / (1 + np.exp(mag - 23)), 10, -0.1, 0.01, 0.05, 1.1)
            for kind in (0, 1)
            for mag in mags
        ],
        dtype=FAKES,
    )
    fluxes = [(f"flux_{kind}_r{end}", "f8") for kind in ("psf", "aper", "auto") for end in ("", "_err")]
    places = np.ones(300, dtype=fluxes)
    places["flux_psf_r"] = rng.normal(size=300)
    seams = np.array([(band, i, i + 1, 9, 3.0 - i, 0.1 * i) for band in "gr" for i in range(5)], dtype=SEAMS)
    kinds = {
        "exposure": lambda path: draw_exposure(path, detectors_at(359.99, 20.0), title="t"),
        "seams": lambda path: draw_seams(path, seams, title="t"),
        "board": lambda path: draw_patch_board(path, board, title="t"),
        "clipped": lambda path: draw_clip_map(path, {band: counts[band] / 50.0 for band in "gr"}, wcs, title="t"),
        "fakes": lambda path: draw_fakes(path, fakes, title="t"),
        "noise": lambda path: draw_noise(path, places, ["r"], title="t"),
        "colour": lambda path: draw_colour_coadd(path, field, wcs, title="t"),
        "coverage": lambda path: draw_coverage(path, counts, wcs, depth_mag=depth, title="t"),
        "frames": lambda path: draw_focal_plane(path, frame_points, title="t"),
        "stars": lambda path: draw_astrometry(path, match_stars(star_frames), title="t"),
        "faraday": lambda path: draw_faraday_maps(path, 1e6 * intensity, intensity, wcs, sources=sources, title="t"),
        "spectra": lambda path: draw_faraday_spectra(path, [spectrum] * 2, title="t"),
        "objects": lambda path: draw_catalogue(
            path, magnitudes, fwhm_arcsec=magnitudes["g"], star=magnitudes["r"] > 22
        ),
        "timeline": lambda path: draw_timeline(path, quanta, title="t"),
    }
    return lambda kind, path: kinds[kind](path)


def detectors_at(ra, dec):
    """Return two detectors of an exposure side by side."""
    sides = np.array([[0.0, 0.0], [0.02, 0.0], [0.02, 0.02], [0.0, 0.02]])
    corners = [sides + np.array([ra + 0.021 * i, dec]) for i in range(2)]
    return [DetectorImage(i, each, np.eye(30) * i, np.eye(4)) for i, each in enumerate(corners)]


FAKES = np.dtype(
    [("band", "U8"), ("extended", "?"), ("mag", "f8"), ("n", "i4"), ("completeness", "f8"), ("n_measured", "i4")]
    + [(name, "f8") for name in ("bias_psf", "bias_model", "scatter_model", "pull_model")]
)
SEAMS = np.dtype(
    [("band", "U8"), ("exposure1", "i8"), ("exposure2", "i8"), ("n_cells", "i4"), ("before", "f8"), ("after", "f8")]
)
KINDS = ["board", "clipped", "colour", "coverage", "exposure", "fakes", "faraday", "frames", "noise", "objects"]
KINDS += ["seams", "spectra", "stars", "timeline"]


def chunks(content):
    """Names of the chunks of a PNG file (ISO/IEC 15948, 5.3)."""
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    names, at = [], 8
    while at < len(content):
        length = int.from_bytes(content[at : at + 4], "big")
        names.append(content[at + 4 : at + 8].decode())
        at += 12 + length
    return names


@pytest.mark.parametrize("kind", KINDS)
def test_equal_arrays_give_equal_bytes_without_date_or_version(draw_full, tmp_path, kind):
    draw_full(kind, tmp_path / "one.png")
    draw_full(kind, tmp_path / "made" / "two.png")
    content = (tmp_path / "one.png").read_bytes()
    assert content == (tmp_path / "made" / "two.png").read_bytes()
    assert set(chunks(content)) == {"IHDR", "pHYs", "IDAT", "IEND"}
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["one.png"]


def test_a_users_settings_neither_change_the_picture_nor_are_changed(draw_full, tmp_path):
    import matplotlib

    draw_full("objects", tmp_path / "one.png")
    with matplotlib.rc_context({"font.size": 31.0, "axes.facecolor": "red"}):
        draw_full("objects", tmp_path / "two.png")
        assert matplotlib.rcParams["font.size"] == 31.0
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()


def test_a_picture_that_fails_leaves_no_file(tmp_path, spectrum):
    broken = dataclasses.replace(spectrum, fdf=spectrum.fdf[:3])
    with pytest.raises(ValueError, match="shape"):
        draw_faraday_spectra(tmp_path / "one.png", [broken])
    assert list(tmp_path.iterdir()) == []


def blank_spectrum(spectrum):
    nothing = np.full(spectrum.fdf.shape, np.nan + 0j)
    return dataclasses.replace(spectrum, fdf=nothing, q=spectrum.q * np.nan, u=spectrum.u * np.nan)


def without_channels(spectrum):
    return dataclasses.replace(spectrum, freq_hz=np.zeros(0), q=np.zeros(0), u=np.zeros(0))


CORNERS = np.array([[0.0, 0.0], [0.1, 0.0], [0.1, 0.1], [0.0, 0.1]])
POOR = {
    "one band": lambda path, _: draw_colour_coadd(path, {"r": np.eye(20)}),
    "two bands": lambda path, _: draw_colour_coadd(path, {"r": np.eye(20), "g": np.eye(20)}),
    "constant image": lambda path, _: draw_colour_coadd(path, {"r": np.ones((5, 40))}),
    "blank image": lambda path, _: draw_colour_coadd(path, dict.fromkeys("gri", NOTHING)),
    "no image": lambda path, _: draw_colour_coadd(path, {}),
    "one pixel": lambda path, _: draw_colour_coadd(path, {"r": np.ones((1, 1))}),
    "blank coverage": lambda path, _: draw_coverage(path, {"r": np.zeros((12, 16))}, depth_mag={"r": NOTHING}),
    "depth alone": lambda path, _: draw_coverage(path, {}, depth_mag={"r": NOTHING + 0, "g": np.full((12, 16), 25.0)}),
    "no clipping": lambda path, _: draw_clip_map(path, {}),
    "blank clipping": lambda path, _: draw_clip_map(path, {"r": NOTHING}),
    "no patch": lambda path, _: draw_patch_board(path, {}),
    "no fake": lambda path, _: draw_fakes(path, np.zeros(0, FAKES)),
    "no band of noise": lambda path, _: draw_noise(path, np.zeros(0), []),
    "no coverage": lambda path, _: draw_coverage(path, {}),
    "many frames": lambda path, _: draw_coverage(path, {"r": np.arange(500).reshape(20, 25)}),
    "no frame": lambda path, _: draw_focal_plane(path, []),
    "no star": lambda path, _: draw_astrometry(path, match_stars([])),
    "blank faraday": lambda path, _: draw_faraday_maps(path, NOTHING, NOTHING),
    "faint faraday": lambda path, _: draw_faraday_maps(path, NOTHING, np.ones((12, 16))),
    "zero faraday": lambda path, _: draw_faraday_maps(path, np.zeros((12, 16)), np.zeros((12, 16))),
    "no spectrum": lambda path, _: draw_faraday_spectra(path, []),
    "blank spectrum": lambda path, spectrum: draw_faraday_spectra(path, [blank_spectrum(spectrum)]),
    "no channels": lambda path, spectrum: draw_faraday_spectra(path, [without_channels(spectrum)] * 2),
    "no object": lambda path, _: draw_catalogue(path, dict.fromkeys("gri", np.zeros(0))),
    "no band": lambda path, _: draw_catalogue(path, {}),
    "one object": lambda path, _: draw_catalogue(path, {"g": np.array([20.0]), "r": np.array([np.nan])}),
    "many objects": lambda path, _: draw_catalogue(path, dict.fromkeys("gr", np.linspace(15, 25, 25_000))),
    "no detector": lambda path, _: draw_exposure(path, []),
    "blank detector": lambda path, _: draw_exposure(path, [DetectorImage(1, CORNERS, NOTHING, NOTHING)]),
    "detector at the pole": lambda path, _: draw_exposure(path, detectors_at(0.0, 89.98)),
    "no seam": lambda path, _: draw_seams(path, np.zeros(0, SEAMS)),
    "seams of nothing": lambda path, _: draw_seams(path, np.array([("g", 1, 2, 5, 0.0, 0.0)], SEAMS)),
    "no quantum": lambda path, _: draw_timeline(path, []),
}


@pytest.mark.parametrize("case", POOR)
def test_pictures_survive_what_is_missing(tmp_path, spectrum, case):
    POOR[case](tmp_path / "one.png", spectrum)
    assert (tmp_path / "one.png").stat().st_size > 1000


def test_one_star_one_frame_one_quantum(tmp_path, star_frames, frame_points, quanta):
    one = [dataclasses.replace(stars, ra=stars.ra[:1], dec=stars.dec[:1], mag=stars.mag[:1]) for stars in star_frames]
    draw_astrometry(tmp_path / "stars.png", match_stars(one))
    blank = [dataclasses.replace(stars, mag=stars.mag * np.nan) for stars in one]
    draw_astrometry(tmp_path / "blank.png", match_stars(blank))
    unknown = dataclasses.replace(frame_points[0], zero_point_mag=np.nan, fwhm_arcsec=np.nan)
    nowhere = dataclasses.replace(frame_points[0], corners=np.full((4, 2), np.nan))
    far = dataclasses.replace(frame_points[1], corners=np.add(frame_points[1].corners, (100.0, 0.0)))
    draw_focal_plane(tmp_path / "frame.png", [unknown, nowhere])
    draw_focal_plane(tmp_path / "far.png", [frame_points[0], far])
    quanta[0].seconds = 0.0
    draw_timeline(tmp_path / "quantum.png", quanta[:1])
    assert len(list(tmp_path.iterdir())) == 5
