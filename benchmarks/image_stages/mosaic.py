"""Mosaic: positions and zero points of dithered, turned exposures against their truth, and against SCAMP."""

import io

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS

from image_stages.clock import best, compare, figure, missing, run_program
from image_stages.field import make_field
from mpidriver.tasks.mosaic import solve_mosaic

__all__ = ["run"]

#: Exposures, detectors along a side, stars a detector.
SIZES = {"small": (8, 2, 300), "full": (30, 3, 460)}
#: Of the reference's positions, as of Gaia's fainter stars.
REFERENCE_MAS = 1.0
SEXTRACTOR_COLUMNS = {
    "XWIN_IMAGE": "x", "YWIN_IMAGE": "y", "ERRAWIN_IMAGE": "x_err", "ERRBWIN_IMAGE": "y_err",
    "FLUX_AUTO": "flux_aper", "FLUXERR_AUTO": "flux_aper_err", "SNR_WIN": "snr",
}  # fmt: skip


def run(size, folder, repeats):
    """Print the section."""
    n_exposures, n_side, n_stars = SIZES[size]
    field = make_field(n_exposures, n_side, n_stars)
    reference = field.reference(error_mas=REFERENCE_MAS)
    measurements = sum(len(number) for number in field.number)
    print(
        f"mosaic of {n_exposures} exposures x {n_side**2} detectors, {measurements:,} measurements, matching included"
    )
    solve_mosaic(field.frames[: n_side**2], reference=reference)
    ours, solved = best(lambda: solve_mosaic(field.frames, reference=reference), max(2, repeats // 2))
    figure("ours: model error, rms of an axis", field.position_error_mas([f.wcs for f in solved.frames]), "mas", 0.6)
    figure(
        "ours: zero points, rms", field.zero_point_error_mmag([f.zero_point_mag for f in solved.frames]), "mmag", 0.5
    )
    figure("ours", ours.cpu, "s")
    if missing("scamp"):
        return
    _write_catalogues(folder, field, reference)
    theirs, _ = best(lambda: _scamp(folder, n_exposures), 1)
    compare("SCAMP : ours", theirs, ours, goal=20)
    wcs, zero_points = _scamp_solution(folder, n_exposures)
    figure("SCAMP: model error, rms of an axis", field.position_error_mas(wcs), "mas")
    figure(
        "SCAMP: zero points, rms (it has one an exposure, none a detector)",
        field.zero_point_error_mmag(zero_points),
        "mmag",
    )


def _write_catalogues(folder, field, reference):
    """Write the exposures as FITS_LDAC, an image a detector, and the reference."""
    exposures = {}
    for frame in field.frames:
        exposures.setdefault(frame.exposure, []).append(frame)
    for exposure, frames in exposures.items():
        parts = [part for frame in frames for part in (_header_table(_image_header(frame)), _objects(frame.sources))]
        (folder / f"e{exposure:02d}.cat").write_bytes(fits.PrimaryHDU().header.tostring().encode() + b"".join(parts))
    deg = reference["error_mas"] / 3.6e6
    columns = {
        "X_WORLD": reference["ra"], "Y_WORLD": reference["dec"], "ERRA_WORLD": deg, "ERRB_WORLD": deg,
        "MAG": reference["mag_r"], "MAGERR": reference["mag_r_err"], "OBSDATE": np.full(len(reference), 2020.0),
    }  # fmt: skip
    parts = [fits.PrimaryHDU().header.tostring().encode(), _header_table(fits.Header()), _table(columns)]
    (folder / "reference.cat").write_bytes(b"".join(parts))


def _image_header(frame):
    header = fits.Header([("SIMPLE", True), ("BITPIX", -32), ("NAXIS", 2)])
    header["NAXIS1"], header["NAXIS2"] = frame.shape[1], frame.shape[0]
    wcs = frame.wcs.wcs
    for axis in (1, 2):
        header[f"CTYPE{axis}"], header[f"CUNIT{axis}"] = wcs.ctype[axis - 1], "deg"
        header[f"CRVAL{axis}"], header[f"CRPIX{axis}"] = wcs.crval[axis - 1], wcs.crpix[axis - 1]
        header[f"CD{axis}_1"], header[f"CD{axis}_2"] = wcs.cd[axis - 1]
    header["EQUINOX"], header["RADESYS"], header["OBJECT"] = 2000.0, "ICRS", "field"
    header["EXPTIME"], header["AIRMASS"], header["FILTER"] = 1.0, 1.0, frame.band
    header["GAIN"], header["SATURATE"], header["MJD-OBS"] = 1.0, 1e9, 58849.0
    return header


def _header_table(header):
    """Return the table that holds a header as text; astropy's would end its cards in zeros, over which SCAMP falls."""
    text = header.tostring(padding=False).encode()
    table = fits.Header([("XTENSION", "BINTABLE"), ("BITPIX", 8), ("NAXIS", 2), ("NAXIS1", len(text)), ("NAXIS2", 1)])
    table.update({"PCOUNT": 0, "GCOUNT": 1, "TFIELDS": 1, "EXTNAME": "LDAC_IMHEAD", "TTYPE1": "Field Header Card"})
    table["TFORM1"], table["TDIM1"] = f"{len(text)}A", f"(80, {len(text) // 80})"
    return table.tostring().encode() + text + bytes(-len(text) % 2880)


def _objects(sources):
    columns = {
        name: sources[ours] + (name in ("XWIN_IMAGE", "YWIN_IMAGE")) for name, ours in SEXTRACTOR_COLUMNS.items()
    }
    columns |= {"ERRTHETAWIN_IMAGE": 0 * sources["x"], "FLUX_RADIUS": 0 * sources["x"] + 2.0}
    columns |= {"ELONGATION": 0 * sources["x"] + 1.0, "FWHM_IMAGE": 0 * sources["x"] + 4.0}
    return _table(columns, FLAGS=np.zeros(len(sources), "i2"))


def _table(columns, **integers):
    # SCAMP takes the types for granted that SExtractor writes.
    kinds = [
        fits.Column(name, "1D" if name[:4] in ("XWIN", "YWIN", "X_WO", "Y_WO", "OBSD") else "1E", array=values)
        for name, values in columns.items()
    ]
    kinds += [fits.Column(name, "1I", array=values) for name, values in integers.items()]
    buffer = io.BytesIO()
    fits.HDUList([fits.PrimaryHDU(), fits.BinTableHDU.from_columns(kinds, name="LDAC_OBJECTS")]).writeto(buffer)
    return buffer.getvalue()[2880:]


def _scamp(folder, n_exposures):
    run_program(
        [
            "scamp", *(f"e{exposure:02d}.cat" for exposure in range(n_exposures)), "-ASTREF_CATALOG", "FILE",
            "-ASTREFCAT_NAME", "reference.cat", "-ASTREFCENT_KEYS", "X_WORLD,Y_WORLD",
            "-ASTREFERR_KEYS", "ERRA_WORLD,ERRB_WORLD,ERRA_WORLD", "-ASTREFMAG_KEY", "MAG",
            "-ASTREFMAGERR_KEY", "MAGERR", "-ASTREFOBSDATE_KEY", "OBSDATE", "-DISTORT_DEGREES", "3",
            "-POSITION_MAXERR", "0.2", "-POSANGLE_MAXERR", "2", "-CROSSID_RADIUS", "1.0", "-SN_THRESHOLDS", "10,100",
            "-FWHM_THRESHOLDS", "0,100", "-ASTREF_WEIGHT", "1", "-MOSAIC_TYPE", "UNCHANGED", "-CHECKPLOT_TYPE", "NONE",
            "-CHECKPLOT_DEV", "NULL", "-WRITE_XML", "N", "-NTHREADS", "1", "-VERBOSE_TYPE", "QUIET",
        ],
        folder,
    )  # fmt: skip


def _scamp_solution(folder, n_exposures):
    """Return the WCS and zero points of the .head files that SCAMP writes."""
    wcs, zero_points = [], []
    for exposure in range(n_exposures):
        for text in (folder / f"e{exposure:02d}.head").read_text("ascii", "ignore").split("END     ")[:-1]:
            header = fits.Header.fromstring(text.strip("\n"), sep="\n")
            header.remove("HISTORY", ignore_missing=True, remove_all=True)
            header["NAXIS"] = 2
            wcs.append(WCS(header))
            zero_points.append(-2.5 * np.log10(header["FLXSCALE"]) if header["FLXSCALE"] > 0 else np.nan)
    return wcs, np.array(zero_points)
