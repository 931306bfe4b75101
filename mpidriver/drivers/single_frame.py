"""The single-frame driver: each raw frame becomes a calibrated frame with a source catalogue.

Scatter the frames; each rank removes the instrument's signature from its frame, measures its sources and returns the
frame's position and quality to the root.
"""

import functools
import math
from typing import TYPE_CHECKING, Any

from mpidriver.drivers._quantum import Quantum
from mpidriver.drivers._stage import Context, Prepared, Record, Stage
from mpidriver.errors import ConfigError
from mpidriver.store import FrameUpdate, Product, read_image, read_raw, write_masked_image, write_table

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np

    from mpidriver.drivers._desk import Desk
    from mpidriver.store import Frame
    from mpidriver.tasks.single_frame import ReducedFrame

__all__ = ["STAGES", "reduce"]

#: Reference stars are looked for this far beyond a frame's edge.
REFERENCE_MARGIN_DEG = 30.0 / 3600


def reduce(context: Context, quantum: Quantum, *, frame: "Frame", reference: "np.ndarray | None") -> Record:
    """Reduce one raw frame to a calibrated frame and its catalogue."""
    from mpidriver.tasks.single_frame import reduce_frame

    reduced = reduce_frame(
        _load(context, frame),
        calibrations=_calibrations(context, frame),
        reference=reference,
        options=context.config.single_frame,
    )
    found = FrameUpdate(
        *frame.key,
        wcs_header=reduced.wcs.to_header_string(relax=True),
        corners=reduced.corners,
        quality=reduced.quality,
    )
    return Record(products=_write(context, frame, reduced), frame=found)


def _write(context: Context, frame: "Frame", reduced: "ReducedFrame") -> tuple[Product, ...]:
    """Write the calibrated frame and its catalogue."""
    from mpidriver.tasks.image import MASK_PLANES
    from mpidriver.tasks.single_frame import SOURCE_UNITS

    header = {
        "EXPOSURE": frame.exposure,
        "DETECTOR": frame.detector,
        "BAND": frame.band,
        "EXPTIME": frame.exptime_s,
        "ZEROPNT": reduced.zero_point_mag,
        "BUNIT": "electron",
    }
    ids = {"exposure": frame.exposure, "detector": frame.detector}
    image = reduced.image
    pixels = write_masked_image(
        context.repository.path("frame", **ids),
        image.image,
        image.variance,
        image.mask,
        wcs=reduced.wcs,
        header=header,
        mask_planes=MASK_PLANES,
    )
    catalogue = write_table(
        context.repository.path("frame_catalogue", **ids),
        reduced.catalogue,
        units=SOURCE_UNITS,
        header=header | {"NROW": image.shape[0], "NCOL": image.shape[1]},
        wcs=reduced.wcs,
    )
    return context.product("frame", pixels), context.product("frame_catalogue", catalogue)


def _load(context: Context, frame: "Frame") -> Any:
    """Read a raw frame with its weight and mask maps."""
    import numpy as np
    from astropy.wcs import WCS

    from mpidriver.store import wcs_from_header
    from mpidriver.tasks.single_frame import RawFrame

    root = context.repository.root
    pixels, _ = read_raw(root / frame.path, frame.hdu)
    wcs: WCS | None = None if frame.wcs_header is None else wcs_from_header(frame.wcs_header)
    weight = mask = None
    if frame.weight_path:
        weight, _ = read_raw(root / frame.weight_path, frame.weight_hdu)
    if frame.mask_path:
        flags, _ = read_raw(root / frame.mask_path, frame.mask_hdu)
        mask = (flags.astype(np.int64) & frame.mask_bits) != 0
    known = {
        "gain": frame.gain,
        "read_noise": frame.read_noise,
        "saturation": frame.saturation,
        "exptime_s": frame.exptime_s,
        "zero_point_mag": _zero_point_of_counts(frame),
    }
    return RawFrame(
        image=pixels,
        wcs=wcs,
        band=frame.band,
        mask=mask,
        weight=weight,
        **{name: value for name, value in known.items() if value is not None},
    )


def _zero_point_of_counts(frame: "Frame") -> float | None:
    """Return the magnitude of one count from that of one electron, None if the headers tell none."""
    if frame.zero_point_mag is None:
        return None
    return frame.zero_point_mag - 2.5 * math.log10(frame.gain or 1.0)


def _calibrations(context: Context, frame: "Frame") -> Any:
    """Return the calibration frames of a detector, none without any."""
    from mpidriver.tasks.single_frame import Calibrations

    paths = _calibration_paths(context, frame)
    if not paths:
        return None
    return Calibrations(**{name: _calibration_image(str(path)) for name, path in paths.items()})


def _calibration_paths(context: Context, frame: "Frame") -> "dict[str, Path]":
    """Return the calibration frames of a detector by their kind.

    Raises
    ------
    ConfigError
        If a template asks for something else than detector and band.
    """
    options = context.config.calibrations
    templates = {"bias": options.bias, "dark": options.dark, "flat": options.flat, "defects": options.defects}
    paths = {}
    for name, template in templates.items():
        try:
            if template:
                path = template.format(detector=frame.detector, band=frame.band)
                paths[name] = context.repository.resolve(path)
        except (KeyError, IndexError, ValueError) as error:
            raise ConfigError(
                f"{context.repository.config_path} [calibrations]: {name} = {template!r}: expected a path with "
                f"{{detector}} and {{band}}, got {error!r}"
            ) from None
    return paths


@functools.lru_cache(maxsize=16)
def _calibration_image(path: str) -> "np.ndarray":
    return read_image(path)[0]


def _prepare(desk: "Desk", quantum: Quantum, inputs: list[Quantum]) -> Prepared:
    from mpidriver.sphere import unit_vectors

    ids = quantum.data_id
    frame = desk.frame(ids.exposure, ids.detector, ids.band)
    reference = None
    if frame.corners is not None:
        reference = desk.reference_in(unit_vectors(*frame.corners.T), REFERENCE_MARGIN_DEG)
    return Prepared(
        {"frame": frame, "reference": reference},
        (
            frame.digest,
            frame.wcs_header,
            frame.zero_point_mag,
            tuple(desk.file_digest(path) for path in _calibration_paths(desk.context, frame).values()),
            None if reference is None else reference.tobytes().hex(),
        ),
    )


STAGES = {
    "single_frame": Stage(
        reduce,
        options=lambda config: (config.single_frame, config.calibrations),
        prepare=_prepare,
        seconds=1.0,
    )
}
