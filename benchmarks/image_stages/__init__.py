"""Sections of benchmarks/stages.py, one a stage."""
