"""The coadd driver: frames are warped to a patch's pixels as soon as their mosaic is solved, and stacked a band.

Scatter the pairs of frame and patch, write the warps; scatter patch and band, stack the warps by blocks of rows.
Without files of warps: scatter patch and band; scatter its frames, keep the warps on the ranks, stack them by blocks.
"""

import dataclasses
import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mpidriver.drivers._quantum import DataId, Quantum
from mpidriver.drivers._stage import Context, Part, Prepared, Record, Stage
from mpidriver.drivers._warps import HeldWarps, WarpFiles
from mpidriver.errors import DataError
from mpidriver.store import (
    Product,
    read_masked_image,
    read_table,
    wcs_from_header,
    write_masked_image,
)

if TYPE_CHECKING:
    import numpy as np

    from mpidriver.drivers._desk import Desk
    from mpidriver.drivers._solutions import Solution
    from mpidriver.drivers.config import SurveyConfig
    from mpidriver.store import StoredImage
    from mpidriver.tasks.coadd import CoaddPsf
    from mpidriver.tasks.image import MaskedImage

__all__ = ["STAGES", "assemble", "calibrated", "coadd_psf", "planes", "resample"]


def resample(context: Context, quantum: Quantum, *, solution: "Solution") -> Record:
    """Warp one frame, its background matched, onto one patch, in nJy; a frame that misses the patch leaves no file."""
    made = warp_frame(context, quantum, quantum.data_id, solution)
    return Record() if made is None else Record(products=(_write_warp(context, quantum, *made),))


def warp_frame(
    context: Context, quantum: Quantum, ids: DataId, solution: "Solution"
) -> "tuple[MaskedImage, np.ndarray] | None":
    """Return a frame, flattened, its background matched, on a patch and its row of the table of inputs; none off it."""
    import numpy as np

    from mpidriver.tasks.coadd import input_row
    from mpidriver.tasks.image import NJY_ZERO_POINT_MAG
    from mpidriver.tasks.warp import warp

    frame = read_masked_image(context.repository.path("frame", exposure=ids.exposure, detector=ids.detector))
    patch = context.patch(quantum)
    pixels = calibrated(frame, solution)
    warped = warp(
        pixels.image,
        wcs_from_header(solution.wcs_header),
        patch.wcs(),
        patch.shape(),
        variance=pixels.variance,
        mask=pixels.mask,
        options=context.config.warp,
        scale=10.0 ** (-0.4 * (solution.zero_point_mag - NJY_ZERO_POINT_MAG)),
    )
    filled = np.isfinite(warped.image)
    if not filled.any():
        return None
    row = input_row(
        planes(frame),
        read_table(context.repository.path("frame_catalogue", exposure=ids.exposure, detector=ids.detector)),
        wcs_from_header(solution.wcs_header),
        patch.wcs(),
        exposure=ids.exposure,
        detector=ids.detector,
        zero_point_mag=solution.zero_point_mag,
        weight=float(1.0 / np.median(warped.variance[filled])),
    )
    return warped, row


def _write_warp(context: Context, quantum: Quantum, warped: "MaskedImage", row: "np.ndarray") -> Product:
    """Write a warp with its weight: one number an exposure, never the source's own noise."""
    from mpidriver.tasks.coadd import INPUT_UNITS
    from mpidriver.tasks.image import MASK_PLANES, NJY_ZERO_POINT_MAG

    ids = quantum.data_id
    header = {
        "EXPOSURE": ids.exposure,
        "DETECTOR": ids.detector,
        "BAND": ids.band,
        "ZEROPNT": NJY_ZERO_POINT_MAG,
        "BUNIT": "nJy",
        "WEIGHT": float(row["weight"][0]),
    }
    written = write_masked_image(
        context.path("warp", quantum),
        warped.image,
        warped.variance,
        warped.mask,
        wcs=context.patch(quantum).wcs(),
        header=header,
        mask_planes=MASK_PLANES,
        tables={"INPUTS": (row, INPUT_UNITS)},
    )
    return context.product("warp", written)


def assemble(
    context: Context,
    quantum: Quantum,
    *,
    warps: Sequence[DataId] = (),
    frames: "Sequence[tuple[DataId, Solution]]" = (),
    left_out: Sequence[tuple[DataId, str]] = (),
) -> Record:
    """Stack the warps of one patch and band, from their files, or made of frames and kept in memory until then."""
    if warps:
        source: WarpFiles | HeldWarps = WarpFiles(
            [context.path("warp", quantum, exposure=ids.exposure, detector=ids.detector) for ids in warps]
        )
        return Record(products=(_write_coadd(context, quantum, source),))
    held = HeldWarps(functools.partial(warp_frame, context, quantum), frames)
    parts = tuple(_failed_warp(quantum, ids, reason) for ids, reason in (*left_out, *held.failures))
    if len(held.inputs) == 0:
        if parts and len(parts) == len(frames) + len(left_out):
            raise DataError(f"no frame could be warped; the first: {parts[0].error}")
        return Record(parts=parts)
    return Record(products=(_write_coadd(context, quantum, held),), parts=parts)


