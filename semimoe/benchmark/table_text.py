"""The table as Markdown and as csv."""

import csv
import io
from collections.abc import Sequence

from semimoe.benchmark.published_scores import (
    PROTOCOL_NOTE,
    SOURCE,
    TABLE_3,
    TOPOSEMISEG_NOTE,
    published_score,
)
from semimoe.benchmark.table_cells import TableRequest, percent_text
from semimoe.benchmark.table_differences import (
    DIFFERENCES,
    GroupDifferences,
    csv_cell,
    difference_tables,
)
from semimoe.benchmark.table_rows import TABLE_ROWS
from semimoe.benchmark.table_scores import ScoredCell, TableGroup, mean_and_deviation
from semimoe.evaluation.results import GlandEvaluation
from semimoe.evaluation.significance import LEVEL
from semimoe.methods import METHODS

_COLUMNS = (
    "row", "method", "variant", "protocol", "recipe", "part", "labelled_share", "labelled",
    "unlabelled", "validation", "seed", "threshold", "dice", "jaccard", "dice_mean_of_images",
    "dice_256", "object_f1", "object_dice", "object_hausdorff_px", "parameters",
    "trained_parameters", "multiply_adds", "tile_px", "training_s", "peak_memory_mb", "hardware",
    "software", "published_dice", "published_jaccard",
)  # fmt: skip


def table_markdown(
    scored: Sequence[ScoredCell], differences: Sequence[GroupDifferences], dataset: str
) -> str:
    """Tables for each test part and share of labelled images, with differences and notes.

    Parameters
    ----------
    differences : of the scored cells
    dataset : kind of the data set, see `ImageDataset`
    """
    request = scored[0].cell.request
    parts = [
        f"# Methods on {request.data.name}: protocol {request.protocol}, recipe {request.recipe}"
    ]
    for one in differences:
        group = one.group
        labelled = percent_text(group.labelled)
        parts.append(f"## {labelled} % of the images labelled, test images of {group.part}")
        parts.append(_markdown(_score_lines(group, dataset)))
        for heading, lines in difference_tables(one):
            parts += [f"### {heading}, {labelled} %, {group.part}", _markdown(lines)]
    parts.append("## Notes")
    parts.append("\n".join(f"- {note}" for note in _notes(scored, request)))
    return "\n\n".join(parts) + "\n"


