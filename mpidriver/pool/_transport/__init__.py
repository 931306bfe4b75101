"""How messages travel: MPI, doorbells, memory, pickles."""
