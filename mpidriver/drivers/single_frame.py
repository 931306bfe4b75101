"""The single-frame driver: each raw frame becomes a calibrated frame with a source catalogue.

Scatter the frames; each rank removes the instrument's signature from its frame, measures its sources and returns the
frame's position and quality to the root.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from mpidriver.drivers._backgrounds import write_superpixels
from mpidriver.drivers._frame_fakes import FrameFakes, fakes_of, with_fakes
from mpidriver.drivers._quantum import Quantum
from mpidriver.drivers._raw import calibration_paths, load_calibrations, load_raw, made_calibrations
from mpidriver.drivers._stage import Context, Prepared, Record, Stage
from mpidriver.drivers.crosstalk import spill_of
from mpidriver.drivers.sky_correction import model_of
from mpidriver.store import FrameUpdate, Product, write_masked_image, write_table

if TYPE_CHECKING:
    import numpy as np

    from mpidriver.drivers._desk import Desk
    from mpidriver.store import Frame
    from mpidriver.tasks.single_frame import ReducedFrame

__all__ = ["STAGES", "reduce"]

#: Reference stars are looked for this far beyond where a frame's edge may be.
REFERENCE_MARGIN_ARCSEC = 20.0


def reduce(
    context: Context,
    quantum: Quantum,
    *,
    frame: "Frame",
    reference: "np.ndarray | None",
    made: Mapping[str, str],
    sky_model: "np.ndarray | None",
    fakes: FrameFakes | None,
) -> Record:
    """Reduce one raw frame to a calibrated frame and its catalogue."""
    from mpidriver.tasks.single_frame import reduce_frame

    raw, calibrations = load_raw(context, frame), load_calibrations(context, frame, made)
    if fakes is not None and fakes.rows.size:
        raw = with_fakes(context, frame, raw, calibrations, fakes)
    reduced = reduce_frame(
        raw,
        calibrations=calibrations,
        reference=reference,
        sky_model=sky_model,
        options=context.config.single_frame,
    )
    found = FrameUpdate(
        *frame.key,
        wcs_header=reduced.wcs.to_header_string(relax=True),
        corners=reduced.corners,
        quality=reduced.quality,
    )
    cards = {} if fakes is None else {"NFAKES": fakes.rows.size}
    return Record(products=_write(context, frame, reduced, cards), frame=found)


def _write(context: Context, frame: "Frame", reduced: "ReducedFrame", cards: Mapping[str, int]) -> tuple[Product, ...]:
    """Write the calibrated frame, its catalogue and its background by superpixels."""
    from mpidriver.tasks.image import MASK_PLANES
    from mpidriver.tasks.matching import superpixels
    from mpidriver.tasks.single_frame import SOURCE_UNITS

    header = {
        "EXPOSURE": frame.exposure,
        "DETECTOR": frame.detector,
        "BAND": frame.band,
        "EXPTIME": frame.exptime_s,
        "ZEROPNT": reduced.zero_point_mag,
        "BUNIT": "electron",
        **cards,
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
    background = write_superpixels(
        context.repository.path("frame_background", **ids),
        superpixels(image.image, image.mask, size_px=context.config.single_frame.superpixel_px),
        header,
    )
    written = {"frame": pixels, "frame_catalogue": catalogue, "frame_background": background}
    return tuple(context.product(dataset, file) for dataset, file in written.items())


def _prepare(desk: "Desk", quantum: Quantum, inputs: list[Quantum]) -> Prepared:
    from mpidriver.sphere import unit_vectors
    from mpidriver.tasks.reference import at_epoch, julian_year

    ids = quantum.data_id
    frame = desk.frame(ids.exposure, ids.detector, ids.band)
    reference = None
    if frame.corners is not None:
        options = desk.context.config.single_frame
        pointing_arcsec = max(options.search_radius_arcsec, options.blind_radius_arcsec)
        margin_deg = (REFERENCE_MARGIN_ARCSEC + pointing_arcsec) / 3600
        reference = desk.reference_in(unit_vectors(*frame.corners.T), margin_deg)
    if reference is not None and frame.mjd is not None:
        reference = at_epoch(reference, julian_year(frame.mjd))
    made = made_calibrations(desk.context, inputs) | desk.patterns.get((ids.detector, ids.band), {})
    calibrations = list(calibration_paths(desk.context, frame, made).values())
    made |= spill_of(desk.context, ids.detector, inputs)
    fakes = fakes_of(desk, frame)
    arguments = {"sky_model": model_of(desk, ids.detector, inputs), "fakes": fakes}
    return Prepared(
        {"frame": frame, "reference": reference, "made": made, **arguments},
        (
            frame.digest,
            frame.wcs_header,
            frame.zero_point_mag,
            tuple(map(desk.file_digest, calibrations)),
            None if reference is None else reference.tobytes(),
            *(() if fakes is None else (fakes.rows.tobytes(), fakes.solution.fingerprint)),
        ),
        ((frame.path, frame.digest), *map(desk.named, calibrations), *desk.reference_file()),
    )


STAGES = {
    "single_frame": Stage(
        reduce,
        options=lambda config: (config.single_frame, config.calibrations),
        prepare=_prepare,
        seconds=1.0,
    )
}
