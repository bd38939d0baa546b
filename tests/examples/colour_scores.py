"""How well colour alone finds the glands of a synthetic slide: an upper bound."""

import numpy as np
import openslide
import tifffile
from scipy import ndimage, optimize
from skimage.color import rgb2hed


def best_by_colour(image, labels, tissue):
    """Best Dice and object F1 over channels, thresholds, signs and a logistic regression.

    All are fitted on the truth: an upper bound.
    """
    hed = rgb2hed(image)
    channels = [
        image[..., 0],
        image[..., 1],
        image[..., 2],
        image.mean(axis=-1),
        hed[..., 0],
        hed[..., 1],
    ]
    scores = [
        _best_threshold(sign * channel, labels, tissue, tries=8)
        for channel in channels
        for sign in (1, -1)
    ]
    scores.append(_best_threshold(_logistic(image, labels, tissue), labels, tissue, tries=16))
    return max(dice for dice, _ in scores), max(f1 for _, f1 in scores)


def _logistic(image, labels, tissue):
    blurred = [
        ndimage.gaussian_filter(image[..., c], sigma_um / 2)[tissue]
        for sigma_um in (0, 2, 4, 8, 16)
        for c in range(3)
    ]
    x = np.stack(blurred, axis=1).astype(np.float64)
    x = np.column_stack([(x - x.mean(0)) / x.std(0), np.ones(len(x))])
    y = (labels > 0)[tissue].astype(np.float64)
    step = max(len(x) // 30_000, 1)
    fit_x, fit_y = x[::step], y[::step]

    def loss_and_gradient(w):
        z = fit_x @ w
        gradient = fit_x.T @ (0.5 * (1 + np.tanh(z / 2)) - fit_y) / len(fit_y)
        return np.mean(np.logaddexp(0, z) - fit_y * z) + 1e-6 * w @ w, gradient + 2e-6 * w

    def hessian(w):
        weight = 0.25 * (1 - np.tanh(fit_x @ w / 2) ** 2) / len(fit_y)
        return fit_x.T @ (fit_x * weight[:, None]) + 2e-6 * np.eye(len(w))

    start = np.zeros(x.shape[1])
    fitted = optimize.minimize(
        loss_and_gradient, start, jac=True, hess=hessian, method="trust-exact"
    )
    score = np.full(tissue.shape, -np.inf)
    score[tissue] = x @ fitted.x
    return score


def _best_threshold(score, labels, tissue, *, tries):
    dice, f1 = 0.0, 0.0
    gland = np.flatnonzero(labels)
    numbers = labels.ravel()[gland] - 1
    for threshold in np.unique(np.quantile(score[tissue], np.linspace(0.04, 0.96, tries))):
        mask = (score >= threshold) & tissue
        objects, count = ndimage.label(mask)
        objects_on_gland = objects.ravel()[gland]
        dice = max(
            dice, 2 * np.count_nonzero(objects_on_gland) / (np.count_nonzero(mask) + len(gland))
        )
        f1 = max(f1, _object_f1(objects_on_gland, numbers, count))
    return float(dice), f1


def _object_f1(objects, numbers, count):
    """Object F1, from the object (0: none) and the number of the gland of every gland pixel."""
    glands = int(numbers.max()) + 1
    pairs = np.bincount(
        objects.astype(np.int64) * glands + numbers, minlength=(count + 1) * glands
    ).reshape(count + 1, glands)
    best = pairs[1:].argmax(axis=1)  # an object counts for one gland, even if it covers several
    hits = best[2 * pairs[np.arange(1, count + 1), best] > pairs.sum(axis=0)[best]]
    return 2 * len(np.unique(hits)) / (count + glands)


def at_two_um(slide, truth):
    """Image in 0..1, labels and tissue at 2 um/px: level 2.

    Tissue is where the smoothed slide is dark, with its holes filled.
    """
    with openslide.OpenSlide(slide) as opened:
        image = np.asarray(opened.read_region((0, 0), 2, opened.level_dimensions[2]))[..., :3]
    labels = tifffile.imread(truth)[2::4, 2::4].astype(np.int64)
    image = image[: labels.shape[0], : labels.shape[1]].astype(np.float32) / 255
    tissue = ndimage.gaussian_filter(image[..., 1], 6) < 0.88
    return image, labels, ndimage.binary_fill_holes(tissue) | (labels > 0)
