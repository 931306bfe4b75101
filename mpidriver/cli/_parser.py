"""The arguments of every verb."""

import argparse

__all__ = ["DRIVER_VERBS", "build_parser"]

#: Verb of a driver to what it does.
DRIVER_VERBS = {
    "single-frame": "reduce raw frames to calibrated frames and source catalogues",
    "mosaic": "solve astrometry and photometry of each tract over all its frames",
    "coadd": "warp frames to patches and stack them",
    "multiband": "detect and measure objects over all bands, make the catalogues",
    "faraday": "make Stokes cubes of patches, RM synthesis and the RM catalogue",
    "pipeline": "all of these in one run, each quantum as soon as its inputs are there",
}

EPILOG = """\
exit codes: 0 all done; 1 some quanta or files failed, everything else was finished; 2 usage or configuration;
3 repository missing, damaged, full or in use; 4 ranks or pool failed; 70 an error in mpidriver itself;
75 stopped by SIGUSR1, SIGTERM, Ctrl-C or --walltime: what ran was finished, the same command goes on;
130 interrupted by a second Ctrl-C
"""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line."""
    parser = argparse.ArgumentParser(
        prog="mpidriver",
        description="From raw frames to coadds, catalogues and Faraday spectra with one command.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version and leave")
    _add_ranks(parser, default=None)
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    _add_init(verbs)
    _add_ingest(verbs)
    _add_simulate(verbs)
    for verb, summary in DRIVER_VERBS.items():
        _add_driver(verbs, verb, summary)
    _add_status(verbs)
    _add_advise(verbs)
    _add_debug(verbs)
    _add_config(verbs)
    return parser


class _Version(argparse.Action):
    """Prints the version; reading the installed metadata is left until it is asked for."""

    def __call__(self, parser, namespace, values, option_string=None) -> None:
        import mpidriver

        print(f"mpidriver {mpidriver.__version__}")
        parser.exit()


def _add_verb(verbs, name: str, summary: str, **more) -> argparse.ArgumentParser:
    parser = verbs.add_parser(name, help=summary, description=summary[0].upper() + summary[1:] + ".", **more)
    parser.allow_abbrev = False
    parser.add_argument("repo", metavar="REPO", help="folder of the repository")
    return parser


def _add_ranks(parser: argparse.ArgumentParser, default: object) -> None:
    parser.add_argument(
        "-n",
        "--ranks",
        type=_positive,
        default=default,
        metavar="N",
        help="start N ranks on this machine (default: this process alone, or the ranks of mpirun or srun)",
    )


def _add_init(verbs) -> None:
    parser = _add_verb(verbs, "init", "make an empty repository with its survey.toml")
    parser.add_argument("--instrument", metavar="PRESET", help="start from a known instrument")
    parser.add_argument("--name", help="name of the survey")
    parser.add_argument(
        "--centre", metavar="RA,DEC", help="one tract about this position (deg) instead of the whole sky"
    )
    parser.add_argument("--radius", type=float, metavar="DEG", help="half the side of that tract (deg)")
    parser.add_argument("--pixel-scale", type=float, metavar="ARCSEC", help="pixels of the coadds (arcsec)")
    parser.add_argument("--patch-size", type=_positive, metavar="PX", help="side of a patch (pixels)")


def _add_ingest(verbs) -> None:
    parser = _add_verb(verbs, "ingest", "read headers of raw frames and enter them into the repository")
    parser.add_argument("files", nargs="+", metavar="FILE", help="FITS files, folders, globs, or @list")
    parser.add_argument("--copy", action="store_true", help="copy files into raw/ instead of linking them")
    _add_ranks(parser, default=argparse.SUPPRESS)
    _add_talk(parser)


def _add_simulate(verbs) -> None:
    parser = _add_verb(verbs, "simulate", "make a repository with the raw frames of a simulated survey")
    parser.add_argument("--seed", type=int, help="seed of everything random")
    parser.add_argument("--exposures", type=_positive, help="exposures a band")
    parser.add_argument("--bands", metavar="g^r^i", help="bands, joined by ^")
    parser.add_argument("--detectors", metavar="ROWSxCOLS", help="detectors of the focal plane, as 2x2")
    parser.add_argument("--detector-size", type=_positive, metavar="PX", help="side of a detector (pixels)")
    parser.add_argument("--channels", type=int, help="radio channels")
    parser.add_argument("--strays", type=int, help="exposures of another sky region among them")
    parser.add_argument("--config", metavar="FILE", help="take table [simulation] from this TOML file")
    _add_ranks(parser, default=argparse.SUPPRESS)
    _add_talk(parser)


def _add_driver(verbs, verb: str, summary: str) -> None:
    parser = _add_verb(verbs, verb, summary, epilog="selections: numbers, lists and ranges as 1..9^12 or 0..100:10")
    for name, example in (
        ("exposure", "1204..1210"),
        ("detector", "0..49^62"),
        ("band", "g^r"),
        ("tract", "9813"),
        ("patch", "2,5^3,5"),
    ):
        parser.add_argument(f"--{name}", default="", metavar=example, help=f"work on no other {name}")
    parser.add_argument("--dry-run", action="store_true", help="list the quanta that would run, and leave")
    parser.add_argument("--clobber", action="store_true", help="run also what is done and unchanged")
    parser.add_argument("--fail-fast", action="store_true", help="hand out nothing more after the first failure")
    parser.add_argument(
        "--isolate",
        action=argparse.BooleanOptionalAction,
        default=False,
        help="run each quantum in a child process of its rank, so that one that crashes costs itself alone",
    )
    parser.add_argument(
        "--walltime",
        type=_walltime,
        metavar="TIME",
        help="time limit of the job as Slurm's --time, 90 (minutes) or 1:30:00: stop early enough for what runs to end",
    )
    parser.add_argument(
        "--trace",
        metavar="FILE",
        help="write which rank ran what when, as JSON for ui.perfetto.dev or chrome://tracing",
    )
    if verb in {"pipeline", "multiband", "faraday"}:
        parser.add_argument("--no-pictures", action="store_true", help="draw no pictures at the end")
    _add_ranks(parser, default=argparse.SUPPRESS)
    _add_talk(parser)


def _add_talk(parser: argparse.ArgumentParser) -> None:
    talk = parser.add_mutually_exclusive_group()
    talk.add_argument("-q", "--quiet", action="store_true", help="no progress, no closing table")
    talk.add_argument("-v", "--verbose", action="store_true", help="log at level INFO")
    parser.add_argument("--log-level", choices=("DEBUG", "INFO", "WARNING", "ERROR"), help="what is logged")
    parser.add_argument(
        "--log-dir",
        metavar="DIR",
        help="also log each rank, at level INFO or the one asked for, as JSON lines: DIR/<run>/rank-<number>.jsonl",
    )


def _add_status(verbs) -> None:
    _add_verb(verbs, "status", "show how many quanta of each stage are done, failed, blocked or left")


def _add_advise(verbs) -> None:
    summary = "predict wall time, efficiency and memory against the number of ranks, and recommend one"
    parser = verbs.add_parser("advise", help=summary, description=summary[0].upper() + summary[1:] + ".")
    parser.allow_abbrev = False
    parser.add_argument("repo", metavar="REPO", nargs="?", help="repository: what is left to run of it")
    parser.add_argument("--table", metavar="FILE", help="CSV of task, seconds, count, spread, memory, needs")
    parser.add_argument("--trace", metavar="FILE", help="Chrome trace of an earlier run")
    parser.add_argument("--ranks", dest="rank_counts", metavar="12,112,448", help="numbers of ranks to try")
    parser.add_argument("--ranks-per-node", type=_positive, metavar="N", help="ranks that share a node")
    parser.add_argument("--memory-per-node", metavar="SIZE", help="memory of a node, as 192GiB")
    parser.add_argument("--margin", type=float, metavar="SHARE", help="added to the time limit (default: 0.25)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the times that are drawn")
    parser.add_argument("--json", action="store_true", help="print everything as JSON")


def _add_debug(verbs) -> None:
    parser = _add_verb(verbs, "debug", "run one quantum in this process under pdb, with its recorded inputs")
    parser.add_argument("quantum", metavar="QUANTUM", help="its key, as 'coadd{tract=0, patch=1,0, band=r}'")


def _add_config(verbs) -> None:
    summary = "print every option with its value, help and unit as TOML"
    parser = verbs.add_parser("config", help=summary, description=summary)
    parser.add_argument("repo", metavar="REPO", nargs="?", help="repository whose values to print (default: defaults)")


def _walltime(text: str) -> float:
    from mpidriver.pool import read_walltime

    try:
        return read_walltime(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _positive(text: str) -> int:
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 1, got {text!r}")
    return number
