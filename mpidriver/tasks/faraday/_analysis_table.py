"""Columns of `analyse_spectra`, their units, and what RM-Tools calls them."""

import numpy as np

__all__ = ["ANALYSIS_DTYPE", "ANALYSIS_UNITS", "RM_TOOLS_NAMES"]

# Columns of a Faraday spectrum: unit and RM-Tools' name; "flux" is the unit of the input.
_SPECTRUM = {
    "rm_radm2": ("rad/m2", "phiPeakPIfit_rm2"),
    "rm_err_radm2": ("rad/m2", "dPhiPeakPIfit_rm2"),
    "polint": ("flux", "ampPeakPIfit"),
    "polint_debiased": ("flux", "ampPeakPIfitEff"),
    "polint_err": ("flux", "dAmpPeakPIfit"),
    "snr": ("", "snrPIfit"),
    "peak_index": ("", "indxPeakPIfit"),
    "peak_q": ("flux", "peakFDFrealFit"),
    "peak_u": ("flux", "peakFDFimagFit"),
    "polangle_deg": ("deg", "polAngleFit_deg"),
    "polangle_err_deg": ("deg", "dPolAngleFit_deg"),
    "polangle0_deg": ("deg", "polAngle0Fit_deg"),
    "polangle0_err_deg": ("deg", "dPolAngle0Fit_deg"),
    "noise_mad": ("flux", "dFDFcorMAD"),
}

# Columns of the Faraday-thin model, which RM-Tools does not fit.
_THIN = {
    "rm_radm2": "rad/m2",
    "rm_err_radm2": "rad/m2",
    "polint": "flux",
    "polint_debiased": "flux",
    "polint_err": "flux",
    "q": "flux",
    "u": "flux",
    "polangle_deg": "deg",
    "polangle_err_deg": "deg",
    "polangle0_deg": "deg",
    "polangle0_err_deg": "deg",
    "chi_sq": "",
    "degrees_of_freedom": "",
}

# name: (type, unit, RM-Tools' name in the results of its RM synthesis)
_SOURCE = {
    "stokes_i": ("f8", "flux", "Ifreq0"),
    "stokes_i_err": ("f8", "flux", ""),
    "stokes_i_coefficients": ("6f8", "", "polyCoeffs"),
    "stokes_i_coefficient_errs": ("6f8", "", "polyCoefferr"),
    "stokes_i_degree": ("i8", "", "polyOrd"),
    "stokes_i_flag": ("i8", "", "IfitStat"),
    "stokes_i_good": ("?", "", ""),
    "stokes_i_chi_sq_reduced": ("f8", "", "IfitChiSqRed"),
    "stokes_i_aic": ("f8", "", ""),
    "lambda0_sq_m2": ("f8", "m2", "lam0Sq_m2"),
    "freq0_hz": ("f8", "Hz", "freq0_Hz"),
    "fwhm_radm2": ("f8", "rad/m2", "fwhmRMSF"),
    "noise_chan": ("f8", "flux", "dQU"),
    "noise_theory": ("f8", "flux", "dFDFth"),
    "min_freq_hz": ("f8", "Hz", "min_freq"),
    "max_freq_hz": ("f8", "Hz", "max_freq"),
    "channels": ("i8", "", "N_channels"),
    "channel_width_hz": ("f8", "Hz", "median_channel_width"),
    "fracpol": ("f8", "", "fracPol"),
    **{
        f"sigma_add{suffix}{column}": ("f8", "", theirs + (suffix[1:] or "c").upper())
        for suffix in ("", "_q", "_u")
        for column, theirs in (("", "sigmaAdd"), ("_err_minus", "dSigmaAddMinus"), ("_err_plus", "dSigmaAddPlus"))
    },
}

# name: (type, unit, RM-Tools' name in the results of its RM-CLEAN)
_CLEAN = {
    "clean_cutoff": ("f8", "flux", "cleanCutoff"),
    "clean_iterations": ("i8", "", "nIter"),
    "clean_converged": ("?", "", ""),
    "clean_second_moment_radm2": ("f8", "rad/m2", "mom2CCFDF"),
    "clean_rm_err_observed_radm2": ("f8", "rad/m2", "dPhiObserved_rm2"),
    "clean_polint_err_observed": ("f8", "flux", "dAmpObserved"),
    "clean_polangle_err_observed_deg": ("f8", "deg", "dPolAngleFitObserved_deg"),
    "clean_polangle0_err_observed_deg": ("f8", "deg", "dPolAngleFit0Observed_deg"),
}

ANALYSIS_DTYPE = np.dtype(
    [(name, kind) for name, (kind, _, _) in _SOURCE.items()]
    + [(prefix + name, "f8") for prefix in ("dirty_", "clean_") for name in _SPECTRUM]
    + [(name, kind) for name, (kind, _, _) in _CLEAN.items()]
    + [("thin_" + name, "f8") for name in _THIN]
)
ANALYSIS_UNITS = {
    **{name: unit for name, (_, unit, _) in (_SOURCE | _CLEAN).items()},
    **{prefix + name: unit for prefix in ("dirty_", "clean_") for name, (unit, _) in _SPECTRUM.items()},
    **{"thin_" + name: unit for name, unit in _THIN.items()},
}
"""Unit of each column; "flux" stands for that of the input."""
RM_TOOLS_NAMES = {
    "synthesis": {
        **{name: theirs for name, (_, _, theirs) in _SOURCE.items() if theirs},
        **{f"dirty_{name}": theirs for name, (_, theirs) in _SPECTRUM.items()},
    },
    "clean": {
        **{name: theirs for name, (_, _, theirs) in _CLEAN.items() if theirs},
        **{f"clean_{name}": theirs for name, (_, theirs) in _SPECTRUM.items()},
    },
}
"""What RM-Tools calls our columns in the results of its 1-D RM synthesis and RM-CLEAN."""
