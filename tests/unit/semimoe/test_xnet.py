"""XNet: its frequency images are those of PyWavelets, and the branches label each other."""

from importlib.util import find_spec

import numpy as np
import pytest
import torch
from learner_steps import TINY_NETWORK, a_step, batch, context
from short_runs import dice_of_short_run

from semimoe.objectives.losses import seg_dice
from semimoe.settings import NetworkSettings

if find_spec("pywt") is None:
    pytest.skip("the package PyWavelets is not installed", allow_module_level=True)

import pywt

from semimoe.methods.xnet import LowPass, WaveletUNet, XNetLearner


@pytest.mark.parametrize("wavelet", ["haar", "db2", "db4"])
@pytest.mark.parametrize("sides", [(32, 48), (16, 16)])
def test_low_frequencies_are_the_inverse_transform_of_the_approximation(wavelet, sides) -> None:
    image = np.random.default_rng(0).random((2, 3, *sides))
    approximation, details = pywt.dwt2(image, wavelet, mode="reflect")
    low = LowPass(wavelet)(torch.from_numpy(image)).numpy()
    expected = pywt.idwt2((approximation, (None, None, None)), wavelet, mode="reflect")
    np.testing.assert_allclose(low, expected, atol=1e-5)
    high = pywt.idwt2((None, details), wavelet, mode="reflect")
    np.testing.assert_allclose(image - low, high, atol=1e-5)


def test_the_branches_reconstruct_the_image() -> None:
    torch.manual_seed(0)
    network = WaveletUNet(TINY_NETWORK, mean=(0.6, 0.5, 0.4), std=(0.2, 0.3, 0.4))
    images = batch(1, labelled=True).image
    low, high = network.frequency_images(images)
    normalised = low + high / 4
    restored = (normalised * network.std + network.mean) * 255
    torch.testing.assert_close(restored, images.float(), atol=0.01, rtol=0)
    constant = torch.full((1, 3, 16, 16), 77, dtype=torch.uint8)
    assert network.frequency_images(constant)[1].abs().max() < 1e-4
    stripes = torch.zeros(1, 3, 16, 16, dtype=torch.uint8)
    stripes[..., ::2] = 200  # the highest frequency, around a mean of 100
    mean = (100 / 255 - network.mean) / network.std
    torch.testing.assert_close(network.frequency_images(stripes)[0], mean.expand(1, 3, 16, 16))


def test_the_transform_is_computed_in_fp32_in_a_bf16_run() -> None:
    image = torch.rand(1, 3, 16, 16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        low = LowPass()(image)
    assert torch.equal(low, LowPass()(image))


@pytest.mark.parametrize("encoder", ["unet", "efficientnet-lite0"])
def test_each_branch_reads_the_coarse_features_of_the_other_one(encoder) -> None:
    torch.manual_seed(0)
    network = WaveletUNet(NetworkSettings(encoder=encoder, width=4)).eval()
    images = torch.randint(256, (1, 3, 48, 80), dtype=torch.uint8)  # odd sides of coarse features
    low, high = network.branches(images)
    assert low.seg.shape == high.seg.shape == (1, 2, 48, 80)
    assert low.sdf is not None
    mean = network(images).gates.seg
    torch.testing.assert_close(mean, (low.seg + high.seg) / 2)
    for own, branch in ((0, network.high.encoder), (1, network.encoder)):
        logits = network.branches(images)[own].seg.sum()
        gradients = torch.autograd.grad(logits, list(branch.parameters()), allow_unused=True)
        assert any(gradient is not None and gradient.abs().sum() > 0 for gradient in gradients)


def test_the_log_of_the_labelled_loss_and_its_gradient_cover_both_branches() -> None:
    torch.manual_seed(0)
    learner = XNetLearner(context()).train()
    result = learner.supervised_phase(a_step())
    assert set(result.log) == {"sup_seg_expert", "sup_sdf_expert", "sup_bnd_expert"}
    result.loss.backward()
    assert all(parameter.grad is not None for parameter in learner.network.parameters())
    (optimizer,) = learner.optimizers(lr=0.1).values()
    trained = sum(len(group["params"]) for group in optimizer.param_groups)
    assert trained == len(list(learner.network.parameters()))


def test_no_gradient_of_cross_supervision_goes_through_a_pseudo_label() -> None:
    """The gradient is that of the Dice losses to fixed masks."""
    torch.manual_seed(0)
    learner = XNetLearner(context()).train()
    step = a_step(progress=1.0)
    learner.cross_phase(step).loss.backward()
    gradients = [parameter.grad for parameter in learner.network.parameters()]
    with torch.no_grad():
        masks = [logits.seg.argmax(1) for logits in learner.network.branches(step.unlabelled.image)]
    low, high = learner.network.branches(step.unlabelled.image)
    weight = step.unlabelled.weight
    loss = seg_dice(low.seg, masks[1], weight) + seg_dice(high.seg, masks[0], weight)
    parameters = list(learner.network.parameters())
    expected = torch.autograd.grad(loss, parameters, allow_unused=True)
    for one, other in zip(gradients, expected, strict=True):
        assert (one is None) == (other is None)
        if one is not None:
            torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


def test_branches_that_agree_have_no_cross_loss_and_branches_that_disagree_have_the_largest() -> (
    None
):
    learner = XNetLearner(context()).eval()
    for head, sign in ((learner.network.heads[0], 1), (learner.network.high.heads[0], 1)):
        with torch.no_grad():
            head.weight.zero_()
            head.bias.copy_(torch.tensor([-50.0 * sign, 50.0 * sign]))
    assert learner.cross_phase(a_step(progress=1.0)).loss.item() < 1e-6
    with torch.no_grad():
        learner.network.high.heads[0].bias.neg_()
    # Two losses of 1 - 1 / (H W + 1) for each class.
    assert learner.cross_phase(a_step(progress=1.0)).loss.item() == pytest.approx(2, abs=0.01)


def test_the_model_is_the_moving_average_of_both_branches_if_the_settings_say_so() -> None:
    learner = XNetLearner(context(ema_decay=0.5))
    learner.start_average()
    before = learner.network.high.heads[0].bias.detach().clone()
    with torch.no_grad():
        learner.network.high.heads[0].bias.add_(1)
    learner.update_average(100)
    torch.testing.assert_close(learner.predicting_network.high.heads[0].bias, before + 0.5)


def test_a_short_run_learns(tmp_path, discs) -> None:
    assert dice_of_short_run("xnet", tmp_path, discs) > 0.8
