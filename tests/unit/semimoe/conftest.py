"""Fixtures of the model's tests."""

import pytest
from disc_pictures import Discs

from tiling.raster.tile import Tile


@pytest.fixture
def discs() -> type[Discs]:
    return Discs


@pytest.fixture
def item() -> type[Tile]:
    return Tile
