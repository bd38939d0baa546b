"""Augmentation: image, labels, weight and pseudo-labels stay aligned."""

import numpy as np
import pytest
from scipy import ndimage

from semimoe.training.augmentation import as_augmented_tile, augment


def disc_tile(side: int, item, *, pseudo: bool = True):
    """A tile with a dark disc: image, labels and pseudo-labels have the same outline."""
    y, x = np.mgrid[:side, :side]
    labels = ((y - side / 3) ** 2 + (x - side / 2) ** 2 < (side / 4) ** 2).astype(np.int32) * 7
    image = np.stack([np.where(labels > 0, 60, 220)] * 3).astype(np.uint8)
    maps = (
        np.stack([labels > 0, np.where(labels > 0, 200, 40), labels > 0]).astype(np.uint8)
        if pseudo
        else None
    )
    return as_augmented_tile(item(image, labels, None, maps))


@pytest.mark.parametrize("augmentation", ["slides", "scanners", "paper", "none"])
@pytest.mark.parametrize("seed", range(5))
def test_labels_and_pseudo_labels_stay_aligned_with_the_image(augmentation, seed, item) -> None:
    augmented = augment(
        disc_tile(96, item), tile_px=64, augmentation=augmentation, rng=np.random.default_rng(seed)
    )
    assert augmented.image.shape == (3, 64, 64)
    tissue = augmented.inside > 0  # not glass
    assert augmented.weight.all()
    is_dark = augmented.image.mean(0)[tissue] < 140
    assert (is_dark == (augmented.labels == 7)[tissue]).mean() > 0.97
    assert (is_dark == (augmented.pseudo[0] > 0)[tissue]).mean() > 0.97
    assert (is_dark == (augmented.pseudo[1] > 120)[tissue]).mean() > 0.97
    assert tissue.all() or augmentation == "scanners"
    assert set(np.unique(augmented.labels)) <= {0, 7}


def test_a_small_tile_is_mirrored_and_the_padding_does_not_count(item) -> None:
    tile = disc_tile(40, item)
    augmented = augment(tile, tile_px=64, augmentation="none", rng=np.random.default_rng(0))
    assert augmented.weight.sum() == augmented.inside.sum() == 40 * 40
    assert not augmented.labels[augmented.weight == 0].any()
    assert set(np.unique(augmented.image)) == {60, 220}
    inside = np.argwhere(augmented.weight)
    (y0, x0), (y1, x1) = inside.min(0), inside.max(0) + 1
    np.testing.assert_array_equal(augmented.labels[y0:y1, x0:x1], tile.labels)


def test_padding_is_outside_of_a_tile_without_annotation_too(item) -> None:
    tile = disc_tile(40, item)._replace(weight=np.zeros((40, 40), np.uint8))
    augmented = augment(tile, tile_px=64, augmentation="none", rng=np.random.default_rng(0))
    assert augmented.inside.sum() == 40 * 40
    assert not augmented.weight.any()


def test_a_tile_read_with_five_quarters_of_the_side_needs_no_padding_at_any_scale(item) -> None:
    tile, rng = disc_tile(80, item, pseudo=False), np.random.default_rng(0)
    assert all(
        augment(tile, tile_px=64, augmentation="slides", rng=rng).inside.all() for _ in range(60)
    )


def test_the_scale_of_the_content_is_part_of_the_result(item) -> None:
    scales = [
        augment(
            disc_tile(96, item), tile_px=64, augmentation="slides", rng=np.random.default_rng(s)
        ).scale
        for s in range(40)
    ]
    assert 0.79 < min(scales) < 0.9
    assert 1.1 < max(scales) < 1.27


def test_all_random_numbers_come_from_the_generator(item) -> None:
    tile = disc_tile(96, item)
    first, repeated, other = (
        augment(tile, tile_px=64, augmentation="slides", rng=np.random.default_rng(seed))
        for seed in (3, 3, 4)
    )
    np.testing.assert_array_equal(first.image, repeated.image)
    assert (first.image != other.image).any()


def test_slides_change_the_stain_and_paper_does_not(item) -> None:
    tile = disc_tile(64, item)
    paper = augment(tile, tile_px=56, augmentation="paper", rng=np.random.default_rng(0))
    slides = augment(tile, tile_px=64, augmentation="slides", rng=np.random.default_rng(0))
    assert paper.image.max() <= 220
    assert paper.image.min() >= 60
    assert (
        abs(int(np.median(slides.image[:, slides.labels == 7])) - 60) > 0
        or abs(int(slides.image.max()) - 220) > 0
    )


def _largest_step(tile) -> int:
    """Largest difference between two neighbours in a row that are both tissue."""
    both = (tile.inside[:, 1:] > 0) & (tile.inside[:, :-1] > 0)
    return int(np.abs(np.diff(tile.image.astype(int), axis=2))[:, both].max())


def test_glass_beyond_an_edge_is_bright_and_has_no_gland(item) -> None:
    """Each of two edges cuts at most half of the tile; glass is background, and not `inside`."""
    everywhere = np.full((96, 96), 7, np.int32)
    tile = disc_tile(96, item)._replace(image=np.full((3, 96, 96), 90, np.uint8), labels=everywhere)
    shares = []
    for seed in range(60):
        augmented = augment(
            tile, tile_px=64, augmentation="scanners", rng=np.random.default_rng(seed)
        )
        glass = augmented.inside == 0
        assert augmented.weight.all()
        np.testing.assert_array_equal(augmented.labels == 0, glass)
        # A blur mixes both sides of the edge.
        away_from_edge = ndimage.binary_erosion(glass, iterations=5, border_value=1)
        assert (augmented.image[:, away_from_edge] > 200).all()
        shares.append(glass.mean())
    # A quarter of the tiles has no edge; some edges lie outside the tile.
    assert 0.2 < np.mean(np.array(shares) == 0) < 0.5
    assert max(shares) < 0.95
    assert np.mean(shares) > 0.1


def test_scanners_change_stain_and_focus_more_than_slides_with_the_same_geometry(item) -> None:
    """With the same seeds, colours vary more, and edges are blurred or sharpened."""
    tile = disc_tile(96, item)
    plain = tile._replace(
        image=np.broadcast_to(np.array([150, 90, 140], np.uint8)[:, None, None], tile.image.shape)
    )
    std, steps = {}, []
    for augmentation in ("slides", "scanners"):
        colours = [
            augment(
                plain, tile_px=64, augmentation=augmentation, rng=np.random.default_rng(seed)
            ).image[:, 5, 5]
            for seed in range(40)
        ]
        std[augmentation] = np.std(colours, axis=0).mean()
        augmented_tiles = [
            augment(tile, tile_px=64, augmentation=augmentation, rng=np.random.default_rng(seed))
            for seed in range(40)
        ]
        steps.append([_largest_step(augmented) for augmented in augmented_tiles])
        if augmentation == "slides":
            labels = [augmented.labels for augmented in augmented_tiles]
        else:
            tissue = [augmented.inside > 0 for augmented in augmented_tiles]
            pairs = zip(augmented_tiles, labels, tissue, strict=True)
            for augmented, expected, is_tissue in pairs:
                np.testing.assert_array_equal(augmented.labels[is_tissue], expected[is_tissue])
    assert std["scanners"] > 1.7 * std["slides"]
    ratio = np.array(steps[1]) / np.array(steps[0])
    assert ratio.min() < 0.7
    assert ratio.max() > 1.2
