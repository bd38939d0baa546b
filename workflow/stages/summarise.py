"""The result tables of a run: all scores, and counts, areas and densities of glands."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from tiling.pictures.slide_summary import read_slide_summary
from tiling.raster.atomic_files import write_atomic
from tiling.raster.earlier_results import reading_result
from workflow.stages.csv_cells import plain_cell
from workflow.stages.evaluate_slide import POOLED, AreaQuartiles, CsvValue, area_quartiles

COUNT_COLUMNS = ("glands", "tp", "fp", "fn", "splits", "merges", "hausdorff_missing")
TEXT_COLUMNS = ("slide", "split", "method", "region")
# Cells of the sheet that the result tables repeat, for each slide.
RepeatedColumns = Mapping[str, Mapping[str, str]]


@dataclass(frozen=True)
class SummaryInputs:
    """Files of single slides that the result tables are made of.

    Attributes
    ----------
    metrics : `metrics/{slide}.csv`, of all methods
    gland_tables : `glands/{slide}.csv`, one per predicted slide
    slide_summaries : `previews/{slide}.json` of the same slides in the same order; they hold the
        area of tissue
    """

    metrics: Sequence[Path]
    gland_tables: Sequence[Path]
    slide_summaries: Sequence[Path]


@dataclass(frozen=True)
class MissingResults:
    """Slides without results, each with the reason; the tables have a row for each of them.

    Attributes
    ----------
    outlines : slides without outlines of glands
    scores : slides without scores
    """

    outlines: Mapping[str, str] = field(default_factory=dict)
    scores: Mapping[str, str] = field(default_factory=dict)


class GlandStatistics(NamedTuple):
    """Counts and shares of an area: the tissue of a slide, or the annotated part of a region."""

    glands: float  # a whole number; pandas reads a column with empty cells as float
    gland_area_mm2: float
    area_mm2: float
    gland_share: float | None
    glands_per_mm2: float | None
    quartiles: AreaQuartiles

    @classmethod
    def of(
        cls, glands: float, gland_area_mm2: float, area_mm2: float, quartiles: AreaQuartiles
    ) -> "GlandStatistics":
        """Statistics with share and density; both are None for an empty area."""
        share = gland_area_mm2 / area_mm2 if area_mm2 else None
        density = glands / area_mm2 if area_mm2 else None
        return cls(glands, gland_area_mm2, area_mm2, share, density, quartiles)

    def columns(self) -> dict[str, CsvValue]:
        """Columns of `cohort.csv`."""
        values: dict[str, CsvValue] = self._asdict()
        del values["quartiles"]
        return values | self.quartiles._asdict()


def summarise(
    inputs: SummaryInputs,
    repeated: RepeatedColumns,
    *,
    metrics_table: Path,
    cohort_table: Path,
    main_method: str,
    missing: MissingResults | None = None,
) -> None:
    """Write `metrics.csv` and `cohort.csv`.

    Parameters
    ----------
    repeated : for each slide, the cells of the sheet that the tables repeat; with column `split`
        where scores are missing
    main_method : method of the glands in `gland_tables`, as column `method` names it
    missing : slides without results
    """
    missing = missing or MissingResults()
    repeated = {
        slide: {name: plain_cell(text) for name, text in cells.items()}
        for slide, cells in repeated.items()
    }
    metrics = _all_metrics(inputs.metrics, repeated, main_method, missing.scores)
    write_atomic(metrics_table, _csv_text(metrics))
    rows: list[dict[str, CsvValue]] = []
    for gland_table, summary in zip(inputs.gland_tables, inputs.slide_summaries, strict=True):
        slide = summary.stem
        statistics = _slide_statistics(gland_table, summary)
        rows.append({"slide": slide, "region": "", **repeated[slide], **statistics.columns()})
    of_regions = (metrics["method"] == main_method) & (metrics["region"] != POOLED)
    for record in json.loads(metrics[of_regions].to_json(orient="records")):
        slide, statistics = record["slide"], _region_statistics(record)
        head = {"slide": slide, "region": record["region"], **repeated[slide]}
        rows.append({**head, **statistics.columns()})
    rows = [{**row, "error": ""} for row in rows]
    for slide, reason in missing.outlines.items():
        rows.append({"slide": slide, "region": "", **repeated[slide], "error": plain_cell(reason)})
    write_atomic(cohort_table, _csv_text(pd.DataFrame(rows)))


def read_metrics(path: Path) -> pd.DataFrame:
    """A table of scores; the texts `NA` and `nan` stay texts: a slide may have such a name."""
    with reading_result(path):
        table = pd.read_csv(
            path, dtype=dict.fromkeys(TEXT_COLUMNS, str), keep_default_na=False, na_values=[""]
        )
        if missing := [name for name in TEXT_COLUMNS if name not in table]:
            raise ValueError(f"no column {missing[0]}")
        return table


def _csv_text(table: pd.DataFrame) -> str:
    """The table as text; counts are whole numbers, also where the table has rows without them."""
    counts = [name for name in COUNT_COLUMNS if name in table]
    whole = table.assign(**{name: table[name].convert_dtypes() for name in counts})
    text: str = whole.to_csv(index=False)
    return text


def _all_metrics(
    paths: Sequence[Path],
    repeated: RepeatedColumns,
    main_method: str,
    missing_scores: Mapping[str, str],
) -> pd.DataFrame:
    """Scores of all slides, and a row for each slide without scores; column `error` is added."""
    frames = [read_metrics(path).assign(error="") for path in paths]
    failed = [
        {
            "slide": slide,
            "split": repeated[slide]["split"],
            "method": main_method,
            "region": POOLED,
            "error": plain_cell(reason),
        }
        for slide, reason in missing_scores.items()
    ]
    if failed:
        frames.append(pd.DataFrame(failed))
    if not frames:
        return pd.DataFrame(columns=[*TEXT_COLUMNS, "error"])
    return pd.concat(frames, ignore_index=True)


def _slide_statistics(gland_table: Path, summary: Path) -> GlandStatistics:
    with reading_result(gland_table):
        areas_um2 = pd.read_csv(gland_table)["area_um2"].astype(float)
    area_mm2 = read_slide_summary(summary, with_picture=False).tissue_mm2
    return GlandStatistics.of(
        glands=len(areas_um2),
        gland_area_mm2=areas_um2.sum() / 1e6,
        area_mm2=area_mm2,
        quartiles=area_quartiles(areas_um2),
    )


def _region_statistics(record: Mapping[str, float]) -> GlandStatistics:
    """Statistics from a row of `metrics.csv`."""
    return GlandStatistics.of(
        glands=record["glands"],
        gland_area_mm2=record["gland_area_mm2"],
        area_mm2=record["annotated_mm2"],
        quartiles=AreaQuartiles(*(record[column] for column in AreaQuartiles._fields)),
    )
