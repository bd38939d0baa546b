"""`data-check`: which data a folder holds, and what is wrong with it."""

import argparse
import json

from semimoe.datasets.folder_check import check_data
from semimoe.model_errors import DataError


def run(given: argparse.Namespace) -> None:
    """Print what was found; files that cannot be used make the status 2."""
    found = check_data(given.folder)
    if given.json:
        print(json.dumps(found, indent=2))
    else:
        print(found["variant"])
        for part, facts in found["parts"].items():
            sizes = ", ".join(f"{count} of {size}" for size, count in facts["sizes_px"].items())
            print(
                f"{part}: {facts['images']} images ({sizes} px), {facts['masks']} masks, {facts['glands']} glands"
            )
        print("patients: " + found["patients"]["note"])
        print(
            *(f"note: {note}" for note in found["notes"]),
            *(f"problem: {problem}" for problem in found["problems"]),
            sep="\n",
        )
    if found["problems"]:
        raise DataError(
            f"{given.folder}: {len(found['problems'])} files cannot be used: {found['problems'][0]}"
        )
