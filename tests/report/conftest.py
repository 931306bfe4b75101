"""Small surveys as the pictures see them: arrays and a repository, both made up."""

from types import SimpleNamespace

import numpy as np
import pytest


def tangent_wcs(ra, dec, scale_arcsec, shape):
    from astropy.wcs import WCS

    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = [ra, dec]
    wcs.wcs.crpix = [shape[1] / 2 + 0.5, shape[0] / 2 + 0.5]
    wcs.wcs.cdelt = [-scale_arcsec / 3600, scale_arcsec / 3600]
    wcs.wcs.set()
    return wcs


@pytest.fixture
def make_wcs():
    return tangent_wcs


@pytest.fixture
def rng():
    return np.random.default_rng(42)


@pytest.fixture
def field(rng):
    """Three bands of noise with a bright blob, a corner without data."""
    rows, cols = np.mgrid[:60, :80]
    blob = 500.0 * np.exp(-((rows - 30) ** 2 + (cols - 50) ** 2) / 18.0)
    images = {
        band: (rng.normal(0, 5, blob.shape) + k * blob).astype("f4") for band, k in zip("gri", (1, 2, 3), strict=True)
    }
    for image in images.values():
        image[:10, :10] = np.nan
    return images


@pytest.fixture
def star_frames(rng):
    """Four frames of the same 60 stars, 5 mas and 10 mmag of noise."""
    from mpidriver.report import FrameStars

    ra, dec, mag = 10 + rng.uniform(0, 0.02, 60), rng.uniform(0, 0.02, 60), rng.uniform(16, 22, 60)
    noise = lambda scale: scale * rng.normal(size=60)  # noqa: E731
    return [
        FrameStars(band, ra + noise(5 / 3.6e6), dec + noise(5 / 3.6e6), mag + noise(0.01), (10.01, 0.01))
        for band in "ggrr"
    ]


@pytest.fixture
def frame_points(rng):
    from mpidriver.report import FramePoint

    square = np.array([[0.0, 0.0], [0.1, 0.0], [0.1, 0.1], [0.0, 0.1]])
    return [
        FramePoint(
            exposure=number,
            detector=0,
            band="gr"[number % 2],
            corners=np.add(square, (359.95 + rng.normal(0, 0.02), 0.0)) % 360,
            zero_point_mag=30 + rng.normal(0, 0.01),
            fwhm_arcsec=0.8,
        )
        for number in range(6)
    ]


@pytest.fixture
def spectrum():
    """A Faraday-thin source of 40 rad/m**2 with a few channels flagged."""
    from mpidriver.report import FaradaySpectrum

    freq_hz = np.linspace(0.8e9, 1.1e9, 32)
    lambda_sq = (299_792_458.0 / freq_hz) ** 2
    polarisation = 1e-3 * np.exp(2j * 40.0 * lambda_sq)
    phi = np.linspace(-200, 200, 81)
    turn = np.exp(-2j * phi[:, None] * (lambda_sq - lambda_sq.mean()))
    fdf, rmtf = (polarisation * turn).mean(axis=1), turn.mean(axis=1)
    q, u = polarisation.real.copy(), polarisation.imag.copy()
    q[5:8] = np.nan
    return FaradaySpectrum("00:00:00 +00:00:00", phi, fdf, freq_hz, q, u, phi, rmtf, rm_err_radm2=0.5)


@pytest.fixture
def quanta(rng):
    started = rng.uniform(0, 50, 40)
    return [
        SimpleNamespace(
            task=("warp", "coadd")[i % 2],
            rank=i % 4,
            started=1.7e9 + start,
            seconds=3.0,
            status="failed" if i == 7 else "done",
            peak_rss_bytes=None if i == 7 else (200 + i) << 20,
        )
        for i, start in enumerate(started)
    ]


def write_patch_images(repo, wcs, field):
    """Write the field as coadds of two patches that overlap by 10 columns."""
    from mpidriver.store import write_masked_image

    for patch, columns in (("0,0", slice(0, 45)), ("1,0", slice(35, 80))):
        own = wcs.deepcopy()
        own.wcs.crpix = np.array(wcs.wcs.crpix) - (columns.start, 0)
        for band, whole in field.items():
            image = whole[:, columns]
            extra = {"NIMAGE": np.where(np.isfinite(image), 4, 0).astype("i2")}
            variance = np.where(np.isfinite(image), np.float32(25.0), np.float32(np.nan))
            mask = np.zeros(image.shape, "i4")
            path = repo.path("coadd", tract=7, patch=patch, band=band)
            write_masked_image(path, image, variance, mask, wcs=own, mask_planes={"BAD": 0}, extra=extra)


