"""Stores and tables of earlier jobs with changed content."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from changed_inputs import changed_bytes, changed_json_text
from fuzzed_parser import FuzzedParser
from kinds_of_stores import content, write_kind
from PIL import Image

from tiling.pictures.slide_summary import data_uri, read_slide_summary
from tiling.raster.earlier_results import ResultError
from tiling.slide_errors import SlideError, StoreError
from tiling.stores.atomic_store import write_store
from tiling.stores.attributes import geometry_of, recorded_error
from tiling.stores.layout import GlandStore, LabelStore, MapStore, TileStore
from tiling.stores.manifest import MANIFEST_KEY, seal_store
from workflow.check_cache import CheckCache
from workflow.file_state import FileState
from workflow.stages.summarise import read_metrics

_KINDS = (TileStore, LabelStore, MapStore, GlandStore)
_METADATA = "zarr.json"
_SUMMARY: dict[str, Any] = {
    "slide": "a", "error": None, "tiles": 3, "left_out": 0, "tissue_mm2": 1.5, "mpp_um": 1.0,
    "mpp_origin": "sheet", "stored_bytes": 10, "result_bytes": 10, "annotation": None,
    "picture": data_uri(Image.new("RGB", (9, 7), "pink")),
}  # fmt: skip
_METRICS = (
    "slide,split,method,region,dice,glands,gland_area_mm2\n"
    "a,test,semimoe,r1,0.9,3,0.02\na,test,semimoe,pooled,0.9,3,0.02\n"
)


def _prepare_store(folder: Path) -> Callable[[random.Random], None]:
    stores = [write_kind(folder / f"{kind.__name__}.zarr", kind) for kind in _KINDS]
    files = [[path for path in sorted(store.rglob("*")) if path.is_file()] for store in stores]

    def input_from(rng: random.Random) -> None:
        number = rng.randrange(len(stores))
        path = stores[number] / _METADATA
        if rng.random() < 0.5:
            path = rng.choice(files[number])
        valid = path.read_bytes()
        changed = changed_bytes(valid, rng)
        if path.name == _METADATA and rng.random() < 0.5:
            changed = changed_json_text(json.loads(valid), rng).encode()
        path.write_bytes(changed)
        try:
            content(stores[number], _KINDS[number])
        finally:
            path.write_bytes(valid)

    return input_from


def _prepare_attributes(folder: Path) -> Callable[[random.Random], None]:
    """Attributes of another program: changed, with a list of files and a checksum that fit."""
    stores = [write_kind(folder / f"{kind.__name__}.zarr", kind) for kind in _KINDS]
    values = [json.loads((store / _METADATA).read_bytes()) for store in stores]
    for value in values:
        del value["attributes"][MANIFEST_KEY]

    def input_from(rng: random.Random) -> None:
        number = rng.randrange(len(stores))
        root = json.loads(json.dumps(values[number]))
        text = changed_json_text(root["attributes"]["gland_pipeline"], rng)
        try:
            root["attributes"]["gland_pipeline"] = json.loads(text)
        except ValueError:
            return
        (stores[number] / _METADATA).write_text(json.dumps(root), encoding="utf-8")
        seal_store(stores[number])
        for read in rng.sample((_KINDS[number].read, geometry_of, recorded_error), 3):
            read(stores[number])

    return input_from


def _prepare_journal(folder: Path) -> Callable[[random.Random], None]:
    path, parameters = folder / "j.zarr", {"a": 1}
    partial, journal = folder / "j.zarr.partial", folder / "j.zarr.journal"

    class StoppedError(Exception):
        """Ends a writer in the middle of its work."""

    def stopped_writer() -> None:
        with write_store(path, parameters) as store:
            for number in range(3):
                name = f"c{number}"
                if store.is_finished(name):
                    continue
                (store.folder / name).write_bytes(b"12345678")
                store.record_finished(name, number, [store.folder / name])
            raise StoppedError

    def stopped() -> None:
        try:
            stopped_writer()
        except StoppedError:
            return

    stopped()
    valid = journal.read_bytes()

    def input_from(rng: random.Random) -> None:
        partial.mkdir(exist_ok=True)
        journal.write_bytes(changed_bytes(valid, rng))
        for name in rng.sample(("c0", "c1", "c2"), rng.randrange(3)):
            (partial / name).unlink(missing_ok=True)
        stopped()
        assert all((partial / f"c{number}").read_bytes() == b"12345678" for number in range(3))

    return input_from


def _prepare_tables(folder: Path) -> Callable[[random.Random], None]:
    path = folder / "metrics.csv"

    def input_from(rng: random.Random) -> None:
        path.write_bytes(changed_bytes(_METRICS.encode(), rng))
        read_metrics(path)

    return input_from


def _prepare_summary(folder: Path) -> Callable[[random.Random], None]:
    path = folder / "summary.json"

    def input_from(rng: random.Random) -> None:
        path.write_text(changed_json_text(_SUMMARY, rng), encoding="utf-8")
        if rng.random() < 0.5:
            path.write_bytes(changed_bytes(path.read_bytes(), rng))
        read_slide_summary(path)

    return input_from


def _prepare_cache(folder: Path) -> Callable[[random.Random], None]:
    path = folder / "checks.json"
    valid = {"version": 1, "entries": {"a": {"identity": [1, 2], "check": {"problem": ""}}}}

    def input_from(rng: random.Random) -> None:
        path.write_text(changed_json_text(valid, rng), encoding="utf-8")
        CheckCache(path, 1, dict).get("a", FileState(1, 2, 3, 4))

    return input_from


PARSERS = [
    FuzzedParser("store", "files of stores", _prepare_store, (StoreError, SlideError)),
    FuzzedParser(
        "attributes", "attributes of stores", _prepare_attributes, (StoreError, SlideError)
    ),
    FuzzedParser("journal", "journals of unfinished stores", _prepare_journal, ()),
    FuzzedParser("metrics", "tables of scores", _prepare_tables, (ResultError,)),
    FuzzedParser("summary", "slide summaries", _prepare_summary, (ResultError,)),
    FuzzedParser("cache", "caches of checks", _prepare_cache, (), 30_000),
]  # fmt: skip
