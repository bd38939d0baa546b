"""`data-check`: which data set a folder holds, and its faults."""

import argparse
import json

from semimoe.datasets.folder_check import FolderCheck, check_folder
from semimoe.model_errors import DataError


def run(arguments: argparse.Namespace) -> None:
    """Print the result of the check; a file that cannot be used is an error."""
    check = check_folder(arguments.folder)
    print(json.dumps(check.to_json_dict(), indent=2) if arguments.json else _text(check))
    if check.problems:
        raise DataError(
            f"{arguments.folder}: {len(check.problems)} files cannot be used: {check.problems[0]}"
        )


def _text(check: FolderCheck) -> str:
    lines = [check.variant]
    for part, content in check.parts.items():
        sizes = ", ".join(f"{count} of {size}" for size, count in content.sizes_px.items())
        lines.append(
            f"{part}: {content.images} images ({sizes} px), {content.masks} masks, "
            f"{content.glands} glands"
        )
    lines.append(f"patients: {check.patients.note}")
    lines += [f"note: {note}" for note in check.notes]
    lines += [f"problem: {problem}" for problem in check.problems]
    return "\n".join(lines)
