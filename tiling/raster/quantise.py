"""Predicted maps as uint8, and back: the only place where values are quantised.

A probability p in [0, 1] becomes round(255 p); a signed distance s in [-1, 1] (sdf) becomes
round(127.5 (s + 1)). Disagreement is quantised like a probability.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

PROBABILITY_SCALE = 255
SDF_SCALE = 127.5
# Probability from which a pixel of a pseudo-label is gland, or boundary.
_PSEUDO_THRESHOLD = 0.5


def quantise_probability(probability: NDArray[Any]) -> NDArray[np.uint8]:
    """Round(255 p), uint8 of the same shape.

    >>> quantise_probability(np.array([0.0, 0.5, 1.0])).tolist()
    [0, 128, 255]
    """
    return _to_uint8(probability * np.float32(PROBABILITY_SCALE))


def quantise_sdf(sdf: NDArray[Any]) -> NDArray[np.uint8]:
    """Round(127.5 (s + 1)), uint8 of the same shape.

    >>> quantise_sdf(np.array([-1.0, 0.0, 1.0])).tolist()
    [0, 128, 255]
    """
    return _to_uint8((sdf + 1) * np.float32(SDF_SCALE))


def quantise_maps(maps: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Quantise the maps of a model.

    Parameters
    ----------
    maps : float32 (4, H, W), gland probability, sdf in [-1, 1], boundary probability,
        disagreement in [0, 1]

    Returns
    -------
    ndarray
        uint8 (4, H, W).
    """
    gland, sdf, boundary, disagreement = maps
    return np.stack(
        [
            quantise_probability(gland),
            quantise_sdf(sdf),
            quantise_probability(boundary),
            quantise_probability(disagreement),
        ]
    )


def quantise_pseudo_label(maps: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Make a stored pseudo-label of the maps of a model.

    Parameters
    ----------
    maps : float32 (4, H, W), as in `quantise_maps`

    Returns
    -------
    ndarray
        uint8 (3, H, W): mask 0/1, quantised sdf, boundary 0/1.
    """
    gland, sdf, boundary, _ = maps
    mask, outline = (
        (probability >= _PSEUDO_THRESHOLD).astype(np.uint8) for probability in (gland, boundary)
    )
    return np.stack([mask, quantise_sdf(sdf), outline])


def quantise_scaled_means(
    scaled: NDArray[np.float32],
    out: NDArray[np.uint8],
    *,
    is_sdf: bool,
    where: NDArray[np.bool_] | None = None,
) -> None:
    """Quantise values that are multiplied by 255 already, in place and without a copy.

    Parameters
    ----------
    scaled : float32 (h, w), 255 times a probability or an sdf; overwritten
    out : uint8 (h, w), the result
    is_sdf : whether the values are signed distances
    where : bool (h, w), pixels of `out` that are written; None: all
    """
    if is_sdf:
        np.multiply(scaled, np.float32(SDF_SCALE / PROBABILITY_SCALE), out=scaled)
        np.add(scaled, np.float32(SDF_SCALE), out=scaled)
    np.clip(scaled, 0, 255, out=scaled)
    np.rint(scaled, out=out, casting="unsafe", where=True if where is None else where)


def restore_probability(quantised: NDArray[Any]) -> NDArray[Any]:
    """Probabilities of quantised values (or of means of them), in [0, 1]."""
    return quantised / PROBABILITY_SCALE


def restore_sdf(quantised: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Signed distances of quantised ones, float32 in [-1, 1]."""
    restored: NDArray[np.float32] = quantised.astype(np.float32) / np.float32(SDF_SCALE) - 1
    return restored


def quantised_threshold(probability: float) -> int:
    """Quantise a threshold of a probability; above 255 if it is larger than 1.

    >>> quantised_threshold(0.5), quantised_threshold(1.01)
    (128, 258)
    """
    return round(PROBABILITY_SCALE * probability)


def quantised_sdf_threshold(sdf: float) -> int:
    """Quantise a threshold of a signed distance.

    >>> quantised_sdf_threshold(0.1)
    140
    """
    return round((sdf + 1) * SDF_SCALE)


def _to_uint8(scaled: NDArray[Any]) -> NDArray[np.uint8]:
    quantised: NDArray[np.uint8] = np.clip(np.rint(scaled), 0, 255).astype(np.uint8)
    return quantised
