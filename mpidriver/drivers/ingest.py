"""Ingest: read the headers of raw frames once, and enter the frames into the state database."""

import filecmp
import functools
import glob
import logging
import os
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from mpidriver.drivers.config import SurveyConfig
from mpidriver.errors import ConfigError, DataError, RepositoryError
from mpidriver.store import InstrumentOptions, Repository, file_stamp

if TYPE_CHECKING:
    from mpidriver.pool import Pool
    from mpidriver.store import Frame, StateDatabase

__all__ = ["Ingested", "expand", "files_of", "in_the_place_of", "ingest", "instruments_of", "read_frames"]

log = logging.getLogger(__name__)

FITS_ENDINGS = (".fits", ".fits.gz", ".fits.fz", ".fit", ".fts")


@dataclass
class Ingested:
    """What an ingest did."""

    new: int = 0
    """Frames that the database did not have."""
    changed: int = 0
    """Frames whose file has other content than when it was entered: they are replaced."""
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
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
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
    instruments = instruments_of(config)
    files = [path for path in files if not any(_is_companion(path, instrument) for instrument in instruments)]
    read = functools.partial(read_frames, instruments)
    known = {frame.key: frame for frame in state.frames()}
    found: list[Frame] = []
    for path, outcome in zip(files, pool.map(read, files, on_error="return"), strict=True):
        if outcome.error is not None:
            cause = outcome.error.cause.removeprefix("mpidriver.errors.")
            report.rejected.append((str(path), cause.removeprefix(f"DataError: {path}: ")))
            continue
        changed = _in_place(outcome.value, known, repository)
        clash = _clash(outcome.value, {key: frame for key, frame in known.items() if key not in changed})
        if clash:
            report.rejected.append((str(path), clash))
            continue
        state.replace_frames(changed.values())
        report.changed += len(changed)
        fresh = [frame for frame in outcome.value if frame.key not in known]
        report.known += len(outcome.value) - len(fresh) - len(changed)
        found += _taken_in(fresh, repository, copy=copy)
        known |= {frame.key: frame for frame in found[len(found) - len(fresh) :]}
    report.new = state.add_frames(found)
    report.known += len(found) - report.new
    return report


def instruments_of(config: SurveyConfig) -> list[InstrumentOptions]:
    """Return the instruments by which headers are read, in the order in which they are tried."""
    polarimeters = [] if config.polarimeter == InstrumentOptions(kind="stokes") else [config.polarimeter]
    return [config.instrument, *polarimeters]


def _in_place(
    frames: "Sequence[Frame]", known: "dict[tuple[int, int, str], Frame]", repository: Repository
) -> "dict[tuple[int, int, str], Frame]":
    """Return the frames of a file that was written again since it was entered, with their paths in the repository."""
    changed = {}
    for frame in frames:
        other = known.get(frame.key)
        if other is None or (other.digest, other.hdu) == (frame.digest, frame.hdu):
            continue
        home = repository.root / other.path
        if home.exists() and home.samefile(frame.path):
            changed[frame.key] = in_the_place_of(other, frame)
    return changed


def in_the_place_of(known: "Frame", frame: "Frame") -> "Frame":
    """Return a frame that was read again, with the paths that it is known by."""
    return replace(frame, **{name: getattr(known, name) for name in _PATHS})


def _clash(frames: "Sequence[Frame]", known: "dict[tuple[int, int, str], Frame]") -> str | None:
    """Say which frame of a file has other content under its name already; none if there is no such frame."""
    own: dict[tuple[int, int, str], Frame] = {}
    for frame in frames:
        other = known.get(frame.key) or own.get(frame.key)
        if other is not None and (other.digest, other.hdu) != (frame.digest, frame.hdu):
            exposure, detector, band = frame.key
            return (
                f"exposure {exposure}, detector {detector}, band {band!r} is there already with other content, from "
                f"{other.path}[{other.hdu}]; remove one of the two, or let [instrument] tell them apart"
            )
        own[frame.key] = frame
    return None


def _is_companion(path: Path, instrument: InstrumentOptions) -> bool:
    """Tell whether a file is the weight or mask map of a frame beside it."""
    pairs = (pair for pair in (instrument.weight, instrument.mask) if pair)
    return any(there in path.name and path.with_name(path.name.replace(there, here)).exists() for here, there in pairs)


def read_frames(instruments: Sequence[InstrumentOptions], path: Path) -> "list[Frame]":
    """Read one file's frames by the first instrument that knows its headers."""
    from mpidriver.store import read_headers

    log.info("reading the headers of %s", path)
    if path.name != path.name.encode(errors="replace").decode():
        raise DataError(f"{path}: the file's name is not UTF-8; link it under another name")
    reasons: dict[str, str] = {}
    for instrument in instruments:
        try:
            return read_headers(path, instrument)
        except DataError as error:
            reason = str(error).removeprefix(str(path)).removeprefix(": ")
            reasons.setdefault(reason, "[instrument]" if instrument.kind == "image" else "[polarimeter]")
    if len(reasons) == 1:
        raise DataError(f"{path}: {next(iter(reasons))}")
    raise DataError(f"{path}: " + "; ".join(f"by {table}: {reason}" for reason, table in reasons.items()))


def _taken_in(frames: "Sequence[Frame]", repository: Repository, *, copy: bool) -> "list[Frame]":
    """Link or copy a file, with its maps, into raw/ and return its frames with their paths there."""
    sources = {getattr(frame, name) for frame in frames for name in _PATHS} - {None}
    homes = {source: _home(Path(source), repository, copy=copy) for source in sorted(sources)}
    moved = [replace(frame, **{name: homes.get(getattr(frame, name)) for name in _PATHS}) for frame in frames]
    return [replace(frame, stamp=_stamp(frame, repository)) for frame in moved] if copy else moved


def _stamp(frame: "Frame", repository: Repository) -> str:
    """Return the stamp of a frame's files in the repository."""
    return file_stamp(repository.root / path for path in files_of(frame))


def files_of(frame: "Frame") -> list[str]:
    """Return the files of a frame: its own, then its maps."""
    return [path for path in (frame.path, frame.weight_path, frame.mask_path) if path]


_PATHS = ("path", "weight_path", "mask_path")


def _home(source: Path, repository: Repository, *, copy: bool) -> str:
    """Link or copy a file into raw/, unless it is there, and return its path relative to the repository."""
    target = repository.root / "raw" / source.name
    if source.parent != target.parent:
        target = _free_name(target, source, copy=copy)
        if not target.exists():
            _place(source, target, copy=copy)
    return str(target.relative_to(repository.root))


def _free_name(target: Path, source: Path, *, copy: bool) -> Path:
    """Return a name in raw/ that is free or already holds the source: files of several folders may share one."""
    number = 1
    candidate = target
    while candidate.is_symlink() or candidate.exists():
        if candidate.exists() and (candidate.samefile(source) or (copy and filecmp.cmp(candidate, source, False))):
            return candidate
        candidate = target.with_name(f"{number}-{target.name}")
        number += 1
    return candidate


def _place(source: Path, target: Path, *, copy: bool) -> None:
    from mpidriver.store import atomic_path

    try:
        target.parent.mkdir(exist_ok=True)
        if not copy:
            os.symlink(source, target)
            return
        with atomic_path(target) as part:
            shutil.copyfile(source, part)
    except RepositoryError:
        raise
    except OSError as error:
        raise RepositoryError(f"{target}: {error.strerror}; is the repository writable?") from error