def _failed_warp(quantum: Quantum, ids: DataId, reason: str) -> Part:
    where = dataclasses.replace(ids, tract=quantum.data_id.tract, patch=quantum.data_id.patch)
    return Part(Quantum("warp", where), reason)


def _write_coadd(context: Context, quantum: Quantum, source: "WarpFiles | HeldWarps") -> Product:
    from mpidriver.tasks.coadd import INPUT_UNITS, coadd_blocks
    from mpidriver.tasks.image import MASK_PLANES, NJY_ZERO_POINT_MAG

    patch = context.patch(quantum)
    stacked = coadd_blocks(
        source.fill,
        source.inputs["weight"],
        patch.shape(),
        byte_order=source.byte_order,
        options=context.config.coadd,
    )
    band, count = quantum.data_id.band, len(source.inputs)
    written = write_masked_image(
        context.path("coadd", quantum),
        stacked.image,
        stacked.variance,
        stacked.mask,
        wcs=patch.wcs(),
        header={"BAND": band, "ZEROPNT": NJY_ZERO_POINT_MAG, "BUNIT": "nJy", "NINPUT": count},
        mask_planes=MASK_PLANES,
        extra={"NIMAGE": stacked.n_image},
        tables={"INPUTS": (source.inputs, INPUT_UNITS)},
    )
    return context.product("coadd", written)


def planes(stored: "StoredImage") -> "MaskedImage":
    """Return what was read from a file as the tasks take it."""
    from mpidriver.tasks.image import MaskedImage

    return MaskedImage(stored.image, stored.variance, stored.mask)


def calibrated(stored: "StoredImage", solution: "Solution") -> "MaskedImage":
    """Return a frame flattened and its background matched, in its own unit."""
    from mpidriver.tasks.image import MaskedImage
    from mpidriver.tasks.matching import add_polynomial
    from mpidriver.tasks.mosaic import flatten

    image, variance = flatten(stored.image, stored.variance, solution.flat_mag)
    return MaskedImage(add_polynomial(image, solution.background), variance, stored.mask)


def coadd_psf(context: Context, quantum: Quantum, **more: Any) -> "CoaddPsf":
    """Return the PSF of a coadd by its inputs."""
    from mpidriver.tasks.coadd import CoaddPsf

    return CoaddPsf(read_table(context.path("coadd", quantum, **more), hdu="INPUTS"))


def _prepare_warp(desk: "Desk", quantum: Quantum, inputs: list[Quantum]) -> Prepared:
    solution = _solution(desk, quantum.data_id.tract, quantum.data_id)
    return Prepared({"solution": solution}, solution.fingerprint)


def _solution(desk: "Desk", tract: int | None, ids: DataId) -> "Solution":
    """Return a frame's solution, its background matched.

    Raises
    ------
    DataError
        If it has none that can be trusted.
    """
    solution = desk.matched_solution(tract, ids.exposure, ids.detector)
    if solution is None:
        raise DataError(f"the mosaic of tract {tract} has no solution for this frame")
    if solution.misplaced:
        raise DataError(f"left out of the coadd: {solution.reason}; is its header's position right?")
    return solution


def _prepare_coadd(desk: "Desk", quantum: Quantum, inputs: list[Quantum]) -> Prepared:
    if desk.context.config.coadd.keep_warps:
        return Prepared({"warps": [source.data_id for source in inputs]})
    frames, left_out = [], []
    for ids in (source.data_id for source in inputs if source.task == "single_frame"):
        try:
            frames.append((ids, _solution(desk, quantum.data_id.tract, ids)))
        except DataError as error:
            left_out.append((ids, str(error)))
    solved = tuple((str(ids), *solution.fingerprint) for ids, solution in frames)
    return Prepared({"frames": frames, "left_out": left_out}, solved)


def _coadd_options(config: "SurveyConfig") -> tuple[Any, ...]:
    kept = (config.coadd, config.skymap)
    return kept if config.coadd.keep_warps else (*kept, config.warp)


STAGES = {
    "warp": Stage(
        resample,
        options=lambda config: (config.warp, config.skymap),
        prepare=_prepare_warp,
        seconds=0.5,
    ),
    "coadd": Stage(
        assemble,
        options=_coadd_options,
        prepare=_prepare_coadd,
        seconds=1.0,
    ),
}
