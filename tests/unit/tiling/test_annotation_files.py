"""Unusual and hostile annotation files, converted by `python -m tiling geojson-to-labels`.

The key of each case expected whether the content is read, repaired, left out or refused.
"""

import bz2
import gzip
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tiling.__main__ import main
from tiling.outlines import json_elements, json_text
from tiling.outlines.geojson_reader import GeoJsonFile
from tiling.qupath.annotations import read_annotations
from tiling.qupath.file_check import check_file
from tiling.slide_errors import AnnotationError

WIDTH, HEIGHT = 70, 50
BOX = [[10, 10], [30, 10], [30, 30], [10, 30], [10, 10]]


def square(**more: Any) -> dict[str, Any]:
    return {"type": "Polygon", "coordinates": [BOX], **more}


def one(geometry: Any = None, *, identity: Any = "7b1c", **properties: Any) -> dict[str, Any]:
    all_properties = {
        "objectType": "annotation",
        "classification": {"name": "Gland", "color": [200, 0, 0]},
        **properties,
    }
    return {
        "type": "Feature",
        "id": identity,
        "geometry": geometry or square(),
        "properties": all_properties,
    }


def outline(ring: Any, **more: Any) -> dict[str, Any]:
    return one({"type": "Polygon", "coordinates": [ring]}, **more)


def many(*items: Any) -> dict[str, Any]:
    return {"type": "FeatureCollection", "features": list(items)}


