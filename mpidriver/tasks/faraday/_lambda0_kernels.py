"""Sums of the weights of unflagged voxels, of each pixel, vectorised along the pixels."""

from mpidriver.tasks._jit import kernel

__all__ = ["sum_weights"]

BLOCK = 2048
"""Pixels whose sums stay in the first-level cache while all channels pass."""


@kernel
def _add_channel(q, u, weight, lambda_sq, total, first):
    for pixel in range(q.size):
        good = q[pixel] * 0 + u[pixel] * 0 == 0
        own = weight if good else 0.0
        total[pixel] += own
        first[pixel] += own * lambda_sq


@kernel
def _add_weighted_channel(q, u, weights, lambda_sq, total, first):
    for pixel in range(q.size):
        weight = weights[pixel]
        good = (q[pixel] * 0 + u[pixel] * 0 + weight * 0 == 0) & (weight > 0)
        own = weight if good else 0.0
        total[pixel] += own
        first[pixel] += own * lambda_sq


@kernel
def sum_weights(q, u, voxel_weights, channel_weights, lambda_sq, total, first):
    """Add up Σ w and Σ w λ² over the channels in which a pixel is not flagged.

    Parameters
    ----------
    q, u : float (chan, pixel)
        Flagged where they are not finite.
    voxel_weights : float (chan, pixel) or (0, 0)
        Those that are not positive and finite are flags; none: the weights of the channels.
    channel_weights, lambda_sq : float64 (chan,)
    total, first : float64 (pixel,)
        Receive the sums; begin with 0.
    """
    for start in range(0, q.shape[1], BLOCK):
        block = slice(start, min(start + BLOCK, q.shape[1]))
        for chan in range(q.shape[0]):
            if voxel_weights.size > 0:
                _add_weighted_channel(
                    q[chan, block], u[chan, block], voxel_weights[chan, block], lambda_sq[chan],
                    total[block], first[block],
                )  # fmt: skip
            elif channel_weights[chan] > 0:
                _add_channel(
                    q[chan, block], u[chan, block], channel_weights[chan], lambda_sq[chan], total[block], first[block]
                )
