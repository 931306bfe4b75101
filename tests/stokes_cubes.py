"""Small Stokes cubes in every format and order of axes, for tests."""

import numpy as np

FREQ_HZ = np.linspace(800e6, 1088e6, 24)
SKY = (12, 10)
LIGHT_SPEED_M_S = 299792458.0


def stokes_cubes(seed=1, sky=SKY, freq_hz=FREQ_HZ):
    """Return q and u, float32 (chan, row, col): thin sources in noise, a blank channel, a blank corner, some flags."""
    rng = np.random.default_rng(seed)
    rm = rng.uniform(-300.0, 300.0, sky)
    angle = 2.0 * rm * ((LIGHT_SPEED_M_S / freq_hz) ** 2)[:, None, None]
    q, u = (part + rng.normal(0.0, 0.2, angle.shape) for part in (np.cos(angle), np.sin(angle)))
    q[2] = u[2] = np.nan
    q[:, :2, :3] = np.nan
    u[5, -3:, -4:] = np.nan
    return q.astype(np.float32), u.astype(np.float32)


def cube_header(stokes, freq_hz=FREQ_HZ, order=("RA---SIN", "DEC--SIN", "FREQ", "STOKES")):
    """Return the header of a cube whose FITS axes are in the given order, the fastest first."""
    from astropy.io import fits

    first = {"I": 1.0, "Q": 2.0, "U": 3.0}[stokes[0]]
    values = {
        "RA---SIN": (10.0, 5.0, -0.001, "deg"),
        "DEC--SIN": (-30.0, 6.0, 0.001, "deg"),
        "FREQ": (freq_hz[0], 1.0, freq_hz[1] - freq_hz[0] if len(freq_hz) > 1 else 1e6, "Hz"),
        "STOKES": (first, 1.0, 1.0, ""),
    }
    header = fits.Header({"BUNIT": "Jy/beam", "BMAJ": 0.01, "BMIN": 0.008, "BPA": 12.0, "OBJECT": "field"})
    header["RADESYS"], header["EQUINOX"] = "FK5", 2000.0
    for number, kind in enumerate(order, start=1):
        value, pixel, step, unit = values[kind]
        header[f"CTYPE{number}"], header[f"CRVAL{number}"] = kind, value
        header[f"CRPIX{number}"], header[f"CDELT{number}"] = pixel, step
        if unit:
            header[f"CUNIT{number}"] = unit
    return header


def write_fits_cube(path, cube, stokes="Q", order=("RA---SIN", "DEC--SIN", "FREQ", "STOKES"), dtype=">f4"):
    """Write (chan, row, col), or (stokes, chan, row, col), as FITS with its axes in the given order."""
    from astropy.io import fits

    full = cube if cube.ndim == 4 else cube[None]
    places = {"STOKES": 0, "FREQ": 1, "DEC--SIN": 2, "RA---SIN": 3}
    order = tuple(order)
    if "STOKES" not in order:
        full = full[0]
        places = {kind: place - 1 for kind, place in places.items()}
    turned = full.transpose([places[kind] for kind in reversed(order)])
    header = cube_header(stokes, FREQ_HZ[: cube.shape[-3]], order)
    fits.writeto(path, np.ascontiguousarray(turned, dtype=dtype), header, overwrite=True)
    return path
