"""Files with a flipped bit, as a disk or a memory that fails leaves them."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np


def flip_a_bit(path: Path, rng: np.random.Generator) -> None:
    """Flip one random bit of a file."""
    data = bytearray(path.read_bytes())
    data[rng.integers(len(data))] ^= 1 << int(rng.integers(8))
    path.write_bytes(data)


@contextmanager
def flipped_bit(folder: Path, rng: np.random.Generator) -> Iterator[Path]:
    """Flip one bit of a random file of a folder; its old content comes back at the end."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    path = files[rng.integers(len(files))]
    data = path.read_bytes()
    flip_a_bit(path, rng)
    try:
        yield path
    finally:
        path.write_bytes(data)
