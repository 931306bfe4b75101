"""Colour pictures of coadds by the arcsinh mapping of Lupton et al. (2004, PASP 116, 133)."""

from collections.abc import Mapping

import numpy as np

from mpidriver.report._figure import picture, say, sort_bands
from mpidriver.report._sky import (
    add_compass,
    add_scale_bar,
    binned,
    data_box,
    show_box,
    show_image,
    shown_factor,
    sky_axes,
    wcs_of,
)

__all__ = ["colour_bands", "draw_colour_coadd", "lupton_rgb"]

#: Colour of pixels without data.
NO_DATA = 0.0
#: How far below the sky black is, in units of the noise.
BLACK = 1.5


def draw_colour_coadd(path, images: Mapping[str, np.ndarray], wcs=None, *, title="", softening=8.0):
    """Draw coadds of one field as one picture: three bands in colour, one in grey.

    Parameters
    ----------
    path : str or Path
        The PNG file to write.
    images : mapping of band to ndarray, shape (row, col), nJy
        Coadds on the same pixels; NaN where there is no data.
    wcs : WCS, header or None
        Of the pixels; None labels the axes in pixels.
    title : str
    softening : float
        Q of Lupton et al.; larger shows more of the bright end.
    """
    wcs = wcs_of(wcs)
    chosen = colour_bands(images)
    shape = next((images[band].shape for band in chosen), (0, 0))
    factor = shown_factor(shape)
    layers = [binned(images[band], factor) for band in chosen] if min(shape) else []
    known = np.any([np.isfinite(layer) for layer in layers], axis=0) if layers else np.zeros((1, 1), dtype=bool)
    box = data_box(known, factor=factor)
    height_in = float(np.clip(8.0 * (box[3] - box[2]) / (box[1] - box[0]), 3.5, 11.0)) + 0.6
    with picture(path, title, width_in=9.0, height_in=height_in) as figure:
        axes = sky_axes(figure, (1, 1, 1), wcs if layers else None)
        if not known.any():
            say(axes)
            return
        show_image(axes, lupton_rgb(*layers, softening=softening), factor=factor, interpolation="antialiased")
        show_box(axes, box)
        add_scale_bar(axes, wcs, box)
        add_compass(axes, wcs, box)
        axes.set_title(_legend(chosen, sort_bands(images)), fontweight="normal", fontsize=9.0)


def colour_bands(images):
    """Return the bands that make red, green and blue; one band alone makes grey.

    i, r, g where they exist, as the surveys do; otherwise the reddest, the middle and the bluest.
    """
    bands = sort_bands(images)
    if {"g", "r", "i"} <= set(bands):
        return ["i", "r", "g"]
    if len(bands) >= 3:
        return [bands[-1], bands[len(bands) // 2], bands[0]]
    return bands[::-1]


def _legend(chosen, bands):
    if len(chosen) == 1:
        return f"band {chosen[0]}, arcsinh scale"
    names = ["red", "blue"] if len(chosen) == 2 else ["red", "green", "blue"]
    colours = ", ".join(f"{name} = {band}" for name, band in zip(names, chosen, strict=True))
    return f"{colours}; bands {' '.join(bands)}; arcsinh scale" if len(bands) > 3 else f"{colours}; arcsinh scale"


def lupton_rgb(*layers, softening=8.0):
    """Return the colour image of one to three layers, red first.

    The intensity I, the mean of the layers, is mapped by asinh(Q I / s) with s ten times the noise, and every layer
    scaled by the same factor, so that a colour does not depend on brightness; a pixel whose largest layer exceeds 1
    is divided by it, which keeps its hue. The layers are balanced so that the bright pixels together are white, and
    the noise of the sky is shown in grey.

    Parameters
    ----------
    *layers : ndarray, shape (row, col)
        Fluxes with a common unit; the sky is taken off as each one's median. Two layers get their mean as green.
    softening : float
        The Q above.

    Returns
    -------
    ndarray of float32, shape (row, col, 3)
        0 to 1; black where no layer is finite; a layer that alone is not finite takes the mean of the others.
    """
    layers = [_without_sky(layer) for layer in layers]
    if len(layers) == 2:
        layers.insert(1, 0.5 * (layers[0] + layers[1]))
    known = np.array([np.isfinite(layer) for layer in layers])
    valid = known.any(axis=0)
    balanced = _balanced([np.where(own, layer, 0.0) for own, layer in zip(known, layers, strict=True)], valid)
    grey = np.sum(balanced, axis=0) / np.maximum(known.sum(axis=0), 1)
    filled = [np.where(own, layer, grey) for own, layer in zip(known, balanced, strict=True)]
    rgb = np.stack(filled if len(filled) == 3 else filled * 3, axis=-1)
    intensity = rgb.mean(axis=-1)
    noise = _noise(intensity[valid])
    rgb = _grey_noise(rgb, intensity, noise) + BLACK * noise
    rgb *= _brightness(intensity + BLACK * noise, noise, softening, valid)[..., None]
    rgb = np.maximum(rgb, 0.0)
    rgb /= np.maximum(rgb.max(axis=-1, keepdims=True), 1.0)
    rgb[~valid] = NO_DATA
    return rgb.astype(np.float32)


def _grey_noise(rgb, intensity, noise):
    """Take the colour from pixels that are no brighter than the noise."""
    bright = np.square(np.maximum(intensity, 0.0) / (2.0 * noise))
    return intensity[..., None] + (rgb - intensity[..., None]) * (bright / (1.0 + bright))[..., None]


def _brightness(intensity, noise, softening, valid):
    """Return the factor that maps each pixel's intensity to 0..1, all but the brightest pixels below white."""
    lifted = np.maximum(intensity, 1e-3 * noise)
    white = np.percentile(lifted[valid], 99.95) if valid.any() else noise
    white = max(float(white), 30.0 * noise)
    scale = softening / (10.0 * noise)
    return np.where(intensity > 0, np.arcsinh(scale * lifted) / np.arcsinh(scale * white) / lifted, 0.0)


def _without_sky(layer):
    finite = layer[np.isfinite(layer)]
    return layer - np.median(finite) if finite.size else layer


def _noise(values):
    """Return the robust standard deviation of the lower half of sky-subtracted values, never 0."""
    below = values[values < 0]
    noise = 1.4826 * float(np.median(-below)) if below.size else 0.0
    if noise <= 0 and values.size:
        noise = float(np.max(np.abs(values))) / 1000.0
    return noise if noise > 0 else 1.0


def _balanced(layers, valid):
    """Scale red and blue so that the pixels well above the noise have the mean colour of green."""
    if len(layers) != 3:
        return layers
    mean = np.mean(layers, axis=0)
    bright = valid & (mean > 8.0 * _noise(mean[valid]))
    sums = [max(float(layer[bright].sum()), 0.0) for layer in layers]
    if min(sums) <= 0.0:
        return layers
    return [layer * np.clip(sums[1] / own, 0.2, 5.0) for layer, own in zip(layers, sums, strict=True)]
