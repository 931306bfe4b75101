"""Multiband: one list of objects from the coadds of all bands, measured in each.

`detect` on each band and `detect_combined` on all, `merge_detections` over them, `measure` the merged objects in each
band, `merge_measurements` into one reference position and shape an object, `force` each band at those, `join_bands`
into the rows of a catalogue.
Tables are structured arrays; their units stand in ``DETECTION_UNITS`` and its like.
"""

from mpidriver.lazy import loaded_on_use
from mpidriver.tasks.multiband._options import MultibandOptions

__all__ = [
    "DETECTION_UNITS",
    "FAKE_UNITS",
    "FORCED_UNITS",
    "FRAME_UNITS",
    "MEASUREMENT_UNITS",
    "MERGED_UNITS",
    "OBJECT_FLAGS",
    "REFERENCE_UNITS",
    "SUMMARY_UNITS",
    "CombinedDetections",
    "MultibandOptions",
    "ObjectFlag",
    "detect",
    "detect_combined",
    "detection_dtype",
    "fake_units",
    "force",
    "force_frame",
    "forced_dtype",
    "frame_dtype",
    "inject",
    "join_bands",
    "join_catalogues",
    "join_fakes",
    "make_fakes",
    "measure",
    "measurement_dtype",
    "merge_detections",
    "merge_measurements",
    "merged_dtype",
    "object_descriptions",
    "object_dtype",
    "object_id",
    "object_units",
    "recovered",
    "reference_dtype",
    "split_object_id",
    "summary_of_fakes",
]

_HOMES = {
    "CombinedDetections": "_combined",
    "DETECTION_UNITS": "_columns",
    "FAKE_UNITS": "_fakes",
    "FORCED_UNITS": "_columns",
    "FRAME_UNITS": "_columns",
    "MEASUREMENT_UNITS": "_columns",
    "MERGED_UNITS": "_columns",
    "OBJECT_FLAGS": "_flags",
    "REFERENCE_UNITS": "_columns",
    "ObjectFlag": "_flags",
    "SUMMARY_UNITS": "_fakes",
    "fake_units": "_fakes",
    "inject": "_fakes",
    "join_fakes": "_fakes",
    "make_fakes": "_fakes",
    "recovered": "_fakes",
    "summary_of_fakes": "_fakes",
    "detect": "_detect",
    "detect_combined": "_combined",
    "detection_dtype": "_columns",
    "force": "_measure",
    "force_frame": "_frames",
    "forced_dtype": "_columns",
    "frame_dtype": "_columns",
    "join_bands": "_join",
    "join_catalogues": "_join",
    "measure": "_measure",
    "measurement_dtype": "_columns",
    "merge_detections": "_merge",
    "merge_measurements": "_reference",
    "merged_dtype": "_columns",
    "object_descriptions": "_descriptions",
    "object_dtype": "_columns",
    "object_id": "_ids",
    "object_units": "_columns",
    "reference_dtype": "_columns",
    "split_object_id": "_ids",
}

__getattr__, __dir__ = loaded_on_use(__name__, _HOMES)
