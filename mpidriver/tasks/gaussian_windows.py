"""Sums under Gaussian windows at given positions: centroids, second moments, fluxes."""

import numpy as np

from mpidriver.tasks._jit import kernel

__all__ = [
    "MOVING",
    "SETTLED",
    "adaptive_moments",
    "mask_bits",
    "matched_fluxes",
    "next_centroid",
    "windowed_centroids",
]

#: Windows end at this many sigmas.
_REACH = 4.0
_CENTROID_STEPS = 30
#: A shorter step of a centroid than this, px^2, is the last.
_SETTLED_PX2 = 1e-10
_MOMENT_STEPS = 60
#: What has become of a windowed centroid.
MOVING, SETTLED, LOST = range(3)


@kernel
def _span(centre, half, size):
    """Return first and last-plus-one pixel of a window along one axis."""
    low = int(np.ceil(centre - half))
    high = int(np.floor(centre + half)) + 1
    return max(low, 0), min(high, size)


@kernel
def _centroid_sums(image, usable, x, y, sigma):
    """Return the window's sum of image, and of image times offset in x and in y."""
    row0, row1 = _span(y, _REACH * sigma, image.shape[0])
    col0, col1 = _span(x, _REACH * sigma, image.shape[1])
    total, along_x, along_y = 0.0, 0.0, 0.0
    for row in range(row0, row1):
        for col in range(col0, col1):
            if usable[row, col]:
                dx, dy = col - x, row - y
                light = np.exp(-0.5 * (dx * dx + dy * dy) / (sigma * sigma)) * image[row, col]
                total += light
                along_x += light * dx
                along_y += light * dy
    return total, along_x, along_y


@kernel
def _centroid_variances(image, variance, usable, x, y, sigma):
    """Return the variances of a windowed centroid: 4 sum(w^2 v dx^2) / sum(w I)^2, as SExtractor's ERRX2WIN."""
    row0, row1 = _span(y, _REACH * sigma, image.shape[0])
    col0, col1 = _span(x, _REACH * sigma, image.shape[1])
    total, along_x, along_y = 0.0, 0.0, 0.0
    for row in range(row0, row1):
        for col in range(col0, col1):
            if usable[row, col]:
                dx, dy = col - x, row - y
                weight = np.exp(-0.5 * (dx * dx + dy * dy) / (sigma * sigma))
                noise = weight * weight * variance[row, col]
                total += weight * image[row, col]
                along_x += noise * dx * dx
                along_y += noise * dy * dy
    if total <= 0.0:
        return np.nan, np.nan
    return 4.0 * along_x / (total * total), 4.0 * along_y / (total * total)


@kernel
def next_centroid(start_x, start_y, x, y, sums, furthest, settled_px2):
    """Return a centroid after one step, twice as far as its window's sums of light tell, and what has become of it.

    It is lost where the window has no light or has wandered `furthest` from the start, and has settled after a step
    shorter than the root of `settled_px2`.
    """
    total, along_x, along_y = sums
    if not total > 0.0:
        return x, y, LOST
    step_x, step_y = 2.0 * along_x / total, 2.0 * along_y / total
    x, y = x + step_x, y + step_y
    if not (x - start_x) ** 2 + (y - start_y) ** 2 <= furthest * furthest:
        return x, y, LOST
    return x, y, SETTLED if step_x * step_x + step_y * step_y < settled_px2 else MOVING


@kernel
def windowed_centroids(image, variance, usable, x, y, sigma, furthest):
    """Return centroids under a round Gaussian window (SExtractor's XWIN).

    Parameters
    ----------
    image, variance : ndarray of float32, shape (row, col)
    usable : ndarray of bool, shape (row, col)
    x, y : ndarray of float64, shape (object,), px
        Where to begin.
    sigma : float, px
        Of the window.
    furthest : float, px
        Centroids farther from the start are given up.

    Returns
    -------
    ndarray of float64, shape (object, 5)
        x, y, error in x, error in y, and 1 where the centroid settled; elsewhere x and y are those of the start.
    """
    out = np.empty((x.size, 5))
    for i in range(x.size):
        at_x, at_y, state = x[i], y[i], MOVING
        for _ in range(_CENTROID_STEPS):
            sums = _centroid_sums(image, usable, at_x, at_y, sigma)
            at_x, at_y, state = next_centroid(x[i], y[i], at_x, at_y, sums, furthest, _SETTLED_PX2)
            if state != MOVING:
                break
        if state != SETTLED:
            at_x, at_y = x[i], y[i]
        var_x, var_y = _centroid_variances(image, variance, usable, at_x, at_y, sigma)
        out[i, 0], out[i, 1] = at_x, at_y
        out[i, 2], out[i, 3] = np.sqrt(var_x), np.sqrt(var_y)
        out[i, 4] = 1.0 if state == SETTLED else 0.0
    return out


