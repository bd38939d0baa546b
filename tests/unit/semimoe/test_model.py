"""Sizes, shapes and the algebra of the gates."""

import pytest
import torch

from semimoe.gates import CodeGate, PaperGate
from semimoe.model import SemiMoE, count_parameters
from semimoe.settings import NetworkSettings


def test_width_64_with_the_public_codes_gate_has_its_number_of_parameters() -> None:
    with torch.device("meta"):
        assert count_parameters(SemiMoE(NetworkSettings(gate="code"))) == 103_665_971


def test_shared_encoder_has_66_million_parameters() -> None:
    with torch.device("meta"):
        assert count_parameters(SemiMoE(NetworkSettings(gate="code", experts="shared"))) == pytest.approx(65.96e6, rel=1e-4)


@pytest.mark.parametrize("experts", ["separate", "shared"])
@pytest.mark.parametrize("gate", ["paper", "code"])
def test_outputs_have_the_shapes_of_the_tasks(experts, gate) -> None:
    model = SemiMoE(NetworkSettings(width=4, experts=experts, gate=gate)).eval()
    outputs = model(torch.randint(256, (2, 3, 32, 48), dtype=torch.uint8))
    for heads in (outputs.experts, outputs.gates):
        assert [tuple(head.shape) for head in heads] == [(2, 2, 32, 48), (2, 1, 32, 48), (2, 2, 32, 48)]
    assert outputs.gate_weights.shape == (2, 3, 3)
    torch.testing.assert_close(outputs.gate_weights.sum(2), torch.ones(2, 3))


def test_gate_output_is_the_head_of_the_weighted_features() -> None:
    torch.manual_seed(0)
    model = SemiMoE(NetworkSettings(width=4)).eval()
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
    "images", [torch.zeros(1, 3, 30, 32, dtype=torch.uint8), torch.zeros(1, 3, 32, 32), torch.zeros(3, 32, 32, dtype=torch.uint8)]
)
def test_images_of_other_shape_or_type_are_refused(images) -> None:
    with pytest.raises(ValueError, match="uint8"):
        SemiMoE(NetworkSettings(width=4))(images)
