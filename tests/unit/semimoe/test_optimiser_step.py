"""A step in parts, after running out of memory, or shared by processes, is the step of the whole batch."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from disc_pictures import fit_on_cpu
from PIL import Image

from semimoe.datasets.image_folder import FolderImages, find_images
from semimoe.methods.learner import LearnerContext
from semimoe.methods.semimoe import SemiMoELearner
from semimoe.methods.supervised import SupervisedLearner
from semimoe.model_errors import TrainingError
from semimoe.networks.mixture import SemiMoE
from semimoe.objectives.batch import Batch
from semimoe.objectives.losses import Targets
from semimoe.settings import NetworkSettings, TrainingSettings
from semimoe.tensor_files import load_tensors
from semimoe.training.optimiser_step import NotFiniteError, Stepper, divide
from semimoe.training.recipe import TrainingData

NETWORK = NetworkSettings(encoder="unet", experts="separate", width=4, dropout=0.0)
BRIEF = {
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
    """Five tiles: wholly, partly, hardly and not at all annotated."""
    make = torch.Generator().manual_seed(seed)
    weight = torch.zeros(B, SIDE, SIDE, dtype=torch.uint8)
    for tile, rows in enumerate((SIDE, 20, 3, 0, 11)):
        weight[tile, :rows] = 1
    mask = torch.randint(2, (B, SIDE, SIDE), generator=make)
    made = Targets(
        mask,
        torch.rand(B, 1, SIDE, SIDE, generator=make) * 2 - 1,
        torch.randint(2, (B, SIDE, SIDE), generator=make),
    )
    image = torch.randint(256, (B, 3, SIDE, SIDE), dtype=torch.uint8, generator=make)
    return Batch(image, weight, made if targets else None, mask, weight, torch.arange(B))


def stepped(
    micro_batch: int, *, update: str = "joint", broken: type[Exception] | None = None, most: int = B
):
    """The network, its results and its log-scales after one step with batch normalisation frozen."""
    torch.manual_seed(0)
    training = TrainingSettings(
        **BRIEF | {"batch": B, "statistics": "both", "update": update, "max_grad_norm": None}
    )
    learner = SemiMoELearner(context(training)).eval()
    net, aggregate = learner.network, learner.aggregate
    optimizers = {
        "network": torch.optim.SGD(net.parameters(), lr=0.1),
        "s": torch.optim.SGD(aggregate.parameters(), lr=0.1),
    }
    if broken is not None:
        net.register_forward_pre_hook(lambda _, given: refuse(given[0], most, broken))
    stepper = stepper_of(learner, optimizers, micro_batch)
    results = stepper.take(batch(1), batch(2, targets=False), progress=0.5)
    state = {**net.state_dict(), "s": aggregate.s.detach()}
    return state, results, stepper


def run(labelled, unlabelled, validation, *, method, out, training=None, devices=1) -> None:
    fit_on_cpu(
        method,
        TrainingData(labelled, unlabelled, validation),
        network=NETWORK,
        training=training or TrainingSettings(**BRIEF),
        out=out,
        devices=devices,
    )


def context(training: TrainingSettings) -> LearnerContext:
    return LearnerContext(NETWORK, training, (0.5,) * 3, (0.25,) * 3, mpp_um=1.0)


def stepper_of(learner, optimizers, micro_batch: int) -> Stepper:
    return Stepper(
        learner,
        optimizers,
        lambda network, images: network(images),
        device=torch.device("cpu"),
        micro_batch=micro_batch,
    )


def refuse(images, most, kind) -> None:
    if len(images) > most:
        raise kind(f"{len(images)} tiles")


@pytest.mark.parametrize("update", ["joint", "two-step"])
@pytest.mark.parametrize("micro_batch", [1, 2, 3])
def test_a_step_in_parts_is_the_step_of_the_whole_batch(update, micro_batch) -> None:
    """Tolerance: 1e-6 absolute on weights that move by about 1e-1."""
    whole, results, _ = stepped(B, update=update)
    parts, of_parts, _ = stepped(micro_batch, update=update)
    torch.manual_seed(0)
    start = SemiMoE(NETWORK).state_dict()
    assert max((whole[name] - start[name]).abs().max().item() for name in start) > 1e-2
    for name, tensor in whole.items():
        torch.testing.assert_close(parts[name], tensor, atol=1e-6, rtol=1e-5)
    for one, two in zip(results, of_parts, strict=True):
        torch.testing.assert_close(two.loss, one.loss)
        torch.testing.assert_close(two.plain, one.plain)
        torch.testing.assert_close(two.log, one.log)
        torch.testing.assert_close(two.counts, one.counts)
        torch.testing.assert_close(two.gate_weights, one.gate_weights)


def test_parts_know_their_share_of_tiles_images_and_pixels() -> None:
    parts = divide(batch(1), 2)
    assert [len(part.numbers) for part in parts] == [2, 2, 1]
    assert [part.numbers.tolist() for part in parts] == [[0, 1], [2, 3], [4]]
    for kind, expected in (
        ("tiles", (0.4, 0.4, 0.2)),
        ("images", (0.5, 0.25, 0.25)),
        ("pixels", (52 / 66, 3 / 66, 11 / 66)),
    ):
        assert [getattr(part.share, kind) for part in parts] == pytest.approx(expected)
    again = divide(parts[0], 1)
    assert sum(part.share.pixels for part in again) == pytest.approx(52 / 66)


def test_after_running_out_of_memory_the_step_is_taken_in_parts_and_is_the_same() -> None:
    whole, _, _ = stepped(B)
    parts, _, stepper = stepped(B, broken=torch.OutOfMemoryError, most=2)
    assert stepper.micro_batch == 2  # 5, 3, 2
    for name, tensor in whole.items():
        torch.testing.assert_close(parts[name], tensor, atol=1e-6, rtol=1e-5)


def test_a_single_tile_that_does_not_fit_is_an_error_that_says_what_to_do() -> None:
    with pytest.raises(TrainingError, match="lower tile_px or width"):
        stepped(B, broken=torch.OutOfMemoryError, most=0)


def test_other_errors_are_not_taken_for_a_lack_of_memory() -> None:
    with pytest.raises(RuntimeError, match="5 tiles"):
        stepped(B, broken=RuntimeError, most=2)


def test_a_gradient_that_is_not_finite_stops_before_the_weights_change() -> None:
    torch.manual_seed(0)
    learner = SupervisedLearner(context(TrainingSettings(**BRIEF)))
    net = learner.network
    net.expert_heads[0].weight.register_hook(lambda gradient: gradient * float("inf"))
    before = {name: tensor.clone() for name, tensor in net.named_parameters()}
    optimizers = {"network": torch.optim.SGD(net.parameters(), lr=0.1)}
    stepper = stepper_of(learner, optimizers, B)
    with pytest.raises(NotFiniteError, match="the gradient is"):
        stepper.take(batch(1), None, progress=0.0)
    assert all(torch.equal(before[name], tensor) for name, tensor in net.named_parameters())


def test_a_run_that_ran_out_of_memory_keeps_its_batch_and_says_so(
    tmp_path, discs, monkeypatch, caplog
) -> None:
    forward = SemiMoE.forward

    def small(self, images):
        refuse(images, 2, torch.OutOfMemoryError)
        return forward(self, images)

    monkeypatch.setattr(SemiMoE, "forward", small)
    out = tmp_path / "model"
    run(discs(4, 40), discs(4, 40, seed=1), discs(1, 90, seed=2), method="semimoe", out=out)
    card = json.loads((out / "model.json").read_text())
    assert (card["training"]["batch"], card["micro_batch"]) == (4, 2)
    assert "out of memory: continuing with 2 tiles at a time, the batch stays 4" in caplog.text


def pictures(folder, discs) -> None:
    folder.mkdir()
    for number in range(7):
        one = discs(7, 56)[number]
        Image.fromarray(one.image.transpose(1, 2, 0)).save(folder / f"disc_{number}.png")
        Image.fromarray(one.labels.astype(np.uint8)).save(folder / f"disc_{number}_anno.png")


def test_two_processes_are_one_with_the_same_batch(tmp_path, discs) -> None:
    """Each of two gloo processes takes half of every batch; statistics of batch normalisation frozen, no dropout.

    Tolerance: 1e-5 absolute after six steps on weights that move by about 1e-2 (sums in another order).
    """
    pictures(tmp_path / "data", discs)
    command = [
        sys.executable, "-m", "semimoe", "train", "--data", str(tmp_path / "data"), "--labelled", "0.5", "--mpp", "1",
        "--width", "4", "--tile", "32", "--epochs", "2", "--steps", "3", "--batch", "4",
        "--set", "training.statistics=frozen", "--set", "network.dropout=0", "--set", "training.optimizer=sgd", "--lr", "0.01",
    ]  # fmt: skip
    for devices in ("1", "2"):
        more = ["--devices", devices, "--out", str(tmp_path / devices)]
        done = subprocess.run(
            [*command, *more],
            capture_output=True,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            check=False,
        )
        assert done.returncode == 0, done.stderr
    one, two = (load_tensors(tmp_path / devices / "model.safetensors")[0] for devices in "12")
    for name, tensor in one.items():
        torch.testing.assert_close(two[name], tensor, atol=1e-5, rtol=0)
    cards = [json.loads((tmp_path / devices / "model.json").read_text()) for devices in "12"]
    assert [card["devices"] for card in cards] == [1, 2]
    assert cards[0]["threshold"] == cards[1]["threshold"]
    rows = [(tmp_path / devices / "history.csv").read_text().splitlines() for devices in "12"]
    for first, second in zip(*(row[1:] for row in rows), strict=True):
        assert [float(cell) for cell in first.split(",") if cell] == pytest.approx(
            [float(cell) for cell in second.split(",") if cell], rel=1e-3
        )


def test_a_batch_that_cannot_be_shared_is_refused(tmp_path, discs) -> None:
    with pytest.raises(ValueError, match="multiple of their number"):
        run(discs(2, 40), None, None, method="unet", out=tmp_path / "model", devices=3)


def test_a_loss_that_is_not_finite_names_the_images(tmp_path, discs) -> None:
    pictures(tmp_path / "data", discs)
    source = FolderImages(find_images(tmp_path / "data"))
    endless = TrainingSettings(**BRIEF | {"lr": 1e30, "max_grad_norm": None})
    with pytest.raises(TrainingError, match=r"labelled tiles \[\d \(disc_\d\)"):
        run(source, None, None, method="supervised", out=tmp_path / "model", training=endless)
    assert not (tmp_path / "model").exists()
