"""Numbers of parameters, shapes of outputs, and the equations of the gates."""

import pytest
import torch

from semimoe.networks.gates import PaperGate, PublicCodeGate
from semimoe.networks.mixture import SemiMoE, count_parameters, normalise_images
from semimoe.networks.plain_unet import UNet
from semimoe.prediction.output_maps import maps_from_outputs
from semimoe.settings import NetworkSettings


def test_width_64_with_the_gate_of_the_public_code_has_as_many_parameters_as_the_public_code() -> (
    None
):
    with torch.device("meta"):
        assert (
            count_parameters(
                SemiMoE(NetworkSettings(encoder="unet", experts="separate", width=64, gate="code"))
            )
            == 103_665_971
        )


def test_the_two_gates_differ_in_parameters_by_the_sizes_of_their_layers() -> None:
    """Layers of a gate: 96 -> 96 and 96 -> 3 in the public code, 96 -> 24 and 24 -> 3 in ours.

    The paper does not state them.
    """
    code, paper = 96 * 96 + 96 + 96 * 3 + 3, 96 * 24 + 24 + 24 * 3 + 3
    with torch.device("meta"):
        assert (
            count_parameters(
                SemiMoE(NetworkSettings(encoder="unet", experts="separate", width=64, gate="paper"))
            )
            == 103_665_971 - 3 * (code - paper)
            == 103_644_371
        )


def test_experts_with_a_shared_encoder_have_66_million_parameters() -> None:
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


def test_three_plain_unets_and_the_gates_have_as_many_parameters_as_semimoe() -> None:
    """A U-Net without heads has 34,527,301 - 325 parameters."""
    with torch.device("meta"):
        unet = count_parameters(UNet(NetworkSettings(encoder="unet", experts="separate", width=64)))
    heads = 5 * 64 + 5
    gating = 3 * (192 * 96 + 96 + 96 * 96 + 96 + 96 * 3 + 3)
    assert 3 * (unet - heads) + 2 * heads + gating == 103_665_971


@pytest.mark.parametrize("experts", ["separate", "shared"])
@pytest.mark.parametrize("gate", ["paper", "code"])
def test_each_task_has_logits_of_its_shape(experts, gate) -> None:
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
def test_the_network_has_the_experts_and_gates_of_its_settings(experts, tasks, gates) -> None:
    settings = NetworkSettings(encoder="unet", width=4, experts=experts, tasks=tasks, gates=gates)
    outputs = SemiMoE(settings).eval()(torch.zeros(1, 3, 16, 16, dtype=torch.uint8))
    expert_tasks = tuple(tasks.split("+"))
    assert (
        tuple(task for task, head in outputs.experts._asdict().items() if head is not None)
        == expert_tasks
    )
    assert tuple(task for task, head in outputs.gates._asdict().items() if head is not None) == (
        expert_tasks if gates == "multi" else ("seg",)
    )
    assert outputs.gate_weights.shape == (1, len(settings.gate_tasks), len(expert_tasks))
    maps = maps_from_outputs(outputs)
    assert maps.shape == (1, 4, 16, 16)
    assert maps[:, 1].any() == ("sdf" in expert_tasks)
    assert maps[:, 2].any() == ("bnd" in expert_tasks)
    if gates == "single" and "sdf" in expert_tasks:
        torch.testing.assert_close(maps[:, 1], torch.tanh(outputs.experts.sdf[:, 0]))


def test_a_setting_chooses_the_initial_weights_of_the_gate_heads() -> None:
    std = {}
    for start in ("small", "kaiming"):
        torch.manual_seed(0)
        std[start] = (
            SemiMoE(NetworkSettings(encoder="unet", experts="separate", width=16, gate_heads=start))
            .gate_heads[0]
            .weight.std()
            .item()
        )
    assert std["small"] < 0.02
    assert std["kaiming"] > 0.1


def test_the_logits_of_a_gate_are_its_head_applied_to_the_weighted_features() -> None:
    torch.manual_seed(0)
    model = SemiMoE(NetworkSettings(encoder="unet", experts="separate", width=4)).eval()
    features = [torch.randn(2, 4, 16, 16) for _ in range(3)]
    weights = torch.softmax(torch.randn(2, 3, 3), 2)
    logits = model._gate_logits(features, weights[..., None, None])
    for task, head in enumerate(model.gate_heads):
        mixed = sum(weights[:, task, i, None, None, None] * features[i] for i in range(3))
        torch.testing.assert_close(logits[task], head(mixed))