@kernel
def _moment_sums(image, usable, x, y, xx, yy, xy):
    """Return the sums of image, image dx^2, image dy^2, image dx dy under the Gaussian of the given moments."""
    determinant = xx * yy - xy * xy
    row0, row1 = _span(y, _REACH * np.sqrt(yy), image.shape[0])
    col0, col1 = _span(x, _REACH * np.sqrt(xx), image.shape[1])
    total, sum_xx, sum_yy, sum_xy = 0.0, 0.0, 0.0, 0.0
    for row in range(row0, row1):
        for col in range(col0, col1):
            if usable[row, col]:
                dx, dy = col - x, row - y
                radius2 = (yy * dx * dx - 2.0 * xy * dx * dy + xx * dy * dy) / determinant
                if radius2 < _REACH * _REACH:
                    light = np.exp(-0.5 * radius2) * image[row, col]
                    total += light
                    sum_xx += light * dx * dx
                    sum_yy += light * dy * dy
                    sum_xy += light * dx * dy
    return total, sum_xx, sum_yy, sum_xy


@kernel
def adaptive_moments(image, usable, x, y, sigma, largest):
    """Return the second moments of the Gaussians that match the objects (Bernstein & Jarvis 2002, sect. 3.1.2).

    The window takes twice the moments that it measures until both agree.

    Parameters
    ----------
    image : ndarray of float32, shape (row, col)
    usable : ndarray of bool, shape (row, col)
    x, y : ndarray of float64, shape (object,), px
    sigma : float, px
        Where to begin.
    largest : float, px
        Objects that grow beyond this sigma are given up.

    Returns
    -------
    ndarray of float64, shape (object, 4)
        Moments xx, yy, xy in px^2, and 1 where they settled; elsewhere those of the start.
    """
    out = np.empty((x.size, 4))
    for i in range(x.size):
        xx, yy, xy, settled = sigma * sigma, sigma * sigma, 0.0, False
        for _ in range(_MOMENT_STEPS):
            total, sum_xx, sum_yy, sum_xy = _moment_sums(image, usable, x[i], y[i], xx, yy, xy)
            if not total > 0.0:
                break
            new_xx, new_yy, new_xy = 2.0 * sum_xx / total, 2.0 * sum_yy / total, 2.0 * sum_xy / total
            sane = new_xx > 0.1 and new_yy > 0.1 and new_xx * new_yy - new_xy * new_xy > 0.01
            if not sane or not max(new_xx, new_yy) < largest * largest:
                break
            change = max(abs(new_xx - xx), abs(new_yy - yy), abs(new_xy - xy)) / (new_xx + new_yy)
            xx, yy, xy = new_xx, new_yy, new_xy
            if change < 1e-5:
                settled = True
                break
        if not settled:
            xx, yy, xy = sigma * sigma, sigma * sigma, 0.0
        out[i, 0], out[i, 1], out[i, 2] = xx, yy, xy
        out[i, 3] = 1.0 if settled else 0.0
    return out


@kernel
def matched_fluxes(image, variance, usable, x, y, sigma):
    """Return fluxes by the best-fitting round Gaussian of fixed width and position.

    Parameters
    ----------
    image, variance : ndarray of float32, shape (row, col)
    usable : ndarray of bool, shape (row, col)
    x, y : ndarray of float64, shape (object,), px
    sigma : float, px

    Returns
    -------
    ndarray of float64, shape (object, 3)
        Flux and its error, in the image's unit summed over pixels, NaN where no pixel is usable; share of the
        Gaussian's weight on usable pixels.
    """
    out = np.empty((x.size, 3))
    norm = 1.0 / (2.0 * np.pi * sigma * sigma)
    # The sum of squares over the whole plane; pixels are fine enough for the integral at any useful sigma.
    everything = 1.0 / (4.0 * np.pi * sigma * sigma)
    for i in range(x.size):
        row0, row1 = _span(y[i], _REACH * sigma, image.shape[0])
        col0, col1 = _span(x[i], _REACH * sigma, image.shape[1])
        light, noise, squares = 0.0, 0.0, 0.0
        for row in range(row0, row1):
            for col in range(col0, col1):
                if usable[row, col]:
                    dx, dy = col - x[i], row - y[i]
                    weight = norm * np.exp(-0.5 * (dx * dx + dy * dy) / (sigma * sigma))
                    light += weight * image[row, col]
                    noise += weight * weight * variance[row, col]
                    squares += weight * weight
        out[i, 0] = light / squares if squares > 0.0 else np.nan
        out[i, 1] = np.sqrt(noise) / squares if squares > 0.0 else np.nan
        out[i, 2] = squares / everything
    return out


@kernel
def mask_bits(mask, x, y, radius):
    """Return, as int32 of shape (object,), the mask bits of all pixels within `radius` px of each position."""
    out = np.zeros(x.size, np.int32)
    for i in range(x.size):
        row0, row1 = _span(y[i], radius, mask.shape[0])
        col0, col1 = _span(x[i], radius, mask.shape[1])
        for row in range(row0, row1):
            for col in range(col0, col1):
                if (col - x[i]) ** 2 + (row - y[i]) ** 2 <= radius * radius:
                    out[i] |= mask[row, col]
    return out
