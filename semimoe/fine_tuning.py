"""What a model gives to its fine-tuning: settings, and half of the weights."""

from collections.abc import Iterator
from typing import Any

from semimoe.settings import NetworkSettings, TrainingSettings

# Settings of the network that decide which weights there are.
SHAPE_OF_WEIGHTS = ("width", "encoder", "tasks", "experts", "gates", "gate", "sdf_bins")
# Settings that give the outputs of a task their meaning, with the tasks.
MEANING_OF_OUTPUTS = (("sdf", "sdf_scale"), ("sdf", "sdf_um"), ("bnd", "boundary"))
# A model that was trained with glass at the edges of its tiles gets worse near glass if it is
# trained without it. The split parameters of the model are compared with others of its rule.
_INHERITED = ("augment", "split_rule", "choose_with_flips")
# Share of the start model in the mean of its weights and the trained ones. The mean keeps what the
# start model has learnt from more images (Wortsman et al., Robust fine-tuning, 2022).
START_SHARE = 0.5


def inherited_settings(training: TrainingSettings | None) -> dict[str, Any]:
    """Settings of the training of a model that its fine-tuning takes by default.

    Parameters
    ----------
    training : of the model; None: unknown, nothing is taken
    """
    return {} if training is None else {name: getattr(training, name) for name in _INHERITED}


def changed_meanings(network: NetworkSettings, of_model: NetworkSettings) -> Iterator[str]:
    """Settings by which outputs mean something else than those of a model, in words.

    Parameters
    ----------
    network : of the run
    of_model : of the model that it starts from
    """
    for task, key in MEANING_OF_OUTPUTS:
        own, other = getattr(network, key), getattr(of_model, key)
        if task in network.expert_tasks and own != other:
            yield f"network.{key} is {own} here and {other} there"
