"""Staging as the command line asks for it: which remote, and what is said of it in the end."""

import argparse
import functools
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from mpidriver.errors import ConfigError

if TYPE_CHECKING:
    from mpidriver.batch import Remote, Staged
    from mpidriver.pool import Pool
    from mpidriver.site import StorageOptions

__all__ = ["add_staging", "bring_in", "bring_out", "with_staging"]

_SHOWN = 20


def add_staging(parser: argparse.ArgumentParser) -> None:
    """Add the options that bring files in before a verb and its products out after it."""
    staging = parser.add_argument_group("staging")
    for name, what in (("in", "bring missing raw files in before"), ("out", "bring products out after")):
        role = "source" if name == "in" else "target"
        staging.add_argument(
            f"--stage-{name}",
            nargs="?",
            const="",
            metavar="REMOTE",
            help=f"{what}, REMOTE as ceph:bucket/folder (default: {role} in [storage])",
        )


def bring_in(
    storage: "StorageOptions", remote: str, folder: Path, names: Iterable[str] | None, *, quiet: bool
) -> "Staged":
    """Stage files in, say how it went and return it.

    Parameters
    ----------
    storage
        The table [storage].
    remote
        Where from; empty: the source in [storage].
    folder
        Where to.
    names
        Files; None: all there are.
    """
    from mpidriver.batch import stage_in

    place = _remote(remote or storage.source, "source")
    staged = stage_in(place, folder, names, transfers=storage.transfers)
    _report(staged, f"from {place} to {folder}", quiet=quiet)
    return staged


def bring_out(storage: "StorageOptions", remote: str, folder: Path, names: Iterable[str], *, quiet: bool) -> "Staged":
    """Stage files out, say how it went and return it; see `bring_in`."""
    from mpidriver.batch import stage_out

    place = _remote(remote or storage.target, "target")
    staged = stage_out(folder, place, names, transfers=storage.transfers)
    _report(staged, f"from {folder} to {place}", quiet=quiet)
    return staged


def with_staging(run: "Callable[[Pool, argparse.Namespace], int]") -> "Callable[[Pool, argparse.Namespace], int]":
    """Return a driver's function that also does what `add_staging` has added."""
    return functools.partial(_run_staged, run)


def _run_staged(run: "Callable[[Pool, argparse.Namespace], int]", pool: "Pool", options: argparse.Namespace) -> int:
    """Run a driver between bringing its raw files in and its products out; what fails does not end the rest."""
    if options.dry_run or (options.stage_in is None and options.stage_out is None):
        return run(pool, options)
    from mpidriver.batch import files_of_folders
    from mpidriver.drivers.config import load_config
    from mpidriver.store import Repository

    repository = Repository.open(options.repo)
    storage = load_config(repository.config_path).storage
    staged = []
    if options.stage_in is not None:
        missing = _missing_raw(options.repo)
        staged.append(bring_in(storage, options.stage_in, repository.root / "raw", missing, quiet=options.quiet))
    code = run(pool, options)
    if options.stage_out is not None:
        folders = [folder for folder in storage.folders if (repository.root / folder).is_dir()]
        products = files_of_folders(repository.root, folders)
        staged.append(bring_out(storage, options.stage_out, repository.root, products, quiet=options.quiet))
    return code or int(any(one.failures for one in staged))


def _missing_raw(repo: str) -> list[str]:
    """Return the raw files of a repository's frames that are not there, by their names below raw/."""
    from mpidriver.drivers.pipeline import open_context
    from mpidriver.store import open_state

    context = open_context(repo)
    with open_state(context.repository, readonly=True) as state:
        paths = {path for frame in state.frames() for path in (frame.path, frame.weight_path, frame.mask_path) if path}
    inside = [path for path in sorted(paths) if path.startswith("raw/")]
    return [path.removeprefix("raw/") for path in inside if not context.repository.resolve(path).exists()]


def _remote(text: str, role: str) -> "Remote":
    from mpidriver.batch import Remote

    if not text:
        raise ConfigError(f"staging: no remote; give one as ceph:bucket/folder, or {role} in [storage] of survey.toml")
    return Remote.parse(text)


def _report(staged: "Staged", way: str, *, quiet: bool) -> None:
    if not quiet:
        size = f"{staged.bytes_copied / 1e6:,.1f} MB"
        print(f"{way}: {len(staged.copied)} files copied ({size}), {len(staged.present)} there already")
    shown = list(staged.failures.items())[:_SHOWN]
    for name, reason in shown:
        print(f"mpidriver: not staged: {name}: {reason}", file=sys.stderr)
    if len(staged.failures) > len(shown):
        print(f"mpidriver: not staged: {len(staged.failures) - len(shown)} more", file=sys.stderr)
