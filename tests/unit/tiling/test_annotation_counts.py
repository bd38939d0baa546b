"""Objects of an annotation file are counted by class and kind; outlines are not checked."""

import json
from pathlib import Path
from typing import Any

from tiling.outlines.geojson_reader import GeoJsonFile
from tiling.qupath.annotation_counts import AnnotationCounter, AnnotationCounts, SkippedKind
from tiling.qupath.class_names import GLAND

SQUARE = {"type": "Polygon", "coordinates": [[[0, 0], [9, 0], [9, 9], [0, 9], [0, 0]]]}
POINT = {"type": "Point", "coordinates": [1, 1]}


def feature(class_name: str | None, kind: str = "annotation", **entries: Any) -> dict[str, Any]:
    properties = {"objectType": kind, "classification": class_name}
    return {"type": "Feature", "geometry": SQUARE, "properties": properties, **entries}


def counted(path: Path, gland_class: str = GLAND) -> AnnotationCounts:
    file, counter = GeoJsonFile(path), AnnotationCounter(path, gland_class=gland_class)
    for each in file.features():
        counter.add(each)
    return counter.counts(file.viewer_px)


def test_counts_of_everything_that_is_read_and_left_out(tmp_path: Path) -> None:
    nested = feature("Region*", childObjects=[feature("Gland: a"), feature("gland")])
    contents = [
        nested,
        feature("Region*: empty"),
        feature("Gland"),
        feature("Ignore*"),
        feature("Proposed*"),
        feature(None),
        feature("Gland", "detection"),
        feature("Gland", "detection"),
        feature(None, "TMA_core"),
        feature("Gland", geometry=POINT),
    ]
    path = tmp_path / "a.geojson"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": contents}))
    counts = counted(path)
    assert counts[:4] == (2, 1, 2, 1)
    assert counts.skipped == {
        SkippedKind("annotation", "gland", "class is not read"): 1,
        SkippedKind("annotation", "Proposed*", "proposals are not read"): 1,
        SkippedKind("annotation", "", "without class"): 1,
        SkippedKind("detection", "Gland", "only annotations are read"): 2,
        SkippedKind("TMA core", "", "only annotations are read"): 1,
        SkippedKind("point", "Gland", "encloses no area"): 1,
    }


def test_another_gland_class(tmp_path: Path) -> None:
    path = tmp_path / "a.geojson"
    path.write_text(json.dumps([feature("Crypt"), feature("Gland")]))
    counts = counted(path, "Crypt")
    assert (counts.glands, len(counts.skipped)) == (1, 1)
