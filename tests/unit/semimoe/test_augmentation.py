"""Augmentation: image, labels, weight and pseudo-labels stay aligned."""

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage

from semimoe.objectives.skeleton_distance import skeleton_distance
from semimoe.training import tile_windows
from semimoe.training.augmentation import AugmentedTiles, augment
from semimoe.training.random_columns import NUMBERS_PER_TILE, Column
from semimoe.training.tile_schedule import ScheduledBatch
from semimoe.training.tile_windows import CachedTiles, read_windows
from tiling.raster.tile import Tile


def disc_tile(side: int, *, pseudo: bool = True) -> Tile:
    """A tile with a dark disc: image, labels and pseudo-labels have the same outline."""
    y, x = np.mgrid[:side, :side]
    labels = ((y - side / 3) ** 2 + (x - side / 2) ** 2 < (side / 4) ** 2).astype(np.int32) * 7
    image = np.stack([np.where(labels > 0, 60, 220)] * 3).astype(np.uint8)
    maps = (
        np.stack([labels > 0, np.where(labels > 0, 200, 40), labels > 0]).astype(np.uint8)
        if pseudo
        else None
    )
    skeleton = np.where(labels > 0, 255, 0).astype(np.uint8)
    return Tile(image, labels, None, maps, skeleton=skeleton)


def augmented_batch(tile: Tile, numbers, *, tile_px: int, augmentation) -> AugmentedTiles:
    """The same tile with several rows of random numbers; the arrays are those of numpy."""
    batch = ScheduledBatch(np.zeros(len(numbers), np.int64), numbers)
    windows = read_windows([tile], "labelled", batch, tile_px=tile_px, augmentation=augmentation)
    tiles = augment(
        windows,
        torch.from_numpy(numbers.astype(np.float32)),
        tile_px=tile_px,
        augmentation=augmentation,
    )
    return AugmentedTiles(*(part.numpy() if part is not None else None for part in tiles))


def augmented(tile: Tile, seed: int, *, tile_px: int = 64, augmentation="slides"):
    """A single augmented tile, without the axis of the batch."""
    numbers = np.random.default_rng(seed).random((1, NUMBERS_PER_TILE))
    batch = augmented_batch(tile, numbers, tile_px=tile_px, augmentation=augmentation)
    return AugmentedTiles(*(None if part is None else part[0] for part in batch))


@pytest.mark.parametrize("augmentation", ["slides", "scanners", "deform", "paper", "none"])
@pytest.mark.parametrize("seed", range(5))
def test_labels_and_pseudo_labels_stay_aligned_with_the_image(augmentation, seed) -> None:
    result = augmented(disc_tile(128), seed, augmentation=augmentation)
    assert result.image.shape == (3, 64, 64)
    tissue = (result.inside > 0) & (result.weight > 0)  # neither glass nor outside the tile
    assert result.weight.all() or augmentation == "deform"
    is_dark = result.image.mean(0)[tissue] < 140
    assert (is_dark == (result.labels == 7)[tissue]).mean() > 0.97
    assert (is_dark == (result.pseudo[0] > 0)[tissue]).mean() > 0.97
    assert (is_dark == (result.pseudo[1] > 120)[tissue]).mean() > 0.97
    assert (is_dark == (result.skeleton > 0.5)[tissue]).mean() > 0.97
    assert tissue.all() or augmentation in ("scanners", "deform")
    assert set(np.unique(result.labels)) <= {0, 7}


def test_a_small_tile_is_mirrored_and_the_padding_does_not_count() -> None:
    tile = disc_tile(40)
    result = augmented(tile, 0, augmentation="none")
    padding = ((0, 0), (12, 12), (12, 12))
    mirrored = np.pad(tile.image, padding, mode="symmetric")
    np.testing.assert_array_equal(result.image, mirrored)
    for array in (result.weight, result.inside):
        np.testing.assert_array_equal(array, np.pad(np.ones((40, 40)), 12))
    np.testing.assert_array_equal(result.labels, np.pad(tile.labels, 12))


