"""Batches: what they depend on, and what they refuse."""

import numpy as np
import pytest
import torch

from semimoe.model_errors import DataError
from semimoe.settings import NetworkSettings, TrainingSettings
from semimoe.training.batch_loader import BatchPlan, batches, image_statistics
from semimoe.training.recipe import Recipe

NETWORK = NetworkSettings(encoder="unet", experts="separate", width=4)
TRAINING = TrainingSettings(precision="fp32", tile_px=32, batch=2, epochs=3, warm_start_epochs=0)


def stream(source, *, role="labelled", first=0, steps=3, training=TRAINING, seed=0):
    recipe = Recipe("semimoe", NETWORK, training, 1.0, seed)
    return batches(source, role, recipe, BatchPlan(steps, first_epoch=first))


def test_an_epoch_is_the_same_wherever_the_run_started(discs) -> None:
    whole, late = list(stream(discs(5, 40))), list(stream(discs(5, 40), first=2))
    assert len(whole) == 9
    assert len(late) == 3
    for one, two in zip(whole[6:], late, strict=True):
        assert torch.equal(one.image, two.image)
        assert torch.equal(one.targets.sdf, two.targets.sdf)
        assert torch.equal(one.numbers, two.numbers)


def test_epochs_differ_and_a_pass_sees_every_tile(discs) -> None:
    made = list(stream(discs(6, 40)))
    epochs = [torch.cat([batch.numbers for batch in made[i : i + 3]]).tolist() for i in (0, 3, 6)]
    assert all(sorted(numbers) == list(range(6)) for numbers in epochs)
    assert len({tuple(numbers) for numbers in epochs}) > 1
    assert not torch.equal(made[0].image, made[3].image)


def test_a_short_list_is_repeated_with_new_views(discs) -> None:
    made = list(stream(discs(1, 40), steps=2))
    assert made[0].numbers.tolist() == [0, 0]
    assert not torch.equal(made[0].image[0], made[0].image[1])


def test_drawing_batches_leaves_the_global_generator_alone(discs) -> None:
    before = torch.get_rng_state()
    next(stream(discs(2, 40)))
    assert torch.equal(before, torch.get_rng_state())


def test_unlabelled_tiles_train_on_everything_inside_and_keep_their_truth_for_the_log(
    discs,
) -> None:
    bare = next(stream(discs(3, 40, labels=False), role="unlabelled"))
    assert bare.targets is None
    assert bare.weight.all()
    assert not bare.truth_weight.any()
    known = next(stream(discs(3, 40), role="unlabelled"))
    assert known.targets is None
    assert known.truth_weight.all()
    assert known.truth.any()


def test_stored_pseudo_labels_are_the_targets(discs) -> None:
    batch = next(stream(discs(3, 40, labels=False, pseudo=True), role="unlabelled"))
    assert set(batch.targets.mask.unique().tolist()) == {0, 1}
    inside = batch.targets.mask.bool()
    assert batch.targets.sdf[:, 0][inside].mean() > 0.3
    assert batch.targets.sdf[:, 0][~inside].mean() < -0.3


def test_labelled_tiles_without_labels_are_refused(discs) -> None:
    with pytest.raises(DataError, match="has no labels"):
        next(stream(discs(2, 40, labels=False)))


def test_statistics_are_those_of_the_pixels(discs) -> None:
    source = discs(3, 56)
    mean, std = image_statistics(source)
    pixels = np.concatenate([source[i].image.reshape(3, -1) for i in range(3)], axis=1) / 255
    np.testing.assert_allclose(mean, pixels.mean(1), atol=0.02)
    np.testing.assert_allclose(std, pixels.std(1), atol=0.02)
