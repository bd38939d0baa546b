"""Cross-teaching: no gradient through a pseudo-label, and two networks of different structure."""

import sys
from importlib.util import find_spec

import pytest
import torch
from learner_steps import TINY_NETWORK, a_step, context
from short_runs import dice_of_short_run

from semimoe.methods import METHODS
from semimoe.methods.cross_teaching import CrossTeachingLearner, TransformerUNet
from semimoe.methods.unet import UNetLearner
from semimoe.model_errors import MissingPackageError
from semimoe.networks.plain_unet import UNet
from semimoe.objectives.losses import seg_dice

needs_monai = pytest.mark.skipif(
    find_spec("monai") is None, reason="the package monai is not installed"
)


def learner() -> CrossTeachingLearner:
    torch.manual_seed(0)
    return CrossTeachingLearner(context()).train()


def gradients(network) -> list[torch.Tensor]:
    parts = [p.grad.clone() for p in network.parameters() if p.grad is not None]
    network.zero_grad(set_to_none=True)
    return parts


@needs_monai
def test_each_network_has_the_gradient_of_the_dice_loss_to_a_fixed_mask_of_the_other_one() -> None:
    both, step = learner(), a_step(progress=1.0)
    both.cross_phase(step).loss.backward()
    cnn, transformer = both.trained_networks()
    own_gradients = [gradients(network) for network in (cnn, transformer)]
    weight, images = step.unlabelled.weight, step.unlabelled.image
    for network, other, own in (
        (cnn, transformer, own_gradients[0]),
        (transformer, cnn, own_gradients[1]),
    ):
        with torch.no_grad():
            fixed = other(images).gates.seg.argmax(1)
        seg_dice(network(images).gates.seg, fixed, weight).backward()
        expected = gradients(network)
        assert len(own) == len(expected) > 0
        for one, two in zip(own, expected, strict=True):
            torch.testing.assert_close(one, two, atol=1e-5, rtol=1e-3)


@needs_monai
def test_both_networks_learn_all_tasks_and_the_model_is_the_cnn() -> None:
    both = learner()
    for phase in both.phases():
        phase(a_step()).loss.backward()
    heads = [*both.network.heads.parameters(), *both.transformer.swin.out.parameters()]
    assert all(parameter.grad is not None for parameter in heads)
    (optimizer,) = both.optimizers(lr=0.1).values()
    count = sum(len(group["params"]) for group in optimizer.param_groups)
    assert count == sum(len(list(network.parameters())) for network in both.trained_networks())
    plain = UNetLearner(context()).network.state_dict()
    assert both.predicting_network.state_dict().keys() == plain.keys()
    assert not isinstance(both.transformer.swin, UNet)


@needs_monai
@pytest.mark.parametrize(("height", "width"), [(16, 48), (32, 64), (80, 112)])
def test_the_transformer_takes_every_size_that_the_cnn_takes(height: int, width: int) -> None:
    settings = TINY_NETWORK.model_copy(update={"sdf_bins": 4})
    cnn = UNet(settings)
    images = torch.randint(256, (2, 3, height, width), dtype=torch.uint8)
    logits, expected = TransformerUNet(cnn)(images).experts, cnn(images).experts
    assert [tuple(part.shape) for part in logits] == [tuple(part.shape) for part in expected]


@needs_monai
def test_a_short_run_learns(tmp_path, discs) -> None:
    assert dice_of_short_run("cross-teaching", tmp_path, discs) > 0.8


def test_a_model_predicts_without_the_package_and_a_training_names_it(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "monai", None)
    learner_class = METHODS["cross-teaching"].load_learner()
    assert isinstance(learner_class.build_network(TINY_NETWORK), UNet)
    with pytest.raises(MissingPackageError, match=r"pip install 'monai\[einops\]==1\.6\.\*'"):
        learner_class(context())
