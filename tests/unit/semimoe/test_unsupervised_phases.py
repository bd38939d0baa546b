"""What holds for the phases of several methods: parts, precision, and no value that is read."""

import pytest
import torch
from disc_pictures import fit_on_cpu
from learner_steps import TINY_NETWORK, TINY_TRAINING, batch, context

from semimoe.methods import METHODS
from semimoe.methods.cross_consistency import context_masking, object_masking
from semimoe.methods.learner import Learner, Step
from semimoe.methods.semimoe import SemiMoELearner
from semimoe.objectives.batch import Batch
from semimoe.training.optimiser_step import divide
from semimoe.training.recipe import TrainingData

NAMES = [
    pytest.param(
        name,
        marks=pytest.mark.skipif(
            not METHODS[name].is_installed, reason=f"the package of {name} is not installed"
        ),
    )
    for name in (
        "entropy-minimisation",
        "uncertainty-aware-mean-teacher",
        "cross-consistency",
        "urpc",
        "cross-teaching",
        "xnet",
        "unimatch",
        "toposemiseg",
        "match",
    )
]
# Transformers and persistent homology are not recorded.
NOT_RECORDED = ("cross-teaching", "toposemiseg", "match")


def learner(name: str) -> Learner:
    torch.manual_seed(0)
    return METHODS[name].load_learner()(context())


def four_tiles(*, labelled: bool) -> Batch:
    """Different shares of their pixels count; none of the last tile."""
    halves = [batch(seed, labelled=labelled) for seed in (1, 2)]
    weight = torch.cat([half.weight for half in halves])
    for tile, rows in enumerate((32, 20, 3, 0)):
        weight[tile, rows:] = 0
    both = Batch(
        torch.cat([half.image for half in halves]),
        weight,
        None,
        torch.cat([half.truth for half in halves]),
        weight,
        torch.arange(4),
    )
    if not labelled:
        return both._replace(weakly_augmented=both.image)
    targets = [half.targets for half in halves]
    joined = type(targets[0])(*(torch.cat(parts) for parts in zip(*targets, strict=True)))
    return both._replace(targets=joined)


def step_of(labelled: Batch, unlabelled: Batch) -> Step:
    progress = torch.tensor(0.9, device=labelled.image.device)
    return Step(lambda network, images: network(images), labelled, unlabelled, progress)


@pytest.mark.parametrize("name", NAMES)
def test_losses_of_the_parts_of_a_batch_add_up_to_that_of_the_whole(name, monkeypatch) -> None:
    """Without random values, and with running statistics for normalisation."""
    one = learner(name).eval()
    if name == "uncertainty-aware-mean-teacher":
        monkeypatch.setattr(one, "_with_noise", lambda images: images)
        with torch.no_grad():  # its teacher is certain of many pixels, but not of all
            one.network.heads[0].weight.mul_(20)
    if name == "cross-consistency":
        masks = (object_masking, context_masking) * 2 + (object_masking,)
        monkeypatch.setattr("semimoe.methods.cross_consistency.PERTURBATIONS", masks)
    if name == "unimatch":
        monkeypatch.setattr("semimoe.methods.unimatch._DROPPED_CHANNELS", 0.0)
        monkeypatch.setattr("semimoe.methods.unimatch._strongly_augmented", lambda tiles: tiles)
        with torch.no_grad():  # certain of many pixels, but not of all
            one.network.heads[0].weight.mul_(20)
    if name == "match":
        monkeypatch.setattr("semimoe.methods.match._DROPOUT", 0.0)
        one.snapshot_count.fill_(3)
    labelled, unlabelled = four_tiles(labelled=True), four_tiles(labelled=False)
    for phase in one.phases():
        whole = phase(step_of(labelled, unlabelled))
        parts = [
            phase(step_of(*pair))
            for pair in zip(divide(labelled, 3), divide(unlabelled, 3), strict=True)
        ]
        assert len(parts) == 2
        assert whole.loss.item() > 0
        torch.testing.assert_close(sum(part.loss for part in parts), whole.loss)
        for column, value in whole.log.items():
            torch.testing.assert_close(sum(part.log[column] for part in parts), value)


