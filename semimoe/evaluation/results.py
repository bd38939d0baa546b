"""Results of `evaluate` as typed records: what the command prints, and `table` reads."""

from pydantic import AliasChoices, Field, JsonValue, ValidationError

from semimoe.datasets.image_dataset import SharedPatients
from semimoe.json_model import JsonModel
from semimoe.model_errors import DataError

AS_PUBLISHED = "as-published"
# Groups of settings as the JSON of a model has them; other versions may have other settings.
Settings = dict[str, JsonValue]


class DiceAndJaccard(JsonModel):
    """Pixel scores alone."""

    dice: float
    jaccard: float


class MeanScores(JsonModel):
    """Means over images; None if an image has no value."""

    dice: float | None
    jaccard: float | None
    object_f1: float | None
    object_dice: float | None
    object_hausdorff_px: float | None
    object_hausdorff_um: float | None


class GlandScores(MeanScores):
    """Pixel and object scores, see `semimoe.evaluation.metrics.ObjectScores`."""

    tp: int
    fp: int
    fn: int
    hausdorff_missing: int
    splits: int | None = None  # missing in results of earlier versions
    merges: int | None = None


class SquareScores(JsonModel):
    """Pixel scores of masks that are resized to 256 x 256."""

    pooled: DiceAndJaccard
    mean: DiceAndJaccard


class LargeObjectScores(JsonModel):
    """Scores without small objects; those in `min_object_um2` and above count."""

    min_object_um2: float
    pooled: GlandScores
    mean: MeanScores


class Threshold(JsonModel):
    """Threshold of the gland probability, and how it was chosen (JSON key `from`)."""

    value: float
    chosen_on: str = Field(
        validation_alias=AliasChoices("from", "chosen_on"), serialization_alias="from"
    )


class PredictionMode(JsonModel):
    """How images were predicted; `flips`: test-time augmentation."""

    precision: str = "fp32"
    flips: bool = False


class EvaluatedModel(JsonModel):
    """What distinguishes a model from others in a result table.

    Attributes
    ----------
    checkpoint : epoch of the weights, and why it was taken
    labelled, unlabelled, validation : numbers of images
    labels_used : labelled and validation images
    fine_tuned : whether training started from another model
    pseudo_labels : "none", "online" or "of a given model"
    """

    method: str
    checkpoint: str
    seed: int | None
    labelled: int | None
    unlabelled: int | None
    validation: int | None
    labels_used: int | None
    fine_tuned: bool = False
    pseudo_labels: str = ""
    network: Settings | None
    training: Settings | None
    resolution: Settings | None


class Evaluation(JsonModel):
    """What the results of all protocols have in common.

    Attributes
    ----------
    protocol : "honest", "as-published" or "masks as given"
    truth : name of the folder of masks
    mpp_um : size of a pixel, um; None: unknown
    patients : given for GlaS
    model, prediction : given if a model was evaluated, not masks
    """

    protocol: str
    truth: str = ""
    mpp_um: float | None
    patients: SharedPatients | None = None
    model: EvaluatedModel | None = None
    prediction: PredictionMode | None = None


class GlandEvaluation(Evaluation):
    """Scores at the size of the images (protocol honest, or masks without a protocol).

    Attributes
    ----------
    warnings, threshold : given if a model was evaluated
    min_object_um2 : 0, every object counts
    pooled, mean, images : scores of all images together, their mean, and by image
    at_256 : pixel scores at 256 x 256
    without_small_objects : given on request
    """

    warnings: list[str] | None = None
    threshold: Threshold | None = None
    min_object_um2: float
    pooled: GlandScores
    mean: MeanScores
    images: dict[str, GlandScores]
    at_256: SquareScores
    without_small_objects: LargeObjectScores | None = None


class PublishedEvaluation(Evaluation):
    """Scores of protocol as-published.

    Attributes
    ----------
    threshold : the best one on the test images
    size : of the images that are scored
    dice_by_threshold : pooled Dice at each threshold that was tried
    """

    threshold: Threshold
    size: str
    pooled: DiceAndJaccard
    warnings: list[str]
    dice_by_threshold: dict[str, float]


class _ProtocolOnly(JsonModel):
    protocol: str


def read_evaluation(json_text: str) -> GlandEvaluation | PublishedEvaluation:
    """Read what `evaluate --json` printed.

    Raises
    ------
    DataError
        The text is not the JSON of a result, or a value is missing.
    """
    try:
        protocol = _ProtocolOnly.model_validate_json(json_text).protocol
        if protocol == AS_PUBLISHED:
            return PublishedEvaluation.model_validate_json(json_text)
        return GlandEvaluation.model_validate_json(json_text)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise DataError(f"{place}: {first['msg']}" if place else first["msg"]) from error
