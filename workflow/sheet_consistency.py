"""Problems of several rows of a sheet together: equal ids, slides and patients."""

import filecmp
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from workflow.sheet import SPLITS_WITH_OUTLINES, SheetRow


def problems_of_rows(
    rows: Sequence[SheetRow],
    allow_patients: Sequence[str],
    *,
    training: bool,
    check_files: bool,
) -> list[str]:
    """Problems that several rows have together, sorted; see `workflow.sheet_reader.read_sheet`."""
    used = [row for row in rows if row.split != "skip"]
    problems = _repeated_ids(rows)
    if not used:
        problems.append(
            "no slide to process: the sheet has no row, or every row has split skip; add a slide"
        )
    elif training and not any(row.split == "labelled" for row in used):
        problems.append(
            "column split: no labelled slide to train on; outline some regions, "
            "or give a trained model with `--config model=FOLDER`"
        )
    if training:
        problems += [*_files_of_two_splits(used), *_patients_of_two_sides(used, allow_patients)]
        if check_files:
            problems += _copies_in_two_splits(used)
    return sorted(problems)


def _repeated_ids(rows: Sequence[SheetRow]) -> list[str]:
    """One problem for each id that occurs more than once, with the spelling that comes first."""
    spellings: dict[str, list[str]] = {}
    for row in rows:
        spellings.setdefault(row.slide.lower(), []).append(row.slide)
    return [
        f"column slide: {same[0]!r} occurs more than once (upper and lower case count as the same);"
        " give each slide an id of its own"
        for same in spellings.values()
        if len(same) > 1
    ]


def _patients_of_two_sides(used: list[SheetRow], allow_patients: Sequence[str]) -> list[str]:
    trained = {row.patient for row in used if row.split == "labelled" and row.patient}
    scored = {row.patient for row in used if row.split in ("validation", "test") and row.patient}
    return [
        f"column patient: {patient!r} has labelled slides and validation or test slides; "
        "change the split of one group, or name the patient in `allow_patients`"
        for patient in sorted((trained & scored) - set(allow_patients))
    ]


def _files_of_two_splits(used: list[SheetRow]) -> list[str]:
    """Files that occur in two of the splits labelled, validation and test."""
    splits: dict[str, set[str]] = {}
    for row in used:
        if row.path and row.split in SPLITS_WITH_OUTLINES:
            splits.setdefault(os.path.realpath(row.path), set()).add(row.split)
    return [
        f"column path: {path} is both {' and '.join(sorted(names))}; keep one of these rows"
        for path, names in splits.items()
        if len(names) > 1
    ]


def _copies_in_two_splits(used: list[SheetRow]) -> Iterator[str]:
    """Slides of two of the splits labelled, validation and test with the same content."""
    files = {os.path.realpath(row.path): row for row in used if row.split in SPLITS_WITH_OUTLINES}
    groups_of_one_size = _groups_of_two_splits(
        files, lambda path: Path(path).stat().st_size or None
    )
    for same_size in groups_of_one_size:
        for same_samples in _groups_of_two_splits(same_size, lambda path: _samples(Path(path))):
            (path, row), *others = same_samples.items()
            for other_path, other in others:
                if other.split != row.split and filecmp.cmp(path, other_path, shallow=False):
                    yield (
                        f"column path: {row.path} ({row.slide}, {row.split}) and {other.path}"
                        f" ({other.slide}, {other.split}) are copies of one slide; keep one of them"
                    )


def _groups_of_two_splits(
    files: Mapping[str, SheetRow], property_of: Callable[[str], int | str | None]
) -> list[dict[str, SheetRow]]:
    """Files that have a property in common and are in different splits; unreadable files in none.

    Parameters
    ----------
    property_of : None for a file that is left out
    """
    groups: dict[int | str, dict[str, SheetRow]] = {}
    for path, row in files.items():
        try:
            value = property_of(path)
        except OSError:
            continue  # its job names the error
        if value is not None:
            groups.setdefault(value, {})[path] = row
    return [group for group in groups.values() if len({row.split for row in group.values()}) > 1]


def _samples(path: Path) -> str:
    from tiling.slides.metadata import slide_checksum

    return slide_checksum(path)
