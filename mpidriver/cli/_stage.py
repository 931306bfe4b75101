"""The verb `stage`: files in from a remote, or out to it."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from mpidriver.cli._arguments import add_repo, add_verb
from mpidriver.errors import ConfigError

if TYPE_CHECKING:
    from mpidriver.cli._arguments import Verbs

__all__ = ["add_arguments"]

EPILOG = """\
The environment defines remotes as rclone has it: RCLONE_CONFIG_CEPH_TYPE=s3, RCLONE_CONFIG_CEPH_ENDPOINT=… and so on.

examples:
  mpidriver stage in SURVEY                         # all that [storage] source has, into SURVEY/raw
  mpidriver stage in SURVEY night1/a.fits night1/b.fits --remote ceph:raw
  mpidriver stage out SURVEY coadds cutouts         # these folders to [storage] target
"""


def add_arguments(verbs: "Verbs") -> None:
    """Add `stage` to the command line."""
    summary = "bring raw files in from a remote, or products out to it, each verified"
    parser = add_verb(
        verbs, "stage", summary, run=stage, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("way", choices=("in", "out"), help="which way")
    add_repo(parser)
    parser.add_argument("names", nargs="*", metavar="NAME", help="in: files; out: files or folders (default: all)")
    parser.add_argument("--list", metavar="FILE", help="names as the lines of a file")
    parser.add_argument("--messages", metavar="FILE", help="in: the files of messages, see `cutout`")
    parser.add_argument("--remote", default="", metavar="REMOTE", help="where (default: as [storage] says)")
    parser.add_argument("-q", "--quiet", action="store_true", help="say nothing unless something failed")


def stage(options: argparse.Namespace) -> int:
    """Bring files in or out and say what is not there."""
    from mpidriver.batch import files_of_folders
    from mpidriver.cli._staging import bring_in, bring_out
    from mpidriver.drivers.config import load_config
    from mpidriver.store import Repository

    repository = Repository.open(options.repo)
    storage = load_config(repository.config_path).storage
    names = _names(options)
    if options.way == "in":
        staged = bring_in(storage, options.remote, repository.root / "raw", names, quiet=options.quiet)
    else:
        there = [folder for folder in storage.folders if (repository.root / folder).is_dir()]
        files = files_of_folders(repository.root, there if names is None else names)
        staged = bring_out(storage, options.remote, repository.root, files, quiet=options.quiet)
    return 1 if staged.failures else 0


def _names(options: argparse.Namespace) -> list[str] | None:
    given = [value for value in (options.names, options.list, options.messages) if value]
    if len(given) > 1:
        raise ConfigError("stage: give names by one of NAME…, --list and --messages")
    if options.messages:
        from mpidriver.drivers._cutouts._positions import read_messages

        if options.way == "out":
            raise ConfigError("stage out: --messages name files to bring in; give folders, or --list")
        return list(dict.fromkeys(read_messages(options.messages).files or ()))
    if options.list:
        try:
            lines = Path(options.list).read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"--list {options.list}: cannot be read: {error}") from None
        return [line for line in lines if line.strip()]
    return options.names or None
