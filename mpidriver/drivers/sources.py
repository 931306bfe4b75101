"""The source driver: polarisation and rotation measures of the components of a catalogue.

Scatter the ionosphere of each exposure and beam. Scatter cells of the sky: each cuts its components out of the channel
images of every beam (its channels scattered again), smooths them to a common resolution, joins the beams, turns the
ionosphere back and extracts spectra; their RMs follow, and cubes about them on demand. Gather the survey's RM table.
"""

from mpidriver.drivers._sources import _cubes, _ionosphere, _qu, _rm, _spectra

__all__ = ["STAGES"]

STAGES = {**_ionosphere.STAGES, **_spectra.STAGES, **_qu.STAGES, **_rm.STAGES, **_cubes.STAGES}
