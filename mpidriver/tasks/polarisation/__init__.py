"""Polarised sources of a catalogue: from channel images to their spectra and the RM table.

::

    _options        the option records (imports no numpy)
"""

from mpidriver.tasks.polarisation._options import SourceOptions

__all__ = ["SourceOptions"]
