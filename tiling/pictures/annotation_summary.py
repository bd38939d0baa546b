"""What the preview shows of the annotation of a slide."""

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from tiling.pictures.canvas import Thumbnail
from tiling.pictures.drawn_annotation import AnnotationOnThumbnail, annotation_on_thumbnail
from tiling.qupath.annotation_source import AnnotationFile, open_annotation
from tiling.qupath.tissue_check import check_tissue
from tiling.slide_errors import AnnotationError
from tiling.tiles.tissue_store import StoredTissue


@dataclass(frozen=True, kw_only=True)
class AnnotationSummary:
    """What an annotation contains.

    Attributes
    ----------
    file : name of its file
    regions, glands : numbers; 1 region if the whole slide is annotated
    messages : what was left out, repaired or clipped
    error : why it cannot be used; None if it can
    """

    file: str
    regions: int = 0
    glands: int = 0
    messages: tuple[str, ...] = ()
    error: str | None = None


def summarise_annotation(
    annotation: AnnotationFile, tiles: Path, thumbnail: Thumbnail
) -> tuple[AnnotationSummary, AnnotationOnThumbnail | None]:
    """Read an annotation as `label_slide` does.

    Parameters
    ----------
    annotation : the file of the slide
    tiles : tile store of the slide
    thumbnail : of the slide

    Returns
    -------
    AnnotationSummary, AnnotationOnThumbnail
        The second is None if the file cannot be read. Outlines on glass are drawn.
    """
    path, rules = annotation
    geometry, tissue = thumbnail.geometry, StoredTissue(tiles)
    with ExitStack() as files:
        try:
            source = open_annotation(path, geometry, files, rules, is_tissue=tissue.contains)
        except AnnotationError as error:
            return AnnotationSummary(file=path.name, error=_without_path(str(error), path)), None
        drawn = annotation_on_thumbnail(source.numbers, thumbnail)
        problem = None
        try:
            check_tissue(source, path, geometry, tiles, tissue, rules.origin)
        except AnnotationError as error:
            problem = _without_path(str(error), path)
    summary = AnnotationSummary(
        file=path.name,
        regions=len(source.region_names),
        glands=source.gland_count,
        messages=tuple(_without_path(message, path) for message in source.messages),
        error=problem,
    )
    return summary, drawn


def _without_path(message: str, path: Path) -> str:
    """A message without the file name at its start: the page names the file in a column."""
    return message.removeprefix(f"{path}: ")