@pytest.mark.parametrize("augmentation", ["slides", "scanners", "deform", "paper"])
def test_pixels_at_the_edges_of_a_tile_are_not_mixed_with_what_lies_beside_it(augmentation) -> None:
    """A tile that is lower than its window, of one colour and one distance."""
    pixels = np.full((40, 97), 200, np.uint8)
    tile = Tile(
        np.stack([pixels] * 3),
        pixels.astype(np.int32),
        None,
        np.stack([pixels > 0, pixels, pixels > 0]),
    )
    numbers = np.random.default_rng(0).random((60, NUMBERS_PER_TILE))
    result = augmented_batch(tile, numbers, tile_px=64, augmentation=augmentation)
    np.testing.assert_allclose(result.pseudo[:, 1][result.inside > 0], 200, atol=1e-3)
    assert augmentation in ("scanners", "deform") or (np.ptp(result.image, axis=(2, 3)) == 0).all()


def test_padding_is_outside_of_a_tile_without_annotation_too() -> None:
    tile = disc_tile(40)._replace(weight=np.zeros((40, 40), np.uint8))
    result = augmented(tile, 0, augmentation="none")
    assert result.inside.sum() == 40 * 40
    assert not result.weight.any()


def test_a_tile_read_with_five_quarters_of_the_side_needs_no_padding_at_any_scale() -> None:
    tile = disc_tile(80, pseudo=False)
    assert all(augmented(tile, seed).inside.all() for seed in range(60))


def test_the_scale_of_the_content_is_part_of_the_result() -> None:
    scales = [augmented(disc_tile(96), seed).scale.item() for seed in range(40)]
    assert 0.79 < min(scales) < 0.9
    assert 1.1 < max(scales) < 1.27


