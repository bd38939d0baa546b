r"""Do unlabelled tiles pay? Rows of several label draws on GlaS, compared in pairs.

python benchmarks/gpu/6_draws.py --data GLAS-HALF --mpp 1.2401 --out OUT
python benchmarks/gpu/6_draws.py --data GLAS-HALF --mpp 1.2401 --out OUT --known draws.csv

A draw is a random choice of 17 labelled images of the 85; the other 68 are unlabelled and no image
is held out, so threshold and split parameters are the defaults in all rows. All rows of a draw
have the same labelled images, network, steps, augmentation and moving average. The last two rows
learn from finished models of their draw, whose trainings come before their own. --known:
figures.csv of earlier calls, whose cells are not run again (the rows that learn from finished
models need these in --out). The last table compares each row with
supervised-only: mean difference over the draws, paired t test (also with Holm's correction for the
number of rows), sign test.
"""

import argparse
import csv
import json
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from gpu_report import GpuReport
from timed_commands import FINISHED, run_semimoe

from semimoe.evaluation.significance import compare_draws, holm, verdict

_COMMON = [
    *("--labelled=0.2", "--validation=0", "--width=16", "--tile=256", "--batch=8"),
    *("--epochs=40", "--steps=50", "--work-mpp=1.24", "--set=training.augment=deform"),
    *("--set=training.ema_decay=0.99", "--set=training.mask_loss=dice+ce"),
    *("--set=training.sdf_loss=l1", "--set=training.weight_decay=0.01"),
    "--set=training.precision=auto",
]
_SUPERVISED, _FINISHED_MODEL = "supervised", "semimoe, finished model"
_WEIGHT_1 = ("--set=training.unsup_max=1", "--set=training.unsup_schedule=ramp")
_ROWS = {
    _SUPERVISED: ["--method=supervised"],
    "semimoe, same pass": ["--method=semimoe"],  # weight and single step of the public code
    "semimoe, two steps": [  # Algorithm 1 of the text
        *("--method=semimoe", "--set=training.update=two-step"),
        *("--set=training.unsup_max=5", "--set=training.unsup_schedule=gaussian"),
    ],
    "semimoe, teacher": ["--method=semimoe", "--set=training.pseudo=teacher", *_WEIGHT_1],
    "semimoe, teacher glands": [
        *("--method=semimoe", "--set=training.pseudo=teacher-glands", *_WEIGHT_1)
    ],
    "semimoe, teacher mask": ["--method=semimoe", "--set=training.pseudo=teacher-mask", *_WEIGHT_1],
    _FINISHED_MODEL: ["--method=semimoe", *_WEIGHT_1],
    # The maps of both models label the labelled images, too.
    "semimoe, distilled": ["--method=semimoe", "--distil", *_WEIGHT_1],
}
# Rows of the same draw whose finished models make the pseudo-labels.
_TEACHERS = {
    _FINISHED_MODEL: (_SUPERVISED,),
    "semimoe, distilled": (_SUPERVISED, _FINISHED_MODEL),
}
_SCORES = ("pixel Dice", "object F1", "object Dice", "object Hausdorff px")
_KEYS = ("dice", "object_f1", "object_dice", "object_hausdorff_px")
_NO_FIGURES = dict.fromkeys(("draw", "row", "training s", "outcome", *_SCORES), "")
_SCORING_S = 40.0  # a training that ends at the deadline is still scored


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--draws", type=int, nargs="+", default=list(range(8)))
    parser.add_argument("--rows", nargs="+", choices=_ROWS, default=list(_ROWS))
    parser.add_argument("--known", type=Path, help="figures.csv of earlier calls")
    parser.add_argument("--mpp", default="0.62005", help="pixel size of the images, um")
    parser.add_argument("--device", choices=("cpu", "gpu"), default="gpu")
    parser.add_argument("--threads", type=int, default=4)
    parser.add_argument("--jobs", type=int, default=2, help="draws at the same time")
    parser.add_argument("--minutes", type=float, default=8.5, help="deadline")
    parser.add_argument("options", nargs="*", help="after --: further options of the trainings")
    arguments = parser.parse_args()
    report = GpuReport(arguments.out, minutes=arguments.minutes)
    known = {}
    if arguments.known:
        with arguments.known.open(newline="") as file:
            known = {(row["draw"], row["row"]): row for row in csv.DictReader(file)}
    rows: list[dict[str, str]] = []
    names = [name for name in _ROWS if name in arguments.rows]

    def add_draw(draw: str) -> None:
        for name in names:
            cell = draw, name
            is_known = known.get(cell, {}).get("outcome") == FINISHED
            row = _NO_FIGURES | known[cell] if is_known else run_cell(*cell, arguments, report)
            rows.append(row)
            report.add(dict(row))

    try:
        with ThreadPoolExecutor(arguments.jobs) as pool:
            # The rows of a draw one after the other: some learn from models of earlier ones.
            futures = [pool.submit(add_draw, str(draw)) for draw in arguments.draws]
        for future in futures:
            future.result()
    finally:
        lines = paired_comparison(rows)
        (arguments.out / "paired.md").write_text("\n".join(lines) + "\n")
        report.finish()
        print("\n".join(lines))


