"""What is computed: pure functions from arrays and an options record to arrays and records.

A task knows no ranks, no paths and no databases. Each stage is a folder with one public door; its options record can
be imported without loading numba, astropy or scipy.
"""
