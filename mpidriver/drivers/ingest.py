"""Ingest: read the headers of raw frames once, and enter the frames into the state database."""

import functools
import glob
import logging
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from mpidriver.drivers.config import SurveyConfig
from mpidriver.errors import ConfigError, DataError, RepositoryError
from mpidriver.store import InstrumentOptions, Repository, read_headers

if TYPE_CHECKING:
    from mpidriver.pool import Pool
    from mpidriver.store import Frame, StateDatabase

__all__ = ["Ingested", "expand", "ingest"]

log = logging.getLogger(__name__)

FITS_ENDINGS = (".fits", ".fits.gz", ".fits.fz", ".fit", ".fts")


@dataclass
class Ingested:
    """What an ingest did."""

    new: int = 0
    """Frames that the database did not have."""
    known: int = 0
    """Frames that it had; nothing of them is changed."""
    rejected: list[tuple[str, str]] = field(default_factory=list)
    """Files that could not be read, each with the reason."""


def expand(arguments: Iterable[str]) -> list[Path]:
    """Return the files that arguments name: files, folders (their FITS files, recursively), globs, ``@list`` files.

    Raises
    ------
    ConfigError
        If an argument matches nothing.
    """
    found: list[Path] = []
    for argument in arguments:
        if argument.startswith("@"):
            found += expand(_listed(Path(argument[1:])))
            continue
        path = Path(argument)
        if path.is_dir():
            matches = sorted(file for file in path.rglob("*") if file.name.lower().endswith(FITS_ENDINGS))
        elif path.exists():
            matches = [path]
        else:
            matches = sorted(Path(match) for match in glob.glob(argument, recursive=True))
        if not matches:
            raise ConfigError(f"ingest: {argument!r} names no FITS file; give files, folders, globs or @list")
        found += matches
    return list(dict.fromkeys(path.absolute() for path in found))


def _listed(path: Path) -> list[str]:
    """Return the lines of a list of files that are neither empty nor comments."""
    try:
        lines = [line.strip() for line in path.read_text().splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"ingest: @{path}: cannot be read as a list of files: {error}") from None
    return [line for line in lines if line and not line.startswith("#")]


def ingest(
    repository: Repository,
    config: SurveyConfig,
    state: "StateDatabase",
    files: Sequence[Path],
    *,
    pool: "Pool",
    copy: bool = False,
) -> Ingested:
    """Enter files into a repository; headers are read by all ranks, each file once.

    Parameters
    ----------
    repository, config, state
        Where to; the tables [instrument] and, unless it is left at its defaults, [polarimeter] say how headers name
        their frames.
    files
        Absolute paths; weight and mask maps of other files are passed over.
    pool
        Reads the headers.
    copy
        Copy the files into ``raw/`` instead of linking them there.

    Returns
    -------
    Ingested
        A second ingest of the same files changes nothing.
    """
    report = Ingested()
    instruments = [config.instrument]
    if config.polarimeter != InstrumentOptions(kind="stokes"):
        instruments.append(config.polarimeter)
    files = [path for path in files if not any(_is_companion(path, instrument) for instrument in instruments)]
    read = functools.partial(_read, instruments)
    found: list[Frame] = []
    for path, outcome in zip(files, pool.map(read, files, on_error="return"), strict=True):
        if outcome.error is not None:
            report.rejected.append((str(path), outcome.error.cause.removeprefix("mpidriver.errors.")))
            continue
        found += [_taken_in(frame, path, repository, copy=copy) for frame in outcome.value]
    report.new = state.add_frames(found)
    report.known = len(found) - report.new
    return report


def _is_companion(path: Path, instrument: InstrumentOptions) -> bool:
    """Tell whether a file is the weight or mask map of a frame beside it."""
    pairs = (pair for pair in (instrument.weight, instrument.mask) if pair)
    return any(there in path.name and path.with_name(path.name.replace(there, here)).exists() for here, there in pairs)


def _read(instruments: Sequence[InstrumentOptions], path: Path) -> "list[Frame]":
    """Read one file's frames by the first instrument that knows its headers."""
    log.info("reading the headers of %s", path)
    reasons: list[str] = []
    for instrument in instruments:
        try:
            return read_headers(path, instrument)
        except DataError as error:
            reasons.append(str(error))
    raise DataError("; ".join(dict.fromkeys(reasons)))


def _taken_in(frame: "Frame", source: Path, repository: Repository, *, copy: bool) -> "Frame":
    """Link or copy a frame's file into raw/ and return the frame with its path there."""
    target = repository.root / "raw" / source.name
    if source.parent == target.parent:
        return replace(frame, path=str(target.relative_to(repository.root)))
    target = _free_name(target, source)
    if not target.exists():
        target.parent.mkdir(exist_ok=True)
        _place(source, target, copy=copy)
    return replace(frame, path=str(target.relative_to(repository.root)))


def _free_name(target: Path, source: Path) -> Path:
    """Return a name in raw/ that is free or already leads to the source: files of several folders may share one."""
    number = 1
    candidate = target
    while candidate.is_symlink() or candidate.exists():
        if candidate.exists() and candidate.samefile(source):
            return candidate
        candidate = target.with_name(f"{number}-{target.name}")
        number += 1
    return candidate


def _place(source: Path, target: Path, *, copy: bool) -> None:
    from mpidriver.store import atomic_path

    try:
        if not copy:
            os.symlink(source, target)
            return
        with atomic_path(target) as part:
            Path(part).write_bytes(source.read_bytes())
    except OSError as error:
        raise RepositoryError(f"{target}: {error.strerror}; is the repository writable?") from error
