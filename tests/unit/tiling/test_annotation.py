"""Annotation files: what is read, repaired with a message, or refused."""

import gzip
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
import shapely

from tiling.outlines import json_elements
from tiling.qupath.annotation_checks import check_complete
from tiling.qupath.annotations import read_annotations
from tiling.slide_errors import AnnotationError

SQUARE = [[0, 0], [10, 0], [10, 10], [0, 10], [0, 0]]


def polygon(*rings: list) -> dict[str, Any]:
    return {"type": "Polygon", "coordinates": list(rings) or [SQUARE]}


def feature(
    classification: Any = "Gland", geometry: Any = None, **properties: Any
) -> dict[str, Any]:
    named = {} if classification is None else {"classification": classification}
    return {
        "type": "Feature",
        "id": "f1",
        "geometry": polygon() if geometry is None else geometry,
        "properties": {"objectType": "annotation", **named, **properties},
    }


def write(tmp_path: Path, content: Any, name: str = "a.geojson") -> Path:
    path = tmp_path / name
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def collection(*items: Any) -> dict[str, Any]:
    return {"type": "FeatureCollection", "features": list(items)}


@pytest.mark.parametrize(
    "content",
    [
        collection(feature()),
        feature(),
        [feature()],
        [collection(feature())],
        "\ufeff" + json.dumps(collection(feature())),
        collection(
            feature(measurements=[{"name": "Area", "value": "NaN"}, {"name": "Area", "value": 1}])
        ),
        json.dumps(collection(feature(measurements={"a": 1.5}))).replace("1.5", "NaN"),
        collection(feature(metadata={"x": None}, isLocked=True, name="<script>alert(1)</script>")),
        collection(feature({"name": "Gland"})),
        collection(feature({"name": "Gland", "colorRGB": -1})),
        collection(feature({"names": ["Gland", "Tumor"]})),
        collection(feature({"name": "Tumor", "parentClass": {"name": "Gland"}})),
        collection(feature("Gland: Tumor")),
        collection(
            feature(geometry={"type": "Polygon", "coordinates": [[[*p, 0.0] for p in SQUARE]]})
        ),
        collection(feature(geometry={"type": "MultiPolygon", "coordinates": [[SQUARE]]})),
        collection(
            feature(
                geometry={
                    "type": "GeometryCollection",
                    "geometries": [polygon(), {"type": "Point", "coordinates": [1, 1]}],
                }
            )
        ),
        collection(
            {
                "type": "Feature",
                "id": "PathAnnotationObject",
                "geometry": polygon(),
                "properties": {"classification": "Gland"},
            }
        ),
        collection(
            {
                "type": "Feature",
                "geometry": polygon(),
                "properties": {"classification": "Gland", "object_type": "annotation"},
            }
        ),
        collection(feature(objectType="something new")),
        collection(feature(), feature()),
    ],
)
def test_every_form_of_file_and_of_class_gives_the_same_gland(tmp_path: Path, content: Any) -> None:
    drawn = read_annotations(write(tmp_path, content))
    assert [gland.shape.area for gland in drawn.glands] == [100]


