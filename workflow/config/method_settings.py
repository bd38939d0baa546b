"""What the training of one method depends on."""

from semimoe.methods import METHODS
from semimoe.setting_types import StrictModel
from semimoe.settings import NetworkSettings, TrainingOptions, TrainingSettings
from workflow.config.configuration import DEFAULT_TILE_PX, Configuration
from workflow.config.option_groups import SlideTrainingOptions, TileOptions


class MethodSettings(StrictModel):
    """What the training of one method depends on."""

    tiles: TileOptions
    network: NetworkSettings
    training: SlideTrainingOptions
    seed: int

    def training_settings(self) -> TrainingSettings:
        """Settings of the training itself, without those that choose tiles of slides."""
        own = TrainingOptions.model_fields
        values = {name: value for name, value in self.training.to_dict().items() if name in own}
        tile_px = self.tiles.tile_px or DEFAULT_TILE_PX
        return TrainingSettings(tile_px=tile_px, **values)


def package_problems(configuration: Configuration) -> list[str]:
    """Packages that the compared methods need and that are not installed, with the remedy."""
    problems = (METHODS[name].package_problem() for name in configuration.compared_methods)
    return [f"config compare: {problem}" for problem in problems if problem]


def method_settings(configuration: Configuration, method_name: str) -> MethodSettings:
    """What the training of a method depends on.

    Settings without effect on the method have their defaults: a change of them does not train the
    method again.
    """
    method = METHODS[method_name]
    training: dict[str, object] = {
        name: SlideTrainingOptions.model_fields[name].default for name in method.ignored_training
    }
    if not method.uses_unlabelled and configuration.training.statistics != "frozen":
        # The other values differ only in the effect of unlabelled tiles.
        training["statistics"] = SlideTrainingOptions.model_fields["statistics"].default
    is_continued = any(other.starts_from == method_name for other in METHODS.values())
    if method.starts_from is None and not is_continued:
        training["warm_start_epochs"] = 0
    network = {name: NetworkSettings.model_fields[name].default for name in method.ignored_network}
    return MethodSettings(
        tiles=configuration.tiles,
        network=configuration.network.model_copy(update=network),
        training=configuration.training.model_copy(update=training),
        seed=configuration.seed,
    )
