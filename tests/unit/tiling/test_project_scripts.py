"""The Groovy scripts for QuPath, run by Groovy with stubs of the classes that they use."""

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import shapely

from tiling.qupath.annotations import read_annotations
from tiling.qupath.class_names import GLAND, PROPOSED, REGION
from tiling.qupath.geojson_writer import OutlineStyle, geojson_file, object_id
from tiling.qupath.project_scripts import groovy_string, write_scripts
from tiling.raster.geometry import Geometry

STUB = Path(__file__).parent / "qupath_stub"
FRAME = Geometry.uniform(50, 40, downsample=2.0)
SLIDES = [
    ("b01", "x/b01.svs"),
    ("b02", "scan.svs"),
    ("b03", "b03.svs"),
    ("t1", "a/twin.svs"),
    ("t2", "b/twin.svs"),
    ("b06", "b06.svs"),
]


def groovy(*arguments: str | Path) -> str:
    if not shutil.which("groovy") or not (java := shutil.which("java")):
        pytest.skip("groovy is not installed (Debian: apt-get install groovy)")
    home = Path(java).resolve().parents[1]
    done = subprocess.run(
        ["groovy", "-cp", STUB, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env={
            **os.environ,
            "JAVA_HOME": str(home),
            "LC_ALL": "C.UTF-8",
            # A short program takes half the time without the optimising compiler.
            "JAVA_OPTS": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC",
        },
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def write_outlines(path: Path, boxes: list[tuple[str, str, int, int, int, int]]) -> None:
    with geojson_file(path, FRAME, "bounds") as writer:
        for class_name, object_type, *box in boxes:
            style = OutlineStyle(class_name, (1, 2, 3), object_type)  # type: ignore[arg-type]
            writer.write(shapely.box(*box), object_id(str(path), hash(tuple(box))), style)


def test_import_fills_all_images_and_keeps_what_a_person_changed(tmp_path: Path) -> None:
    results = tmp_path / "it's $HOME \\u0027 results"
    detections = [(GLAND, "detection", x, 10, x + 10, 20) for x in (10, 20, 70)]
    proposals = [(PROPOSED, "annotation", x, 5, x + 30, 35) for x in (5, 62)]
    proposals += [(GLAND, "annotation", x, 10, x + 10, 20) for x in (10, 20, 70)]
    for slide in ("b01", "b02", "b03", "t1", "t2"):
        write_outlines(results / "glands" / f"{slide}.geojson.gz", detections)
        write_outlines(results / "proposals" / f"{slide}.geojson", proposals)
    scripts = results / "qupath"
    write_scripts(
        SLIDES,
        GLAND,
        "geojson.gz",
        into=scripts / "import_all.groovy",
        out=scripts / "export_annotations.groovy",
    )
    output = groovy(STUB / "scenario.groovy", results, tmp_path / "project")
    lines = output.replace(str(tmp_path), "").splitlines()
    glands = "5 annotation Gland 15, 5 annotation Gland 25, 5 annotation Gland 75"
    squares = f"5 annotation {PROPOSED} 20, 5 annotation {PROPOSED} 77"
    detections_text = "5 detection Gland 15, 5 detection Gland 25, 5 detection Gland 75"
    counts = "3 glands, 2 proposed regions with 3 outlines"
    kept = f"0 kept (changed, or in an area of class {REGION}), 0 not added there"
    results_text = "/it's $HOME \\u0027 results"
    twin = "twin.svs: NOT DONE, it may be t1 or t2; rename the image in the project to one of these"
    assert lines == [
        f"b01.svs: slide b01, {counts}; 8 objects added, 0 replaced, {kept}",
        f"patient 7: slide b02, {counts}; 8 objects added, 0 replaced, {kept}",
        f"b03: NOT DONE, {results_text}/glands/b03.geojson.gz was written for 100 x 80 px, "
        "this image has 90 x 80 px: another slide, or export.origin?",
        twin,
        "other one.svs: skipped, no slide of this run has its name",
        f"b06.svs: NOT DONE, {results_text}/glands/b06.geojson.gz does not exist: "
        "the slide failed or is not finished, see report.html",
        f"  {glands}, {squares}, {detections_text}",
        "-- a second time",
        f"b01.svs: slide b01, {counts}; 8 objects added, 8 replaced, {kept}",
        f"  {glands}, {squares}, {detections_text}",
        "-- after changes by a person",
        f"b01.svs: slide b01, {counts}; 4 objects added, 4 replaced, "
        f"4 kept (changed, or in an area of class {REGION}), 4 not added there",
        "  4 annotation Gland 55, 5 annotation Gland 16, 5 annotation Gland 25, "
        f"5 annotation Gland 76, 5 annotation {PROPOSED} 77, 5 annotation {REGION} 20, "
        f"{detections_text}",
        "-- after changes of detections",
        f"b01.svs: slide b01, {counts}; 3 objects added, 3 replaced, "
        f"5 kept (changed, or in an area of class {REGION}), 5 not added there",
        "  4 annotation Gland 55, 5 annotation Gland 16, 5 annotation Gland 25, "
        f"5 annotation Gland 76, 5 annotation {PROPOSED} 77, 5 annotation {REGION} 20, "
        "5 detection Gland 25, 5 detection Gland 75, 5 detection Other 15",
        "-- pasted",
        "b01.svs: NOT DONE, open the script from the folder qupath of the results "
        "instead of pasting it",
        "-- export",
        "b01.svs: 6 annotations in /project/annotations/b01.geojson "
        f"(1 {REGION}, 4 Gland, 1 {PROPOSED})",
        f"patient 7: 5 annotations in /project/annotations/b02.geojson (2 {PROPOSED}, 3 Gland)",
        "b03: skipped, it has no annotations",
        twin,
        f"other one.svs: 1 annotations in /project/annotations/other_one-5.geojson (1 {REGION})",
        "b06.svs: skipped, it has no annotations",
        "-- export with an error",
        "  failed, the older export is as before",
        "  b01.geojson, b02.geojson, other_one-5.geojson",
        "-- export after all annotations were deleted",
        "b01.svs: skipped, it has no annotations",
        "b01.svs: /project/annotations/b01.geojson is an older export; delete it if this slide "
        "should have no outlines",
        "-- export of two images of one slide",
        "b01.svs: NOT DONE, 2 images of the project are slide b01; rename those that are not",
        "B01: NOT DONE, 2 images of the project are slide b01; rename those that are not",
    ]
    back = read_annotations(tmp_path / "project" / "annotations" / "b01.geojson")
    assert (len(back.regions), len(back.glands), back.counts["proposals"]) == (1, 4, 1)
    assert np.isclose(back.regions[0].shape.area, 900)


def test_names_are_never_code(tmp_path: Path) -> None:
    names = [
        "it's",
        "a\\b",
        "\\u0027; System.exit(3) //",
        "${1 + 1} $x",
        "@SLIDES@",
        '"',
        "ü µ",
        "a\nb",
        "\\",
        "x\\'",
        "\\\\u0027",
        "\\134",
    ]
    (tmp_path / "print.groovy").write_text(
        "".join(f"println {groovy_string(name)}\n" for name in names), encoding="utf-8"
    )
    assert groovy("-c", "UTF-8", tmp_path / "print.groovy").splitlines() == [
        name.replace("\n", "?") for name in names
    ]


def test_hostile_names_stay_inside_their_strings(tmp_path: Path) -> None:
    into, out = tmp_path / "in.groovy", tmp_path / "out.groovy"
    write_scripts([("b01", "'; evil() @SLIDES@\n")], "Gland'", "geojson", into=into, out=out)
    for path in (into, out):
        text = path.read_text()
        assert "file: '\\'; evil() @SLIDES@?']" in text
    assert "def glandClass = 'Gland\\''" in into.read_text()
