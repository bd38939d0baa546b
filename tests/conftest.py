"""The order of the tests."""

from pathlib import Path

import pytest

_WORKFLOW = Path(__file__).parent / "workflow"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the tests with real Snakemake runs first: the other process runs all others meanwhile."""
    items.sort(key=lambda item: _WORKFLOW not in item.path.parents)
