"""The PSF of a coadd at any position, from those of its inputs."""

import dataclasses

import numpy as np

from mpidriver.tasks.coadd._star_moments import position_terms

__all__ = ["CoaddPsf"]

_STEPS, _TOLERANCE = 50, 1e-6
#: A position on an edge, or an edge without length, is within.
_EDGE_PX2 = 1e-6


@dataclasses.dataclass(frozen=True)
class CoaddPsf:
    """The weighted mean of the PSFs of the inputs that cover a position.

    Inputs count where their footprint reaches; pixels of theirs that are masked or clipped are not looked up. Inputs
    of which too few stars are known to show a PSF are left out.
    """

    inputs: np.ndarray
    """The coadd's table of inputs, `INPUT_DTYPE`."""

    def weights(self, x, y):
        """Return each input's share at positions in px, shape (position, input); rows without any known input are 0."""
        x, y = np.ravel(x).astype(float), np.ravel(y).astype(float)
        known = np.isfinite(self.inputs["psf_moments"]).all(axis=(1, 2))
        shares = np.zeros((x.size, self.inputs.size))
        for number in np.flatnonzero(known):
            inside = _inside(self.inputs["footprint"][number], x, y)
            shares[:, number] = np.where(inside, self.inputs["weight"][number], 0.0)
        total = shares.sum(axis=1, keepdims=True)
        return np.divide(shares, total, out=shares, where=total > 0)

    def moments(self, x, y):
        """Return xx, yy, xy of the Gaussian that matches a star at positions in px, px^2, shape (position, 3).

        It is what `adaptive_moments` finds: of several Gaussians not their mean, since narrow ones fill the window.
        NaN where no input with a known PSF reaches.
        """
        shares = self.weights(x, y)
        own = np.einsum("pt,itm->pim", position_terms(x, y), np.nan_to_num(self.inputs["psf_moments"]))
        matched = np.einsum("pi,pim->pm", shares, own)
        some = shares.sum(axis=1) > 0
        matched[~some] = np.nan
        for _ in range(_STEPS):
            before = matched[some]
            matched[some] = _seen_through(before, shares[some], own[some])
            if np.all(np.abs(matched[some] - before) <= _TOLERANCE * (before[:, :1] + before[:, 1:2])):
                break
        return matched

    def image(self, x, y, half_px):
        """Return the PSF at one position as an image of sum 1 about it, shape (2 half + 1, 2 half + 1).

        The star stands where the position does within its pixel. NaN where no input with a known PSF reaches.
        """
        offsets = np.arange(-half_px, half_px + 1)
        dx, dy = offsets + round(x) - x, (offsets + round(y) - y)[:, None]
        shares = self.weights(x, y)[0]
        if not shares.any():
            return np.full((offsets.size, offsets.size), np.nan)
        total = np.zeros((offsets.size, offsets.size))
        for number in np.flatnonzero(shares):
            profile = _moffat(self.inputs[number], position_terms(x, y)[0], dx, dy)
            total += shares[number] * profile / profile.sum()
        return total


def _inside(outline, x, y):
    """Tell which positions a convex outline holds."""
    following = np.roll(outline, -1, axis=0)
    left, right = np.ones(x.size, bool), np.ones(x.size, bool)
    for (x0, y0), (x1, y1) in zip(outline, following, strict=True):
        side = (x1 - x0) * (y - y0) - (y1 - y0) * (x - x0)
        left &= side >= -_EDGE_PX2
        right &= side <= _EDGE_PX2
    return left | right


def _seen_through(window, shares, own):
    """Return twice the moments of a sum of Gaussians under Gaussian windows: one step towards those that match.

    Under the window W a Gaussian C of share s is another one, of covariance P = (1/C + 1/W)^-1 and of light
    ``s / sqrt(det(C + W))``.
    """
    xx, yy, xy = (own[..., k] for k in range(3))
    wxx, wyy, wxy = (window[:, None, k] for k in range(3))
    own_det, window_det = xx * yy - xy**2, wxx * wyy - wxy**2
    own_det = np.where(shares > 0, own_det, 1.0)
    # Inverse of a symmetric matrix (a, b, c): (b, a, -c) / det.
    sum_xx, sum_yy = yy / own_det + wyy / window_det, xx / own_det + wxx / window_det
    sum_xy = -xy / own_det - wxy / window_det
    sum_det = sum_xx * sum_yy - sum_xy**2
    joint_det = (xx + wxx) * (yy + wyy) - (xy + wxy) ** 2
    light = np.where(shares > 0, shares / np.sqrt(np.where(shares > 0, joint_det, 1.0)), 0.0)
    narrowed = np.stack([sum_yy / sum_det, sum_xx / sum_det, -sum_xy / sum_det], axis=-1)
    return 2.0 * np.einsum("pi,pim->pm", light, narrowed) / light.sum(axis=1, keepdims=True)


def _moffat(row, terms, dx, dy):
    """Return an input's elliptical Moffat profile at offsets, not normalised."""
    xx, yy, xy = terms @ row["psf_moments"]
    determinant = xx * yy - xy**2
    half_width2 = (0.5 * row["psf_fwhm_per_sigma"]) ** 2
    radius2 = (yy * dx**2 - 2.0 * xy * dx * dy + xx * dy**2) / determinant / half_width2
    return (1.0 + radius2 * (2.0 ** (1.0 / row["psf_beta"]) - 1.0)) ** -float(row["psf_beta"])
