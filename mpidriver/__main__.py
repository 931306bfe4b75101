"""``python -m mpidriver`` is the command line."""

from mpidriver.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
