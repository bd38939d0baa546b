"""The order of the tests, and what is done once for all of them."""

import gc
from pathlib import Path

import pytest

_WORKFLOW = Path(__file__).parent / "workflow"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Order the tests for three processes on two cores.

    One process makes the shared run and does the tests of group `run`. The test that kills runs is
    the longest: it comes first of those without a group, and waits for the shared run.
    """
    items.sort(key=_place)


def pytest_collection_finish() -> None:
    """Leave modules and tests out of garbage collection, and collect less often.

    The imported libraries have more than a million objects: to look through them again and again
    takes 6 % of the time.
    """
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


def _place(item: pytest.Item) -> int:
    return 0 if _WORKFLOW in item.path.parents else 1
