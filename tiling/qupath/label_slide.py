"""Annotations of a slide -> its label store: labels and weights on the grid of its tiles."""

import logging
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

from tiling.qupath.annotation_source import AnnotationFile, open_annotation
from tiling.qupath.label_store import write_labels
from tiling.qupath.tissue_check import check_tissue
from tiling.raster.atomic_files import file_checksum
from tiling.slide_errors import AnnotationError, SlideError
from tiling.stores.attributes import record_failure, recorded_error
from tiling.stores.layout import TileStore
from tiling.tiles.tissue_store import StoredTissue

log = logging.getLogger(__name__)


def label_slide(
    annotation: AnnotationFile,
    tiles: Path,
    store: Path,
    *,
    slide: str,
    required: bool = False,
    code_version: int,
) -> None:
    """Write `labels/{slide}.zarr`: instance labels, weights and regions on the grid of the tiles.

    A stored pixel belongs to an outline when its centre does. Where glands overlap, the pixels
    belong to the smaller one, and a message says so. Pixels outside the regions and inside ignored
    areas have weight 0.

    Parameters
    ----------
    annotation : GeoJSON as QuPath exports it, or an instance mask image, which annotates the whole
        slide
    tiles : tile store of the slide; its recorded failure is recorded again
    store : label store to write
    slide : name of the slide
    required : raise the error of an annotation that cannot be used; otherwise it is recorded in
        the store, and later stages leave the slide out
    code_version : recorded in the store

    Raises
    ------
    AnnotationError
        The annotation cannot be used, and is required.
    LockError
        Another process writes the same store.
    OSError
        The disk or a mount fails.
    """
    path, rules = annotation
    parameters = {"annotation": path.name, **asdict(rules), "version": code_version}
    tiling_error = recorded_error(tiles)
    if tiling_error is not None:
        record_failure(store, SlideError(tiling_error), parameters)
        return
    attributes = TileStore.read(tiles)
    geometry = attributes.geometry
    try:
        with ExitStack() as files:
            tissue = StoredTissue(tiles)
            source = open_annotation(path, geometry, files, rules, is_tissue=tissue.contains)
            check_tissue(source, path, geometry, tiles, tissue, rules.origin)
            checksums = {
                "sha256": file_checksum(path),
                "tiles": attributes.fingerprint,
            }
            write_labels(
                store,
                source,
                geometry,
                slide=slide,
                parameters={**parameters, **checksums},
                code_version=code_version,
            )
    except AnnotationError as failure:
        if required:
            raise
        log.warning("%s is left out of training and evaluation: %s", slide, failure)
        record_failure(store, failure, parameters)
