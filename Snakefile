"""Gland segmentation on whole slides from a few outlined regions. See README.md."""

import re
import sys
import time
from pathlib import Path

from workflow.config.configuration import (
    compared,
    geojson_ending,
    learning,
    method,
    model_folder,
    problems,
    with_defaults,
)
from workflow.reporting.forecast import forecast, forecast_text, free_space, refusal
from workflow.reporting.outcome import LAST_FAILURE, planned
from workflow.reporting.report import after_preview, headline_text, report_after_failure
from workflow.sheet import ID_PATTERN, MADE, load


configfile: str(Path(workflow.basedir) / "config.yaml")


wrong = problems(config)
if not wrong:
    config = with_defaults(config)
    SHEET = load(
        Path(config["slides"]),
        allow_patients=tuple(config["allow_patients"]),
        # To look at the slides before anything is outlined takes no labelled one.
        training=not config["model"]
        and workflow.is_main_process
        and not any(Path(word).stem == "preview" for word in sys.argv),
        # A job on another machine looks for its own files only.
        look_for_files=workflow.is_main_process,
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

STARTED = time.time()
RESULTS = config["results"]
MODEL = str(model_folder(config))
METHOD = method(config)
COMPARED = compared(config)
GEOJSON = geojson_ending(config)


wildcard_constraints:
    slide=ID_PATTERN,
    method="supervised|unet",


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
    qupath_scripts,


rule all:
    input:
        f"{RESULTS}/report.html",
        f"{RESULTS}/preview.html",
        f"{RESULTS}/metrics.csv",
        f"{RESULTS}/cohort.csv",
        expand(f"{RESULTS}/glands/{{slide}}.{GEOJSON}", slide=SHEET.ids()),
        expand(
            f"{RESULTS}/glands/{{slide}}.ome.tiff",
            slide=SHEET.ids() if config["export"]["label_mask"] else [],
        ),
        expand(f"{RESULTS}/overviews/{{slide}}.png", slide=SHEET.ids()),
        expand(f"{RESULTS}/proposals/{{slide}}.geojson", slide=SHEET.ids()),
        f"{RESULTS}/qupath/import_all.groovy",
        f"{RESULTS}/qupath/export_annotations.groovy",


onstart:
    expected, free = forecast(
        SHEET, config, planned(workflow.dag, done=True)
    ), free_space(Path(RESULTS))
    if refused := refusal(expected, free, config):
        raise WorkflowError(refused)
    print(forecast_text(expected, free), file=sys.stderr)


onsuccess:
    steps = {job.step for job in planned(workflow.dag, done=True)}
    if "report" in steps:
        print(headline_text(SHEET.ids(), config), file=sys.stderr)
    elif "preview" in steps:
        told, sound = after_preview(SHEET.ids(), config)
        if not sound:
            # Told without a trail of files and lines, and with status 1.
            sys.exit(told)
        print(told, file=sys.stderr)


onerror:
    print(
        report_after_failure(
            SHEET, config, planned(workflow.dag, done=False), since=STARTED
        ),
        file=sys.stderr,
    )
