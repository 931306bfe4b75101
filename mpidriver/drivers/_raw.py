"""Raw frames and the calibration frames that go with them, as the tasks take them."""

import functools
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from mpidriver.errors import ConfigError, DataError
from mpidriver.store import read_image, read_raw, read_table

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np

    from mpidriver.drivers._quantum import Quantum
    from mpidriver.drivers._stage import Context
    from mpidriver.store import Frame
    from mpidriver.tasks.single_frame import Calibrations, Coupling, Linearity, RawFrame

__all__ = [
    "CALIBRATIONS",
    "calibration_paths",
    "couplings_of",
    "load_calibrations",
    "load_raw",
    "made_calibrations",
]

#: Calibration frames, and tables of cross-talk and linearity, that a raw frame may need, by their options.
CALIBRATIONS = ("bias", "crosstalk", "linearity", "dark", "flat", "defects", "fringe", "sky")
#: Those that the repository makes, by the names of their tasks.
_MADE = frozenset(CALIBRATIONS) - {"crosstalk", "linearity"}


def load_raw(context: "Context", frame: "Frame") -> "RawFrame":
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


def load_calibrations(
    context: "Context", frame: "Frame", made: Mapping[str, str], *, kinds: Collection[str] = (*CALIBRATIONS, "spill")
) -> "Calibrations":
    """Return the calibration frames of a detector and the sections of its raw images.

    Parameters
    ----------
    made
        What the repository itself has made, from `made_calibrations`.
    kinds
        Those that are wanted.
    """
    from mpidriver.tasks.single_frame import Calibrations

    paths = calibration_paths(context, frame, made)
    sections = {name: tuple(frame.metadata[name]) for name in ("overscan", "science") if name in frame.metadata}
    read = {"linearity": _linearity, "crosstalk": _couplings, "spill": _image}
    found = {name: read.get(name, _calibration_image)(str(path)) for name, path in paths.items() if name in kinds}
    own = [one for one in found.pop("crosstalk", {}).get(frame.detector, ()) if one.source == frame.detector]
    return Calibrations(**found, **sections, detector=frame.detector, couplings=tuple(own))


def calibration_paths(context: "Context", frame: "Frame", made: Mapping[str, str]) -> "dict[str, Path]":
    """Return the calibration frames of a detector by their kind: those that survey.toml names before those made here.

    Raises
    ------
    ConfigError
        If a template asks for something else than detector and band.
    """
    options = context.config.calibrations
    paths = {name: context.repository.resolve(path) for name, path in made.items()}
    for name in CALIBRATIONS:
        template = getattr(options, name)
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


def made_calibrations(context: "Context", inputs: "Iterable[Quantum]") -> dict[str, str]:
    """Return the calibration frames among the inputs of a quantum: kind to path relative to the repository."""
    root = context.repository.root
    return {
        source.task: str(context.path(source.task, source).relative_to(root))
        for source in inputs
        if source.task in _MADE
    }


@functools.lru_cache(maxsize=16)
def _calibration_image(path: str) -> "np.ndarray":
    return _image(path)


def _image(path: str) -> "np.ndarray":
    return read_image(path)[0]


def couplings_of(context: "Context") -> "Mapping[int, Sequence[Coupling]]":
    """Return the couplings of each detector that records light of its own amplifiers or of others."""
    path = context.config.calibrations.crosstalk
    return {} if path is None else _couplings(str(context.repository.resolve(path)))


@functools.lru_cache(maxsize=4)
def _couplings(path: str) -> "dict[int, list[Coupling]]":
    from mpidriver.tasks.single_frame import Coupling

    table = read_table(path)
    names = table.dtype.names or ()
    if not {"victim", "source", "coefficient"}.issubset(names):
        raise DataError(f"{path}: columns victim, source and coefficient are needed; the table has {', '.join(names)}")
    sections = [name for name in ("source_section", "victim_section") if name in names]
    couplings: dict[int, list[Coupling]] = {}
    for number, row in enumerate(table):
        try:
            where = {name: _text(row[name]) for name in sections}
            found = Coupling(int(row["source"]), float(row["coefficient"]), **where)
            couplings.setdefault(int(row["victim"]), []).append(found)
        except (DataError, ValueError) as error:
            raise DataError(f"{path}, row {number + 1}: {error}") from None
    return couplings


def _text(value: "np.generic") -> str:
    return (value.decode() if isinstance(value, bytes) else str(value)).strip()


@functools.lru_cache(maxsize=1024)
def _linearity(path: str) -> "Linearity":
    from mpidriver.tasks.single_frame import Linearity

    table = read_table(path)
    names = table.dtype.names or ()
    columns = ("coefficient",) if "coefficient" in names else ("counts", "corrected")
    if not set(columns).issubset(names):
        raise DataError(
            f"{path}: a column coefficient is needed, or counts and corrected; the table has {', '.join(names)}"
        )
    fields = {"coefficient": "coefficients"}
    try:
        return Linearity(**{fields.get(name, name): table[name].astype(float) for name in columns})
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
