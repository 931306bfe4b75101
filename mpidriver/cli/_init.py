"""The verb `init`: an empty repository."""

import argparse
import dataclasses
import math
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from mpidriver.cli._arguments import add_repo, add_verb, positive
from mpidriver.errors import ConfigError

if TYPE_CHECKING:
    from mpidriver.cli._arguments import Verbs

__all__ = ["add_arguments"]


def add_arguments(verbs: "Verbs") -> None:
    """Add `init` to the command line."""
    parser = add_verb(verbs, "init", "make an empty repository with its survey.toml", run=init)
    add_repo(parser)
    parser.add_argument("--instrument", metavar="PRESET", help="start from a known instrument")
    parser.add_argument("--name", help="name of the survey")
    parser.add_argument(
        "--centre", metavar="RA,DEC", help="one tract about this position (deg) instead of the whole sky"
    )
    parser.add_argument("--radius", type=float, metavar="DEG", help="half the side of that tract (deg)")
    parser.add_argument("--pixel-scale", type=float, metavar="ARCSEC", help="pixels of the coadds (arcsec)")
    parser.add_argument("--patch-size", type=positive, metavar="PX", help="side of a patch (pixels)")


def init(options: argparse.Namespace) -> int:
    """Make an empty repository with its survey.toml."""
    from mpidriver.drivers.config import SurveyConfig, config_text
    from mpidriver.store import Repository, instrument_preset

    config = SurveyConfig(name=options.name or Path(options.repo).name)
    if options.instrument:
        config = dataclasses.replace(config, instrument=instrument_preset(options.instrument))
    config = dataclasses.replace(config, skymap=_sky_map(config.skymap, options))
    repository = Repository.create(options.repo, config=config_text(config))
    next_step = f"`mpidriver ingest {shlex.quote(options.repo)} FILE …`"
    print(f"{repository.root}: made; look through {repository.config_path.name}, then {next_step}")
    return 0


def _sky_map(skymap, options: argparse.Namespace):
    """Return the sky map with what the command line says of it."""
    changes: dict[str, object] = {}
    if options.centre:
        changes |= {"kind": "discrete", "centres": (_position(options.centre),), "tract_overlap_deg": 0.0}
    if options.radius:
        changes["tract_radius_deg"] = options.radius
    if options.pixel_scale:
        changes["pixel_scale_arcsec"] = options.pixel_scale
    skymap = dataclasses.replace(skymap, **changes)
    if options.patch_size:
        return dataclasses.replace(skymap, patch_inner_px=options.patch_size)
    if options.centre:
        width_px = math.ceil(2 * 3600 * max(skymap.radii_deg) / skymap.pixel_scale_arcsec)
        return dataclasses.replace(skymap, patch_inner_px=min(skymap.patch_inner_px, width_px))
    return skymap


def _position(text: str) -> tuple[float, float]:
    try:
        ra, dec = map(float, text.split(","))
    except ValueError:
        raise ConfigError(f"--centre: expected RA,DEC in degrees as 150.1,2.2, got {text!r}") from None
    return ra, dec
