"""Batches: which values they depend on, and which tiles are errors."""

import dataclasses

import numpy as np
import pytest
import torch
from scipy.ndimage import distance_transform_edt

from semimoe.methods import METHODS
from semimoe.model_errors import DataError
from semimoe.settings import NetworkSettings, TrainingSettings
from semimoe.training.batch_loader import _stored_targets, batches, image_statistics
from semimoe.training.device_tiles import DeviceTiles
from semimoe.training.recipe import Recipe
from semimoe.training.tile_schedule import BatchPlan, scheduled_batches
from semimoe.training.tile_windows import read_windows
from tiling.raster.quantise import restore_sdf
from tiling.raster.tile import Tile

NETWORK = NetworkSettings(encoder="unet", experts="separate", width=4)
TRAINING = TrainingSettings(precision="fp32", tile_px=32, batch=2, epochs=3, warm_start_epochs=0)


def read_batches(
    source, *, role="labelled", first_epoch=0, steps=3, training=TRAINING, seed=0, method="semimoe"
):
    recipe = Recipe(method, NETWORK, training, 1.0, seed)
    plan = BatchPlan(steps, first_epoch=first_epoch)
    return batches(source, role, recipe, plan, torch.device("cpu"))


def test_an_epoch_does_not_depend_on_the_first_epoch_of_the_run(discs) -> None:
    all_epochs, last_epoch = (
        list(read_batches(discs(5, 40))),
        list(read_batches(discs(5, 40), first_epoch=2)),
    )
    assert len(all_epochs) == 9
    assert len(last_epoch) == 3
    for first, second in zip(all_epochs[6:], last_epoch, strict=True):
        assert torch.equal(first.image, second.image)
        assert torch.equal(first.targets.sdf, second.targets.sdf)
        assert torch.equal(first.numbers, second.numbers)


def test_epochs_have_different_orders_and_each_contains_every_tile(discs) -> None:
    result = list(read_batches(discs(6, 40)))
    epochs = [torch.cat([batch.numbers for batch in result[i : i + 3]]).tolist() for i in (0, 3, 6)]
    assert all(sorted(numbers) == list(range(6)) for numbers in epochs)
    assert len({tuple(numbers) for numbers in epochs}) > 1
    assert not torch.equal(result[0].image, result[3].image)


def test_tiles_of_a_small_source_repeat_with_another_augmentation(discs) -> None:
    result = list(read_batches(discs(1, 40), steps=2))
    assert result[0].numbers.tolist() == [0, 0]
    assert not torch.equal(result[0].image[0], result[0].image[1])


def test_reading_batches_does_not_change_the_global_random_state(discs) -> None:
    before = torch.get_rng_state()
    next(read_batches(discs(2, 40)))
    assert torch.equal(before, torch.get_rng_state())


def test_a_method_that_asks_for_weakly_augmented_tiles_gets_the_same_crop_without_a_change_of_stain(
    discs, monkeypatch
) -> None:
    method = dataclasses.replace(METHODS["cps"], uses_weak_augmentation=True)
    monkeypatch.setitem(METHODS, "two-views", method)
    source = discs(2, 40, labels=False)
    for augmentation, is_same in (("flips", True), ("slides", False)):
        training = TRAINING.model_copy(update={"augment": augmentation})
        plain, both = (
            next(read_batches(source, role="unlabelled", training=training, method=name))
            for name in ("cps", "two-views")
        )
        assert plain.weakly_augmented is None
        assert torch.equal(plain.image, both.image)
        assert torch.equal(both.image, both.weakly_augmented) == is_same


def test_all_pixels_of_unlabelled_tiles_count_and_their_labels_are_for_the_log_only(
    discs,
) -> None:
    without_labels = next(read_batches(discs(3, 40, labels=False), role="unlabelled"))
    assert without_labels.targets is None
    assert without_labels.weight.all()
    assert not without_labels.truth_weight.any()
    with_labels = next(read_batches(discs(3, 40), role="unlabelled"))
    assert with_labels.targets is None
    assert with_labels.truth_weight.all()
    assert with_labels.truth.any()


def test_stored_pseudo_labels_become_the_targets(discs) -> None:
    batch = next(read_batches(discs(3, 40, labels=False, pseudo=True), role="unlabelled"))
    assert set(batch.targets.mask.unique().tolist()) == {0, 1}
    inside = batch.targets.mask.bool()
    assert batch.targets.sdf[:, 0][inside].mean() > 0.3
    assert batch.targets.sdf[:, 0][~inside].mean() < -0.3


@pytest.mark.parametrize("sdf_scale", ["um", "skeleton", "tile"])
def test_only_distances_in_um_are_scaled_with_the_tile(sdf_scale) -> None:
    """Twice the size: with the scale skeleton the distance inside glands is a position."""
    sdf = torch.tensor([[[-1.0, -0.2, 0.2, 1.0]]])
    pseudo = torch.stack([(sdf > 0).float(), ((sdf + 1) * 127.5).round(), 0 * sdf], dim=1)
    stored = restore_sdf(pseudo[0, 1].numpy().astype(np.uint8))[0].tolist()
    result = _stored_targets(pseudo, torch.tensor([[[2.0]]]), sdf_scale).sdf[0, 0, 0].tolist()
    outside, inside = {"um": (2, 2), "skeleton": (2, 1), "tile": (1, 1)}[sdf_scale]
    expected = [-1.0, outside * stored[1], inside * stored[2], 1.0]
    assert result == pytest.approx(expected)


