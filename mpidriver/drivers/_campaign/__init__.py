"""A run of a graph of quanta, recorded in the state database."""
