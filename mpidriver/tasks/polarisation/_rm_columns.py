"""Columns of the RM table: the standard's, RMTable 1.3 (Van Eck et al. 2023), and those of SPICE-RACS beside them."""

import numpy as np

from mpidriver.tasks.faraday import ANALYSIS_DTYPE, ANALYSIS_UNITS, RM_DTYPE, RM_UNITS
from mpidriver.tasks.polarisation._qu_table import QU_COLUMNS

__all__ = ["ANALYSED", "RM_TABLE_DTYPE", "RM_TABLE_UNITS", "RM_TABLE_WORDS"]

# name -> type, unit, UCD, description
_MORE = {
    "source_id": ("U64", "", "meta.id.parent", "Island that the component belongs to"),
    "source_name": ("U64", "", "meta.id", "Name of the island"),
    "tile_id": ("U64", "", "meta.id", "Tile of the survey"),
    "sbid": ("U16", "", "meta.id;obs", "Scheduling block"),
    "s_code": ("U4", "", "meta.code", "Source finder's code of the island"),
    "start_time": ("f8", "d", "time.start;obs", "Start of the observation by the catalogue"),
    "N_Gaus": ("i4", "", "meta.number", "Components of the island"),
    "ra_err": ("f8", "deg", "stat.error;pos.eq.ra", "Error in right ascension"),
    "dec_err": ("f8", "deg", "stat.error;pos.eq.dec", "Error in declination"),
    "total_I_flux": ("f8", "Jy", "phot.flux.density;phys.polarization.stokes.I", "Total flux density by the catalogue"),
    "total_I_flux_err": ("f8", "Jy", "stat.error;phot.flux.density", "Error in total_I_flux"),
    "peak_I_flux": ("f8", "Jy/beam", "phot.flux.density;stat.max", "Peak flux density by the catalogue"),
    "peak_I_flux_err": ("f8", "Jy/beam", "stat.error;phot.flux.density;stat.max", "Error in peak_I_flux"),
    **{
        f"{prefix}{axis}{end}": ("f8", "deg", f"{'stat.error;' if end else ''}{ucd}", f"{what} of the fitted {shape}")
        for prefix, shape in (("", "Gaussian"), ("dc_", "Gaussian less the beam"))
        for axis, ucd, what in (
            ("maj_axis", "phys.angSize.smajAxis", "Major FWHM"),
            ("min_axis", "phys.angSize.sminAxis", "Minor FWHM"),
            ("pa", "pos.posAng", "Position angle"),
        )
        for end in ("", "_err")
    },
    "separation_tile_centre": ("f8", "deg", "pos.angDistance", "Distance from the tile's centre"),
    "rms_noise": ("f8", "Jy/beam", "instr.det.noise", "Local noise by the catalogue"),
    "stokesI_bkg": ("f4", "Jy", "instr.background;phys.polarization.stokes.I", "Mean background in Stokes I"),
    "stokesQ_bkg": ("f4", "Jy", "instr.background;phys.polarization.stokes.Q", "Mean background in Stokes Q"),
    "stokesU_bkg": ("f4", "Jy", "instr.background;phys.polarization.stokes.U", "Mean background in Stokes U"),
    "cell": ("i4", "", "meta.id", "Cell of the sky, as in the names of its files"),
    "n_images": ("i4", "", "meta.number;obs.image", "Channel images that show the component"),
    "snr_flag": ("b1", "", "meta.code", "S/N of polarised intensity is low"),
    "leakage_flag": ("b1", "", "meta.code", "Polarised fraction is not above leakage"),
    "channel_flag": ("b1", "", "meta.code", "Many channels are missing"),
    "stokesI_fit_flag": ("b1", "", "meta.code", "Stokes I could not be fitted"),
    "complex_sigma_add_flag": ("b1", "", "meta.code", "Complex by the scatter about a thin source"),
    "complex_M2_CC_flag": ("b1", "", "meta.code", "Complex by the width of the clean components"),
    "local_rm_flag": ("b1", "", "meta.code", "RM stands out among its neighbours'"),
    "is_blended_flag": ("b1", "", "meta.code", "Another component lies within a beam"),
    "N_blended": ("i4", "", "meta.number", "Other components within a beam"),
    "blend_ratio": ("f8", "", "arith.ratio;phot.flux", "Flux of those over the component's own"),
}
# What RM-Tools reports beyond the standard: our column -> that of the analysis, UCD and description.
_FDF = "phys.polarization.rotMeasure"
_SIDES = {
    f"{prefix}{name}": (f"{prefix}{name}", ucd, f"{text} of the {which} Faraday spectrum")
    for prefix, which in (("dirty_", "dirty"), ("clean_", "clean"))
    for name, ucd, text in (
        ("rm_radm2", _FDF, "Depth of the peak"),
        ("rm_err_radm2", f"stat.error;{_FDF}", "Error in the depth of the peak"),
        ("polint", "phot.flux.density;phys.polarization.linear", "Height of the peak"),
        ("polint_debiased", "phot.flux.density;phys.polarization.linear", "Height less its bias"),
        ("polint_err", "stat.error;phot.flux.density;phys.polarization.linear", "Error in the height"),
        ("snr", "stat.snr;phys.polarization.linear", "S/N of the peak"),
        ("peak_index", "meta.number", "Sample of the peak"),
        ("peak_q", "phot.flux.density;phys.polarization.stokes.Q", "Real part at the peak"),
        ("peak_u", "phot.flux.density;phys.polarization.stokes.U", "Imaginary part at the peak"),
        ("polangle_deg", "pos.posAng;phys.polarization.linear", "Angle at the peak"),
        ("polangle_err_deg", "stat.error;pos.posAng;phys.polarization.linear", "Error in the angle"),
        ("polangle0_deg", "pos.posAng;phys.polarization.linear", "De-rotated angle"),
        ("polangle0_err_deg", "stat.error;pos.posAng;phys.polarization.linear", "Error in the de-rotated angle"),
        ("noise_mad", "stat.error;phys.polarization", "Noise by the scatter"),
    )
    if (prefix, name) != ("dirty_", "noise_mad")  # the catalogue's fdf_noise_mad
}
_ANALYSED = {
    "refwave_sq_pol": ("lambda0_sq_m2", "em.wl;phys.polarization", "Square of the reference wavelength"),
    "stokesI_model_coef": ("stokes_i_coefficients", "stat.fit.param", "Stokes I model, highest power first"),
    "stokesI_model_coef_err": (
        "stokes_i_coefficient_errs",
        "stat.error;stat.fit.param",
        "Errors of stokesI_model_coef",
    ),
    "stokesI_model_order": ("stokes_i_degree", "meta.number", "Highest power of the Stokes I model, -1 without any"),
    "stokesI_model_flag": ("stokes_i_flag", "meta.code.qual", "64 below noise, 128 negative, 9 no model"),
    "stokesI_model_aic": ("stokes_i_aic", "stat.fit.goodness", "Akaike's criterion of the Stokes I model"),
    "stokesI_chi2_red": ("stokes_i_chi_sq_reduced", "stat.fit.chi2", "Reduced chi squared of the Stokes I model"),
    **{
        f"sigma_add{part}{end}": (f"sigma_add{part}{end}", "stat.value;phys.polarization", f"{text} of sigma_add{what}")
        for part, what in (("", ""), ("_q", " in Q alone"), ("_u", " in U alone"))
        for end, text in (("", "Value"), ("_err_minus", "Distance of percentile 16"), ("_err_plus", "And of 84"))
        if part + end
    },
    **_SIDES,
    "clean_cutoff": ("clean_cutoff", "phot.flux.density", "Where RM-CLEAN ended"),
    "clean_iterations": ("clean_iterations", "meta.number", "Components of RM-CLEAN"),
    "clean_converged": ("clean_converged", "meta.code", "RM-CLEAN reached its end"),
    "clean_rm_err_observed_radm2": (
        "clean_rm_err_observed_radm2",
        f"stat.error;{_FDF}",
        "By the noise left by RM-CLEAN",
    ),
    "clean_polint_err_observed": ("clean_polint_err_observed", "stat.error;phot.flux.density", "By that noise too"),
    "clean_polangle_err_observed_deg": (
        "clean_polangle_err_observed_deg",
        "stat.error;pos.posAng",
        "By that noise too",
    ),
    "clean_polangle0_err_observed_deg": (
        "clean_polangle0_err_observed_deg",
        "stat.error;pos.posAng",
        "By that noise too",
    ),
    "thin_chi_sq": ("thin_chi_sq", "stat.fit.chi2", "Chi squared of Q and U about a thin source"),
    "thin_degrees_of_freedom": ("thin_degrees_of_freedom", "stat.fit.dof", "Its degrees of freedom"),
}
#: Column of the RM table to that of the analysis.
ANALYSED = {name: source for name, (source, _, _) in _ANALYSED.items()}
_MORE |= {
    name: (ANALYSIS_DTYPE[source], ANALYSIS_UNITS[source].replace("flux", "Jy"), ucd, text)
    for name, (source, ucd, text) in _ANALYSED.items()
}
_MORE |= {
    name: ("U8" if name == "qu_model" else "f8", unit, "meta.code" if name == "qu_model" else "stat.fit", text)
    for name, (unit, text) in QU_COLUMNS.items()
}
# What the standard says of its columns: UCD and description.
_STANDARD = {
    "ra": ("pos.eq.ra;meta.main", "Right Ascension [ICRS]"),
    "dec": ("pos.eq.dec;meta.main", "Declination [ICRS]"),
    "l": ("pos.galactic.lon", "Galactic Longitude"),
    "b": ("pos.galactic.lat", "Galactic Latitude"),
    "pos_err": ("stat.error;pos", "Position uncertainty"),
    "rm": ("phys.polarization.rotMeasure;meta.main", "Rotation measure"),
    "rm_err": ("stat.error;phys.polarization.rotMeasure", "Error in RM"),
    "rm_width": ("phys.polarization.rotMeasure;stat.fwhm", "Width in Faraday depth"),
    "rm_width_err": ("stat.error;phys.polarization.rotMeasure;stat.fwhm", "Error in width"),
    "complex_flag": ("meta.code", "Faraday complexity flag"),
    "complex_test": ("meta.note", "Faraday complexity metric"),
    "rm_method": ("meta.note", "RM determination method"),
    "ionosphere": ("meta.note", "Ionospheric correction method"),
    "Ncomp": ("meta.number", "Number of RM components"),
    "stokesI": ("phot.flux.density;phys.polarization.stokes.I", "Stokes I"),
    "stokesI_err": ("stat.error;phot.flux.density;phys.polarization.stokes.I", "Error in Stokes I"),
    "spectral_index": ("spect.index", "Stokes I spectral index"),
    "spectral_index_err": ("stat.error;spect.index", "Error in spectral index"),
    "reffreq_I": ("em.freq;phys.polarization.stokes.I", "Reference frequency for Stokes I"),
    "polint": ("phot.flux.density;phys.polarization.linear", "Polarized intensity"),
    "polint_err": ("stat.error;phot.flux.density;phys.polarization.linear", "Error in Pol.Int."),
    "pol_bias": ("meta.note", "Polarization bias correction method"),
    "flux_type": ("meta.note", "Stokes extraction method"),
    "aperture": ("phys.angSize", "Integration aperture"),
    "fracpol": ("phys.polarization.linear", "Fractional (linear) polarization"),
    "fracpol_err": ("stat.error;phys.polarization.linear", "Error in fractional polarization"),
    "polangle": ("pos.posAng;phys.polarization.linear", "Electric vector polarization angle"),
    "polangle_err": ("stat.error;pos.posAng;phys.polarization.linear", "Error in EVPA"),
    "reffreq_pol": ("em.freq;phys.polarization", "Reference frequency for polarization"),
    "stokesQ": ("phot.flux.density;phys.polarization.stokes.Q", "Stokes Q"),
    "stokesQ_err": ("stat.error;phot.flux.density;phys.polarization.stokes.Q", "Error in Stokes Q"),
    "stokesU": ("phot.flux.density;phys.polarization.stokes.U", "Stokes U"),
    "stokesU_err": ("stat.error;phot.flux.density;phys.polarization.stokes.U", "Error in Stokes U"),
    "derot_polangle": ("pos.posAng;phys.polarization.linear", "De-rotated EVPA"),
    "derot_polangle_err": ("stat.error;pos.posAng;phys.polarization.linear", "Error in De-rotated EVPA"),
    "stokesV": ("phot.flux.density;phys.polarization.stokes.V", "Stokes V"),
    "stokesV_err": ("stat.error;phot.flux.density;phys.polarization.stokes.V", "Error in Stokes V"),
    "beam_maj": ("pos.angResolution;instr.beam;phys.angSize.smajAxis", "Beam major axis"),
    "beam_min": ("pos.angResolution;instr.beam;phys.angSize.sminAxis", "Beam minor axis"),
    "beam_pa": ("pos.angResolution;instr.beam;pos.posAng", "Beam position angle"),
    "reffreq_beam": ("em.freq;instr.beam", "Reference frequency for beam"),
    "minfreq": ("em.freq;stat.min", "Lowest frequency"),
    "maxfreq": ("em.freq;stat.max", "Highest frequency"),
    "channelwidth": ("em.freq;instr.bandwidth", "Typical channel width"),
    "Nchan": ("meta.number", "Number of channels"),
    "rmsf_fwhm": ("instr.rmsf;stat.fwhm", "Full-width at half maximum of the RMSF"),
    "noise_chan": ("stat.error;instr.det.noise", "Typical per-channel noise in Q;U"),
    "telescope": ("instr.tel", "Name of Telescope(s)"),
    "int_time": ("time.duration;obs.exposure", "Integration time"),
    "epoch": ("time.epoch", "Median epoch of observation"),
    "obs_interval": ("time.interval", "Interval of observation"),
    "leakage": ("phys.polarization.linear", "Instrumental leakage estimate"),
    "beamdist": ("pos.angDistance;instr.beam", "Distance from beam centre - taken as centre of tile"),
    "catalog_name": ("meta.note", "Name of catalog"),
    "dataref": ("meta.bib.bibcode", "Data references"),
    "cat_id": ("meta.id;meta.main", "Source ID in catalog"),
    "type": ("src.class", "Source classification"),
    "notes": ("meta.note", "Notes"),
}

