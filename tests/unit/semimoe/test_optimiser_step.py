"""An optimiser step in parts equals the step on the whole batch."""

import functools
import json

import pytest
import torch
from disc_pictures import fit_on_cpu, save_discs

from semimoe.datasets.image_folder import FolderImages, find_images
from semimoe.methods.learner import LearnerContext, Step
from semimoe.methods.semimoe import SemiMoELearner
from semimoe.methods.supervised import SupervisedLearner
from semimoe.model_errors import SettingsError, TrainingError
from semimoe.networks.mixture import SemiMoE
from semimoe.objectives.batch import Batch
from semimoe.objectives.losses import Targets
from semimoe.settings import NetworkSettings, TrainingSettings
from semimoe.training.optimiser_step import Stepper, divide
from semimoe.training.recipe import TrainingData
from semimoe.training.unread_values import NotFiniteError

pytestmark = pytest.mark.xdist_group("training_steps")

NETWORK = NetworkSettings(encoder="unet", experts="separate", width=4, dropout=0.0)
SHORT_TRAINING = {
    "tile_px": 32,
    "batch": 4,
    "epochs": 2,
    "warm_start_epochs": 0,
    "steps_per_epoch": 2,
    "min_area_um2": 20,
    "precision": "fp32",
}
B, SIDE = 5, 32


def batch(seed: int, *, targets: bool = True) -> Batch:
    """Five tiles; different shares of their pixels are annotated."""
    random = torch.Generator().manual_seed(seed)
    weight = torch.zeros(B, SIDE, SIDE, dtype=torch.uint8)
    for tile, rows in enumerate((SIDE, 20, 3, 0, 11)):
        weight[tile, :rows] = 1
    mask = torch.randint(2, (B, SIDE, SIDE), generator=random)
    all_targets = Targets(
        mask,
        torch.rand(B, 1, SIDE, SIDE, generator=random) * 2 - 1,
        torch.randint(2, (B, SIDE, SIDE), generator=random),
    )
    image = torch.randint(256, (B, 3, SIDE, SIDE), dtype=torch.uint8, generator=random)
    return Batch(image, weight, all_targets if targets else None, mask, weight, torch.arange(B))


def take_step(
    micro_batch: int,
    *,
    update: str = "joint",
    pseudo: str = "gates",
    error: type[Exception] | None = None,
    most_tiles: int = B,
):
    """Take a step with frozen batch normalisation; return weights, results and the stepper.

    Parameters
    ----------
    error : is raised by a forward pass of more than `most_tiles` tiles
    """
    torch.manual_seed(0)
    training = TrainingSettings(
        **SHORT_TRAINING
        | {"batch": B, "statistics": "both", "update": update, "max_grad_norm": None}
        | {"pseudo": pseudo, "ema_decay": 0.9}
    )
    learner = SemiMoELearner(context(training)).eval()
    learner.start_average()
    if training.has_teacher:
        make_certain_in_places(learner.average)
    network, aggregate = learner.network, learner.aggregate
    optimizers = {
        "network": torch.optim.SGD(network.parameters(), lr=0.1),
        "s": torch.optim.SGD(aggregate.parameters(), lr=0.1),
    }
    if error is not None:
        network.register_forward_pre_hook(
            lambda _, inputs: raise_beyond(inputs[0], most_tiles, error)
        )
    stepper = make_stepper(learner, optimizers, micro_batch)
    unlabelled = batch(2, targets=False)
    if training.has_teacher:
        unlabelled = for_teacher(unlabelled)
    torch.manual_seed(1)  # of the exchanged rectangles
    results = stepper.take(batch(1), unlabelled, progress=0.5)
    state = {**network.state_dict(), "s": aggregate.s.detach()}
    return state, results, stepper


def train(labelled, unlabelled, validation, *, method, out, training=None, devices=1) -> None:
    fit_on_cpu(
        method,
        TrainingData(labelled, unlabelled, validation),
        network=NETWORK,
        training=training or TrainingSettings(**SHORT_TRAINING),
        out=out,
        devices=devices,
    )


def context(training: TrainingSettings) -> LearnerContext:
    return LearnerContext(NETWORK, training, (0.5,) * 3, (0.25,) * 3, mpp_um=1.0)


def for_teacher(unlabelled: Batch) -> Batch:
    """All pixels of an unlabelled batch are inside the image."""
    inside = torch.ones_like(unlabelled.weight)
    return unlabelled._replace(weakly_augmented=unlabelled.image, weight=inside)


