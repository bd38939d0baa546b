"""Fixtures of the model's tests."""

import sys
from pathlib import Path

import pytest

# Beside the tests, so that a process of its own can make the same pictures.
sys.path.insert(0, str(Path(__file__).parent))

from disc_pictures import Discs, Item


@pytest.fixture
def discs() -> type[Discs]:
    return Discs


@pytest.fixture
def item() -> type[Item]:
    return Item
