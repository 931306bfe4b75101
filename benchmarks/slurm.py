"""The simulated survey by 16 ranks on 4 nodes of a Slurm of this machine, against one rank: the same bytes.

    python benchmarks/slurm.py [FOLDER]

Needs root and Debian's slurmctld slurmd slurm-client munge libpmix2 (`.ci/run` installs them). The nodes are four names
of this machine, so the wall time says nothing of a cluster; that all products are equal bit for bit does.
"""

import contextlib
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from local_slurm import LocalSlurm, why_not
from survey import digests, run

from mpidriver.batch import ENDED, job_standings

SURVEY = ["--bands", "g^r", "--exposures", "3", "--detectors", "2x2", "--detector-size", "300", "--channels", "8"]


def main() -> int:
    """Run both and compare."""
    if why_not():
        print(f"no Slurm: {why_not()}")
        return 2
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp(prefix="mpidriver-slurm-"))
    serial, spread = folder / "serial", folder / "spread"
    assert run("simulate", serial, *SURVEY, "--quiet").code == 0
    shutil.copytree(serial, spread)
    began = time.monotonic()
    assert run("pipeline", serial, "--quiet", "--no-pictures", timeout=600).code == 0
    alone_s = time.monotonic() - began
    with contextlib.closing(LocalSlurm(nodes=4, cores=4)) as slurm:
        os.environ |= {"OMPI_MCA_btl": "self,tcp"}  # nodes of one machine would share one /dev/shm, and its names
        os.environ |= {name: slurm.environment[name] for name in ("SLURM_CONF", "PATH")}
        size = ["--system", "slurm", "--nodes", "4", "--ranks-per-node", "4", "--time", "30", "--memory", "3900MiB"]
        transport = ["--export", "OMPI_MCA_btl"]
        began = time.monotonic()
        ended = run("submit", *size, *transport, "--", "pipeline", spread, "--quiet", "--no-pictures")
        print(ended.text, end="")
        while (standing := job_standings(spread)[0][0]).state not in ENDED:
            time.sleep(0.5)
    print(f"job: {standing.state} {standing.why}; {time.monotonic() - began:.0f} s; one rank: {alone_s:.0f} s")
    one, many = digests(serial), digests(spread)
    differing = sorted(name for name in one.keys() | many.keys() if one.get(name) != many.get(name))
    catalogue = "catalogues/objects.fits"
    print(
        f"{len(one)} products of one rank, {len(many)} of 16 ranks on 4 nodes, {len(differing)} differ {differing[:5]}"
    )
    print(f"{catalogue}: {'equal' if one[catalogue] == many.get(catalogue) else 'DIFFERENT'}")
    return 1 if differing or standing.state != "done" else 0


if __name__ == "__main__":
    raise SystemExit(main())
