"""Batches: which values they depend on, and which tiles are errors."""

import numpy as np
import pytest
import torch

from semimoe.model_errors import DataError
from semimoe.settings import NetworkSettings, TrainingSettings
from semimoe.training.batch_loader import batches, image_statistics
from semimoe.training.recipe import Recipe
from semimoe.training.tile_schedule import BatchPlan

NETWORK = NetworkSettings(encoder="unet", experts="separate", width=4)
TRAINING = TrainingSettings(precision="fp32", tile_px=32, batch=2, epochs=3, warm_start_epochs=0)


def read_batches(source, *, role="labelled", first_epoch=0, steps=3, training=TRAINING, seed=0):
    recipe = Recipe("semimoe", NETWORK, training, 1.0, seed)
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


def test_labelled_tiles_without_labels_are_an_error(discs) -> None:
    with pytest.raises(DataError, match="has no labels"):
        next(read_batches(discs(2, 40, labels=False)))


def test_image_statistics_are_mean_and_standard_deviation_of_the_pixels(discs) -> None:
    source = discs(3, 56)
    mean, std = image_statistics(source)
    pixels = np.concatenate([source[i].image.reshape(3, -1) for i in range(3)], axis=1) / 255
    np.testing.assert_allclose(mean, pixels.mean(1), atol=0.02)
    np.testing.assert_allclose(std, pixels.std(1), atol=0.02)
