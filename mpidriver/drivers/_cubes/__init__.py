"""Whole cubes, region by region over the ranks."""
