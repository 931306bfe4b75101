"""Sources drawn each into a stamp of its own, and sums over pixels that stamps share: what joint fluxes come from."""

import numpy as np

from mpidriver.tasks._jit import kernel
from mpidriver.tasks.multiband._model_kernels import fill_templates

__all__ = ["cut_tiles", "image_products", "overlapping_pairs", "pair_products", "render_stamps", "template_fluxes"]


@kernel
def pair_products(stamps, starts, windows, usable, variance, first, second):
    """Return the sums of the products of two templates over usable pixels, plain and times the variance.

    Parameters
    ----------
    stamps : ndarray of float32, shape (pixel,)
        Templates of all sources one after another.
    starts : ndarray of int, shape (source,)
        Where each begins.
    windows : ndarray of int, shape (source, 4)
        First row, last row + 1, first column, last column + 1.
    usable, variance : ndarray, shape (row, col)
    first, second : ndarray of int, shape (pair,)

    Returns
    -------
    ndarray of float64, shape (pair, 2)
    """
    out = np.zeros((first.size, 2))
    for p in range(first.size):
        a, b = first[p], second[p]
        row0, row1 = max(windows[a, 0], windows[b, 0]), min(windows[a, 1], windows[b, 1])
        col0, col1 = max(windows[a, 2], windows[b, 2]), min(windows[a, 3], windows[b, 3])
        wide_a, wide_b = windows[a, 3] - windows[a, 2], windows[b, 3] - windows[b, 2]
        plain, noisy = 0.0, 0.0
        for row in range(row0, row1):
            at_a = starts[a] + (row - windows[a, 0]) * wide_a - windows[a, 2]
            at_b = starts[b] + (row - windows[b, 0]) * wide_b - windows[b, 2]
            for col in range(col0, col1):
                if usable[row, col]:
                    light = stamps[at_a + col] * stamps[at_b + col]
                    plain += light
                    noisy += light * variance[row, col]
        out[p, 0], out[p, 1] = plain, noisy
    return out


@kernel
def render_stamps(stamps, starts, windows, sources, psf_matrices, psf, profiles):
    """Fill `stamps` with the templates of all sources, each of flux 1; arguments as for `pair_products`."""
    size = 2 * int(sources[:, 7].max()) + 1 if sources.shape[0] else 1
    planes, line = np.empty((7, size, size)), np.empty(size)
    for i in range(sources.shape[0]):
        n_rows, n_cols = windows[i, 1] - windows[i, 0], windows[i, 3] - windows[i, 2]
        if n_rows <= 0 or n_cols <= 0:
            continue
        local = sources[i].copy()
        local[0] -= windows[i, 2]
        local[1] -= windows[i, 0]
        fill_templates(planes, line, (n_rows, n_cols), local, psf_matrices[i], psf, profiles, False)
        dev, at = local[5], starts[i]
        for row in range(n_rows):
            for col in range(n_cols):
                stamps[at] = (1.0 - dev) * planes[0, row, col] + dev * planes[1, row, col]
                at += 1


@kernel
def image_products(stamps, starts, windows, image, usable):
    """Return the sum of each template times an image over usable pixels, shape (source,)."""
    out = np.zeros(starts.size)
    for i in range(starts.size):
        at = starts[i]
        for row in range(windows[i, 0], windows[i, 1]):
            for col in range(windows[i, 2], windows[i, 3]):
                if usable[row, col]:
                    out[i] += stamps[at] * image[row, col]
                at += 1
    return out


@kernel
def overlapping_pairs(windows, order):
    """Return the pairs of sources whose windows share pixels, each with itself too.

    Parameters
    ----------
    windows : ndarray of int, shape (source, 4)
    order : ndarray of int
        Sources by first column.

    Returns
    -------
    ndarray of int64, shape (pair, 2)
    """
    out = np.empty((max(16, 8 * order.size), 2), np.int64)
    n = 0
    for k in range(order.size):
        a = order[k]
        for m in range(k, order.size):
            b = order[m]
            if windows[b, 2] >= windows[a, 3] and m > k:
                break
            if m == k or (windows[b, 0] < windows[a, 1] and windows[a, 0] < windows[b, 1]):
                if n == out.shape[0]:
                    larger = np.empty((2 * n, 2), np.int64)
                    larger[:n] = out
                    out = larger
                out[n, 0], out[n, 1] = a, b
                n += 1
    return out[:n]


