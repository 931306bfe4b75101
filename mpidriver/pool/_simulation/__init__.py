"""Workloads on virtual ranks with the real schedulers."""
