"""Checks the annotation files of a sheet when a run is planned, before any slide is opened."""

import json
import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tiling.messages import counted, listed
from workflow.check_cache import CheckCache
from workflow.config.configuration import Configuration
from workflow.file_state import file_state
from workflow.sheet import SPLITS_WITH_OUTLINES, Sheet, SheetRow

if TYPE_CHECKING:
    from tiling.qupath.file_check import FileCheck

# Snakemake keeps its own records there. The file only saves time: nothing depends on it.
CACHE = Path(".snakemake") / "annotation_checks.json"
_CACHE_VERSION = 4
_MAX_LINES = 40
_MAX_NAMES = 5
_MAX_MESSAGES = 3  # of one file


@dataclass(frozen=True)
class CheckedAnnotations:
    """What the annotation files of a run contain.

    Attributes
    ----------
    checks : by slide
    problems : why the run must not start, a line each
    warnings : what a person should check, a line each
    """

    checks: "Mapping[str, FileCheck]" = field(default_factory=dict)
    problems: Sequence[str] = ()
    warnings: Sequence[str] = ()

    def lines(self) -> list[str]:
        """A line for each slide, and the warnings; none without annotations.

        If there are many slides, those of which everything is read are only counted.
        """
        if not self.checks:
            return []
        width = max(map(len, self.checks))
        lines, complete_count = [], 0
        for slide, check in self.checks.items():
            if len(self.checks) > _MAX_LINES and not check.left_out and not check.problem:
                complete_count += 1
                continue
            left_out = f"; left out: {check.left_out}" if check.left_out else ""
            text = f"CANNOT BE USED: {check.problem}" if check.problem else check.text
            lines.append(f"  {slide:{width}}  {text}{left_out}")
        if complete_count:
            lines.append(f"  {complete_count} more slides, of which everything is read")
        return ["Annotations:", *lines, *(f"WARNING {text}" for text in self.warnings)]


def needs_outlines(row: SheetRow, configuration: Configuration) -> bool:
    """Whether the run stops if the annotation of a slide cannot be used."""
    return row.split in SPLITS_WITH_OUTLINES and configuration.annotations.unusable == "stop"


def check_annotations(
    sheet: Sheet, configuration: Configuration, *, preview: bool = False, cache: Path = CACHE
) -> CheckedAnnotations:
    """Check the annotation files of a sheet; files that do not exist yet are left out.

    Parameters
    ----------
    sheet, configuration : of the run
    preview : problems do not stop the run: the preview shows them
    cache : results for files that have not changed; a missing or damaged file is ignored
    """
    # The sheet reports files that do not exist, except those that the demo will make.
    rows = [row for row in sheet.rows if row.annotation and os.path.exists(row.annotation)]
    checks = _checks(rows, configuration.export.gland_class, cache)
    problems: list[str] = []
    warnings = [*_same_outlines(rows, checks), *_names_of_other_slides(rows, sheet)]
    for row in rows:
        check = checks[row.slide]
        warnings += _messages(row, check)
        if check.problem:
            left_out = f" (left out: {check.left_out})" if check.left_out else ""
            place = f"slide {row.slide}, column annotation: {row.annotation}"
            problem = f"{place}: {check.problem}{left_out}"
            (problems if needs_outlines(row, configuration) else warnings).append(problem)
    if problems:
        problems[-1] += (
            "\nTo run without the outlines of these slides, set `annotations.unusable` to leave_out"
        )
    if preview:
        problems, warnings = [], [*problems, *warnings]
    return CheckedAnnotations(checks, problems, warnings)


def _messages(row: SheetRow, check: "FileCheck") -> list[str]:
    """What was repaired or left out of the outlines of a slide."""
    more = len(check.messages) - _MAX_MESSAGES
    messages = [
        *check.messages[:_MAX_MESSAGES],
        *([f"... and {counted(more, 'more message')}"] if more > 0 else []),
    ]
    return [f"slide {row.slide}, column annotation: {row.annotation}: {text}" for text in messages]


def _checks(rows: Sequence[SheetRow], gland_class: str, cache: Path) -> "dict[str, FileCheck]":
    """Checks by slide; the results are kept for the next call."""
    if not rows:
        return {}
    # The process of each job reads the Snakefile, and checks nothing.
    from tiling.qupath.file_check import FileCheck, check_file
    from tiling.qupath.mask_check import LargeMaskChecks

    results = CheckCache(cache, _CACHE_VERSION, lambda values: FileCheck(**values))
    checks: dict[str, FileCheck] = {}
    with LargeMaskChecks() as large_masks:
        for row in rows:
            path = Path(row.annotation or "")
            key = json.dumps([str(path.absolute()), row.annotated, gland_class])
            state = file_state(path)
            check = results.get(key, state)
            if check is None:
                check = check_file(
                    path,
                    annotated=row.annotated,
                    gland_class=gland_class,
                    large_masks=large_masks,
                )
                if not check.may_be_repeated:
                    results.put(key, state, asdict(check))
            checks[row.slide] = check
    results.save()
    return checks


def _same_outlines(rows: Sequence[SheetRow], checks: "Mapping[str, FileCheck]") -> list[str]:
    """Slides whose files have equal counts and extents: one file may be that of another slide."""
    rows_by_content: dict[object, list[SheetRow]] = defaultdict(list)
    for row in rows:
        check = checks[row.slide]
        # A region without any gland may be the same for several slides.
        if check.glands and check.extent_px is not None:
            rows_by_content[(check.text, tuple(check.extent_px))].append(row)
    return [
        f"slides {listed([row.slide for row in group], _MAX_NAMES)} have the same outlines; "
        "check column annotation"
        for group in rows_by_content.values()
        if len({Path(row.path).absolute() for row in group}) > 1
    ]


def _names_of_other_slides(rows: Sequence[SheetRow], sheet: Sheet) -> list[str]:
    """Annotation files that have the name of another slide."""
    slide_of_name = {name: row.slide for row in sheet.rows for name in _own_names(row)}
    warnings = []
    for row in rows:
        name = _stem(row.annotation or "")
        other_slide = slide_of_name.get(name)
        if other_slide is not None and name not in _own_names(row):
            warnings.append(
                f"slide {row.slide}, column annotation: {row.annotation} has the name of slide "
                f"{other_slide}"
            )
    return warnings


def _own_names(row: SheetRow) -> tuple[str, str]:
    return row.slide.lower(), _stem(row.path)


def _stem(path: str) -> str:
    """Name of a file without its endings, in lower case.

    >>> _stem("outlines/B01.geojson.gz")
    'b01'
    """
    return Path(path).name.lower().partition(".")[0]
