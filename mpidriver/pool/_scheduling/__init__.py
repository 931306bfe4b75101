"""Which rank does what next: objects without MPI and without clocks."""
