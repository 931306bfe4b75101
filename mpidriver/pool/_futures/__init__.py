"""Futures, and the pool as an executor of the standard library."""
