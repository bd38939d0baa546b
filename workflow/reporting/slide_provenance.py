"""What the outlines of each slide were made with: model and settings, from stores and records."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tiling.raster.split_parameters import PARAMETERS_OF_RULES
from workflow.job_record import JobRecord
from workflow.reporting.outcome import RunOutcome
from workflow.result_paths import ResultPaths, record_of_store

_ID_DIGITS = 12


class SlideProvenance(NamedTuple):
    """What the outlines of a slide were made with.

    Attributes
    ----------
    slide : id
    model : start of the checksum of its weights; of a model that the run trained, of the job
        record of its training
    prediction : how the maps were predicted
    split : threshold and split parameters
    """

    slide: str
    model: str
    prediction: str
    split: str


def slide_provenance(
    slides: Sequence[str], paths: ResultPaths, outcome: RunOutcome
) -> list[SlideProvenance]:
    """The provenance of each slide with current maps."""
    return [
        SlideProvenance(
            slide, _model(maps), _prediction(maps), _split(paths.glands(slide), outcome)
        )
        for slide in slides
        if outcome.is_current(maps := paths.maps(slide))
    ]


def _model(maps: Path) -> str:
    record = JobRecord.read(record_of_store(maps))
    checksums = [one.checksum for one in record.inputs if one.name == "model"] if record else []
    return checksums[0][:_ID_DIGITS] if checksums else "unknown"


def _prediction(maps: Path) -> str:
    from tiling.stores.layout import MapStore

    store = MapStore.read(maps)
    parameters, most_at_once = store.parameters, store.most_at_once
    text = f"{parameters.get('precision', 'fp32')}, batches of {parameters.get('batch', '?')} tiles"
    if parameters.get("runtime") == "openvino":
        text += ", computed by OpenVINO"
    if parameters.get("flips"):
        text += ", mean over the image and its three flips"
    if most_at_once:
        text += f", {most_at_once} tiles at a time after memory ran out"
    return text


def _split(glands: Path, outcome: RunOutcome) -> str:
    from tiling.stores.layout import GlandStore

    if not outcome.is_current(glands):
        return "not finished"
    split = GlandStore.read(glands).split
    parameters = ("threshold", *PARAMETERS_OF_RULES[split.rule], "min_area_um2")
    texts = []
    for parameter in parameters:
        name, has_unit, exponent = parameter.partition("_um")
        unit = f" um{exponent}" if has_unit else ""
        texts.append(f"{name.replace('_', ' ')} {getattr(split, parameter):g}{unit}")
    return ", ".join(texts)
