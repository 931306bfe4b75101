"""The parser of the whole command line, made of what each verb's file adds."""

import argparse

from mpidriver.cli import (
    _advise,
    _cancel,
    _catalogue,
    _config,
    _cutout,
    _debug,
    _drive,
    _fakes,
    _ingest,
    _init,
    _jobs,
    _plot,
    _rmclean,
    _rmsynth,
    _show,
    _simulate,
    _stage,
    _status,
    _submit,
)
from mpidriver.cli._arguments import add_ranks

__all__ = ["build_parser"]

#: Files of verbs, in the order in which `--help` shows them.
VERBS = (
    _init,
    _ingest,
    _catalogue,
    _simulate,
    _drive,
    _fakes,
    _rmsynth,
    _rmclean,
    _cutout,
    _plot,
    _stage,
    _status,
    _show,
    _advise,
    _submit,
    _jobs,
    _cancel,
    _debug,
    _config,
)

EPILOG = """\
exit codes: 0 all done; 1 some quanta or files failed, everything else was finished; 2 usage or configuration;
3 repository missing, damaged, full or in use; 4 ranks or pool failed; 70 an error in mpidriver itself;
75 stopped by SIGUSR1, SIGTERM, Ctrl-C or --walltime: what ran was finished, the same command goes on;
130 interrupted by a second Ctrl-C
"""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line; `run` or `run_on_pool` of what it reads runs the verb."""
    parser = argparse.ArgumentParser(
        prog="mpidriver",
        description="From raw frames to coadds, catalogues and Faraday spectra with one command.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version and leave")
    add_ranks(parser, default=None)
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    for verb in VERBS:
        verb.add_arguments(verbs)
    return parser


class _Version(argparse.Action):
    """Prints the version; reading the installed metadata is left until it is asked for."""

    def __call__(self, parser, namespace, values, option_string=None) -> None:
        import mpidriver

        print(f"mpidriver {mpidriver.__version__}")
        parser.exit()
