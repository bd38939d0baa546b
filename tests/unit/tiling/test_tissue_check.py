"""Outlines on bare glass are refused by name, with the change of coordinates that would fit."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from example_stores import tile_attributes

from tiling.qupath.annotation_source import AnnotationFile, ReadingRules
from tiling.qupath.label_slide import label_slide
from tiling.raster.geometry import Geometry
from tiling.stores.arrays import create_array, create_group
from tiling.stores.attributes import stored_json
from tiling.stores.manifest import seal_store

# 1600 x 1200 px at 0.5 um, stored at 2 um. Tissue is in the lower right part: a coarse pixel is
# 8 stored pixels, 32 px of level 0.
SIZE = (1600, 1200)
FRAME = Geometry.uniform(400, 300, downsample=4.0, mpp_um=2.0)
TISSUE = np.zeros((38, 50), np.uint8)
TISSUE[22:36, 30:46] = 1
Point = tuple[float, float]


def right(x: float, y: float) -> Point:
    return x, y


def square(left: float, top: float, side: float, kind: str, changed: Callable[..., Point]) -> Any:
    corners = [(0, 0), (side, 0), (side, side), (0, side), (0, 0)]
    ring = [changed(left + x, top + y) for x, y in corners]
    return {
        "type": "Feature",
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "properties": {"objectType": "annotation", "classification": {"name": kind}},
    }


def regions(changed: Callable[..., Point] = right) -> list[Any]:
    """Two regions with two glands each, on tissue unless they are changed."""
    features = []
    for left, top in ((1000, 740), (1200, 900)):
        features.append(square(left, top, 200, "Region*", changed))
        features += [square(left + x, top + 40, 50, "Gland", changed) for x in (20, 110)]
    return features


def labelled(tmp_path: Path, features: list[Any]) -> dict[str, Any]:
    """The attributes of the label store of these features."""
    annotation, tiles = tmp_path / "a.geojson", tmp_path / "tiles.zarr"
    annotation.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    group = create_group(tiles)
    create_array(group, "tissue", TISSUE.shape, np.uint8)[...] = TISSUE
    tile_attributes(FRAME, fingerprint="f").write(group)
    seal_store(tiles)
    file = AnnotationFile(annotation, ReadingRules("regions", "bounds"))
    label_slide(file, tiles, tmp_path / "labels.zarr", slide="s", code_version=1)
    return stored_json(tmp_path / "labels.zarr")


WIDTH, HEIGHT = SIZE
CHANGES: dict[str, tuple[Callable[..., Point], str]] = {
    "level of downsample 4": (lambda x, y: (x / 4, y / 4), "multiplied by 4 "),
    "level of downsample 16": (lambda x, y: (x / 16, y / 16), "multiplied by 16 "),
    "level of downsample 64": (lambda x, y: (x / 64, y / 64), "multiplied by 64 "),
    "micrometres": (lambda x, y: (x / 2, y / 2), "given in micrometres, 0.5 um per pixel"),
    "half a turn": (lambda x, y: (WIDTH - x, HEIGHT - y), "rotated by 180 degrees"),
    "quarter turn": (lambda x, y: (y, WIDTH - x), "rotated by 270 degrees"),
    "quarter turn back": (lambda x, y: (HEIGHT - y, x), "rotated by 90 degrees"),
    "mirrored": (lambda x, y: (WIDTH - x, y), "mirrored from left to right"),
    "upside down": (lambda x, y: (x, HEIGHT - y), "mirrored from top to bottom"),
    "enlarged": (lambda x, y: (4 * x, 4 * y), "multiplied by 0.25 "),
}


@pytest.mark.parametrize(("changed", "cause"), CHANGES.values(), ids=list(CHANGES))
def test_outlines_on_glass_are_refused_with_their_likely_cause(
    tmp_path: Path, changed: Callable[..., Point], cause: str
) -> None:
    values = labelled(tmp_path, regions(changed))
    assert values["status"] == "failed"
    assert cause in values["error"]
    if "off the slide" not in values["error"]:
        assert "region 1 (0 % on tissue)" in values["error"]


def test_outlines_on_tissue_are_used_without_a_message(tmp_path: Path) -> None:
    values = labelled(tmp_path, regions())
    assert (values["status"], values["messages"]) == ("ok", [])
    assert values["counts"]["glands"] == 4


def test_one_region_on_glass_is_named(tmp_path: Path) -> None:
    on_glass = [square(100, 100, 200, "Region*", right), square(150, 150, 50, "Gland", right)]
    values = labelled(tmp_path, regions() + on_glass)
    assert values["status"] == "failed"
    assert "under the glands of region 3 (0 % on tissue)" in values["error"]
    assert "region 1" not in values["error"]


def test_an_empty_region_may_be_on_glass(tmp_path: Path) -> None:
    values = labelled(tmp_path, [*regions(), square(100, 100, 200, "Region*: empty", right)])
    assert (values["status"], values["messages"]) == ("ok", [])


def test_glands_that_are_mostly_on_glass_are_asked_about(tmp_path: Path) -> None:
    # Tissue ends at x = 46 * 32 = 1472: 16 of 60 px of each gland lie on it.
    features = [square(1400, 800, 190, "Region*", right), square(1456, 850, 60, "Gland", right)]
    values = labelled(tmp_path, features)
    assert values["status"] == "ok"
    (message,) = values["messages"]
    assert "little tissue under the glands of region 1 (27 % on tissue)" in message


def epithelium(tmp_path: Path, shift_um: float, glands: int = 24) -> list[str]:
    """Messages about glands with dark walls, of which the outlines are shifted."""
    tmp_path.mkdir()
    side_px, tiles = 600, tmp_path / "tiles.zarr"
    rng = np.random.default_rng(0)
    red = rng.normal(200, 15, (side_px, side_px))
    features = [square(20, 20, 2200, "Region*", right)]
    for number in range(glands):
        y, x = number // 5 * 100 + 60, number % 5 * 100 + 60
        rows, columns = np.ogrid[:side_px, :side_px]
        distance = np.hypot(rows - y, columns - x)
        red[(distance < 25) & (distance > 15)] -= 70
        ring = [
            [4 * (x + shift_um / 2 + 25 * np.cos(a)), 4 * (y + shift_um / 2 + 25 * np.sin(a))]
            for a in np.linspace(0, 2 * np.pi, 40)
        ]
        features.append(square(0, 0, 1, "Gland", right))
        features[-1]["geometry"]["coordinates"] = [[*ring[:-1], ring[0]]]
    annotation = tmp_path / "a.geojson"
    annotation.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    group = create_group(tiles)
    image = np.broadcast_to(red.clip(0, 255).astype(np.uint8), (3, side_px, side_px))
    create_array(group, "0", image.shape, np.uint8)[...] = image
    create_array(group, "tissue", (75, 75), np.uint8)[...] = 1
    frame = Geometry.uniform(side_px, side_px, downsample=4.0, mpp_um=2.0)
    tile_attributes(frame, fingerprint="f").write(group)
    seal_store(tiles)
    file = AnnotationFile(annotation, ReadingRules("regions", "bounds"))
    label_slide(file, tiles, tmp_path / "labels.zarr", slide="s", required=True, code_version=1)
    return [text for text in stored_json(tmp_path / "labels.zarr")["messages"] if "darker" in text]


def test_outlines_beside_their_glands_are_named(tmp_path: Path) -> None:
    assert epithelium(tmp_path / "right", 0) == []
    (message,) = epithelium(tmp_path / "shifted", 100)
    assert "the outlines may be those of another slide, or shifted" in message
    assert epithelium(tmp_path / "few", 100, glands=19) == []