def table_csv(scored: Sequence[ScoredCell], dataset: str) -> str:
    """One line for each cell and test part."""
    text = io.StringIO()
    writer = csv.DictWriter(text, _COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(_csv_row(one, dataset) for one in scored)
    return text.getvalue()


def _csv_row(one: ScoredCell, dataset: str) -> dict[str, object]:
    cell, result, model = one.cell, one.result, one.result.model
    published = published_score(cell.row.name, dataset, cell.labelled)
    row: dict[str, object] = {
        "row": cell.row.name,
        "method": cell.row.method,
        "variant": cell.row.group,
        "protocol": cell.request.protocol,
        "recipe": cell.request.recipe,
        "part": one.part,
        "labelled_share": cell.labelled,
        "seed": cell.seed,
        "threshold": result.threshold.value if result.threshold else None,
        **{column.key: one.score(column.key) for column in one.columns},
        **one.cost.to_json_dict(),
    }
    row["jaccard"] = one.score("jaccard")
    if model is not None:
        row |= model.model_dump(include={"labelled", "unlabelled", "validation"})
    if isinstance(result, GlandEvaluation):
        row["dice_mean_of_images"] = result.mean.dice
        row["dice_256"] = result.at_256.pooled.dice
    if published is not None:
        row |= {"published_dice": published.dice, "published_jaccard": published.jaccard}
    return {name: csv_cell(value) for name, value in row.items()}


def _score_lines(group: TableGroup, dataset: str) -> list[list[str]]:
    head = ["row", "images", "seeds", *(column.title for column in group.columns)]
    head += ["parameters M", "trained M", "multiply-adds G", "training min", "memory GiB"]
    head.append("published Dice / Jaccard %")
    lines = [head]
    for name, cells in group.rows.items():
        first = next(iter(cells.values()))
        published = published_score(name, dataset, group.labelled)
        lines.append(
            [
                TABLE_ROWS[name].label,
                _image_counts(first),
                ", ".join(map(str, sorted(cells))),
                *(
                    mean_and_deviation(
                        [one.score(column.key) for one in cells.values()], column.digits
                    )
                    for column in group.columns
                ),
                *_cost_cells(list(cells.values())),
                "-" if published is None else published.text,
            ]
        )
    return lines


def _image_counts(one: ScoredCell) -> str:
    """Labelled, unlabelled and held-out images."""
    model = one.result.model
    if model is None:
        return "-"
    return f"{model.labelled} + {model.unlabelled} + {model.validation}"


def _cost_cells(cells: Sequence[ScoredCell]) -> list[str]:
    costs = [one.cost for one in cells]
    adds, memory = costs[0].multiply_adds, [cost.peak_memory_mb for cost in costs]
    known = [value for value in memory if value is not None]
    return [
        f"{costs[0].parameters / 1e6:.2f}",
        f"{costs[0].trained_parameters / 1e6:.2f}",
        "-" if adds is None else f"{adds / 1e9:.2f}",
        mean_and_deviation([cost.training_s / 60 for cost in costs], 1),
        f"{max(known) / 1024:.2f}" if known else "-",
    ]


def _weight_notes(scored: Sequence[ScoredCell]) -> list[str]:
    weights = {}
    for cell in (one.cell for one in scored):
        method = METHODS[cell.row.method]
        if method.uses_unlabelled:
            training, published = cell.settings()[1], method.published_weight
            source = "the recipe" if published is None else published.source
            if published and published[:2] != (training.unsup_max, training.unsup_schedule):
                source = "--set"
            weights[cell.row.label] = (
                f"{cell.row.label} {training.unsup_max:g} {training.unsup_schedule} ({source})"
            )
    if not weights:
        return []
    texts = "; ".join(weights.values())
    return [
        "largest weight of the unsupervised loss, its schedule (ramp: constant after a tenth of the"
        f" steps) and where it is from: {texts}"
    ]


def _markdown(lines: Sequence[Sequence[str]]) -> str:
    head, *rows = lines
    return "\n".join(
        "| " + " | ".join(cells) + " |" for cells in (head, ["---"] * len(head), *rows)
    )


def _notes(scored: Sequence[ScoredCell], request: TableRequest) -> list[str]:
    flips = "mean over an image and its three flips" if request.flips else "one pass"
    changes = f", with {', '.join(request.settings)}" if request.settings else ""
    notes = [
        f"recipe {request.recipe}{changes}: network width, encoder, augmentation, images, steps,"
        f" moving average, rule for threshold and checkpoint, and {flips} are the same in all rows,"
        " except for what the name of a variant says",
        "images: labelled + unlabelled + held out; values: mean ± standard deviation over seeds;"
        " a seed is a draw of the lists of images, the same for all rows",
        *_weight_notes(scored),
        "multiply-adds: prediction of one tile of"
        f" {scored[0].cost.tile_px} x {scored[0].cost.tile_px} px; parameters: of the network that"
        " predicts; trained: of all networks that the optimiser updates; training: its steps,"
        " without validation; memory: largest of the training",
        f"hardware: {'; '.join(dict.fromkeys(one.cost.hardware for one in scored))}; threads of a"
        f" cell: {request.threads}; other jobs on the machine make times longer",
        f"software: {'; '.join(dict.fromkeys(one.cost.software for one in scored))}",
        "differences: mean over the draws of the score minus that of the other row with the same"
        f" draw, and in how many draws the row is better; better, worse: p < {LEVEL} after Holm's"
        " correction for the number of rows, both over the draws (paired t test) and over the test"
        " images (signed-rank test of the mean over the draws; images of one patient are not"
        " independent; without scores of images, the draws decide). All else is within noise, or"
        f" has too few draws. {DIFFERENCES} has all p values and intervals",
        PROTOCOL_NOTE + f" ({SOURCE})",
        "Table 3 of the paper: "
        + "; ".join(
            f"{TABLE_ROWS[name].label if name in TABLE_ROWS else name} {parameters} M trained"
            f" parameters, {memory} GB"
            for name, (parameters, memory) in TABLE_3.items()
        ),
    ]
    if any(one.cell.row.name == "toposemiseg" for one in scored):
        notes.append(TOPOSEMISEG_NOTE)
    patients = [one.result.patients.note for one in scored if one.result.patients]
    notes += dict.fromkeys(patients)
    warnings = [f"{one.cell.text}: {text}" for one in scored for text in one.result.warnings or []]
    return notes + list(dict.fromkeys(warnings))
