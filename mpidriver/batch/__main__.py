"""``python -m mpidriver.batch FOLDER`` is what the scripts of jobs run."""

import sys
from pathlib import Path

from mpidriver.batch._records import JobFolder
from mpidriver.batch._runner import run_job

if __name__ == "__main__":
    raise SystemExit(run_job(JobFolder(Path(sys.argv[1]))))
