"""What several tests of the workflow need."""

import json
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def card() -> dict[str, Any]:
    """A sound card of a model, without notes."""
    whole = json.loads((Path(__file__).parents[3] / "models" / "glas" / "model.json").read_text())
    return {key: value for key, value in whole.items() if key != "notes"}
