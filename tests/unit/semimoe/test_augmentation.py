"""Random views: image, labels, weight and pseudo-labels stay together, and nothing is made up."""

import numpy as np
import pytest
from scipy import ndimage

from semimoe.training.augmentation import as_augmented_tile, augment


def aligned(side: int, item, *, pseudo: bool = True):
    """A window whose image shows its labels, with smooth pseudo-labels of the same disc."""
    y, x = np.mgrid[:side, :side]
    labels = ((y - side / 3) ** 2 + (x - side / 2) ** 2 < (side / 4) ** 2).astype(np.int32) * 7
    image = np.stack([np.where(labels > 0, 60, 220)] * 3).astype(np.uint8)
    maps = (
        np.stack([labels > 0, np.where(labels > 0, 200, 40), labels > 0]).astype(np.uint8)
        if pseudo
        else None
    )
    return as_augmented_tile(item(image, labels, None, maps))


@pytest.mark.parametrize("how", ["slides", "scanners", "paper", "none"])
@pytest.mark.parametrize("seed", range(5))
def test_labels_stay_on_what_the_image_shows(how, seed, item) -> None:
    made = augment(aligned(96, item), tile_px=64, augmentation=how, rng=np.random.default_rng(seed))
    assert made.image.shape == (3, 64, 64)
    counts = made.inside > 0  # not glass
    assert made.weight.all()
    shown = made.image.mean(0)[counts] < 140
    assert (shown == (made.labels == 7)[counts]).mean() > 0.97
    assert (shown == (made.pseudo[0] > 0)[counts]).mean() > 0.97
    assert (shown == (made.pseudo[1] > 120)[counts]).mean() > 0.97
    assert counts.all() or how == "scanners"
    assert set(np.unique(made.labels)) <= {0, 7}


def test_a_small_window_is_mirrored_and_the_rest_does_not_count(item) -> None:
    window = aligned(40, item)
    made = augment(window, tile_px=64, augmentation="none", rng=np.random.default_rng(0))
    assert made.weight.sum() == made.inside.sum() == 40 * 40
    assert not made.labels[made.weight == 0].any()
    assert set(np.unique(made.image)) == {60, 220}
    inside = np.argwhere(made.weight)
    (y0, x0), (y1, x1) = inside.min(0), inside.max(0) + 1
    np.testing.assert_array_equal(made.labels[y0:y1, x0:x1], window.labels)


def test_padding_counts_as_outside_even_where_nothing_is_annotated(item) -> None:
    window = aligned(40, item)._replace(weight=np.zeros((40, 40), np.uint8))
    made = augment(window, tile_px=64, augmentation="none", rng=np.random.default_rng(0))
    assert made.inside.sum() == 40 * 40
    assert not made.weight.any()


def test_a_window_read_at_five_quarters_has_no_padding_at_any_scale(item) -> None:
    window, rng = aligned(80, item, pseudo=False), np.random.default_rng(0)
    assert all(
        augment(window, tile_px=64, augmentation="slides", rng=rng).inside.all() for _ in range(60)
    )


def test_scale_is_reported_for_distances(item) -> None:
    scales = [
        augment(
            aligned(96, item), tile_px=64, augmentation="slides", rng=np.random.default_rng(s)
        ).scale
        for s in range(40)
    ]
    assert 0.79 < min(scales) < 0.9
    assert 1.1 < max(scales) < 1.27


def test_chance_comes_from_the_generator_alone(item) -> None:
    window = aligned(96, item)
    one, two, other = (
        augment(window, tile_px=64, augmentation="slides", rng=np.random.default_rng(seed))
        for seed in (3, 3, 4)
    )
    np.testing.assert_array_equal(one.image, two.image)
    assert (one.image != other.image).any()


def test_stain_changes_colour_only_for_slides(item) -> None:
    window = aligned(64, item)
    paper = augment(window, tile_px=56, augmentation="paper", rng=np.random.default_rng(0))
    slides = augment(window, tile_px=64, augmentation="slides", rng=np.random.default_rng(0))
    assert paper.image.max() <= 220
    assert paper.image.min() >= 60
    assert (
        abs(int(np.median(slides.image[:, slides.labels == 7])) - 60) > 0
        or abs(int(slides.image.max()) - 220) > 0
    )


def _steepest(view) -> int:
    """Largest step between two neighbours in a row that both show tissue."""
    both = (view.inside[:, 1:] > 0) & (view.inside[:, :-1] > 0)
    return int(np.abs(np.diff(view.image.astype(int), axis=2))[:, both].max())


def test_glass_at_an_edge_is_bright_and_holds_no_gland(item) -> None:
    """Half a tile at most for each of two edges; it is known to be no gland, and pseudo-labels mean nothing there."""
    everywhere = np.full((96, 96), 7, np.int32)
    window = aligned(96, item)._replace(image=np.full((3, 96, 96), 90, np.uint8), labels=everywhere)
    shares = []
    for seed in range(60):
        view = augment(window, tile_px=64, augmentation="scanners", rng=np.random.default_rng(seed))
        glass = view.inside == 0
        assert view.weight.all()
        np.testing.assert_array_equal(view.labels == 0, glass)
        deep = ndimage.binary_erosion(
            glass, iterations=5, border_value=1
        )  # a blur mixes both sides of the edge
        assert (view.image[:, deep] > 200).all()
        shares.append(glass.mean())
    assert (
        0.2 < np.mean(np.array(shares) == 0) < 0.5
    )  # a quarter of tiles shows none, some edges lie outside
    assert max(shares) < 0.95
    assert np.mean(shares) > 0.1


def test_scanners_differ_more_in_stain_and_in_focus_and_labels_stay(item) -> None:
    """Against the same draws of `slides`: the geometry is the same, colours lie farther apart, edges are blurred or sharpened."""
    window = aligned(96, item)
    plain = window._replace(
        image=np.broadcast_to(np.array([150, 90, 140], np.uint8)[:, None, None], window.image.shape)
    )
    spread, edges = {}, []
    for how in ("slides", "scanners"):
        colours = [
            augment(plain, tile_px=64, augmentation=how, rng=np.random.default_rng(seed)).image[
                :, 5, 5
            ]
            for seed in range(40)
        ]
        spread[how] = np.std(colours, axis=0).mean()
        views = [
            augment(window, tile_px=64, augmentation=how, rng=np.random.default_rng(seed))
            for seed in range(40)
        ]
        edges.append([_steepest(view) for view in views])
        if how == "slides":
            labels = [view.labels for view in views]
        else:
            tissue = [view.inside > 0 for view in views]
            pairs = zip(views, labels, tissue, strict=True)
            assert all(
                np.array_equal(view.labels[shown], before[shown]) for view, before, shown in pairs
            )
    assert spread["scanners"] > 1.7 * spread["slides"]
    ratio = np.array(edges[1]) / np.array(edges[0])
    assert ratio.min() < 0.7
    assert ratio.max() > 1.2