# Of ours that the table of patches has too.
_OURS = {
    "snr_polint": ("stat.snr;phys.polarization.linear", "S/N of polarized intensity"),
    "fdf_noise_th": ("stat.error;phys.polarization", "Noise of the Faraday spectrum by the channels' errors"),
    "fdf_noise_mad": ("stat.error;phys.polarization", "Noise of the Faraday spectrum by its scatter"),
    "sigma_add": ("stat.value;phys.polarization", "Scatter about a thin source beyond the noise, over the noise"),
    "complex_excess": ("stat.fit.chi2", "Excess of chi squared about a thin source, in standard deviations"),
}

#: An identifier longer than the standard's 40 letters must not be cut.
_WIDER = {"cat_id": "U64"}
RM_TABLE_DTYPE = np.dtype(
    [(name, _WIDER.get(name, RM_DTYPE[name])) for name in RM_DTYPE.names]
    + [(name, kind) for name, (kind, *_) in _MORE.items()]
)
RM_TABLE_UNITS = RM_UNITS | {name: unit for name, (_, unit, *_) in _MORE.items()}
#: Column to its UCD and description, empty where there are none.
RM_TABLE_WORDS = dict.fromkeys(RM_TABLE_DTYPE.names, ("", "")) | _STANDARD | _OURS
RM_TABLE_WORDS |= {name: (ucd, text) for name, (_, _, ucd, text) in _MORE.items()}
