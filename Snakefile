"""Gland segmentation on whole slides from a few outlined regions. See README.md."""

import sys
from pathlib import Path

from workflow.configuration import problems, with_defaults
from workflow.report import headline_text, report_after_failure
from workflow.sheet import ID_PATTERN, load


configfile: str(Path(workflow.basedir) / "config.yaml")


wrong = problems(config)
if not wrong:
    config = with_defaults(config)
    SHEET = load(
        Path(config["slides"]),
        allow_patients=tuple(config["allow_patients"]),
        predict_only=bool(config["model"]),
    )
    wrong = list(SHEET.problems)
if wrong:
    sys.exit(
        "\n".join(
            [
                f"{len(wrong)} problem(s) in configuration and sheet; nothing was started:",
                *wrong,
            ]
        )
    )

RESULTS = config["results"].rstrip("/")
MODEL = config["model"] or f"{RESULTS}/models/semimoe"
METHOD = "given model" if config["model"] else "semimoe"
COMPARED = [] if config["model"] else config["compare"]
GEOJSON = "geojson.gz" if config["export"]["compress"] else "geojson"
EVALUATED = SHEET.annotated("labelled", "validation", "test")


wildcard_constraints:
    slide=ID_PATTERN,
    method="supervised",


# One machine's GPUs, counted per machine: the same command line must not serialise a whole cluster.
resource_scopes:
    gpu="local",


include: "workflow/rules/common.smk"
include: "workflow/rules/demo.smk"
include: "workflow/rules/slides.smk"


if not config["model"]:

    # Without them no rule owns a model given from inside the results, and Snakemake can never delete it.
    include: "workflow/rules/training.smk"


include: "workflow/rules/predict.smk"
include: "workflow/rules/glands.smk"
include: "workflow/rules/tables.smk"


localrules:
    all,


rule all:
    input:
        f"{RESULTS}/report.html",
        f"{RESULTS}/preview.html",
        f"{RESULTS}/metrics.csv",
        f"{RESULTS}/cohort.csv",
        expand(f"{RESULTS}/glands/{{slide}}.{GEOJSON}", slide=SHEET.ids()),
        expand(f"{RESULTS}/overviews/{{slide}}.png", slide=SHEET.ids()),
        expand(f"{RESULTS}/proposals/{{slide}}.geojson", slide=SHEET.ids()),


onsuccess:
    print(headline_text(Path(RESULTS)), file=sys.stderr)


onerror:
    print(report_after_failure(Path(RESULTS), SHEET.ids(), config), file=sys.stderr)