def make_certain_in_places(network: SemiMoE) -> None:
    """Its gate is certain, and agrees with its experts, in about a fifth of the pixels."""
    with torch.no_grad():
        network.gate_heads[0].weight.mul_(4000)


def make_stepper(learner, optimizers, micro_batch: int) -> Stepper:
    return Stepper(
        learner,
        optimizers,
        lambda network, images: network(images),
        device=torch.device("cpu"),
        micro_batch=micro_batch,
    )


def raise_beyond(images, most_tiles, error) -> None:
    if len(images) > most_tiles:
        raise error(f"{len(images)} tiles")


@functools.cache
def undivided_step(update: str, pseudo: str):
    return take_step(B, update=update, pseudo=pseudo)[:2]


@pytest.mark.parametrize("update", ["joint", "two-step"])
def test_without_unlabelled_tiles_or_with_a_weight_of_0_a_step_is_supervised(update) -> None:
    def step(unlabelled: Batch | None, unsup_max: float):
        torch.manual_seed(0)
        changes = {"update": update, "unsup_max": unsup_max}
        learner = SemiMoELearner(context(TrainingSettings(**SHORT_TRAINING | changes))).train()
        stepper = make_stepper(learner, learner.optimizers(lr=0.1), B)
        return stepper.take(batch(1), unlabelled, progress=0.5), learner.state_dict()

    unlabelled = batch(2, targets=False)
    results, without = step(None, 1.0)
    results_of_zero, of_zero = step(unlabelled, 0.0)
    assert len(results) == len(results_of_zero) == 1
    assert all(torch.equal(tensor, of_zero[name]) for name, tensor in without.items())
    both, changed = step(unlabelled, 1.0)
    assert len(both) == 2
    assert any(not torch.equal(tensor, changed[name]) for name, tensor in without.items())


@pytest.mark.parametrize(
    ("update", "pseudo"),
    [("joint", "gates"), ("two-step", "gates"), ("joint", "teacher"), ("joint", "teacher-mask")],
)
@pytest.mark.parametrize("micro_batch", [1, 2, 3])
def test_a_step_in_parts_changes_the_weights_like_a_step_on_the_whole_batch(
    update, micro_batch, pseudo
) -> None:
    """Tolerance: 1e-6 absolute on weights that change by about 1e-1."""
    undivided, results = undivided_step(update, pseudo)
    parts, part_results, _ = take_step(micro_batch, update=update, pseudo=pseudo)
    torch.manual_seed(0)
    start = SemiMoE(NETWORK).state_dict()
    assert max((undivided[name] - start[name]).abs().max().item() for name in start) > 1e-2
    for name, tensor in undivided.items():
        torch.testing.assert_close(parts[name], tensor, atol=1e-6, rtol=1e-5)
    for expected, result in zip(results, part_results, strict=True):
        torch.testing.assert_close(result.loss, expected.loss)
        torch.testing.assert_close(result.plain, expected.plain)
        torch.testing.assert_close(result.log, expected.log)
        torch.testing.assert_close(result.counts, expected.counts)
        torch.testing.assert_close(result.gate_weights, expected.gate_weights)


def test_processes_share_the_pixels_of_which_the_teacher_is_certain() -> None:
    torch.manual_seed(0)
    training = TrainingSettings(**SHORT_TRAINING | {"pseudo": "teacher", "ema_decay": 0.9})
    learner = SemiMoELearner(context(training)).eval()
    learner.start_average()
    make_certain_in_places(learner.average)
    sizes = []

    def average(own: torch.Tensor) -> torch.Tensor:
        sizes.append(own)
        return torch.tensor([[5.0, 4, 1000], [5, 5, 1000]], dtype=torch.float64)

    step = Step(
        lambda network, images: network(images),
        batch(1),
        for_teacher(batch(2, targets=False)),
        torch.tensor(0.5),
    )
    shared = make_stepper(learner, {}, B)._with_shares(step, average).unlabelled
    certain = (shared.weight > 0).sum().item()
    assert 0 < certain < 0.9 * B * SIDE * SIDE
    assert sizes[0][1, 2] == certain
    assert shared.share.pixels == pytest.approx(certain / 1000)
    assert shared.targets is not None


def test_each_part_has_its_share_of_the_tiles_images_and_pixels_of_the_batch() -> None:
    parts = divide(batch(1), 2)
    assert [len(part.numbers) for part in parts] == [2, 2, 1]
    assert [part.numbers.tolist() for part in parts] == [[0, 1], [2, 3], [4]]
    for kind, expected in (
        ("tiles", (0.4, 0.4, 0.2)),
        ("images", (0.5, 0.25, 0.25)),
        ("pixels", (52 / 66, 3 / 66, 11 / 66)),
    ):
        assert [getattr(part.share, kind) for part in parts] == pytest.approx(expected)
    smaller_parts = divide(parts[0], 1)
    assert sum(part.share.pixels for part in smaller_parts) == pytest.approx(52 / 66)


