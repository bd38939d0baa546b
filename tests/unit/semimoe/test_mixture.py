"""Sizes, shapes and the algebra of the gates."""

import pytest
import torch

from semimoe.networks.gates import CodeGate, PaperGate
from semimoe.networks.mixture import SemiMoE, count_parameters
from semimoe.networks.plain_unet import UNet
from semimoe.prediction.output_maps import maps_from_outputs
from semimoe.settings import NetworkSettings


def test_width_64_with_the_public_codes_gate_has_its_number_of_parameters() -> None:
    with torch.device("meta"):
        assert (
            count_parameters(
                SemiMoE(NetworkSettings(encoder="unet", experts="separate", width=64, gate="code"))
            )
            == 103_665_971
        )


def test_the_papers_gate_is_smaller_by_the_difference_of_its_layers() -> None:
    """Per gate, 96 hidden units: 96 -> 96 and 96 -> 3 in the code, 96 -> 24 and 24 -> 3 in ours; the paper names no widths."""
    code, paper = 96 * 96 + 96 + 96 * 3 + 3, 96 * 24 + 24 + 24 * 3 + 3
    with torch.device("meta"):
        assert (
            count_parameters(
                SemiMoE(NetworkSettings(encoder="unet", experts="separate", width=64, gate="paper"))
            )
            == 103_665_971 - 3 * (code - paper)
            == 103_644_371
        )


def test_shared_encoder_has_66_million_parameters() -> None:
    with torch.device("meta"):
        assert (
            count_parameters(
                SemiMoE(NetworkSettings(encoder="unet", width=64, gate="code", experts="shared"))
            )
            == 65_963_699
        )  # "65.96 M"
        assert (
            count_parameters(
                SemiMoE(NetworkSettings(encoder="unet", width=64, gate="paper", experts="shared"))
            )
            == 65_942_099
        )


def test_a_plain_unet_is_a_third_of_three() -> None:
    """Three of them, each with one head, and the gating make Semi-MoE: 34,527,301 - 325 is one U-Net without heads."""
    with torch.device("meta"):
        unet = count_parameters(UNet(NetworkSettings(encoder="unet", experts="separate", width=64)))
    heads = 5 * 64 + 5
    gating = 3 * (192 * 96 + 96 + 96 * 96 + 96 + 96 * 3 + 3)
    assert 3 * (unet - heads) + 2 * heads + gating == 103_665_971


@pytest.mark.parametrize("experts", ["separate", "shared"])
@pytest.mark.parametrize("gate", ["paper", "code"])
def test_outputs_have_the_shapes_of_the_tasks(experts, gate) -> None:
    model = SemiMoE(NetworkSettings(encoder="unet", width=4, experts=experts, gate=gate)).eval()
    outputs = model(torch.randint(256, (2, 3, 32, 48), dtype=torch.uint8))
    for heads in (outputs.experts, outputs.gates):
        assert [tuple(head.shape) for head in heads] == [
            (2, 2, 32, 48),
            (2, 1, 32, 48),
            (2, 2, 32, 48),
        ]
    assert outputs.gate_weights.shape == (2, 3, 3)
    torch.testing.assert_close(outputs.gate_weights.sum(2), torch.ones(2, 3))


@pytest.mark.parametrize("experts", ["separate", "shared"])
@pytest.mark.parametrize("tasks", ["seg+sdf+bnd", "seg+sdf", "seg+bnd", "seg"])
@pytest.mark.parametrize("gates", ["multi", "single"])
def test_there_are_the_experts_and_gates_that_were_asked_for(experts, tasks, gates) -> None:
    settings = NetworkSettings(encoder="unet", width=4, experts=experts, tasks=tasks, gates=gates)
    outputs = SemiMoE(settings).eval()(torch.zeros(1, 3, 16, 16, dtype=torch.uint8))
    named = tuple(tasks.split("+"))
    assert (
        tuple(task for task, head in outputs.experts._asdict().items() if head is not None) == named
    )
    assert tuple(task for task, head in outputs.gates._asdict().items() if head is not None) == (
        named if gates == "multi" else ("seg",)
    )
    assert outputs.gate_weights.shape == (1, len(settings.gate_tasks), len(named))
    maps = maps_from_outputs(outputs)
    assert maps.shape == (1, 4, 16, 16)
    assert maps[:, 1].any() == ("sdf" in named)
    assert maps[:, 2].any() == ("bnd" in named)
    if gates == "single" and "sdf" in named:
        torch.testing.assert_close(maps[:, 1], torch.tanh(outputs.experts.sdf[:, 0]))


def test_first_weights_of_the_gates_heads_are_a_setting() -> None:
    spread = {}
    for start in ("small", "kaiming"):
        torch.manual_seed(0)
        spread[start] = (
            SemiMoE(NetworkSettings(encoder="unet", experts="separate", width=64, gate_heads=start))
            .gate_heads[0]
            .weight.std()
            .item()
        )
    assert spread["small"] < 0.02
    assert spread["kaiming"] > 0.1


def test_gate_output_is_the_head_of_the_weighted_features() -> None:
    torch.manual_seed(0)
    model = SemiMoE(NetworkSettings(encoder="unet", experts="separate", width=4)).eval()
    features = [torch.randn(2, 4, 16, 16) for _ in range(3)]
    weights = torch.softmax(torch.randn(2, 3, 3), 2)
    made = model._gate_outputs(features, weights)
    for task, head in enumerate(model.gate_heads):
        mixed = sum(weights[:, task, i, None, None, None] * features[i] for i in range(3))
        torch.testing.assert_close(made[task], head(mixed))


@pytest.mark.parametrize("gate", [PaperGate, CodeGate])
def test_gate_weights_depend_on_the_image(gate) -> None:
    torch.manual_seed(0)
    weights = gate(8, 3, 0.1).eval()(torch.randn(4, 24) * 5)
    assert weights.std(0).max() > 1e-4


def test_code_gate_starts_nearly_uniform() -> None:
    torch.manual_seed(0)
    weights = CodeGate(64, 3, 0.1).eval()(torch.rand(8, 192))
    assert weights.min() > 0.3
    assert weights.max() < 0.36


@pytest.mark.parametrize(
    "images",
    [
        torch.zeros(1, 3, 30, 32, dtype=torch.uint8),
        torch.zeros(1, 3, 32, 32),
        torch.zeros(3, 32, 32, dtype=torch.uint8),
    ],
)
def test_images_of_other_shape_or_type_are_refused(images) -> None:
    with pytest.raises(ValueError, match="uint8"):
        SemiMoE(NetworkSettings(encoder="unet", experts="separate", width=4))(images)