def write_stars(repo, star_frames, wcs):
    """Write frame catalogues and the mosaic solution that puts them back on the sky."""
    from mpidriver.store import write_table

    header = wcs.to_header(relax=True).tostring()
    columns = [
        ("exposure", "i8"),
        ("detector", "i4"),
        ("band", "S16"),
        ("zero_point", "f8"),
        ("flat", "f8", (2,)),
        ("wcs", f"S{len(header)}"),
    ]
    solutions = np.zeros(len(star_frames), dtype=columns)
    for exposure, stars in enumerate(star_frames):
        names = [("x", "f8"), ("y", "f8"), ("flux_aper", "f8"), ("flags", "i4"), ("star", "?")]
        sources = np.zeros(len(stars.ra), dtype=names)
        sources["x"], sources["y"] = wcs.wcs_world2pix(stars.ra, stars.dec, 0)
        sources["flux_aper"], sources["star"] = 10 ** (-0.4 * (stars.mag - 30.0)), True
        shape = {"NROW": 100, "NCOL": 100}
        write_table(repo.path("frame_catalogue", exposure=exposure, detector=0), sources, header=shape)
        solutions[exposure] = (exposure, 0, stars.band, 30.0, (0.0, 0.0), header)
    write_table(repo.path("mosaic", tract=7), solutions)


def write_faraday(repo, wcs, spectrum):
    """Write a patch whose every pixel has the same spectrum, with one catalogued source."""
    from mpidriver.store import write_image, write_table

    path = lambda name: repo.path("faraday", tract=7, patch="0,0", name=name)  # noqa: E731
    spread = lambda values: np.tile(np.asarray(values, "f4")[:, None, None], (1, 12, 16))  # noqa: E731
    step = float(spectrum.phi_radm2[1] - spectrum.phi_radm2[0])
    depth = {"CTYPE3": "FDEP", "CRPIX3": 1.0, "CRVAL3": float(spectrum.phi_radm2[0]), "CDELT3": step}
    write_image(path("FDF_real_dirty"), spread(spectrum.fdf.real), wcs=wcs, header=depth)
    write_image(path("FDF_im_dirty"), spread(spectrum.fdf.imag), wcs=wcs, header=depth)
    write_image(path("FDF_maxPI"), spread([1e-3])[0], wcs=wcs)
    write_image(path("FDF_peakRM"), spread([40.0])[0], wcs=wcs)
    write_table(path("channels"), np.array(spectrum.freq_hz, dtype=[("freq", "f8")]))
    for stokes, values in (("Q", spectrum.q), ("U", spectrum.u)):
        write_image(repo.path("cube", tract=7, patch="0,0", stokes=stokes), spread(values), wcs=wcs)
    source = np.array(
        [(10.0, 0.0, 40.0, 0.5, 1e-3)], dtype=[(name, "f8") for name in ("ra", "dec", "rm", "rm_err", "polint")]
    )
    write_table(repo.path("rm_catalogue", tract=7), source)
    write_table(repo.path("rm_survey_catalogue"), source)


def enter_state(repo, frame_points, quanta):
    """Enter frames with their quality and a finished run into the state database."""
    from mpidriver.store import Frame, FrameUpdate, QuantumUpdate, open_state

    with open_state(repo) as state:
        run = state.begin_run("pipeline", 4, "0", "host")
        state.add_frames(
            Frame(p.exposure, p.detector, p.band, f"raw/{p.exposure}.fits", shape=(100, 100), exptime_s=1.0)
            for p in frame_points
        )
        state.update_frames(
            FrameUpdate(p.exposure, p.detector, p.band, None, p.corners, {"fwhm_px": 3.0, "zero_point_mag": 30.0})
            for p in frame_points
        )
        state.plan((f"{q.task}{{exposure={i}}}", q.task, {"exposure": i}) for i, q in enumerate(quanta))
        state.record(
            QuantumUpdate(f"{q.task}{{exposure={i}}}", q.status, started=q.started + 1e9, seconds=3.0, rank=q.rank)
            for i, q in enumerate(quanta)
        )
        state.end_run(run, "done")


@pytest.fixture
def repo(tmp_path, field, star_frames, frame_points, spectrum, quanta, rng):
    """A repository with a product of every kind that is drawn."""
    from mpidriver.store import Repository, write_table

    repo = Repository.create(tmp_path / "survey")
    write_patch_images(repo, tangent_wcs(10.0, 0.0, 1.0, (60, 80)), field)
    write_stars(repo, star_frames, tangent_wcs(10.01, 0.01, 0.5, (200, 200)))
    write_faraday(repo, tangent_wcs(10.0, 0.0, 5.0, (12, 16)), spectrum)
    enter_state(repo, frame_points, quanta)
    columns = ["flux_auto_g", "flux_auto_r", "flux_auto_i", "fwhm_arcsec", "extendedness"]
    objects = np.zeros(50, dtype=[(name, "f8") for name in columns])
    for name in columns:
        objects[name] = rng.lognormal(0, 1, 50)
    write_table(repo.path("survey_catalogue"), objects)
    return repo