def zipped(*members: tuple[str, Any], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in members:
            archive.writestr(
                name, content if isinstance(content, str | bytes) else json.dumps(content)
            )
    return buffer.getvalue()


def damaged(archive: bytes) -> bytes:
    """The archive with its compressed data overwritten."""
    at = archive.index(b"a.geojson") + len("a.geojson") + 5
    return archive[:at] + b"\xff" * 20 + archive[at + 20 :]


def nested(depth: int) -> str:
    return json.dumps(one(classification="X")).replace(
        '"X"', '{"name": "a", "parentClass": ' * depth + '"Gland"' + "}" * depth
    )


def locked(archive: bytes) -> bytes:
    """The archive with its members marked as encrypted."""
    data = bytearray(archive)
    for mark, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[archive.index(mark) + flags] |= 1
    return bytes(data)


def bad_offset(archive: bytes) -> bytes:
    """The archive with the place of its list of files behind the end."""
    at = archive.rindex(b"PK\x05\x06") + 16
    return archive[:at] + b"\xff\xff\xff\x7f" + archive[at + 4 :]


def star(points: int) -> list[list[float]]:
    """A ring that crosses itself about points ** 2 / 2 times."""
    angle = np.arange(points) * (points // 2) * 2 * np.pi / points
    return np.stack([35 + 20 * np.cos(angle), 25 + 20 * np.sin(angle)], axis=1).tolist()


def comb(teeth: int) -> list[list[float]]:
    """A ring of long lines side by side, which do not cross."""
    x = np.arange(teeth) / teeth
    slant = np.stack([x * 30, 0 * x + 5, x * 30 + 30, 0 * x + 45], axis=1).reshape(-1, 2)
    return [*slant.tolist(), [69, 1], [1, 1]]


def moved(ring: Any, x: float, y: float) -> Any:
    return [[a + x, b + y] for a, b in ring]


HOLE = [[15, 15], [15, 25], [25, 25], [25, 15], [15, 15]]
BESIDE, BELOW = moved(BOX, 35, 0), moved(BOX, 0, 21)
GONE = one(square(), classification=None)
XML_WITH_ENTITIES = (
    '<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "ha"><!ENTITY c "&b;&b;&b;">]>'
    "<Annotations>&c;</Annotations>"
)
BOWTIE = [[10, 10], [30, 30], [30, 10], [10, 30], [10, 10]]

# Content of the file, number of glands that are read, and a part of what is written to stderr.
READ: dict[str, tuple[Any, int, str]] = {
    "read: FeatureCollection": (many(one()), 1, ""),
    "read: Feature": (one(), 1, ""),
    "read: array": ([one()], 1, ""),
    "read: byte order mark": ("\ufeff" + json.dumps(many(one())), 1, ""),
    "read: gzip": (gzip.compress(json.dumps(many(one())).encode()), 1, ""),
    "read: zip": (zipped(("a.geojson", many(one()))), 1, ""),
    "read: measurements as list, NaN strings, names twice": (
        many(one(measurements=[{"name": "Area", "value": "NaN"}, {"name": "Area", "value": 1}])),
        1,
        "",
    ),
    "read: NaN and Infinity bare": (
        json.dumps(one(measurements={"a": float("nan"), "b": float("inf")})),
        1,
        "",
    ),
    "read: class as names": (one(classification={"names": ["Gland", "Tumor"]}), 1, ""),
    "read: class Gland: Tumor": (one(classification={"name": "Gland: Tumor"}), 1, ""),
    "read: class as a string, without colour": (one(classification="Gland"), 1, ""),
    "read: parentClass": (
        one(classification={"name": "Tumor", "parentClass": {"name": "Gland"}}),
        1,
        "",
    ),
    "read: no id, no type of object": (
        {"type": "Feature", "geometry": square(), "properties": {"classification": "Gland"}},
        1,
        "",
    ),
    "read: id null, object_type of QuPath 0.3": (
        one(identity=None, objectType=None, object_type="annotation"),
        1,
        "",
    ),
    "read: old kind as id": (
        {**one(identity="PathAnnotationObject"), "properties": {"classification": "Gland"}},
        1,
        "",
    ),
    "read: ellipse": (one(square(isEllipse=True)), 1, ""),
    "read: third coordinate and plane": (
        one({**square(plane={"z": 0}), "coordinates": [[[x, y, 0.0] for x, y in BOX]]}),
        1,
        "",
    ),
    "read: hostile id and names": (
        one(identity="../../etc/passwd", name="<script>alert(1)</script>\ud800\n"),
        1,
        "",
    ),
    "read: hole": (one({"type": "Polygon", "coordinates": [BOX, HOLE]}), 1, ""),
    "read: MultiPolygon of two parts, and of one": (
        many(
            one({"type": "MultiPolygon", "coordinates": [[BOX], [BESIDE]]}),
            one({"type": "MultiPolygon", "coordinates": [[BELOW]]}),
        ),
        2,
        "reach over the slide's edge",
    ),
    "read: anticlockwise, points twice, CRLF": (
        json.dumps(outline([point for point in BOX[::-1] for _ in "ab"]), indent=1).replace(
            "\n", "\r\n"
        ),
        1,
        "",
    ),
    "read: id a list, unknown kind, colours QuPath throws at": (
        many(
            one(identity=[1], objectType="super"),
            outline(BESIDE, classification={"name": "Gland", "color": "#c80000"}),
            outline(BELOW, classification={"name": "Gland", "colorRGB": -3670016}),
        ),
        3,
        "reach over the slide's edge",
    ),
    "read: null nucleusGeometry": (one(nucleusGeometry=None), 1, ""),
    "read: Ignore* and what is derived from it, regions in regions, a gland across their edge": (
        many(
            one(),
            outline(BESIDE, classification="Ignore*: fold"),
            outline(BOX, classification="Region*"),
            outline(HOLE, classification="Region*: empty"),
        ),
        1,
        "",
    ),
    "read: objects in objects, under several names and levels": (
        many(
            one(
                classification="Region*",
                childObjects=[one(), {**outline(BESIDE), "childObjects": [outline(BELOW)]}],
            ),
            {
                **one(objectType="TMA_core", geometry=square()),
                "properties": {
                    "objectType": "TMA_core",
                    "children": many(outline(HOLE, classification="Gland: in a core")),
                },
            },
        ),
        4,
        "1 TMA cores",
    ),
    "read: the same outline twice": (many(one(), one()), 1, "1 duplicates"),
    "repaired: open ring": (outline(BOX[:-1]), 1, "feature #1 '7b1c': open outline closed"),
    "repaired: small crossing": (
        outline([[10, 10], [60, 10], [60, 45], [10.5, 45], [10.5, 9.5], [10, 10]]),
        1,
        "outline repaired",
    ),
    "repaired: overlapping parts": (
        one({"type": "MultiPolygon", "coordinates": [[BOX], [[[x + 5, y + 5] for x, y in BOX]]]}),
        1,
        "parts that overlap are joined",
    ),
    "repaired: partly off the slide": (
        outline([[x + 45, y] for x, y in BOX]),
        1,
        "reach over the slide's edge",
    ),
    "repaired: overlapping glands": (
        many(one(), outline([[15, 15], [40, 15], [40, 40], [15, 15]])),
        2,
        "1 pairs of glands overlap",
    ),
    "repaired: hole a hair over its contour": (
        one({"type": "Polygon", "coordinates": [BOX, moved(HOLE, 5.05, 0)]}),
        1,
        "outline repaired",
    ),
    "repaired: spike": (outline([*BOX[:2], [60, 10], *BOX[1:]]), 1, "outline repaired"),
    "repaired: collection of polygon and point": (
        one(
            {
                "type": "GeometryCollection",
                "geometries": [square(), {"type": "Point", "coordinates": [1, 1]}],
            }
        ),
        1,
        "of a collection only its polygons are read",
    ),
    "left out: hole across its contour": (
        one({"type": "Polygon", "coordinates": [BOX, moved(HOLE, 10, 0)]}),
        0,
        "crosses itself",
    ),
    "left out: hole outside": (
        one({"type": "Polygon", "coordinates": [BOX, moved(HOLE, 25, 0)]}),
        0,
        "Hole lies outside shell",
    ),
    "left out: hole as large as its contour": (
        one({"type": "Polygon", "coordinates": [BOX, BOX]}),
        0,
        "encloses no area",
    ),
    "left out: no coordinates": (one({"type": "Polygon", "coordinates": []}), 0, "1 without area"),
    "left out: between the middles of pixels": (
        many(one(), outline([[40.1, 40.1], [40.3, 40.1], [40.3, 40.3]], identity="s")),
        1,
        "1 glands without a pixel",
    ),
    "left out: covered by smaller ones": (
        many(
            one(identity="u"),
            outline([[10, 10], [20, 10], [20, 30], [10, 30]]),
            outline([[20, 10], [30, 10], [30, 30], [20, 30]]),
        ),
        2,
        "1 glands without a pixel",
    ),
    "left out: TMA core, proposal": (
        many(one(), one(objectType="tma_core"), outline(BESIDE, classification="Proposed*")),
        1,
        "1 TMA cores, 1 proposals",
    ),
    "left out: properties null, class a number, class without name": (
        many(
            one(),
            {**one(), "properties": None},
            outline(BESIDE, classification=7),
            outline(HOLE, classification={"name": None}),
        ),
        1,
        "3 without class",
    ),
    "left out: class in lower case": (one(classification="gland"), 0, "1 class 'gland'"),
    "left out: objects of other kinds": (
        many(*(one(objectType=kind) for kind in ("tile", "root", "cell", "TMA_core"))),
        0,
        "1 TMA cores, 1 cells, 1 root objects, 1 tiles",
    ),
    "left out: everything": (many(), 0, "no object in it"),
    "left out: bowtie": (
        many(one(), outline(BOWTIE, identity="b0")),
        1,
        "feature #2 'b0': crosses itself",
    ),
    "left out: null geometry": (
        many(one(), {**one(), "geometry": None}),
        1,
        "feature #2 '7b1c': has no geometry",
    ),
    "left out: point and line": (
        many(
            one(),
            one({"type": "Point", "coordinates": [1, 1]}),
            one({"type": "LineString", "coordinates": [[0, 0], [9, 9]]}),
        ),
        1,
        "1 lines, 1 points",
    ),
    "left out: star of 5001 points": (
        many(one(), outline(star(5001))),
        1,
        "too many lines side by side or across each other",
    ),
    "left out: star of 101 points": (
        many(one(), outline(star(101))),
        1,
        "crosses itself at too many places",
    ),
    "left out: comb of 20 000 lines": (many(one(), outline(comb(10_000))), 1, "too many lines"),
    "left out: parts that cross each other": (
        many(
            one(),
            one(
                {
                    "type": "MultiPolygon",
                    "coordinates": [
                        [[[a, b] for a, b in ring]]
                        for i in range(200)
                        for ring in (
                            [[i / 4, 0], [i / 4 + 0.1, 0], [i / 4 + 0.1, 49], [i / 4, 49]],
                            [[0, i / 5], [60, i / 5], [60, i / 5 + 0.1], [0, i / 5 + 0.1]],
                        )
                    ],
                }
            ),
        ),
        1,
        "too many lines",
    ),
    "left out: three points on a line": (
        many(one(), outline([[0, 0], [5, 5], [0, 0]])),
        1,
        "encloses no area",
    ),
    "left out: detection, cell": (
        many(one(), one(objectType="detection"), one(objectType="cell")),
        1,
        "1 cells, 1 detections",
    ),
    "left out: without class": (many(one(), GONE), 1, "1 without class"),
    "left out: bare geometry": (square(), 0, "1 without class"),
    "left out: class with markup": (
        many(one(), one(classification="<img onerror=x>\n")),
        1,
        "class '<img onerror=x>'",
    ),
    "left out: 900 parent classes": (nested(900), 0, "1 class 'a: a"),
    "left out: path traversal in a zip": (
        zipped(("../../evil.txt", "x"), ("a.geojson", one())),
        1,
        "",
    ),
}

REFUSED: dict[str, tuple[Any, str]] = {
    "refused: empty": ("", "empty"),
    "refused: truncated": (json.dumps(many(one()))[:-30], "ends too early, at line 1, column"),
    "refused: text after the end": (json.dumps(many(one())) + "}", "Extra data at line 1"),
    "refused: a table": ("slide,x\nb01,1\n", r"not GeoJSON (it begins with 'slide,x\nb01,1\n')"),
    "refused: words": ("Lorem ipsum", "not GeoJSON (it begins with 'Lorem ipsum')"),
    "refused: a number": ("17", "not GeoJSON (it begins with '17')"),
    "refused: XML with entities": (XML_WITH_ENTITIES, "XML, not GeoJSON"),
    "refused: truncated gzip": (
        gzip.compress(json.dumps(many(one())).encode())[:-12],
        "truncated or damaged archive",
    ),
    "refused: damaged deflate in a zip": (
        damaged(zipped(("a.geojson", many(one())))),
        "truncated or damaged archive",
    ),
    "refused: damaged bzip2 in a zip": (
        damaged(zipped(("a.geojson", many(one())), method=zipfile.ZIP_BZIP2)),
        "truncated or damaged archive",
    ),
    "refused: damaged lzma in a zip": (
        damaged(zipped(("a.geojson", many(one())), method=zipfile.ZIP_LZMA)),
        "truncated or damaged archive",
    ),
    "refused: zip without GeoJSON": (
        zipped(("a.zip", zipped(("a.geojson", many(one()))))),
        "no .geojson or .json file in it",
    ),
    "refused: bzip2": (bz2.compress(b"{}"), "is not UTF-8"),
    "refused: deep nesting": ("[" * 100_000 + "]" * 100_000, "nested too deep"),
    "refused: nested lists": ("[" * 600 + "]" * 600, "nested too deeply"),
    "refused: nested children": (
        '{"type": "Feature", "childObjects": [' * 100 + "]}" * 100,
        "nested too deeply",
    ),
    "refused: a child that is no feature": (one(childObjects=[square(), 7]), "#3 is no GeoJSON"),
    "refused: type a list": ({"type": ["Polygon"], "coordinates": []}, "of type a list"),
    "refused: number of 401 digits": (
        outline([[0, 0], [10**400, 1], [1, 1]]),
        "(a number of 401 digits, 1) is not a place",
    ),
    "refused: bad offset in a zip": (bad_offset(zipped(("a.geojson", one()))), "archive"),
    "refused: list of features without an end": ('{"features": [', "ends too early"),
    "refused: features of a feature": ({"type": "Feature", "features": [one()]}, "no Feature"),
    "refused: outlines on each other": (
        many(*(outline([[0, 0], [70 - i / 99, 0], [70, 50], [0, 50]]) for i in range(25))),
        "25 times the area of the slide",
    ),
    "refused: TopoJSON": ({"type": "Topology", "objects": {}}, "feature #1 is no GeoJSON feature"),
    "refused: features null": (
        {"type": "FeatureCollection", "features": None},
        "feature #1 is no GeoJSON feature",
    ),
    "refused: a feature null": (many(one(), None), "feature #2 is no GeoJSON feature"),
    "refused: a feature a line": (
        json.dumps(one()) + "\n" + json.dumps(one()),
        "Extra data at line 2",
    ),
    "refused: record separators": ("\x1e" + json.dumps(one()), r"begins with '\x1e{"),
    "refused: zeros": (b"\0" * 100, r"begins with '\x00\x00"),
    "refused: UTF-16": (json.dumps(many(one())).encode("utf-16"), "is not UTF-8"),
    "refused: Latin-1": (
        json.dumps(one(name="x")).replace('"x"', '"Dr\xfcse"').encode("latin-1"),
        "is not UTF-8",
    ),
    "refused: zip with a password": (
        locked(zipped(("a.geojson", one()))),
        "truncated or damaged archive",
    ),
    "refused: coordinates NaN": (
        outline([[float("nan"), 0], [9, 0], [0, 9]]),
        "is not a place on a slide",
    ),
    "refused: coordinates true": (
        outline([[True, 0], [9, 0], [0, 9]]),
        "is not a place on a slide",
    ),
    "refused: coordinates by name": (
        one({"type": "Polygon", "coordinates": {"0": BOX}}),
        "no coordinates",
    ),
    "refused: left of the slide": (
        outline(moved(BOX, -25, 0)),
        "check the file, its origin, and the level it was drawn at",
    ),
    "refused: huge coordinates": (
        outline([[0, 0], [1e300, 0], [0, 9], [0, 0]]),
        "is not a place on a slide",
    ),
    "refused: coordinates as text": (
        outline([["0", 0], [9, 0], [0, 9]]),
        "feature #1 '7b1c': coordinate",
    ),
    "refused: nested coordinate": (
        outline([[[[0]], 0], [9, 0], [0, 9]]),
        "is not a place on a slide",
    ),
    "refused: number of 5000 digits": (
        json.dumps(one()).replace("30", "3" * 5000),
        "too many digits",
    ),
    "refused: mostly off the slide": (
        outline([[x * 4, y * 4] for x, y in BOX]),
        "check the file, its origin, and the level it was drawn at",
    ),
    "refused: another viewer": (
        {**many(one()), "viewer": {"width": 700, "height": 500}},
        "written for a slide of 700 x 500 px",
    ),
}


@pytest.fixture
def convert(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Callable[[Any], tuple[int, str, Path]]:
    """Writes an annotation file and converts it; status, stderr, output."""

    def run(content: Any) -> tuple[int, str, Path]:
        annotations, slide, out = tmp_path / "a.geojson", tmp_path / "s.png", tmp_path / "out.tiff"
        if not isinstance(content, bytes):
            content = (content if isinstance(content, str) else json.dumps(content)).encode()
        annotations.write_bytes(content)
        Image.new("RGB", (WIDTH, HEIGHT)).save(slide)
        before = {path.name for path in tmp_path.parent.iterdir()}
        status = main(["geojson-to-labels", str(annotations), str(slide), str(out)])
        assert {path.name for path in tmp_path.parent.iterdir()} == before
        return status, capsys.readouterr().err, out

    return run


@pytest.mark.parametrize("name", READ)
def test_files_that_are_read(name: str, convert: Callable[[Any], tuple[int, str, Path]]) -> None:
    content, glands, expected = READ[name]
    status, stderr, out = convert(content)
    assert status == 0
    assert len(np.unique(tifffile.imread(out))) - 1 == glands
    assert expected in stderr
    assert bool(stderr) == bool(expected), "a message if and only if something was changed"
    assert all("a.geojson: " in line for line in stderr.splitlines())


@pytest.mark.parametrize("name", REFUSED)
def test_files_that_are_refused_with_one_line(
    name: str, convert: Callable[[Any], tuple[int, str, Path]]
) -> None:
    content, expected = REFUSED[name]
    status, stderr, out = convert(content)
    assert status == 2
    assert expected in stderr
    assert stderr.count("\n") == 1
    assert "a.geojson" in stderr
    assert not out.exists()


def test_a_large_object_and_many_objects_are_refused_before_they_fill_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_text, "MAX_ELEMENT_CHARACTERS", 1 << 20)
    monkeypatch.setattr(json_elements, "MAX_ELEMENTS", 1000)
    path = tmp_path / "a.geojson"
    for content, message in (
        ('{"type": "Feature", "x": [' + '{"":0},' * (1 << 19) + "0]}", "more than 1 MiB of text"),
        ("[" + "[]," * 1001 + "[]]", "more than 1000 objects"),
        ("{" + '"a": [],' * (1 << 18) + '"b": 1}', "more than 1 MiB of text"),
    ):
        path.write_text(content)
        with pytest.raises(AnnotationError, match=message):
            list(GeoJsonFile(path).features())


def changed(content: bytes, rng: np.random.Generator) -> bytes:
    """The content with a few bytes overwritten, inserted, removed or repeated."""
    data = bytearray(content)
    for _ in range(rng.integers(1, 4)):
        at, length = int(rng.integers(len(data))), int(rng.integers(1, 9))
        part = data[at : at + length]
        texts = (b"[" * 40, b"1e999", b"null", b"-", b"{}", b'"type"', b"NaN", rng.bytes(length))
        new = (texts[rng.integers(len(texts))], part * 3, b"")[rng.integers(3)]
        data[at : at + length] = new
    return bytes(data)


@pytest.mark.parametrize("kind", ["plain", "gzip", "zip"])
def test_changed_bytes_are_read_or_refused_and_raise_nothing_else(
    tmp_path: Path, kind: str
) -> None:
    """A short part of the fuzz run, with a fixed seed."""
    rng = np.random.default_rng(0)
    whole = many(
        one(childObjects=[outline(BESIDE), one({"type": "MultiPolygon", "coordinates": [[BOX]]})]),
        one(classification={"name": "a", "parentClass": {"name": "Region*"}}, name="b"),
        outline(BOWTIE, identity=7, objectType="detection"),
    )
    text = json.dumps({**whole, "viewer": {"width": 70, "height": 50}}).encode()
    pack = {"plain": bytes, "gzip": gzip.compress, "zip": lambda t: zipped(("a.json", t))}[kind]
    path, outcomes = tmp_path / "a.geojson", set()
    for number in range(200):
        packed_first = bool(number % 2)
        content = changed(pack(text), rng) if packed_first else pack(changed(text, rng))
        path.write_bytes(content)
        check = check_file(path, annotated="regions")
        try:
            read_annotations(path)
            outcomes.add("read")
        except AnnotationError:
            outcomes.add("refused")
            assert check.problem
    assert outcomes == {"read", "refused"}


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    count=st.integers(1, 6),
    kind=st.sampled_from(["annotation", "detection"]),
)
def test_export_import_export_is_the_identity(
    tmp_path_factory: pytest.TempPathFactory, seed: int, count: int, kind: str
) -> None:
    """Pixels and file stay the same: also for holes, objects in holes, parts, shared corners."""
    folder, rng = tmp_path_factory.mktemp("round"), np.random.default_rng(seed)
    truth = np.kron(rng.integers(0, count + 1, (9, 11)), np.ones((3, 4), np.int32)).astype(np.int32)
    labels, slide = folder / "labels.tiff", folder / "slide.png"
    tifffile.imwrite(labels, truth)
    Image.new("RGB", truth.shape[::-1]).save(slide)
    first, back = folder / "first.geojson", folder / "again" / "labels.tiff"
    assert main(["labels-to-geojson", str(labels), str(first)]) == 0
    text = first.read_text()
    first.write_text(text.replace('"objectType": "annotation"', f'"objectType": "{kind}"'))
    back.parent.mkdir()
    assert main(["geojson-to-labels", str(first), str(slide), str(back), "--objects", "all"]) == 0
    labels_back = tifffile.imread(back)
    pairs = {(int(a), int(b)) for a, b in zip(labels_back.ravel(), truth.ravel(), strict=True)}
    assert len(pairs) == len(np.unique(truth)) == len(np.unique(labels_back))
    assert main(["labels-to-geojson", str(back), str(folder / "second.geojson")]) == 0
    assert (folder / "second.geojson").read_text() == text
    area = sum(
        shapely.geometry.shape(feature["geometry"]).area for feature in json.loads(text)["features"]
    )
    assert area == (truth > 0).sum()
