"""Where it runs: starting ranks on this machine."""

from mpidriver.batch._local import rank_environment, run_ranks

__all__ = ["rank_environment", "run_ranks"]
