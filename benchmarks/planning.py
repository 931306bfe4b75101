"""Time and memory of planning a whole survey from its state database: 650 visits of 103 detectors onto 100 patches.

Run as ``python benchmarks/planning.py [VISITS]``. The plan of HSC tract 9615, 117,000 quanta, took LSST's middleware
13 hours (DMTN-157); its 26,688 jobs that were run came from a part of it. Here each visit's warp of a patch is a
quantum a detector, so that as many visits give more than twice as many quanta.
"""

import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from mpidriver.drivers._costs._costs import ExpectedSeconds, input_sizes
from mpidriver.drivers._selection import Selection
from mpidriver.drivers._stage import Context
from mpidriver.drivers.config import SurveyConfig, config_text
from mpidriver.drivers.planning import plan_driver
from mpidriver.store import Frame, Repository, open_state
from mpidriver.tasks.skymap import SkyMapOptions

#: DMTN-157: quanta and hours.
PEER_QUANTA, PEER_HOURS = 117_000, 13.0

BANDS = "grizy"
#: Centre of the tract, and width and height of a detector; degrees.
CENTRE, WIDTH, HEIGHT = (150.1, 2.2), 0.19, 0.095
SKY = SkyMapOptions(kind="discrete", centres=(CENTRE,), tract_radius_deg=0.84, tract_overlap_deg=0.0)


def focal_plane() -> np.ndarray:
    """Return the centres of 103 detectors in a disc, degrees from its centre; shape (detector, 2)."""
    grid = np.stack(np.meshgrid(np.arange(-4.5, 5) * 0.2, np.arange(-7.5, 8) * 0.1), axis=-1).reshape(-1, 2)
    return grid[np.argsort(np.hypot(*grid.T), kind="stable")[:103]]


def frames(visits: int) -> list[Frame]:
    """Return the frames of visits whose pointings are dithered by half a degree."""
    rng = np.random.default_rng(9615)
    outline = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) * (WIDTH / 2, HEIGHT / 2)
    found = []
    for visit in range(visits):
        pointing = CENTRE + rng.uniform(-0.5, 0.5, 2)
        found += [
            Frame(visit, detector, BANDS[visit % 5], f"raw/{visit}-{detector}.fits", corners=pointing + place + outline)
            for detector, place in enumerate(focal_plane())
        ]
    return found


def main() -> None:
    """Plan, enter the quanta into the database and plan again, as the second run does."""
    visits = int(sys.argv[1]) if len(sys.argv) > 1 else 650
    with tempfile.TemporaryDirectory() as folder:
        config = SurveyConfig(skymap=SKY)
        repository = Repository.create(Path(folder) / "survey", config=config_text(config))
        context = Context(str(repository.root), config)
        with open_state(repository) as state:
            print(f"{state.add_frames(frames(visits)):,} frames of {visits} visits")
            for run in ("first run", "second run"):
                start = time.process_time()
                plan = plan_driver(context, state, "pipeline", Selection())
                planned = time.process_time() - start
                plan.graph.depths(ExpectedSeconds(state.quanta(), input_sizes(plan.graph)))
                ordered = time.process_time() - start
                state.plan((quantum.key, quantum.task, dict(quantum.data_id.items())) for quantum in plan.graph)
                entered = time.process_time() - start
                print(
                    f"{run}: {len(plan.graph):,} quanta planned in {planned:.1f} s, ordered until {ordered:.1f} s, "
                    f"entered until {entered:.1f} s"
                )
    quanta = len(plan.graph)
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB")
    ratio = PEER_HOURS * 3600 / PEER_QUANTA / (entered / quanta)
    print(f"a quantum costs {1e6 * entered / quanta:.0f} µs of one core; DMTN-157: 0.40 s, {ratio:,.0f} times as much")


if __name__ == "__main__":
    main()
