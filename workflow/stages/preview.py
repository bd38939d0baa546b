"""The preview of a run: a contact sheet of all slides, with the expected time of prediction."""

from pathlib import Path

from semimoe.prediction.predictor import Predictor
from semimoe.settings import NetworkSettings
from tiling.pictures.contact_sheet import write_contact_sheet
from workflow.config.option_groups import PredictionOptions


def preview(
    slide_summaries: list[Path],
    picture: Path,
    page: Path,
    *,
    network: NetworkSettings,
    tile_px: int,
    model: str | None,
    prediction: PredictionOptions,
    threads: int,
) -> None:
    """Write the preview; the speed of prediction is measured in this job, on the CPU.

    Parameters
    ----------
    slide_summaries : one for each slide, see `tiling.pictures.slide_summary`
    picture, page : PNG and HTML files to write
    network, tile_px : of the configuration
    model : folder of a given model; None: the network that this run trains
    prediction : `precision` and `flips` count
    """
    precision, flips = prediction.precision, prediction.flips
    if model:
        predictor = Predictor.load(
            Path(model), device="cpu", threads=threads, precision=precision, flips=flips
        )
    else:
        predictor = Predictor.untrained(network, threads=threads, precision=precision, flips=flips)
    write_contact_sheet(slide_summaries, picture, page, tiles_per_s=predictor.tiles_per_s(tile_px))