@pytest.mark.parametrize("sdf_scale", ["um", "skeleton"])
def test_glands_end_at_the_glass_in_all_targets(sdf_scale) -> None:
    """A tile inside a gland is deep everywhere; beyond an edge of glass its outline is known."""
    side, tile_px = 96, 64
    everywhere = np.ones((side, side), np.int32)
    deep = np.stack([everywhere, 255 * everywhere, 0 * everywhere]).astype(np.uint8)
    tile = Tile(
        np.full((3, side, side), 90, np.uint8),
        everywhere,
        pseudo=deep,
        skeleton=np.full((side, side), 255, np.uint8),
    )
    network = NETWORK.model_copy(update={"sdf_scale": sdf_scale, "sdf_um": 20.0})
    training = TRAINING.model_copy(update={"augment": "scanners", "tile_px": tile_px})
    recipe = Recipe("semimoe", network, training, 1.0, 0)
    labelled, unlabelled = (
        list(batches([tile] * 20, role, recipe, BatchPlan(10), torch.device("cpu")))
        for role in ("labelled", "unlabelled")
    )
    seen = 0
    for batch in labelled:
        glass = (batch.targets.mask == 0).numpy()
        assert not batch.targets.boundary.numpy()[~glass].any()  # the ring lies in the glass
        for of_tile, sdf in zip(glass, batch.targets.sdf[:, 0].numpy(), strict=True):
            if of_tile.any() and not of_tile.all():
                seen += 1
                depth_px = distance_transform_edt(~of_tile) - 0.5
                inside = ~of_tile
                error = np.abs(sdf - np.clip(depth_px / 20, 0, 1))[inside]
                assert error.mean() < 0.12  # wavy edges: the distance is that to the tangent
    assert seen > 3
    seen = 0
    for batch in unlabelled:
        glass = batch.weight.numpy() == 0
        assert not batch.targets.boundary.numpy()[~glass].any()
        for of_tile, sdf in zip(glass, batch.targets.sdf[:, 0].numpy(), strict=True):
            if of_tile.any() and not of_tile.all():
                seen += 1
                depth_px = distance_transform_edt(~of_tile) - 0.5
                error = np.abs(sdf - np.clip(depth_px / 20, 0, 1))[~of_tile]
                assert error.mean() < 0.12
    assert seen > 3


def test_labelled_tiles_without_labels_are_an_error(discs) -> None:
    with pytest.raises(DataError, match="has no labels"):
        next(read_batches(discs(2, 40, labels=False)))


def test_image_statistics_are_mean_and_standard_deviation_of_the_pixels(discs) -> None:
    source = discs(3, 56)
    mean, std = image_statistics(source)
    pixels = np.concatenate([source[i].image.reshape(3, -1) for i in range(3)], axis=1) / 255
    np.testing.assert_allclose(mean, pixels.mean(1), atol=0.02)
    np.testing.assert_allclose(std, pixels.std(1), atol=0.02)


@pytest.mark.parametrize("augmentation", ["deform", "slides", "paper", "none"])
@pytest.mark.parametrize("role", ["labelled", "unlabelled"])
def test_windows_that_are_cut_on_the_device_are_those_that_are_read(augmentation, role) -> None:
    """Tiles smaller and larger than a window; here the device is the CPU."""
    rng = np.random.default_rng(0)

    def tile(height: int, width: int, *, is_masked: bool) -> Tile:
        shape = (height, width)
        labels = rng.integers(0, 9, shape).astype(np.int32)
        masks = [rng.integers(0, 2, shape, np.uint8) if is_masked else None for _ in range(2)]
        pseudo, image = rng.integers(0, 256, (2, 3, *shape), np.uint8)
        has_labels = role == "labelled" or is_masked
        return Tile(
            image, labels if has_labels else None, masks[0], pseudo, masks[1], skeleton=pseudo[0]
        )

    tiles = [
        tile(*shape, is_masked=is_masked)
        for shape, is_masked in (((20, 90), False), ((70, 33), True), ((64, 64), False))
    ]
    options = {"tile_px": 32, "augmentation": augmentation}
    on_device = DeviceTiles.of_source(
        tiles, role, device=torch.device("cpu"), most_bytes=10**7, **options
    )
    assert on_device is not None
    training = TRAINING.model_copy(update={"augment": augmentation, "batch": 3})
    recipe = Recipe("semimoe", NETWORK, training, 1.0, 0)
    for batch in scheduled_batches(len(tiles), role, recipe, BatchPlan(4)):
        cut = on_device.windows(on_device.plan(batch))
        read = read_windows(tiles, role, batch, **options)
        for name, part in read._asdict().items():
            torch.testing.assert_close(getattr(cut, name), part, rtol=0, atol=0)


def test_tiles_that_need_too_much_memory_are_not_kept_on_the_device(discs) -> None:
    options = {"tile_px": 32, "augmentation": "none", "device": torch.device("cpu")}
    source = discs(3, 40)
    bytes_of_all = 3 * 40 * 40 * (3 + 4 + 1 + 1)
    assert DeviceTiles.of_source(source, "labelled", most_bytes=bytes_of_all, **options) is not None
    assert DeviceTiles.of_source(source, "labelled", most_bytes=bytes_of_all - 1, **options) is None
    tiles = [source[number]._replace(pseudo=source[number].image) for number in range(3)]
    assert DeviceTiles.of_source(tiles, "labelled", most_bytes=bytes_of_all, **options) is None
