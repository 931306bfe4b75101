"""The columns of the component and island tables that source finders write, and what they are called here."""

from dataclasses import dataclass, field

import numpy as np

__all__ = ["COMPONENT_DTYPE", "COMPONENT_UNITS", "LAYOUTS", "Layout"]

_NAMES = ("cat_id", "source_id", "source_name", "tile_id", "sbid", "s_code")
_ANGLES = ("maj_axis", "min_axis", "pa", "dc_maj_axis", "dc_min_axis", "dc_pa")

#: Columns of the components of a repository: names are those of the RM catalogue, where they return.
COMPONENT_UNITS: dict[str, str] = {
    **dict.fromkeys(_NAMES, ""),
    "start_time": "d",
    "N_Gaus": "",
    **dict.fromkeys(("ra", "ra_err", "dec", "dec_err"), "deg"),
    **dict.fromkeys(("total_I_flux", "total_I_flux_err"), "Jy"),
    **dict.fromkeys(("peak_I_flux", "peak_I_flux_err"), "Jy/beam"),
    **{f"{name}{end}": "deg" for name in _ANGLES for end in ("", "_err")},
    "separation_tile_centre": "deg",
    "rms_noise": "Jy/beam",
}
_KINDS = {**dict.fromkeys(_NAMES, "U64"), "sbid": "U16", "s_code": "U4", "N_Gaus": "i4"}
COMPONENT_DTYPE = np.dtype([(name, _KINDS.get(name, "f8")) for name in COMPONENT_UNITS])


@dataclass(frozen=True)
class Layout:
    """How one source finder names its columns."""

    name: str
    """For messages."""
    marks: frozenset[str]
    """Columns by which its tables are known."""
    columns: dict[str, tuple[str, str]]
    """Our column to theirs, and the unit where the table states none."""
    islands: bool = False
    """Whether a row is an island, not one of its components."""
    templates: dict[str, str] = field(default_factory=dict)
    """Our column to a text made of several of theirs; ``{table}`` is the file's name without its ending."""


def _racs(kind: str) -> dict[str, tuple[str, str]]:
    columns = {
        "source_id": ("Source_ID", ""),
        "tile_id": ("Tile_ID", ""),
        "sbid": ("SBID", ""),
        "start_time": ("Obs_Start_Time", "d"),
        "N_Gaus": ("N_Gaus", ""),
        "s_code": ("S_Code", ""),
        "ra": ("RA", "deg"),
        "ra_err": ("E_RA", "arcsec"),
        "dec": ("Dec", "deg"),
        "dec_err": ("E_Dec", "arcsec"),
        "total_I_flux": (f"Total_flux_{kind}", "mJy"),
        "total_I_flux_err": (f"E_Total_flux_{kind}", "mJy"),
        "peak_I_flux": ("Peak_flux", "mJy/beam"),
        "peak_I_flux_err": ("E_Peak_flux", "mJy/beam"),
        "separation_tile_centre": ("Separation_Tile_Centre", "deg"),
        "rms_noise": ("Noise", "mJy/beam"),
    }
    for ours, theirs in (("maj_axis", "Maj"), ("min_axis", "Min"), ("pa", "PA")):
        unit = "deg" if ours == "pa" else "arcsec"
        columns |= {ours: (theirs, unit), f"{ours}_err": (f"E_{theirs}", unit)}
        columns |= {f"dc_{ours}": (f"DC_{theirs}", unit), f"dc_{ours}_err": (f"E_DC_{theirs}", unit)}
    return columns


_SELAVY = {
    "ra": ("ra_deg_cont", "deg"),
    "dec": ("dec_deg_cont", "deg"),
    "ra_err": ("ra_err", "arcsec"),
    "dec_err": ("dec_err", "arcsec"),
    "total_I_flux": ("flux_int", "mJy"),
    "total_I_flux_err": ("flux_int_err", "mJy"),
    "peak_I_flux": ("flux_peak", "mJy/beam"),
    "peak_I_flux_err": ("flux_peak_err", "mJy/beam"),
    "maj_axis": ("maj_axis", "arcsec"),
    "maj_axis_err": ("maj_axis_err", "arcsec"),
    "min_axis": ("min_axis", "arcsec"),
    "min_axis_err": ("min_axis_err", "arcsec"),
    "pa": ("pos_ang", "deg"),
    "pa_err": ("pos_ang_err", "deg"),
    "dc_maj_axis": ("maj_axis_deconv", "arcsec"),
    "dc_min_axis": ("min_axis_deconv", "arcsec"),
    "dc_pa": ("pos_ang_deconv", "deg"),
    "rms_noise": ("rms_image", "mJy/beam"),
}
_AEGEAN = {
    "cat_id": ("uuid", ""),
    "ra": ("ra", "deg"),
    "ra_err": ("err_ra", "deg"),
    "dec": ("dec", "deg"),
    "dec_err": ("err_dec", "deg"),
    "total_I_flux": ("int_flux", "Jy"),
    "total_I_flux_err": ("err_int_flux", "Jy"),
    "peak_I_flux": ("peak_flux", "Jy/beam"),
    "peak_I_flux_err": ("err_peak_flux", "Jy/beam"),
    "maj_axis": ("a", "arcsec"),
    "maj_axis_err": ("err_a", "arcsec"),
    "min_axis": ("b", "arcsec"),
    "min_axis_err": ("err_b", "arcsec"),
    "pa": ("pa", "deg"),
    "pa_err": ("err_pa", "deg"),
    "rms_noise": ("local_rms", "Jy/beam"),
}

#: Tried in this order; a table that none of them knows is taken by the names of its columns.
LAYOUTS = (
    Layout(
        "RACS components (Hale et al. 2021)",
        frozenset({"Gaussian_ID", "Source_ID", "RA", "Dec"}),
        {"cat_id": ("Gaussian_ID", ""), **_racs("Gaussian")},
    ),
    Layout(
        "RACS islands (Hale et al. 2021)",
        frozenset({"Source_ID", "Source_Name", "RA", "Dec"}),
        {"cat_id": ("Source_ID", ""), "source_name": ("Source_Name", ""), **_racs("Source")},
        islands=True,
    ),
    Layout(
        "Selavy components",
        frozenset({"component_id", "ra_deg_cont", "dec_deg_cont"}),
        {
            "cat_id": ("component_id", ""),
            "source_id": ("island_id", ""),
            "source_name": ("component_name", ""),
            **_SELAVY,
        },
    ),
    Layout(
        "Selavy islands",
        frozenset({"island_id", "ra_deg_cont", "dec_deg_cont"}),
        {
            "cat_id": ("island_id", ""),
            "source_id": ("island_id", ""),
            "source_name": ("island_name", ""),
            "N_Gaus": ("n_components", ""),
            **_SELAVY,
        },
        islands=True,
    ),
    Layout(
        "Aegean components",
        frozenset({"island", "source", "ra", "dec", "uuid", "peak_flux"}),
        _AEGEAN,
        templates={"source_id": "{table}:{island}"},
    ),
)
