"""The list of the files of a finished store: a missing or changed file is an error, not background.

A chunk that is not stored reads as fill. So a lost file would read as background. The attribute
`gland_pipeline_files` in the `zarr.json` of a store lists its files: the chunks with their sizes
(each chunk carries its own CRC-32C, which is checked when it is read), and the metadata of arrays
with their checksums. Its last entry is the checksum of that `zarr.json` itself.
"""

import hashlib
import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from tiling.raster.atomic_files import sync_to_disk, write_atomic
from tiling.slide_errors import StoreError

MANIFEST_KEY = "gland_pipeline_files"
_METADATA = "zarr.json"
_CHUNKS, _CHECKSUMS, _OWN = "chunk_bytes", "metadata_checksums", "checksum"
_CHECKSUM_LENGTH = 16
_SYNC_THREADS = 8


class StoreManifest(NamedTuple):
    """The files of a finished store, by path relative to it.

    Attributes
    ----------
    chunk_bytes : size of each file with chunks
    metadata_checksums : checksum of each `zarr.json` of an array or group in the store
    """

    chunk_bytes: dict[str, int]
    metadata_checksums: dict[str, str]


def seal_store(folder: Path) -> None:
    """List the files of a complete store in its `zarr.json`, and bring all of them to the disk."""
    chunk_bytes, checksums = {}, {}
    sizes = sorted(_file_sizes(folder).items())
    with ThreadPoolExecutor(_SYNC_THREADS) as pool:
        # Each call waits for the disk, and waits for several files are shared.
        list(pool.map(sync_to_disk, (folder / name for name, _ in sizes)))
    for name, size in sizes:
        if Path(name).name != _METADATA:
            chunk_bytes[name] = size
        elif name != _METADATA:
            checksums[name] = _checksum((folder / name).read_bytes())
    root = json.loads((folder / _METADATA).read_bytes())
    files: dict[str, Any] = {_CHUNKS: chunk_bytes, _CHECKSUMS: checksums}
    root["attributes"][MANIFEST_KEY] = files
    files[_OWN] = _checksum_of_json(root)
    write_atomic(folder / _METADATA, json.dumps(root, indent=2))


def check_files(store: Path) -> StoreManifest:
    """The list of a store's files, after each of them was compared with the list.

    Raises
    ------
    StoreError
        A file is missing, or has another size or checksum; or the store has no list.
    """
    remedy = "remove the store and run again"
    if not store.exists():
        raise StoreError(f"{store}: no such store; correct the path, or make it by a run")
    try:
        root = json.loads((store / _METADATA).read_bytes())
    except FileNotFoundError as error:
        raise StoreError(f"{store}: no Zarr store (no {_METADATA}); {remedy}") from error
    except (ValueError, RecursionError) as error:
        raise StoreError(f"{store}: {_METADATA} is damaged ({error}); {remedy}") from error
    attributes = root.get("attributes") if isinstance(root, dict) else None
    if not isinstance(attributes, dict) or "gland_pipeline" not in attributes:
        raise StoreError(f"{store}: not a store of this pipeline, or damaged; {remedy}")
    files = attributes.get(MANIFEST_KEY)
    if files is None:
        raise StoreError(
            f"{store}: has no list of its files: it is not complete, or of an older version;"
            f" {remedy}"
        )
    own = files.pop(_OWN, None) if isinstance(files, dict) else None
    if own != _checksum_of_json(root):
        raise StoreError(f"{store}: {_METADATA} is damaged (wrong checksum); {remedy}")
    manifest = StoreManifest(files[_CHUNKS], files[_CHECKSUMS])
    sizes = _file_sizes(store)
    for name, size in manifest.chunk_bytes.items():
        if sizes.get(name) != size:
            fault = "is missing" if name not in sizes else f"has {sizes[name]} bytes, not {size}"
            raise StoreError(f"{store}: the file {name} {fault}; {remedy}")
    for name, checksum in manifest.metadata_checksums.items():
        if name not in sizes or _checksum((store / name).read_bytes()) != checksum:
            fault = "is missing" if name not in sizes else "is damaged (wrong checksum)"
            raise StoreError(f"{store}: the file {name} {fault}; {remedy}")
    return manifest


def _file_sizes(folder: Path) -> dict[str, int]:
    """Size of each file in a folder and its subfolders, by path relative to it."""
    sizes: dict[str, int] = {}
    unvisited = [""]
    while unvisited:
        parent = unvisited.pop()
        with os.scandir(folder / parent) as entries:
            for entry in entries:
                name = f"{parent}{entry.name}"
                if entry.is_dir(follow_symlinks=False):
                    unvisited.append(f"{name}/")
                else:
                    sizes[name] = entry.stat().st_size
    return sizes


def _checksum(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:_CHECKSUM_LENGTH]


def _checksum_of_json(values: object) -> str:
    return _checksum(json.dumps(values, sort_keys=True).encode())
