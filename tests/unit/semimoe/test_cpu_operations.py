"""Operations of a CPU: values and gradients equal those of the plain operations of torch."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from semimoe.networks.cpu_operations import (
    Rectifier,
    enlarge_and_join,
    pixels_of,
    products,
    with_mean,
)
from semimoe.networks.mixture import NetworkOutputs, SemiMoE
from semimoe.settings import NetworkSettings

CHANNELS_LAST = torch.channels_last


def feature(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    values = torch.randn(shape).to(dtype).contiguous(memory_format=CHANNELS_LAST)
    return values.requires_grad_()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("limit", "plain"), [(None, nn.ReLU()), (6.0, nn.ReLU6())])
def test_a_rectifier_equals_that_of_torch(dtype, limit, plain) -> None:
    x = torch.linspace(-9, 9, 1000).to(dtype)
    inputs = [(1 * x).requires_grad_() for _ in range(2)]
    outputs = [
        function(1 * one) for function, one in zip((Rectifier(limit), plain), inputs, strict=True)
    ]
    torch.testing.assert_close(*outputs, rtol=0, atol=0)
    for output in outputs:
        output.sum().backward()
    torch.testing.assert_close(inputs[0].grad, inputs[1].grad, rtol=0, atol=0)


@pytest.mark.parametrize("sides", [(10, 14), (9, 13), (9, 14)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_enlarged_and_joined_features_equal_those_of_torch(sides, dtype) -> None:
    torch.manual_seed(0)
    x, skip = feature(2, 4, 5, 7, dtype=dtype), feature(2, 3, *sides)
    gradient = torch.randn(2, 7, *sides).to(dtype)
    results = []
    for join in (enlarge_and_join, plainly_joined):
        joined = join(x, skip)
        results.append((joined, *torch.autograd.grad(joined, (x, skip), gradient)))
    for own, plain in zip(*results, strict=True):
        assert own.dtype == plain.dtype
        torch.testing.assert_close(own, plain)


def plainly_joined(x: torch.Tensor, skip: torch.Tensor) -> torch.Tensor:
    enlarged = functional.interpolate(x, scale_factor=2.0)[..., : skip.shape[2], : skip.shape[3]]
    return torch.cat([enlarged, skip.to(x.dtype)], 1)


def test_images_without_gradient_are_joined_too() -> None:
    x, image = feature(1, 4, 8, 8), torch.randn(1, 3, 16, 16)
    enlarge_and_join(x, image).sum().backward()
    torch.testing.assert_close(x.grad, torch.full_like(x, 4.0))


def test_mean_and_products_of_pixels_have_the_values_and_gradients_of_torch() -> None:
    torch.manual_seed(0)
    x, matrices = feature(2, 4, 16, 32), torch.randn(2, 5, 4, requires_grad=True)
    results = []
    for own in (True, False):
        pixels, mean = with_mean(pixels_of(x)) if own else (pixels_of(x), x.mean((2, 3)))
        weighted = matrices * mean[:, None]
        planes = products(pixels, weighted) if own else weighted @ pixels.mT
        total = (planes * torch.arange(planes.numel()).view(planes.shape).sin()).sum()
        results.append((planes, *torch.autograd.grad(total, (x, matrices))))
    for own, plain in zip(*results, strict=True):
        torch.testing.assert_close(own, plain)
    assert results[0][1].is_contiguous(memory_format=CHANNELS_LAST)


@pytest.mark.parametrize("changes", [{}, {"gates": "single"}, {"tasks": "seg+sdf", "sdf_bins": 4}])
def test_a_network_has_the_same_outputs_and_gradients_with_and_without_products(
    changes, monkeypatch
) -> None:
    """Without gradient the plain operations are used."""
    torch.manual_seed(0)
    network = SemiMoE(NetworkSettings(encoder="unet", width=4, gate_heads="kaiming", **changes))
    images = torch.randint(256, (2, 3, 32, 16), dtype=torch.uint8)
    network.eval()
    with torch.no_grad():
        predicted = present(network(images))
    gradients = []
    for with_products in (True, False):
        if not with_products:
            monkeypatch.setattr(torch, "is_grad_enabled", lambda: False)
        outputs = present(network(images))
        for output, prediction in zip(outputs, predicted, strict=True):
            torch.testing.assert_close(output, prediction)
        factors = [torch.linspace(-1, 1, one.numel()).view(one.shape) for one in outputs]
        loss = sum((one * factor).sum() for one, factor in zip(outputs, factors, strict=True))
        gradients.append(torch.autograd.grad(loss, list(network.parameters())))
    for own, plain in zip(*gradients, strict=True):
        torch.testing.assert_close(own, plain, rtol=1e-4, atol=1e-4)


def present(outputs: NetworkOutputs) -> list[torch.Tensor]:
    tensors = (*outputs.experts, *outputs.gates, outputs.gate_weights)
    return [tensor for tensor in tensors if tensor is not None]