def test_the_scale_of_a_deformed_tile_is_local() -> None:
    """The squares of a chessboard have the area that the scale says, wherever they are."""
    squares = np.add.outer(np.arange(160) // 20 * 100, np.arange(160) // 20 + 1).astype(np.int32)
    tile = disc_tile(160)._replace(labels=squares)
    squares_seen = 0
    for seed in range(12):
        result = augmented(tile, seed, tile_px=96, augmentation="deform")
        # Glass, padding and the edges of the tile cut squares.
        is_cut = ndimage.binary_dilation(result.labels == 0, iterations=2, border_value=1)
        for number in set(np.unique(result.labels)) - set(result.labels[is_cut]):
            square = result.labels == number
            expected = 400 * (result.scale[square] ** 2).mean()
            assert square.sum() == pytest.approx(expected, rel=0.15)
            squares_seen += 1
    assert squares_seen > 50


@pytest.mark.parametrize("augmentation", ["scanners", "deform", "paper"])
def test_a_tile_does_not_depend_on_the_other_tiles_of_its_batch(augmentation) -> None:
    numbers = np.random.default_rng(3).random((4, NUMBERS_PER_TILE))
    tile = disc_tile(96)
    batch = augmented_batch(tile, numbers, tile_px=64, augmentation=augmentation)
    for row in range(4):
        alone = augmented_batch(tile, numbers[row : row + 1], tile_px=64, augmentation=augmentation)
        for together, single in zip(batch, alone, strict=True):
            if together is not None:
                np.testing.assert_allclose(together[row], single[0], atol=1)
    assert (batch.image[0] != batch.image[1]).any()


@pytest.mark.parametrize("corner", [(0.0, 0.0), (0.4, 0.9)])
@pytest.mark.parametrize("is_flipped", [False, True])
@pytest.mark.parametrize("quarter_turns", range(4))
def test_flips_and_quarter_turns_move_whole_pixels(quarter_turns, is_flipped, corner) -> None:
    """Every pixel of the result is the pixel that numpy puts there."""
    rng = np.random.default_rng(0)
    tile = Tile(rng.integers(0, 256, (3, 70, 90), np.uint8), rng.integers(0, 9, (70, 90), np.int32))
    numbers = rng.random((1, NUMBERS_PER_TILE))
    numbers[0, [Column.CROP_Y, Column.CROP_X]] = corner
    numbers[0, [Column.QUARTER_TURNS, Column.FLIP]] = quarter_turns / 4, 0 if is_flipped else 0.5
    result = augmented_batch(tile, numbers, tile_px=64, augmentation="flips")
    y, x = int(corner[0] * 7), int(corner[1] * 27)
    for array, expected in ((result.image[0], tile.image), (result.labels[0], tile.labels)):
        crop = expected[..., y : y + 64, x : x + 64]
        crop = crop[..., ::-1] if is_flipped else crop
        turned = [np.rot90(crop, turns, axes=(-2, -1)) for turns in (quarter_turns, -quarter_turns)]
        assert any((array == candidate).all() for candidate in turned)


def test_all_eight_flips_and_turns_occur() -> None:
    tile = Tile(
        np.random.default_rng(0).integers(0, 256, (3, 32, 32), np.uint8), np.zeros((32, 32))
    )
    results = {
        augmented(tile, seed, tile_px=32, augmentation="flips").image.tobytes()
        for seed in range(60)
    }
    assert len(results) == 8


def test_a_scaled_crop_is_the_resized_crop_of_pillow() -> None:
    """The preset `paper` enlarges a crop: bilinear, within rounding."""
    numbers = np.full((1, NUMBERS_PER_TILE), 0.5)
    numbers[0, Column.SCALE] = 0.1  # a crop of 7/8
    numbers[0, [Column.CROP_Y, Column.CROP_X, Column.QUARTER_TURNS]] = 0
    pixels = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=(64, 64)), 3)
    image = np.clip(128 + 900 * pixels, 0, 255).astype(np.uint8)
    result = augmented_batch(
        Tile(np.stack([image] * 3), np.zeros((64, 64), np.int32)),
        numbers,
        tile_px=64,
        augmentation="paper",
    )
    expected = Image.fromarray(image[:56, :56]).resize((64, 64), Image.Resampling.BILINEAR)
    difference = result.image[0, 0].astype(int) - np.asarray(expected)
    # Beyond the outermost pixels Pillow repeats the edge of the crop; the tile goes on there.
    assert np.abs(difference[1:-1, 1:-1]).max() <= 1
    assert result.scale == pytest.approx(64 / 56)


def test_deform_turns_by_any_angle_and_moves_outlines() -> None:
    """Its place and outline change; most tiles need no padding."""
    tile = disc_tile(128, pseudo=False)
    results = [augmented(tile, seed, augmentation="deform") for seed in range(12)]
    assert sum(bool(r.weight.all()) for r in results) > 4
    slides = [augmented(tile, seed, augmentation="slides").labels for seed in range(12)]
    assert all((r.labels != s).any() for r, s in zip(results, slides, strict=True))


def test_slides_change_the_stain_and_paper_does_not() -> None:
    tile = disc_tile(64)
    paper = augmented(tile, 0, tile_px=56, augmentation="paper")
    slides = augmented(tile, 0)
    assert paper.image.max() <= 220
    assert paper.image.min() >= 60
    assert (
        abs(int(np.median(slides.image[:, slides.labels == 7])) - 60) > 0
        or abs(int(slides.image.max()) - 220) > 0
    )


def test_a_tile_is_decoded_once_while_it_fits_into_memory() -> None:
    class CountedTiles:
        def __init__(self) -> None:
            self.read: list[int] = []

        def __len__(self) -> int:
            return 3

        def __getitem__(self, index: int) -> Tile:
            self.read.append(index)
            return disc_tile(32, pseudo=False)

    source = CountedTiles()
    bytes_of_a_tile = 32 * 32 * (3 + 4 + 1)
    cached = CachedTiles(source, 2 * bytes_of_a_tile)
    for _ in range(2):
        for index in range(3):
            cached[index]
    assert source.read == [0, 1, 2, 2]