def test_when_memory_runs_out_the_step_is_repeated_in_parts_with_the_same_result() -> None:
    undivided, _, _ = take_step(B)
    parts, _, stepper = take_step(B, error=torch.OutOfMemoryError, most_tiles=2)
    assert stepper.micro_batch == 2  # 5, 3, 2
    for name, tensor in undivided.items():
        torch.testing.assert_close(parts[name], tensor, atol=1e-6, rtol=1e-5)


def test_a_single_tile_that_does_not_fit_into_memory_is_an_error_with_a_remedy() -> None:
    with pytest.raises(TrainingError, match="lower tile_px or width"):
        take_step(B, error=torch.OutOfMemoryError, most_tiles=0)


def test_other_errors_do_not_reduce_the_number_of_tiles() -> None:
    with pytest.raises(RuntimeError, match="5 tiles"):
        take_step(B, error=RuntimeError, most_tiles=2)


def test_a_gradient_that_is_not_finite_is_an_error_before_the_weights_change() -> None:
    torch.manual_seed(0)
    learner = SupervisedLearner(context(TrainingSettings(**SHORT_TRAINING)))
    network = learner.network
    network.expert_heads[0].weight.register_hook(lambda gradient: gradient * float("inf"))
    before = {name: tensor.clone() for name, tensor in network.named_parameters()}
    optimizers = {"network": torch.optim.SGD(network.parameters(), lr=0.1)}
    stepper = make_stepper(learner, optimizers, B)
    with pytest.raises(NotFiniteError, match="the gradient is"):
        stepper.take(batch(1), None, progress=0.0)
    assert all(torch.equal(before[name], tensor) for name, tensor in network.named_parameters())


def test_a_run_that_ran_out_of_memory_keeps_its_batch_size_and_logs_the_smaller_parts(
    tmp_path, discs, monkeypatch, caplog
) -> None:
    forward = SemiMoE.forward

    def forward_with_little_memory(self, images):
        raise_beyond(images, 2, torch.OutOfMemoryError)
        return forward(self, images)

    monkeypatch.setattr(SemiMoE, "forward", forward_with_little_memory)
    out = tmp_path / "model"
    train(discs(4, 40), discs(4, 40, seed=1), discs(1, 90, seed=2), method="semimoe", out=out)
    card = json.loads((out / "model.json").read_text())
    assert (card["training"]["batch"], card["micro_batch"]) == (4, 2)
    assert "out of memory: continuing with 2 tiles at a time, the batch stays 4" in caplog.text


def test_a_batch_that_the_devices_cannot_share_equally_is_an_error(tmp_path, discs) -> None:
    with pytest.raises(ValueError, match="multiple of their number"):
        train(discs(2, 40), None, None, method="unet", out=tmp_path / "model", devices=3)


@pytest.mark.parametrize(
    ("method", "batch", "changes", "cause"),
    [
        ("semimoe", 2, {"pseudo": "teacher", "ema_decay": 0.9}, "training.pseudo=teacher"),
        ("unimatch", 2, {}, "unimatch"),
        ("unimatch", 1, {}, "unimatch"),
    ],
)
def test_a_device_with_one_tile_cannot_mix_tiles(
    tmp_path, discs, method, batch, changes, cause
) -> None:
    training = TrainingSettings(**SHORT_TRAINING | changes | {"batch": batch})
    with pytest.raises(SettingsError, match=f"devices: {cause} exchanges.*device at least 2"):
        train(
            discs(2, 40), discs(2, 40), None, method=method, out=tmp_path / "model",
            training=training, devices=batch,
        )  # fmt: skip


def test_an_error_about_a_loss_that_is_not_finite_names_the_images(tmp_path, discs) -> None:
    save_discs(tmp_path / "data")
    source = FolderImages(find_images(tmp_path / "data"))
    too_large_lr = TrainingSettings(**SHORT_TRAINING).model_copy(
        update={"lr": 1e30, "max_grad_norm": None}
    )
    with pytest.raises(TrainingError, match=r"labelled tiles \[\d \(disc_\d\)"):
        train(
            source, None, None, method="supervised", out=tmp_path / "model", training=too_large_lr
        )
    assert not (tmp_path / "model").exists()