@kernel
def cut_tiles(residual, variance, usable, sources, psf_matrices, psf, profiles, half, tiles):
    """Fill tiles with the image around sources without the others: what is left plus the source's own model.

    Parameters
    ----------
    residual, variance, usable : ndarray, shape (row, col)
    sources, psf_matrices, psf, profiles : ndarray
    half : int
        Half width of a tile without its margin of one pixel.
    tiles : tuple of ndarray, shape (row, col), changed in place
        Image, variance and usable pixels, zeros at first: tiles side by side, `columns` in a row.
    """
    out_image, out_variance, out_usable = tiles
    size = 2 * half + 3
    columns = out_image.shape[1] // size
    widest = 2 * int(sources[:, 7].max()) + 1 if sources.shape[0] else 1
    planes, line = np.empty((7, widest, widest)), np.empty(widest)
    for i in range(sources.shape[0]):
        left, bottom = (i % columns) * size, (i // columns) * size
        row_first, col_first = int(np.rint(sources[i, 1])) - half - 1, int(np.rint(sources[i, 0])) - half - 1
        for row in range(1, size - 1):
            for col in range(1, size - 1):
                y, x = row_first + row, col_first + col
                if 0 <= y < residual.shape[0] and 0 <= x < residual.shape[1] and usable[y, x]:
                    out_image[bottom + row, left + col] = residual[y, x]
                    out_variance[bottom + row, left + col] = variance[y, x]
                    out_usable[bottom + row, left + col] = True
        local = sources[i].copy()
        reach = min(int(local[7]), half)
        local[0] -= np.rint(sources[i, 0]) - reach
        local[1] -= np.rint(sources[i, 1]) - reach
        shape = (2 * reach + 1, 2 * reach + 1)
        fill_templates(planes, line, shape, local, psf_matrices[i], psf, profiles, False)
        exp, dev = local[6] * (1.0 - local[5]), local[6] * local[5]
        for row in range(shape[0]):
            for col in range(shape[1]):
                r, c = bottom + 1 + half - reach + row, left + 1 + half - reach + col
                if out_usable[r, c]:
                    out_image[r, c] += exp * planes[0, row, col] + dev * planes[1, row, col]


@kernel
def template_fluxes(image, variance, usable, sources, psf_matrices, psf, profiles):
    """Return flux, its error from the variance, and the share of the template on usable pixels, shape (source, 3)."""
    size = 2 * int(sources[:, 7].max()) + 1 if sources.shape[0] else 1
    planes, line = np.empty((7, size, size)), np.empty(size)
    out = np.full((sources.shape[0], 3), np.nan)
    for i in range(sources.shape[0]):
        half = int(sources[i, 7])
        row0, col0 = int(np.rint(sources[i, 1])) - half, int(np.rint(sources[i, 0])) - half
        local = sources[i].copy()
        local[0] -= col0
        local[1] -= row0
        shape = (2 * half + 1, 2 * half + 1)
        fill_templates(planes, line, shape, local, psf_matrices[i], psf, profiles, False)
        light, noise, squares, everything = 0.0, 0.0, 0.0, 0.0
        for row in range(shape[0]):
            y = row0 + row
            for col in range(shape[1]):
                x = col0 + col
                weight = (1.0 - local[5]) * planes[0, row, col] + local[5] * planes[1, row, col]
                everything += weight * weight
                if 0 <= y < image.shape[0] and 0 <= x < image.shape[1] and usable[y, x]:
                    light += weight * image[y, x]
                    noise += weight * weight * variance[y, x]
                    squares += weight * weight
        if squares > 0.0:
            out[i, 0], out[i, 1] = light / squares, np.sqrt(noise) / squares
        out[i, 2] = squares / everything if everything > 0.0 else 0.0
    return out