def run_cell(
    draw: str, row: str, arguments: argparse.Namespace, report: GpuReport
) -> dict[str, str]:
    """Train and score one model; a cell is not begun after the deadline."""
    model = model_folder(arguments.out, draw, row)
    model.parent.mkdir(exist_ok=True)
    teachers = [model_folder(arguments.out, draw, name) for name in _TEACHERS.get(row, ())]
    common = ["--mpp", arguments.mpp, "--device", arguments.device]
    common += ["--threads", str(arguments.threads)]
    train = ["train", "--data", str(arguments.data), "--out", str(model), "--seed", draw]
    train += [*_COMMON, *_ROWS[row], *common, *arguments.options]
    train += ["--pseudo-from", *map(str, teachers)] if teachers else []
    start_s = time.monotonic()
    outcome = "not begun before the deadline"
    if (model / "model.json").exists():
        outcome = FINISHED
    elif not all((teacher / "model.json").exists() for teacher in teachers):
        outcome = "needs finished models of: " + "; ".join(_TEACHERS[row])
    elif report.left_s() > 0:
        outcome = run_semimoe(train, model.with_suffix(".log"), report)
    seconds = time.monotonic() - start_s
    scores = ["" for _ in _SCORES]
    if outcome == FINISHED:
        kept = model.with_suffix(".json")
        if not kept.exists():
            log = model.with_suffix(".scoring.log")
            log.unlink(missing_ok=True)
            evaluate = ["evaluate", "--truth", str(arguments.data / "testA"), "--model", str(model)]
            outcome = run_semimoe([*evaluate, "--json", *common], log, report, least_s=_SCORING_S)
            if outcome == FINISHED:
                log.rename(kept)
        scores = pooled_scores(kept) if kept.exists() else scores
    figures = {"draw": draw, "row": row, "training s": str(round(seconds)), "outcome": outcome}
    return _NO_FIGURES | figures | dict(zip(_SCORES, scores, strict=True))


def model_folder(out: Path, draw: str, row: str) -> Path:
    """Folder of a trained model."""
    return out / f"draw{draw}" / row.replace(", ", "-").replace(" ", "-")


def pooled_scores(log: Path) -> list[str]:
    """Scores of the JSON at the end of a log; empty without any predicted gland."""
    text = log.read_text()
    pooled = json.loads(text[text.index("{\n") :])["pooled"]
    return ["" if pooled[key] is None else f"{pooled[key]:.4f}" for key in _KEYS]


def paired_comparison(rows: Sequence[dict[str, str]]) -> list[str]:
    """Each row compared with supervised-only on the draws that both finished, as Markdown.

    Holm's correction is for the rows that are compared in one score.
    """
    finished = [row for row in rows if row["outcome"] == FINISHED]
    lines = [
        "| row | score | draws | mean difference to supervised | better in | p, t test | p, sign"
        " | p, t test, Holm | verdict |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    names = list(dict.fromkeys(row["row"] for row in finished if row["row"] != _SUPERVISED))
    for score in _SCORES:
        higher_is_better = "Hausdorff" not in score
        values = {(row["row"], row["draw"]): float(row[score]) for row in finished if row[score]}
        tests = {}
        for name in names:
            differences = [
                values[name, draw] - values[_SUPERVISED, draw]
                for row, draw in values
                if row == name and (_SUPERVISED, draw) in values
            ]
            if len(differences) > 1:
                tests[name] = compare_draws(differences, higher_is_better=higher_is_better)
        corrected = holm([test.t_p for test in tests.values()])
        for (name, test), p in zip(tests.items(), corrected, strict=True):
            verdict_text = verdict(test, p, None, higher_is_better=higher_is_better)
            cells = [name, score, str(test.pairs), f"{test.mean:+.4f}", str(test.better)]
            cells += [_p_text(test.t_p), _p_text(test.sign_p), _p_text(p), verdict_text]
            lines.append(f"| {' | '.join(cells)} |")
    return lines


def _p_text(p: float | None) -> str:
    return "-" if p is None else f"{p:.3f}"


if __name__ == "__main__":
    sys.exit(main())
