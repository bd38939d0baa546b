"""The profiles name rules that exist."""

import re
from pathlib import Path

import yaml

REPO = Path(__file__).parents[3]


def test_the_groups_of_the_slurm_profile_are_rules() -> None:
    rules = {
        name
        for file in (REPO / "workflow" / "rules").glob("*.smk")
        for name in re.findall(r"^rule (\w+):", file.read_text(), re.MULTILINE)
    }
    profile = yaml.safe_load((REPO / "profiles" / "slurm" / "profile.yaml").read_text())
    assert len(profile["groups"]) == 6
    assert set(profile["groups"]) <= rules
