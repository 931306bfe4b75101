"""What people look at: the progress bar, the closing table, the status table and the pictures.

Names are loaded when first used, so that a run without pictures never imports matplotlib. Each picture is a function
of arrays that writes one PNG; `draw_all` finds the products of a repository and draws them all.
"""

from typing import TYPE_CHECKING

from mpidriver.lazy import loaded_on_use

if TYPE_CHECKING:
    from mpidriver.report._advice import advice_table
    from mpidriver.report._astrometry import draw_astrometry
    from mpidriver.report._catalogue import draw_catalogue
    from mpidriver.report._clip_map import draw_clip_map
    from mpidriver.report._colour import draw_colour_coadd, lupton_rgb
    from mpidriver.report._coverage import draw_coverage, point_source_depth_mag
    from mpidriver.report._cube_pictures import brightest_pixels, draw_clean_pictures, draw_cube_pictures
    from mpidriver.report._exposure import DetectorImage, draw_exposure
    from mpidriver.report._failures import failures_page, group_failures
    from mpidriver.report._fakes import draw_fakes, fakes_notes
    from mpidriver.report._faraday_maps import draw_faraday_maps
    from mpidriver.report._faraday_spectra import FaradaySpectrum, draw_faraday_spectra
    from mpidriver.report._focal_plane import FramePoint, draw_focal_plane
    from mpidriver.report._jobs import jobs_table
    from mpidriver.report._noise import draw_noise
    from mpidriver.report._pace import pace_of_run
    from mpidriver.report._patch_board import draw_patch_board
    from mpidriver.report._pictures import PictureJob, draw_all, draw_pictures, picture_jobs
    from mpidriver.report._progress import Progress
    from mpidriver.report._quantum import quantum_page
    from mpidriver.report._repeatability import MATCH_DTYPE, FrameStars, match_stars, robust_rms, scatter_of_stars
    from mpidriver.report._seams import draw_seams
    from mpidriver.report._summary import FailedQuantum, RunSummary, StageSummary
    from mpidriver.report._tables import Page, closing_table, print_summary, status_table
    from mpidriver.report._terminal import own_terminal
    from mpidriver.report._timeline import TimedQuantum, draw_timeline

_HOMES = {
    "_advice": ("advice_table",),
    "_astrometry": ("draw_astrometry",),
    "_catalogue": ("draw_catalogue",),
    "_clip_map": ("draw_clip_map",),
    "_colour": (
        "draw_colour_coadd",
        "lupton_rgb",
    ),
    "_coverage": (
        "draw_coverage",
        "point_source_depth_mag",
    ),
    "_exposure": ("DetectorImage", "draw_exposure"),
    "_failures": ("failures_page", "group_failures"),
    "_cube_pictures": (
        "brightest_pixels",
        "draw_clean_pictures",
        "draw_cube_pictures",
    ),
    "_fakes": ("draw_fakes", "fakes_notes"),
    "_faraday_maps": ("draw_faraday_maps",),
    "_faraday_spectra": (
        "FaradaySpectrum",
        "draw_faraday_spectra",
    ),
    "_focal_plane": (
        "FramePoint",
        "draw_focal_plane",
    ),
    "_jobs": ("jobs_table",),
    "_noise": ("draw_noise",),
    "_pace": ("pace_of_run",),
    "_patch_board": ("draw_patch_board",),
    "_pictures": (
        "PictureJob",
        "draw_all",
        "draw_sources",
        "draw_pictures",
        "picture_jobs",
    ),
    "_progress": ("Progress",),
    "_quantum": ("quantum_page",),
    "_repeatability": (
        "MATCH_DTYPE",
        "FrameStars",
        "match_stars",
        "robust_rms",
        "scatter_of_stars",
    ),
    "_rm_sources": ("draw_rm_comparison", "draw_rm_table", "published_rms"),
    "_seams": ("draw_seams",),
    "_summary": (
        "FailedQuantum",
        "RunSummary",
        "StageSummary",
    ),
    "_tables": (
        "Page",
        "closing_table",
        "print_summary",
        "status_table",
    ),
    "_terminal": ("own_terminal",),
    "_timeline": (
        "TimedQuantum",
        "draw_timeline",
    ),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "MATCH_DTYPE",
    "DetectorImage",
    "FailedQuantum",
    "FaradaySpectrum",
    "FramePoint",
    "FrameStars",
    "Page",
    "PictureJob",
    "Progress",
    "RunSummary",
    "StageSummary",
    "TimedQuantum",
    "advice_table",
    "brightest_pixels",
    "closing_table",
    "draw_all",
    "draw_astrometry",
    "draw_catalogue",
    "draw_clean_pictures",
    "draw_clip_map",
    "draw_colour_coadd",
    "draw_coverage",
    "draw_cube_pictures",
    "draw_exposure",
    "draw_fakes",
    "draw_faraday_maps",
    "draw_faraday_spectra",
    "draw_focal_plane",
    "draw_noise",
    "draw_patch_board",
    "draw_pictures",
    "draw_rm_comparison",
    "draw_rm_table",
    "draw_seams",
    "draw_sources",
    "draw_timeline",
    "failures_page",
    "fakes_notes",
    "group_failures",
    "jobs_table",
    "lupton_rgb",
    "match_stars",
    "own_terminal",
    "pace_of_run",
    "picture_jobs",
    "point_source_depth_mag",
    "print_summary",
    "published_rms",
    "quantum_page",
    "robust_rms",
    "scatter_of_stars",
    "status_table",
]

__getattr__, __dir__ = loaded_on_use(__name__, _HOME)
