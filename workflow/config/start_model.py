"""The model that a run fine-tunes: its settings, and its scores beside those of the new model."""

from pathlib import Path

from semimoe.fine_tuning import SHAPE_OF_WEIGHTS, inherited_settings
from semimoe.model_card import ModelCard, load_card
from semimoe.settings import NetworkSettings
from workflow.config.configuration import MPP_TOLERANCE, Configuration
from workflow.result_paths import ResultPaths

# Name of the start model in tables and paths, beside the names of methods.
START_MODEL = "start-model"


def compared_models(configuration: Configuration) -> dict[str, Path]:
    """Folders of the models whose scores are shown beside those of the predicting model, by name.

    The start model of fine-tuning is one of them, if it can predict at the resolution of the run.
    """
    paths = ResultPaths(Path(configuration.results))
    folders = {name: paths.model(name) for name in configuration.compared_methods}
    start_from = configuration.start_from
    if start_from and not configuration.model:
        mpp_um = load_card(Path(start_from)).mpp_um
        if abs((configuration.tiles.mpp_um or mpp_um) / mpp_um - 1) <= MPP_TOLERANCE:
            folders[START_MODEL] = Path(start_from)
    return folders


def with_start_model(configuration: Configuration, card: ModelCard) -> Configuration:
    """The configuration, with the settings of the start model where the user gave none.

    A setting that decides which weights there are must be that of the model. If it has its default
    value, for example from `config.yaml` of the project, it counts as not given.

    Parameters
    ----------
    card : of the model `start_from`
    """
    network, training = configuration.network, configuration.training
    defaults = NetworkSettings()
    set_by_user = {
        name
        for name in network.model_fields_set
        if name not in SHAPE_OF_WEIGHTS or getattr(network, name) != getattr(defaults, name)
    }
    of_model = {
        name: getattr(card.network, name)
        for name in NetworkSettings.model_fields
        if name not in set_by_user
    }
    inherited = inherited_settings(card.training)
    return configuration.model_copy(
        update={
            "network": network.model_copy(update=of_model),
            "training": training.model_copy(
                update={
                    name: value
                    for name, value in inherited.items()
                    if name not in training.model_fields_set
                }
            ),
        }
    )
