"""The preview of a run: the contact sheet, with the time this machine will need."""

from pathlib import Path
from typing import Any

from semimoe.prediction.predictor import Predictor
from semimoe.settings import NetworkSettings
from tiling.pictures.contact_sheet import contact_sheet


def preview(
    cards: list[Path],
    png: Path,
    html: Path,
    *,
    network: dict[str, Any],
    tile_px: int,
    model: str | None,
    prediction: dict[str, Any],
    threads: int,
) -> None:
    """Write the preview; the speed of prediction is measured here and now, on the CPU.

    Parameters
    ----------
    cards : of all slides, see `tiling.pictures.contact_sheet.write_card`
    network, tile_px : of the configuration
    prediction : its precision and flips
    model : folder of a given model; None: the network that this run trains
    """
    predictor = (
        Predictor.load(Path(model), device="cpu", threads=threads, **prediction)
        if model
        else Predictor.untrained(NetworkSettings(**network), threads=threads, **prediction)
    )
    contact_sheet(cards, png, html, tiles_per_s=predictor.tiles_per_s(tile_px))
