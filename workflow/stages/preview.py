"""The preview of a run: a contact sheet of all slides, with the expected time of prediction."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from semimoe.prediction.predictor import Predictor
from tiling.pictures.contact_sheet import write_contact_sheet
from workflow.config.configuration import DEFAULT_TILE_PX
from workflow.config.option_groups import PredictionOptions
from workflow.stages.training_time import expected_training_of_values, planned_configuration


def preview(
    slide_summaries: list[Path],
    picture: Path,
    page: Path,
    *,
    model: str | None,
    prediction: PredictionOptions,
    threads: int,
    planned: Mapping[str, Any],
) -> None:
    """Write the preview; the speed of prediction and training is measured here, on the CPU.

    Parameters
    ----------
    slide_summaries : one for each slide, see `tiling.pictures.slide_summary`
    picture, page : PNG and HTML files to write
    model : folder of a given model; None: the network that this run trains
    prediction : `precision`, `flips` and `runtime` count
    planned : see `workflow.stages.training_time.planned_values`
    """
    configuration = planned_configuration(planned)
    settings = prediction.model_dump(include={"precision", "flips", "runtime"})
    if model:
        predictor = Predictor.load(Path(model), device="cpu", threads=threads, **settings)
    else:
        predictor = Predictor.untrained(configuration.network, threads=threads, **settings)
    write_contact_sheet(
        slide_summaries,
        picture,
        page,
        tiles_per_s=predictor.tiles_per_s(configuration.tiles.tile_px or DEFAULT_TILE_PX),
        training_text=expected_training_of_values(planned, threads=threads),
    )
