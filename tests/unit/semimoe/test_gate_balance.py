"""The loss of gates that use the experts unequally."""

import pytest
import torch
from torch import nn

from semimoe.methods import METHODS
from semimoe.methods.learner import LearnerContext, Step
from semimoe.objectives.batch import Batch
from semimoe.objectives.gate_balance import gate_balance
from semimoe.objectives.losses import Targets
from semimoe.settings import NetworkSettings, TrainingSettings

NETWORK = NetworkSettings(encoder="unet", width=4, dropout=0)


def test_the_loss_is_the_squared_coefficient_of_variation_of_the_use_of_the_experts() -> None:
    weights = torch.tensor([[[0.5, 0.3, 0.2]], [[0.7, 0.1, 0.2]]])
    use = torch.tensor([0.6, 0.2, 0.2])
    expected = use.var(correction=0) / use.mean() ** 2
    assert gate_balance(weights).item() == pytest.approx(expected.item())
    assert gate_balance(weights).item() == pytest.approx(0.32)  # 3 (.36 + .04 + .04) - 1


def test_it_is_least_at_equal_use_and_largest_where_one_expert_is_used() -> None:
    equal = torch.full((2, 1, 3), 1 / 3)
    assert gate_balance(equal).item() == pytest.approx(0, abs=1e-6)
    # Each tile uses one expert only, but the batch uses all of them.
    assert gate_balance(torch.eye(3)[:, None]).item() == pytest.approx(0, abs=1e-6)
    one = torch.tensor([[[1.0, 0, 0], [0, 1, 0]]])
    assert gate_balance(one).item() == pytest.approx(4)  # two gates, E - 1 each
    torch.manual_seed(0)
    assert all(gate_balance(torch.softmax(torch.randn(2, 2, 3), 2)) > 0 for _ in range(20))


def test_its_gradient_moves_the_weights_towards_equal_use() -> None:
    logits = nn.Parameter(torch.tensor([[[2.0, 0.0, -1.0]], [[1.0, 0.5, 0.0]]]))
    optimizer = torch.optim.SGD([logits], lr=0.5)

    def use() -> torch.Tensor:
        return torch.softmax(logits.detach(), 2).mean(0)[0]

    before = use()
    for _ in range(200):
        optimizer.zero_grad()
        gate_balance(torch.softmax(logits, 2)).backward()
        optimizer.step()
    assert before.max() > 0.6
    torch.testing.assert_close(use(), torch.full((3,), 1 / 3), atol=1e-2, rtol=0)


def gate_gradient(factor: float, *, pooling: str = "tile") -> tuple[float, list[torch.Tensor]]:
    """Loss of the supervised phase for two tiles, and the gradients of the gates."""
    torch.manual_seed(0)
    training = TrainingSettings(gate_balance=factor)
    network = NETWORK.model_copy(update={"gate_pooling": pooling})
    learner = METHODS["supervised"].load_learner()(
        LearnerContext(network, training, (0.5,) * 3, (0.25,) * 3, mpp_um=1.0)
    )
    random = torch.Generator().manual_seed(1)
    mask = torch.randint(2, (2, 32, 32), generator=random)
    image = torch.randint(256, (2, 3, 32, 32), dtype=torch.uint8, generator=random)
    targets = Targets(mask, mask[:, None].float(), mask)
    weight = torch.ones(2, 32, 32, dtype=torch.uint8)
    batch = Batch(image, weight, targets, mask, weight, torch.arange(2))
    step = Step(lambda net, images: net(images), batch, None, torch.tensor(0.5))
    result = learner.phases()[0](step)
    result.loss.backward()
    return result.loss.item(), [p.grad for p in learner.network.gates.parameters()]


@pytest.mark.parametrize("pooling", ["tile", "none"])
def test_the_setting_adds_the_loss_and_its_gradient_to_the_gates(pooling) -> None:
    loss, gradients = gate_gradient(0, pooling=pooling)
    balanced, balanced_gradients = gate_gradient(10, pooling=pooling)
    twice, _ = gate_gradient(20, pooling=pooling)
    assert balanced > loss
    assert twice - loss == pytest.approx(2 * (balanced - loss), rel=1e-3)
    assert any(
        not torch.allclose(one, other)
        for one, other in zip(gradients, balanced_gradients, strict=True)
    )