@pytest.mark.parametrize("name", ["a.geojson.gz", "a.json.gz", "a.zip"])
def test_packed_files_are_read(tmp_path: Path, name: str) -> None:
    text = json.dumps(collection(feature()))
    path = tmp_path / name
    if name.endswith("zip"):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("../../evil.geojson", text)
            archive.writestr("__MACOSX/a.geojson", "junk")
            archive.writestr("readme.txt", "hello")
            archive.writestr("b.geojson", json.dumps(feature("Region*")))
    else:
        path.write_bytes(gzip.compress(text.encode()))
    drawn = read_annotations(path)
    assert len(drawn.glands) == 1
    assert len(drawn.regions) == name.endswith("zip")
    assert not (tmp_path.parent.parent / "evil.geojson").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (json.dumps(collection(feature()))[:-40], "ends too early, at line 1, column"),
        (json.dumps(collection(feature())) + " junk", "Extra data at line 1"),
        ("", "empty"),
        ("[" * 100_000, "not GeoJSON|ends too early"),
        ('{"type": "Topology"}', "feature #1 is no GeoJSON feature .of type 'Topology'"),
        ('"hello"', "not GeoJSON"),
        (collection(feature(), None), "feature #2 is no GeoJSON"),
        (
            collection(feature(geometry=[1, 2])),
            "feature #1 'f1': its geometry is no GeoJSON object",
        ),
        (collection(feature(geometry={"type": "Polygon"})), "feature #1 'f1': no coordinates"),
        (
            collection(feature(geometry=polygon([[0, 0], [1, "a"], [2, 2]]))),
            r"coordinate \(1, 'a'\) is not a place",
        ),
        (
            collection(feature(geometry=polygon([[0, 0], [1e300, 1], [2, 2]]))),
            "not a place on a slide",
        ),
        (json.dumps(collection(feature())).replace("10", "NaN", 1), "not a place on a slide"),
        (
            json.dumps(collection(feature())).replace("10", "1" * 5000, 1),
            "too many digits|not a place",
        ),
        (collection(feature(geometry=polygon([0, 1, 2]))), "a ring that is no list"),
        (
            collection(feature(geometry={"type": "MultiPolygon", "coordinates": [5]})),
            "no list of rings",
        ),
    ],
)
def test_damaged_content_is_refused_with_file_and_feature(
    tmp_path: Path, content: Any, message: str
) -> None:
    path = write(tmp_path, content)
    with pytest.raises(AnnotationError, match=message) as caught:
        read_annotations(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_broken_archives_missing_files_and_folders_are_refused(tmp_path: Path) -> None:
    whole = gzip.compress(json.dumps(collection(feature())).encode())
    (tmp_path / "cut.geojson.gz").write_bytes(whole[:-12])
    (tmp_path / "no.geojson.gz").write_bytes(b"hello, no gzip")
    (tmp_path / "no.zip").write_bytes(b"PK but not")
    (tmp_path / "latin.geojson").write_bytes(
        json.dumps(feature(name="x")).encode().replace(b'"x"', b'"\xe9"')
    )
    with zipfile.ZipFile(tmp_path / "empty.zip", "w") as archive:
        archive.writestr("a.txt", "x")
    for name, message in [
        ("cut.geojson.gz", "truncated or damaged"),
        ("no.geojson.gz", "truncated or damaged"),
        ("no.zip", "truncated or damaged"),
        ("latin.geojson", "not UTF-8"),
        ("empty.zip", "no .geojson"),
        ("missing.geojson", "no such file"),
        (".", "a folder"),
    ]:
        with pytest.raises(AnnotationError, match=message):
            read_annotations(tmp_path / name)


@pytest.mark.parametrize("name", ["a.geojson", "a.geojson.gz", "a.zip"])
def test_a_file_that_unpacks_to_too_many_bytes_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(json_elements, "MAX_BYTES", 1000)
    huge_text = "[" + " " * 5000 + "]"
    path = write(tmp_path, huge_text)
    if name.endswith(".gz"):
        path = tmp_path / name
        path.write_bytes(gzip.compress(huge_text.encode()))
    elif name.endswith(".zip"):
        path = tmp_path / name
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("a.geojson", huge_text)
    with pytest.raises(AnnotationError, match="MiB of text"):
        read_annotations(path)


BOWTIE = [[0, 0], [10, 10], [10, 0], [0, 10], [0, 0]]
LOOP = [[0, 0], [10, 0], [10, 10], [4, 10], [4, -2], [6, -2], [6, 8], [0, 8], [0, 0]]
# The line went a little too far: there is a lobe of half a pixel at its start.
SLIP = [[0, 0], [100, 0], [100, 100], [1, 100], [1, -1], [0, 0]]
TWICE = [[0, 0], [100, 0], [100, 100], [0, 100], [0, 0], [3, 0], [3, 3], [0, 0]]


@pytest.mark.parametrize(
    ("geometry", "area", "message"),
    [
        (polygon(SLIP), 9900.5, "repaired"),  # both lobes
        (polygon(TWICE), 10000, "repaired"),  # what is circled twice is inside, not a hole
        (polygon(SQUARE[:-1]), 100, "open outline closed"),
        (
            polygon(
                [[10 * x, 10 * y] for x, y in SQUARE], [[200, 0], [202, 0], [202, 2], [200, 0]]
            ),
            10002,
            "repaired",
        ),  # a hole outside
        (
            {
                "type": "MultiPolygon",
                "coordinates": [[SQUARE], [[[x + 5, y + 5] for x, y in SQUARE]]],
            },
            175,
            "parts that overlap are joined",
        ),
    ],
)
def test_small_mistakes_are_repaired_with_a_message(
    tmp_path: Path, geometry: dict[str, Any], area: float, message: str
) -> None:
    drawn = read_annotations(write(tmp_path, collection(feature(geometry=geometry))))
    [gland] = drawn.glands
    assert shapely.set_precision(gland.shape, 0.01).is_valid
    assert gland.shape.area == pytest.approx(area)
    assert any(message in text and "feature #1 'f1'" in text for text in drawn.messages)


@pytest.mark.parametrize("ring", [BOWTIE, LOOP])
@pytest.mark.parametrize(
    ("name", "ignored"),
    [("Gland", 1), ("Gland: benign", 1), ("Ignore*", 1), ("Region*", 0), ("Stroma", 0)],
)
def test_an_outline_that_crosses_itself_too_far_is_left_out_and_its_place_ignored(
    tmp_path: Path, ring: list[list[int]], name: str, ignored: int
) -> None:
    drawn = read_annotations(write(tmp_path, collection(feature(name, polygon(ring)), feature())))
    assert (len(drawn.glands), len(drawn.regions), len(drawn.ignored)) == (1, 0, ignored)
    assert all(outline.shape.equals(shapely.Polygon(ring).convex_hull) for outline in drawn.ignored)
    assert "feature #1 'f1': crosses itself (Self-intersection" in drawn.messages[0]
    assert drawn.counts["outlines of unclear area"] == 1


def test_an_ellipse_written_as_its_bounding_box_is_read_as_an_ellipse(tmp_path: Path) -> None:
    drawn = read_annotations(
        write(tmp_path, collection(feature(geometry={**polygon(), "isEllipse": True})))
    )
    assert drawn.glands[0].shape.area == pytest.approx(25 * 3.14159, rel=0.01)


def test_objects_that_are_not_read_are_counted_and_reported(tmp_path: Path) -> None:
    content = collection(
        feature("Region*"),
        feature(),
        feature(objectType="detection"),
        feature(objectType="cell"),
        feature(objectType="tile"),
        {
            "type": "Feature",
            "id": "PathDetectionObject",
            "geometry": polygon(),
            "properties": {"classification": "Gland"},
        },
        feature(geometry={"type": "Point", "coordinates": [1, 1]}),
        feature(geometry={"type": "LineString", "coordinates": [[0, 0], [1, 1]]}),
        {**feature(), "geometry": None},
        feature("Proposed*"),
        feature("Stroma"),
        feature(None),
        feature("gland"),
        feature("Region"),
        feature(geometry=polygon([[0, 0], [1, 1], [0, 0]])),
    )
    drawn = read_annotations(write(tmp_path, content))
    assert (len(drawn.regions), len(drawn.glands), len(drawn.ignored)) == (1, 1, 0)
    expected = {
        "detections": 2,
        "cells": 1,
        "tiles": 1,
        "points": 1,
        "lines": 1,
        "proposals": 1,
        "class 'Stroma'": 1,
        "without class": 1,
        "class 'gland' (did you mean 'Gland'?)": 1,
        "class 'Region' (did you mean 'Region*'?)": 1,
        "without area": 2,
        "read": 2,
    }
    assert dict(drawn.counts) == expected
    assert "classes that are read: Region*, Gland, Ignore*" in drawn.messages[-1]
    assert len(read_annotations(write(tmp_path, content), objects="all").glands) == 1, (
        "the same outline twice is one gland"
    )


def test_an_id_that_contains_the_word_detection_is_read(tmp_path: Path) -> None:
    assert read_annotations(
        write(tmp_path, collection({**feature(), "id": "detection-tile-3"}))
    ).glands


def test_hostile_names_stay_text(tmp_path: Path) -> None:
    regions = [
        feature("Region*", name="../../x\n<b>"),
        feature("Region*", polygon([[20, 0], [30, 0], [30, 9], [20, 0]]), name="../../x\n<b>"),
    ]
    drawn = read_annotations(
        write(tmp_path, collection(*regions, {**feature(), "id": "x" * 10_000}))
    )
    assert len({region.name for region in drawn.regions}) == 2
    assert len(drawn.glands[0].id) < 100


def test_messages_are_limited_in_number_and_length(tmp_path: Path) -> None:
    bowties = [
        feature(f"class {i} " + "x" * 1000, polygon([[x + i, y] for x, y in BOWTIE]))
        for i in range(200)
    ]
    others = [feature(f"class {i} " + "x" * 1000) for i in range(200)]
    messages = read_annotations(write(tmp_path, collection(*bowties, *others))).messages
    assert len(messages) < 40
    assert max(map(len, messages)) < 4000


def test_names_of_regions_are_made_unique(tmp_path: Path) -> None:
    squares = [polygon([[x + 20 * i, y] for x, y in SQUARE]) for i in range(6)]
    names = ["A", "A (2)", "A", "A", "\ud800\n", ""]
    regions = [
        feature("Region*", square, name=name) for square, name in zip(squares, names, strict=True)
    ]
    drawn = [
        region.name for region in read_annotations(write(tmp_path, collection(*regions))).regions
    ]
    assert drawn == ["A", "A (2)", "A (3)", "A (4)", "?", "region 6"]


def test_a_region_must_contain_a_gland_or_be_declared_empty(tmp_path: Path) -> None:
    far = polygon([[50, 50], [60, 50], [60, 60], [50, 60], [50, 50]])
    touching = polygon([[10, 0], [20, 0], [20, 10], [10, 10], [10, 0]])

    def checked(*items: Any, annotated: Any = "regions") -> list[str]:
        path = write(tmp_path, collection(*items))
        drawn = read_annotations(path)
        check_complete(drawn, path, annotated=annotated)
        return drawn.messages

    with pytest.raises(
        AnnotationError, match=r"no area of class 'Region\*'.*draw one.*left out: 1 detections"
    ):
        checked(feature(), feature(objectType="detection"))
    for other in (far, touching):
        with pytest.raises(
            AnnotationError,
            match=r"no outline of a gland in second \(feature #2 'f1'\).*'Region\*: empty'",
        ):
            checked(feature("Region*"), feature("Region*", other, name="second"), feature())
    with pytest.raises(AnnotationError, match=r"no annotation.*left out: 1 outlines of unclear"):
        checked(feature("Region*"), feature(geometry=polygon(BOWTIE)))
    assert checked(feature("Region*"), feature("Region*: empty", far), feature()) == []
    assert (
        "declared empty but contains outlines" in checked(feature("Region*: empty"), feature())[0]
    )
    with pytest.raises(AnnotationError, match="no annotation of class 'Gland'"):
        checked(feature("Stroma"), annotated="whole")
    assert checked(feature(), annotated="whole") == []
    assert checked(feature("Region*: empty"), annotated="whole") == []
