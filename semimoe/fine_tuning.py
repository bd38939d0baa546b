"""What a model gives to its fine-tuning: settings, and half of the weights."""

from typing import Any

from semimoe.settings import TrainingSettings

# Settings of the network that decide which weights there are.
SHAPE_OF_WEIGHTS = ("width", "encoder", "tasks", "experts", "gates", "gate", "sdf_bins")
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
