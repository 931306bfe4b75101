"""What can be told of a source only beside the others: leakage, RMs that stand out, blends."""

import numpy as np

from mpidriver.sphere import unit_vectors

__all__ = ["blends", "leakage_by_distance", "outlying_rms"]

MAD_TO_SIGMA = 1.4826
#: Bright sources below which leakage cannot be estimated, those of a bin, and the most bins.
FEWEST_BRIGHT, BIN_SOURCES, MOST_BINS = 50, 20, 21
#: Neighbours below which an RM cannot be judged.
FEWEST_NEIGHBOURS = 5


def leakage_by_distance(fracpol, snr_i, beamdist_deg, *, min_snr):
    """Estimate the leakage from Stokes I as the typical polarised fraction of bright sources.

    Most sources are hardly polarised, so that the median of a bin of distance from the axis is what the instrument
    adds. The medians are fitted by a parabola.

    Parameters
    ----------
    fracpol, snr_i, beamdist_deg : float (source,)
    min_snr : float
        S/N of Stokes I above which a source counts as bright.

    Returns
    -------
    float64 (source,)
        NaN everywhere with fewer than `FEWEST_BRIGHT` bright sources.
    """
    distance, fraction = np.asarray(beamdist_deg, float), np.asarray(fracpol, float)
    with np.errstate(invalid="ignore"):
        bright = np.isfinite(fraction) & np.isfinite(distance) & (np.asarray(snr_i) > min_snr)
    if np.count_nonzero(bright) < FEWEST_BRIGHT:
        return np.full(len(distance), np.nan)
    order = np.argsort(distance[bright], kind="stable")
    bins = min(MOST_BINS, max(1, len(order) // BIN_SOURCES))
    groups = np.array_split(order, bins)
    centres = np.array([distance[bright][group].mean() for group in groups])
    medians = np.array([np.median(fraction[bright][group]) for group in groups])
    fit = np.polynomial.Polynomial.fit(centres, medians, min(2, bins - 1))
    within = np.clip(distance, centres[0], centres[-1])  # a parabola must not be believed beyond its points
    return np.where(np.isfinite(distance), np.maximum(fit(within), 0.0), np.nan)


def outlying_rms(ra_deg, dec_deg, rm, rm_err, good, *, neighbours, sigma):
    """Tell which RMs differ from those of the nearest sources.

    Parameters
    ----------
    ra_deg, dec_deg, rm, rm_err : float (source,)
    good : bool (source,)
        Sources that are judged and by which others are.
    neighbours : int
        The nearest others whose median is compared.
    sigma : float
        Standard deviations, of the neighbours by their median absolute deviation and of the RM itself together.

    Returns
    -------
    bool (source,)
        False for one that is not good or has fewer than `FEWEST_NEIGHBOURS`.
    """
    from scipy.spatial import cKDTree

    found = np.zeros(len(good), bool)
    place = np.flatnonzero(good)
    count = min(neighbours, len(place) - 1)
    if count < FEWEST_NEIGHBOURS:
        return found
    vectors = unit_vectors(np.asarray(ra_deg)[place], np.asarray(dec_deg)[place])
    _, nearest = cKDTree(vectors).query(vectors, k=count + 1)
    values = np.asarray(rm, float)[place]
    others = np.where(nearest == np.arange(len(place))[:, None], np.nan, values[nearest])
    centre = np.nanmedian(others, axis=1)
    spread = MAD_TO_SIGMA * np.nanmedian(np.abs(others - centre[:, None]), axis=1)
    found[place] = np.abs(values - centre) > sigma * np.hypot(spread, np.asarray(rm_err, float)[place])
    return found


def blends(ra_deg, dec_deg, flux_jy, catalogue_ra_deg, catalogue_dec_deg, catalogue_flux_jy, radius_deg):
    """Count the other components of a catalogue within a beam of each source, and what they shine against it.

    Parameters
    ----------
    ra_deg, dec_deg, flux_jy : float (source,)
        Members of the catalogue.
    catalogue_ra_deg, catalogue_dec_deg, catalogue_flux_jy : float (component,)
    radius_deg : float (source,)

    Returns
    -------
    count : int (source,)
    ratio : float64 (source,)
        Flux of the others over the source's own; NaN where there are none or a flux is unknown.
    """
    from scipy.spatial import cKDTree

    tree = cKDTree(unit_vectors(catalogue_ra_deg, catalogue_dec_deg))
    radius = 2.0 * np.sin(np.deg2rad(np.asarray(radius_deg, float)) / 2)
    near = tree.query_ball_point(unit_vectors(ra_deg, dec_deg), radius, return_sorted=True)
    count = np.array([len(places) - 1 for places in near], int)
    total = np.array([np.asarray(catalogue_flux_jy, float)[places].sum() for places in near])
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = (total - flux_jy) / flux_jy
    return np.maximum(count, 0), np.where(count > 0, ratio, np.nan)