@pytest.mark.parametrize("name", NAMES)
def test_losses_and_gradients_in_bf16_are_finite_and_near_those_of_fp32(name) -> None:
    def forward(network, images):
        with torch.autocast("cpu", torch.bfloat16):
            return network(images)

    one = learner(name).train()
    step = step_of(four_tiles(labelled=True), four_tiles(labelled=False))
    for phase in one.phases():
        torch.manual_seed(1)
        expected = phase(step).loss
        torch.manual_seed(1)
        result = phase(step._replace(forward=forward))
        result.loss.backward()
        torch.testing.assert_close(result.loss, expected, rtol=0.2, atol=0.02)
    gradients = [p.grad for p in one.parameters() if p.grad is not None]
    assert gradients
    assert all(torch.isfinite(gradient).all() for gradient in gradients)


@pytest.mark.parametrize("name", NAMES)
def test_exactly_the_parameters_of_the_optimiser_get_a_gradient(name) -> None:
    """No teacher, snapshot or moving average; no part that would never be trained."""
    one = METHODS[name].load_learner()(context(ema_decay=0.9)).train()
    one.start_average()
    step = step_of(four_tiles(labelled=True), four_tiles(labelled=False))
    for phase in one.phases():
        phase(step).loss.backward()
    (optimizer,) = one.optimizers(lr=0.1).values()
    optimised = {id(p) for group in optimizer.param_groups for p in group["params"]}
    assert {id(p) for p in one.parameters() if p.grad is not None} == optimised


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("statistics", "changes"), [("labelled", False), ("both", True)])
def test_unlabelled_tiles_change_running_statistics_only_if_the_settings_say_so(
    name, statistics, changes
) -> None:
    """Those of a teacher and of snapshots are averages or copies: no forward pass changes them."""
    one = METHODS[name].load_learner()(context(statistics=statistics)).train()
    if name == "match":
        one.snapshot_count.fill_(3)

    def sums(*networks) -> list[float]:
        return [
            buffer.double().sum().item()
            for network in networks
            for buffer_name, buffer in network.named_buffers()
            if buffer_name.endswith("running_mean")
        ]

    trained = one.trained_networks()[0]
    fixed = [part for part in (one.network, getattr(one, "snapshots", None)) if part is not trained]
    fixed = [part for part in fixed if part is not None]
    before, fixed_before = sums(trained), sums(*fixed)
    one.phases()[1](step_of(four_tiles(labelled=True), four_tiles(labelled=False)))
    assert all((new != old) == changes for new, old in zip(sums(trained), before, strict=True))
    assert sums(*fixed) == fixed_before


@pytest.mark.parametrize("name", [n for n in NAMES if n.values[0] not in NOT_RECORDED])
def test_phases_that_are_recorded_read_no_value(name) -> None:
    """Tensors on the device `meta` have no values: reading one is an error."""
    one = learner(name).train().to("meta")
    assert one.is_recordable
    meta = torch.device("meta")
    step = step_of(four_tiles(labelled=True).to(meta), four_tiles(labelled=False).to(meta))
    for phase in one.phases():
        phase(step).loss.backward()


def test_reading_a_value_is_noticed_on_the_device_meta() -> None:
    derived = context(pseudo="derived")
    one = SemiMoELearner(derived).train().to("meta")
    assert not one.is_recordable
    meta = torch.device("meta")
    step = step_of(four_tiles(labelled=True).to(meta), four_tiles(labelled=False).to(meta))
    with pytest.raises((RuntimeError, NotImplementedError)):
        one.phases()[1](step)


@pytest.mark.parametrize(
    "names",
    [
        ("unet", "entropy-minimisation", "cross-consistency", "unimatch"),
        ("mean-teacher", "toposemiseg", "match"),
    ],
    ids=["trained", "average"],
)
def test_without_their_second_loss_methods_with_one_network_give_the_model_of_the_plain_one(
    tmp_path, discs, names
) -> None:
    """Initial weights, tiles and steps are those of the other rows of a table."""
    data = TrainingData(discs(3, 40), discs(3, 40, seed=5, labels=False))
    training = TINY_TRAINING.model_copy(update={"epochs": 1, "unsup_max": 0.0})
    installed = [name for name in names if METHODS[name].is_installed]
    weights = set()
    for name in installed:
        fit_on_cpu(name, data, network=TINY_NETWORK, training=training, out=tmp_path / name)
        weights.add((tmp_path / name / "model.safetensors").read_bytes())
    assert len(weights) == 1