def test_the_skeleton_of_a_tile_that_does_not_fit_into_memory_is_computed_once(monkeypatch) -> None:
    computed = []

    def count(labels: np.ndarray) -> np.ndarray:
        computed.append(labels)
        return skeleton_distance(labels)

    monkeypatch.setattr(tile_windows, "skeleton_distance", count)
    tiles = [disc_tile(48, pseudo=False)] * 2
    bytes_of_a_tile = 48 * 48 * (3 + 4 + 1 + 1)
    cached = CachedTiles(tiles, bytes_of_a_tile + 100, with_skeleton=True)
    for _ in range(3):
        for index in range(2):
            np.testing.assert_array_equal(
                cached[index].skeleton, skeleton_distance(tiles[index].labels)
            )
    assert len(computed) == 2


def _largest_step(tile) -> int:
    """Largest difference between two neighbours in a row that are both tissue."""
    both = (tile.inside[:, 1:] > 0) & (tile.inside[:, :-1] > 0)
    return int(np.abs(np.diff(tile.image.astype(int), axis=2))[:, both].max())


def test_glass_beyond_an_edge_is_bright_and_has_no_gland() -> None:
    """Each of two edges cuts at most half of the tile; glass is background, and not `inside`."""
    everywhere = np.full((96, 96), 7, np.int32)
    tile = disc_tile(96)._replace(image=np.full((3, 96, 96), 90, np.uint8), labels=everywhere)
    shares = []
    for seed in range(60):
        result = augmented(tile, seed, augmentation="scanners")
        glass = result.inside == 0
        assert result.weight.all()
        np.testing.assert_array_equal(result.labels == 0, glass)
        # A blur mixes both sides of the edge.
        away_from_edge = ndimage.binary_erosion(glass, iterations=5, border_value=1)
        assert (result.image[:, away_from_edge] > 200).all()
        shares.append(glass.mean())
        if glass.any():
            to_glass = ndimage.distance_transform_edt(~glass) - 0.5
            is_near = (to_glass > 0) & (to_glass < 12)
            error = np.abs(result.to_glass_px - to_glass)[is_near]
            assert np.median(error) < 1
            assert np.quantile(error, 0.9) < 3  # at wavy edges it is that to the tangent
        else:
            assert (result.to_glass_px >= 0).all()
    # A quarter of the tiles has no edge; some edges lie outside the tile.
    assert 0.2 < np.mean(np.array(shares) == 0) < 0.5
    assert max(shares) < 0.95
    assert np.mean(shares) > 0.1


def test_scanners_change_stain_and_focus_more_than_slides_with_the_same_geometry() -> None:
    """With the same seeds, colours vary more, and edges are blurred or sharpened."""
    tile = disc_tile(96)
    plain = tile._replace(
        image=np.broadcast_to(np.array([150, 90, 140], np.uint8)[:, None, None], tile.image.shape)
    )
    std, steps = {}, []
    for augmentation in ("slides", "scanners"):
        colours = [
            augmented(plain, seed, augmentation=augmentation).image[:, 5, 5] for seed in range(40)
        ]
        std[augmentation] = np.std(colours, axis=0).mean()
        augmented_tiles = [augmented(tile, seed, augmentation=augmentation) for seed in range(40)]
        steps.append([_largest_step(result) for result in augmented_tiles])
        if augmentation == "slides":
            labels = [result.labels for result in augmented_tiles]
        else:
            for result, expected in zip(augmented_tiles, labels, strict=True):
                is_tissue = result.inside > 0
                np.testing.assert_array_equal(result.labels[is_tissue], expected[is_tissue])
    assert std["scanners"] > 1.7 * std["slides"]
    ratio = np.array(steps[1]) / np.array(steps[0])
    assert ratio.min() < 0.7
    assert ratio.max() > 1.2
