"""Time to write GeoJSON of many polygons with measurements, compared with the usual way.

The usual way is a dict for each object and one call of `json.dump`.

python benchmarks/geojson.py --count 100000
"""

import argparse
import json
import tempfile
import time
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from contenders import measured, row, serve
from numpy.typing import NDArray

NAMES = (
    "area um2",
    "perimeter um",
    "solidity",
    "eccentricity",
    "orientation deg",
    "mean probability",
    "mean disagreement",
)
BAND = 2000


def band(first: int, count: int) -> tuple[NDArray[Any], list[str], dict[str, NDArray[np.float64]]]:
    """Outlines of discs in pixel edges (36 to 52 corners), ids and measurements."""
    from tiling.objects.trace import trace_mask

    y, x = np.mgrid[:16, :16] - 7.5
    discs = np.array([trace_mask(np.hypot(y, x) < radius) for radius in (6, 7, 7.9)], object)
    number = np.arange(first, first + count)
    shift = np.stack([number % 300 * 50.0, number // 300 * 50.0], axis=1)
    shapes = discs[number % 3]
    points = shapely.get_coordinates(shapes) + np.repeat(
        shift, shapely.get_num_coordinates(shapes), axis=0
    )
    shapes = shapely.set_coordinates(shapes.copy(), points)
    rng = np.random.default_rng(first)
    return (
        shapes,
        [str(uuid.UUID(int=int(k))) for k in number],
        {name: rng.random(count) * 1000 for name in NAMES},
    )


def with_writer(count: str, out: str) -> dict[str, float]:
    """`GeoJsonWriter`, a band at a time, as in the rule export_slide; the seconds of writing."""
    from tiling.qupath.geojson_writer import OutlineStyle, geojson_file
    from tiling.raster.geometry import Geometry

    seconds = 0.0
    style = OutlineStyle()
    with geojson_file(Path(out), Geometry.uniform(15000, 15000), "slide") as writer:
        for first in range(0, int(count), BAND):
            shapes, identities, columns = band(first, min(BAND, int(count) - first))
            start = time.perf_counter()
            writer.write_many(shapes, identities, style, columns)
            seconds += time.perf_counter() - start
    return {"writing": seconds, "mb": Path(out).stat().st_size / 1e6}


def with_json(count: str, out: str) -> dict[str, float]:
    """A dict for each object, shapely.geometry.mapping, and one json.dump at the end."""
    from tiling.qupath.class_names import GLAND
    from tiling.qupath.geojson_writer import GLAND_COLOUR

    features: list[dict[str, Any]] = []
    seconds = 0.0
    for first in range(0, int(count), BAND):
        shapes, identities, columns = band(first, min(BAND, int(count) - first))
        start = time.perf_counter()
        for index, (shape, identity) in enumerate(zip(shapes, identities, strict=True)):
            properties = {
                "objectType": "detection",
                "classification": {"name": GLAND, "color": list(GLAND_COLOUR)},
                "measurements": {name: float(values[index]) for name, values in columns.items()},
            }
            features.append(
                {
                    "type": "Feature",
                    "id": identity,
                    "properties": properties,
                    "geometry": shapely.geometry.mapping(shape),
                }
            )
        seconds += time.perf_counter() - start
    start = time.perf_counter()
    with Path(out).open("w") as file:
        json.dump({"type": "FeatureCollection", "features": features}, file)
    return {"writing": seconds + time.perf_counter() - start, "mb": Path(out).stat().st_size / 1e6}


CONTENDERS = {"writer": with_writer, "json": with_json}


def main() -> None:
    if serve(CONTENDERS):
        return
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, nargs="+", default=[10000, 100000], help="polygons")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for count in arguments.count:
            print(f"{count} polygons, {len(NAMES)} measurements each; seconds of writing alone")
            results = {}
            for name in ("json", "writer"):
                result = measured(__file__, name, count, Path(folder) / f"{name}.geojson")
                results[name] = result._replace(seconds=result.counted["writing"])
            sizes = {name: f"{result.counted['mb']:.0f} MB" for name, result in results.items()}
            row("json.dump of dicts", results["json"], note=sizes["json"])
            row(
                "GeoJsonWriter",
                results["writer"],
                compared_with=results["json"],
                note=sizes["writer"],
            )


if __name__ == "__main__":
    main()
