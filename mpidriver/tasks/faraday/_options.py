"""Options of the Faraday stage, and of the analysis of single spectra."""

import dataclasses
from dataclasses import dataclass
from typing import Any

from mpidriver.options import option

__all__ = ["AnalysisOptions", "FaradayOptions"]


@dataclass(frozen=True)
class AnalysisOptions:
    """How the spectra of sources are analysed; the defaults are those of RM-Tools."""

    phi_max_radm2: float | None = option(
        None, "largest Faraday depth; unset: the larger of sqrt(3)/max|dlambda^2| and 10 FWHM", unit="rad/m2"
    )
    phi_step_radm2: float | None = option(None, "step in Faraday depth; unset: FWHM/samples", unit="rad/m2")
    samples: float = option(10.0, "samples across the FWHM of the RMTF where no step is set", minimum=1.0)
    weighting: str = option("variance", "weights of the channels", choices=("variance", "uniform"))
    fractional: bool = option(True, "divide Q and U of sources by the Stokes I model before the transform")
    stokes_i_model: str = option("log", "power law with curvature, or polynomial", choices=("log", "linear"))
    stokes_i_degree: int = option(2, "highest power in the Stokes I model, up to 5", minimum=0)
    stokes_i_choose: bool = option(False, "choose the degree, up to the highest, by Akaike's criterion")
    debias_snr: float = option(5.0, "S/N of polarised intensity from which it is debiased", minimum=0.0)
    clean_cutoff: float = option(3.0, "where RM-CLEAN ends, in standard deviations of the Faraday spectrum")
    clean_window_cutoff: float | None = option(
        None, "where it ends within half a FWHM of components, in standard deviations; unset: no second search"
    )
    clean_gain: float = option(0.1, "part of the largest residual that is a component")
    clean_iterations: int = option(1000, "most components of a spectrum", minimum=0)

    def cleaning(self) -> dict[str, Any]:
        """Return what `rm_clean` wants to know, cutoffs in standard deviations."""
        return {
            "cutoff": self.clean_cutoff,
            "window_cutoff": self.clean_window_cutoff,
            "gain": self.clean_gain,
            "max_iterations": self.clean_iterations,
        }


@dataclass(frozen=True)
class FaradayOptions(AnalysisOptions):
    """How Q and U become Faraday spectra and an RM catalogue: cubes of a patch, and spectra of catalogued sources."""

    samples: float = option(
        5.0,
        "samples across the FWHM of the RMTF of cubes where no step is set; spectra of sources have 10",
        minimum=1.0,
    )
    stokes_i_degree: int = option(1, "highest power in the Stokes I model, up to 5; 1 is a power law", minimum=0)
    clean_cutoff: float = option(
        5.0,
        "where RM-CLEAN ends, in standard deviations of the Faraday spectrum; at 3 every fifth spectrum has a "
        "component of noise far from the source",
    )
    clean_window_cutoff: float | None = option(
        2.0,
        "where it ends within half a FWHM of components, in standard deviations; no second search from clean_cutoff up",
    )
    binning: int = option(8, "pixels of the sky map that make one pixel of a radio cube, along each axis", minimum=1)
    detection_snr: float = option(5.0, "S/N in the mean Stokes I image above which a source is measured", minimum=1.0)
    polarised_snr: float = option(8.0, "S/N of polarised intensity above which a source counts as polarised")
    complexity_sigma: float = option(
        5.0, "excess of chi^2 over a Faraday-thin model, in its standard deviations, that makes a source complex"
    )
    rm_error: str = option(
        "cramer-rao", "error of the RM: Cramer-Rao limit, or FWHM/(2 S/N)", choices=("cramer-rao", "fwhm")
    )
    threads: int = option(1, "threads of a rank that share the pixels of a patch", minimum=1)

    def of_spectra(self) -> AnalysisOptions:
        """Return the options for spectra of sources, which are sampled more finely than cubes."""
        return dataclasses.replace(self, samples=AnalysisOptions.samples)