def test_gates_of_pixels_and_of_tiles_are_equal_where_the_features_are_constant() -> None:
    """The same parameters: only what the gates see differs."""
    torch.manual_seed(0)
    models = [
        SemiMoE(NetworkSettings(encoder="unet", width=4, gate=gate, gate_pooling=pooling)).eval()
        for gate in ("paper", "code")
        for pooling in ("tile", "none")
    ]
    for tile, pixels in (models[:2], models[2:]):
        pixels.load_state_dict(tile.state_dict())
        constant = [torch.randn(2, 4, 1, 1).expand(2, 4, 16, 16) * 3 for _ in range(3)]
        weights, pixel_weights = tile._gate_weights(constant), pixels._gate_weights(constant)
        assert weights.shape == (2, 3, 3, 1, 1)
        assert pixel_weights.shape == (2, 3, 3, 16, 16)
        torch.testing.assert_close(pixel_weights, weights.expand_as(pixel_weights))
        for one, other in zip(
            tile._gate_logits(constant, weights),
            pixels._gate_logits(constant, pixel_weights),
            strict=True,
        ):
            torch.testing.assert_close(one, other)


class FeaturesOfPixels(torch.nn.Module):
    """Experts whose features depend on the same pixel only."""

    def __init__(self) -> None:
        super().__init__()
        self.experts = torch.nn.ModuleList(torch.nn.Conv2d(3, 4, 1) for _ in range(3))

    def forward(self, x) -> list[torch.Tensor]:
        return [expert(x) for expert in self.experts]


@pytest.mark.parametrize("pooling", ["tile", "none"])
def test_far_pixels_change_a_prediction_through_gates_of_tiles_only(pooling) -> None:
    torch.manual_seed(0)
    model = SemiMoE(NetworkSettings(encoder="unet", width=4, gate_pooling=pooling))
    model.features = FeaturesOfPixels()
    for gate in model.gates:  # weights that differ clearly between tiles
        torch.nn.init.normal_(gate.attention[-1].weight, std=20)
    for head in model.gate_heads:
        torch.nn.init.normal_(head.weight)
    images = torch.randint(256, (1, 3, 32, 32), dtype=torch.uint8)
    changed = images.clone()
    changed[..., 16:] = 255 - changed[..., 16:]
    first, second = (model.eval()(one).gates.seg[..., :16].detach() for one in (images, changed))
    assert torch.equal(first, second) == (pooling == "none")


def test_the_gate_weights_of_an_output_are_means_over_the_pixels() -> None:
    torch.manual_seed(0)
    model = SemiMoE(NetworkSettings(encoder="unet", width=4, gate_pooling="none")).eval()
    images = torch.randint(256, (2, 3, 16, 32), dtype=torch.uint8)
    weights = model._gate_weights(model.features(normalise_images(images, model.mean, model.std)))
    assert weights.std((3, 4)).max() > 0
    outputs = model(images)
    torch.testing.assert_close(outputs.gate_weights, weights.flatten(3).mean(3))
    torch.testing.assert_close(outputs.gate_weights.sum(2), torch.ones(2, 3))


@pytest.mark.parametrize("gate", [PaperGate, PublicCodeGate])
def test_gate_weights_depend_on_the_image(gate) -> None:
    torch.manual_seed(0)
    weights = gate(8, 3, 0.1).eval()(torch.randn(4, 24) * 5)
    assert weights.std(0).max() > 1e-4


def test_the_initial_weights_of_the_public_codes_gate_are_nearly_uniform() -> None:
    torch.manual_seed(0)
    weights = PublicCodeGate(64, 3, 0.1).eval()(torch.rand(8, 192))
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
def test_images_of_another_shape_or_type_are_an_error(images) -> None:
    with pytest.raises(ValueError, match="uint8"):
        SemiMoE(NetworkSettings(encoder="unet", experts="separate", width=4))(images)
