"""Frames, images and the real data that the tests of the store share."""

import os
import resource
from pathlib import Path

import numpy as np
import pytest
from mongo import nx_server

from mpidriver.store import Frame


@pytest.fixture
def real_data():
    """Folder of real frames; MPIDRIVER_DATA names it."""
    root = Path(__file__).parents[2]
    folder = Path(os.environ.get("MPIDRIVER_DATA", root.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real frames at {folder}; MPIDRIVER_DATA names their folder")
    return folder


@pytest.fixture(scope="package")
def mongo_server(tmp_path_factory):
    """A server of the MongoDB protocol; each test empties it."""
    with nx_server(tmp_path_factory.mktemp("nx")) as server:
        yield server


@pytest.fixture
def make_frame():
    """Return a maker of frames about a position."""

    def make(number, ra=10.0, dec=20.0, half_deg=0.1, **changes):
        values = {
            "exposure": number,
            "detector": 3,
            "band": "r",
            "path": f"raw/{number}.fits",
            "digest": f"{number:032x}",
            "exptime_s": 30.0,
            "corners": square(ra, dec, half_deg),
            "metadata": {"object": "field", "n": 3},
        }
        return Frame(**{**values, **changes})

    return make


@pytest.fixture
def full_disk():
    """Let no file grow beyond 64 kB, as on a full disk."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def square(ra, dec, half_deg):
    """Return the corners of a square in the tangent plane of a position, in degrees."""
    from mpidriver.sphere import lon_lat, unit_vectors

    pole = unit_vectors(ra, dec)
    east = np.array([-np.sin(np.radians(ra)), np.cos(np.radians(ra)), 0.0])
    north = np.cross(pole, east)
    size = np.tan(np.radians(half_deg))
    plane = pole + size * (np.outer([-1, 1, 1, -1], east) + np.outer([-1, -1, 1, 1], north))
    return np.stack(lon_lat(plane), axis=-1)
