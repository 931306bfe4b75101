"""What headers and kernels must agree on about frequencies."""

__all__ = ["HERTZ", "LOWEST_FREQUENCY_HZ", "SPEED_OF_LIGHT_M_S"]

SPEED_OF_LIGHT_M_S = 299792458.0
HERTZ = {"": 1.0, "hz": 1.0, "khz": 1e3, "mhz": 1e6, "ghz": 1e9, "thz": 1e12}
"""Units of frequency in lower case; none is Hz, as FITS has it."""
LOWEST_FREQUENCY_HZ = 1e6
"""Below this a number cannot be meant in Hz: no interferometer observes there, and 30 GHz given in MHz is 3e4."""
