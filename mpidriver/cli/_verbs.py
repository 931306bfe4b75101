"""The verbs that need no ranks: init, status, advise, debug, config."""

import argparse
import dataclasses
import math
import shlex
from collections.abc import Callable
from pathlib import Path

from mpidriver.errors import ConfigError

__all__ = ["VERBS"]


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


def status(options: argparse.Namespace) -> int:
    """Show stage × state, and what failed."""
    from mpidriver.drivers.pipeline import open_context
    from mpidriver.report import status_table
    from mpidriver.store import open_state

    context = open_context(options.repo)
    with open_state(context.repository, readonly=True) as state:
        print(status_table(state.counts(), state.quanta(status="failed")))
    return 0


def advise(options: argparse.Namespace) -> int:
    """Say how many ranks and how much time to ask for."""
    from mpidriver.cli import _advise

    return _advise.advise(options)


def debug(options: argparse.Namespace) -> int:
    """Run one quantum under pdb."""
    from mpidriver.drivers._quantum import parse_quantum
    from mpidriver.drivers.pipeline import debug_quantum

    return 0 if debug_quantum(options.repo, parse_quantum(options.quantum)) else 1


def config(options: argparse.Namespace) -> int:
    """Print every option as TOML."""
    from mpidriver.drivers.config import SurveyConfig, config_text, load_config
    from mpidriver.store import Repository

    record = load_config(Repository.open(options.repo).config_path) if options.repo else SurveyConfig()
    print(config_text(record), end="")
    return 0


VERBS: dict[str, Callable[[argparse.Namespace], int]] = {
    "init": init,
    "status": status,
    "advise": advise,
    "debug": debug,
    "config": config,
}
