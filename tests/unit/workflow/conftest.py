"""Fixtures of several tests of the workflow."""

import json
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def card() -> dict[str, Any]:
    """A valid model card without notes."""
    values = json.loads((Path(__file__).parents[3] / "models" / "glas" / "model.json").read_text())
    return {key: value for key, value in values.items() if key != "notes"}
