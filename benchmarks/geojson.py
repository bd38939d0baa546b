"""GeoJSON of many polygons with measurements, beside what people write: a dict per object through json.

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
    from tiling.objects.trace import outline

    y, x = np.mgrid[:16, :16] - 7.5
    discs = np.array([outline(np.hypot(y, x) < radius) for radius in (6, 7, 7.9)], object)
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


def ours(count: str, out: str) -> dict[str, float]:
    """`FeatureWriter`, a band at a time, as export_slide does; counted: seconds of writing alone."""
    from tiling.qupath.export_glands import FeatureWriter, appearing
    from tiling.raster.geometry import Geometry

    seconds = 0.0
    with appearing(Path(out)) as text:
        write = FeatureWriter(text, Geometry.uniform(15000, 15000), "slide")
        for first in range(0, int(count), BAND):
            shapes, identities, columns = band(first, min(BAND, int(count) - first))
            start = time.perf_counter()
            write.features(
                shapes,
                identities,
                name="Gland",
                color=(200, 0, 0),
                object_type="detection",
                measurements=columns,
            )
            seconds += time.perf_counter() - start
        write.close()
    return {"writing": seconds, "mb": Path(out).stat().st_size / 1e6}


def with_json(count: str, out: str) -> dict[str, float]:
    """A dict per object, shapely.geometry.mapping, one json.dump at the end."""
    features: list[dict[str, Any]] = []
    seconds = 0.0
    for first in range(0, int(count), BAND):
        shapes, identities, columns = band(first, min(BAND, int(count) - first))
        start = time.perf_counter()
        for index, (shape, identity) in enumerate(zip(shapes, identities, strict=True)):
            properties = {
                "objectType": "detection",
                "classification": {"name": "Gland", "color": [200, 0, 0]},
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


CONTENDERS = {"ours": ours, "json": with_json}


def main() -> None:
    if serve(CONTENDERS):
        return
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, nargs="+", default=[10000, 100000], help="polygons")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for count in given.count:
            print(f"{count} polygons, {len(NAMES)} measurements each; seconds of writing alone")
            found = {
                name: measured(__file__, name, count, Path(folder) / f"{name}.geojson")
                for name in ("json", "ours")
            }
            found = {
                name: one._replace(seconds=one.counted["writing"]) for name, one in found.items()
            }
            row("json.dump of dicts", found["json"], note=f"{found['json'].counted['mb']:.0f} MB")
            row(
                "ours",
                found["ours"],
                beside=found["json"],
                note=f"{found['ours'].counted['mb']:.0f} MB",
            )


if __name__ == "__main__":
    main()
