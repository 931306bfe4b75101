"""The options of `mpidriver simulate` as a simulation record."""

import argparse
import dataclasses
import tomllib
from pathlib import Path

from mpidriver.errors import ConfigError
from mpidriver.options import from_mapping
from mpidriver.tasks.simulate import SimulationOptions

__all__ = ["simulation_options"]


def simulation_options(options: argparse.Namespace) -> SimulationOptions:
    """Return the record that file and command line describe; the command line wins.

    Raises
    ------
    ConfigError
        If the file or an option is wrong.
    """
    record = _from_file(options.config) if options.config else SimulationOptions()
    changes: dict[str, object] = {}
    if options.seed is not None:
        changes["seed"] = options.seed
    if options.exposures is not None:
        changes["exposures_per_band"] = options.exposures
    if options.strays is not None:
        changes["strays"] = options.strays
    if options.bands is not None:
        changes |= _bands(record, tuple(options.bands.split("^")))
    record = dataclasses.replace(record, **changes)
    if options.channels is not None:
        record = dataclasses.replace(record, radio=dataclasses.replace(record.radio, **_channels(options.channels)))
    return dataclasses.replace(record, camera=dataclasses.replace(record.camera, **_camera(options)))


def _from_file(path: str) -> SimulationOptions:
    try:
        values = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"--config {path}: {error}") from None
    return from_mapping(SimulationOptions, values.get("simulation", {}), f"{path} [simulation]")


def _bands(record: SimulationOptions, bands: tuple[str, ...]) -> dict[str, object]:
    """Give each band its own sky and zero point; a band the record does not know takes those of its last one."""

    def of_band(values: tuple[float, ...]) -> tuple[float, ...]:
        known = dict(zip(record.bands, values, strict=True))
        return tuple(known.get(band, values[-1]) for band in bands)

    return {
        "bands": bands,
        "zero_points_mag": of_band(record.zero_points_mag),
        "sky_mag_arcsec2": of_band(record.sky_mag_arcsec2),
    }


def _channels(channels: int) -> dict[str, object]:
    return {"n_channels": channels} if channels > 0 else {"n_beams": 0}


def _camera(options: argparse.Namespace) -> dict[str, object]:
    changes: dict[str, object] = {}
    if options.detectors is not None:
        try:
            rows, columns = map(int, options.detectors.lower().split("x"))
        except ValueError:
            raise ConfigError(f"--detectors: expected ROWSxCOLS as 2x2, got {options.detectors!r}") from None
        changes["grid"] = (rows, columns)
    if options.detector_size is not None:
        changes["detector_shape"] = (options.detector_size, options.detector_size)
    return changes
