"""The sheet of slides: which slides a run has, and what each is for."""

import re
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, get_args

Split = Literal["labelled", "unlabelled", "validation", "test", "predict", "skip"]
SPLITS: tuple[str, ...] = get_args(Split)
SPLITS_WITH_OUTLINES = ("labelled", "validation", "test")
ID_PATTERN = r"[A-Za-z0-9][A-Za-z0-9_.-]*"
# Column `check` holds remarks that `python -m tiling sheet` writes for the user.
SHEET_COLUMNS = (
    "slide",
    "path",
    "split",
    "annotation",
    "annotated",
    "mpp",
    "tissue",
    "roi",
    "patient",
    "check",
)
# Further columns of the sheet are repeated in the result tables, so they need other names.
RESERVED_COLUMNS = (
    "region",
    "glands",
    "gland_area_mm2",
    "area_mm2",
    "gland_share",
    "glands_per_mm2",
    "gland_area_um2_q25",
    "gland_area_um2_q50",
    "gland_area_um2_q75",
    "method",
    "split",
    "error",
)
# An id begins the names of files, which have at most 255 bytes on most file systems.
MAX_ID_CHARACTERS = 180
# Rule make_demo_slide writes the files in this folder.
DEMO_FOLDER = "data/demo/"
_DEMO_FILE = re.compile(DEMO_FOLDER + r"demo-[a-z]+-[0-9]+\.(tiff|geojson|truth\.tiff)")


@dataclass(frozen=True)
class SheetRow:
    """One row of the sheet.

    Attributes
    ----------
    slide : id of the slide
    path, annotation, tissue, roi : files; relative ones are relative to the working directory
    split : what the slide is for
    annotated : outlines are complete inside regions only, or on the whole slide
    mpp : um per level-0 pixel; None: as the file says
    patient : None where the sheet names none
    extra : further columns, which the result tables repeat
    """

    slide: str
    path: str
    split: str
    annotation: str | None = None
    annotated: Literal["regions", "whole"] = "regions"
    mpp: float | None = None
    tissue: str | None = None
    roi: str | None = None
    patient: str | None = None
    extra: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Sheet:
    """The slides of a run.

    Attributes
    ----------
    rows : rows that are used; rows with split `skip` are left out
    problems : what is wrong with the sheet, a line for each problem; empty for a valid sheet
    remarks : what the user should know of a valid sheet, a line for each
    """

    rows: tuple[SheetRow, ...]
    problems: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()

    def __getitem__(self, slide: str) -> SheetRow:
        return self._row_of_slide[slide]

    @cached_property
    def _row_of_slide(self) -> dict[str, SheetRow]:
        return {row.slide: row for row in self.rows}

    def ids(self, *splits: str) -> list[str]:
        """Ids of the slides of these splits, in the order of the sheet; without arguments, all."""
        return [row.slide for row in self.rows if not splits or row.split in splits]

    def annotated(self, *splits: str) -> list[str]:
        """Ids of the slides of these splits that have an annotation."""
        return [slide for slide in self.ids(*splits) if self[slide].annotation]

    def evaluated(self) -> list[str]:
        """Ids of the slides whose glands are scored against outlines."""
        return self.annotated(*SPLITS_WITH_OUTLINES)

    def repeated_columns(self) -> dict[str, dict[str, str]]:
        """For each slide, the cells that the result tables repeat: split, patient, further ones."""
        return {
            row.slide: {"split": row.split, "patient": row.patient or "", **row.extra}
            for row in self.rows
        }


def is_demo_file(path: str) -> bool:
    """Whether rule make_demo_slide writes a file, which therefore need not exist yet."""
    return _DEMO_FILE.fullmatch(path) is not None
