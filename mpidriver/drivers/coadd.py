"""The coadd driver: frames are warped to a patch's pixels as soon as their mosaic is solved, and stacked a band.

Scatter the pairs of frame and patch, write the warps; scatter patch and band, stack the warps by blocks of rows.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mpidriver.drivers._quantum import DataId, Quantum
from mpidriver.drivers._stage import Context, Prepared, Record, Stage
from mpidriver.errors import DataError
from mpidriver.store import (
    MaskedImageReader,
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
    from mpidriver.store import StoredImage
    from mpidriver.tasks.coadd import CoaddPsf
    from mpidriver.tasks.image import MaskedImage

__all__ = ["STAGES", "assemble", "coadd_psf", "planes", "resample"]


def resample(context: Context, quantum: Quantum, *, solution: "Solution") -> Record:
    """Warp one frame onto one patch, calibrated to nJy; a frame that misses the patch leaves no file."""
    import numpy as np

    from mpidriver.tasks.coadd import input_row
    from mpidriver.tasks.image import NJY_ZERO_POINT_MAG
    from mpidriver.tasks.warp import warp

    ids = quantum.data_id
    frame = read_masked_image(context.repository.path("frame", exposure=ids.exposure, detector=ids.detector))
    patch = context.patch(quantum)
    warped = warp(
        frame.image,
        wcs_from_header(solution.wcs_header),
        patch.wcs(),
        patch.shape(),
        variance=frame.variance,
        mask=frame.mask,
        options=context.config.warp,
        scale=10.0 ** (-0.4 * (solution.zero_point_mag - NJY_ZERO_POINT_MAG)),
    )
    if not np.isfinite(warped.image).any():
        return Record()
    row = input_row(
        planes(frame),
        read_table(context.repository.path("frame_catalogue", exposure=ids.exposure, detector=ids.detector)),
        wcs_from_header(solution.wcs_header),
        patch.wcs(),
        exposure=ids.exposure,
        detector=ids.detector,
        zero_point_mag=solution.zero_point_mag,
        weight=float(1.0 / np.median(warped.variance[np.isfinite(warped.image)])),
    )
    return Record(products=(_write_warp(context, quantum, warped, row),))


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


def assemble(context: Context, quantum: Quantum, *, warps: Sequence[DataId]) -> Record:
    """Stack the warps of one patch and band."""
    import numpy as np

    from mpidriver.tasks.coadd import INPUT_UNITS, coadd_blocks
    from mpidriver.tasks.image import MASK_PLANES, NJY_ZERO_POINT_MAG

    patch = context.patch(quantum)
    paths = [context.path("warp", quantum, exposure=ids.exposure, detector=ids.detector) for ids in warps]
    readers = [MaskedImageReader(path) for path in paths]
    inputs = np.concatenate([read_table(path, hdu="INPUTS") for path in paths])

    def fill(number: int, rows: slice, block: "MaskedImage") -> bool:
        readers[number].read_into(rows, block.image, block.variance, block.mask)
        return True

    stacked = coadd_blocks(fill, inputs["weight"], patch.shape(), byte_order=">", options=context.config.coadd)
    header = {"BAND": quantum.data_id.band, "ZEROPNT": NJY_ZERO_POINT_MAG, "BUNIT": "nJy", "NINPUT": len(paths)}
    written = write_masked_image(
        context.path("coadd", quantum),
        stacked.image,
        stacked.variance,
        stacked.mask,
        wcs=patch.wcs(),
        header=header,
        mask_planes=MASK_PLANES,
        extra={"NIMAGE": stacked.n_image},
        tables={"INPUTS": (inputs, INPUT_UNITS)},
    )
    return Record(products=(context.product("coadd", written),))


def planes(stored: "StoredImage") -> "MaskedImage":
    """Return what was read from a file as the tasks take it."""
    from mpidriver.tasks.image import MaskedImage

    return MaskedImage(stored.image, stored.variance, stored.mask)


def coadd_psf(context: Context, quantum: Quantum, **more: Any) -> "CoaddPsf":
    """Return the PSF of a coadd by its inputs."""
    from mpidriver.tasks.coadd import CoaddPsf

    return CoaddPsf(read_table(context.path("coadd", quantum, **more), hdu="INPUTS"))


def _prepare_warp(desk: "Desk", quantum: Quantum, inputs: list[Quantum]) -> Prepared:
    ids = quantum.data_id
    solution = desk.solution(ids.tract, ids.exposure, ids.detector)
    if solution is None:
        raise DataError(f"the mosaic of tract {ids.tract} has no solution for this frame")
    if solution.misplaced:
        raise DataError(f"left out of the coadd: {solution.reason}; is its header's position right?")
    return Prepared({"solution": solution}, (solution.wcs_header, solution.zero_point_mag))


def _prepare_coadd(desk: "Desk", quantum: Quantum, inputs: list[Quantum]) -> Prepared:
    return Prepared({"warps": [source.data_id for source in inputs]})


STAGES = {
    "warp": Stage(
        resample,
        options=lambda config: (config.warp, config.skymap),
        prepare=_prepare_warp,
        seconds=0.5,
    ),
    "coadd": Stage(
        assemble,
        options=lambda config: (config.coadd, config.skymap),
        prepare=_prepare_coadd,
        seconds=1.0,
    ),
}
