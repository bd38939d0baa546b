"""Gland segmentation on whole slides from a few outlined regions. See README.md."""

import sys
import time
from functools import cache
from pathlib import Path

from semimoe.methods import MAIN_METHOD, METHODS
from semimoe.model_card import CARD, WEIGHTS
from workflow.command_line import CommandLineError, check_if_bypassed
from workflow.config.configuration import COMPARABLE
from workflow.config.method_settings import method_settings
from workflow.config.start_model import START_MODEL, compared_models
from workflow.forced_jobs import force_jobs
from workflow.job_server import start_job_server
from workflow.reporting.end_of_run import preview_text, report_after_failure, run_text
from workflow.reporting.forecast import forecast, forecast_text, free_space, refusal
from workflow.plan_speed import speed_up_planning
from workflow.planned_records import PlannedRecords
from workflow.reporting.outcome import planned_jobs
from workflow.result_paths import ResultPaths, record_of_store
from workflow.results_lock import results_lock
from workflow.run_inputs import problems_text, read_run_inputs
from workflow.sheet import DEMO_FOLDER, ID_PATTERN, is_demo_file
from workflow.sheet_annotations import needs_outlines
from workflow.typed_targets import misspelt_target
from workflow.stages.training_time import (
    cluster_limit_min,
    expected_training,
    planned_values,
    training_times,
)


configfile: str(Path(workflow.basedir) / "config.yaml")


if workflow.is_main_process:
    try:
        if remark := check_if_bypassed(sys.argv[1:]):
            print(remark, file=sys.stderr)
    except CommandLineError as error:
        sys.exit(f"snakemake: {error}")
INPUTS = read_run_inputs(
    config,
    sys.argv[1:],
    is_main_process=workflow.is_main_process,
    # The executor is not known yet; only a run of a cluster needs a number of jobs beside that of
    # cores.
    jobs_run_here=workflow.global_resources["_nodes"].value is None,
)
CONFIGURATION, SHEET = INPUTS.configuration, INPUTS.sheet
for remark in INPUTS.remarks:
    print(remark, file=sys.stderr)
if INPUTS.problems:
    sys.exit(problems_text(INPUTS.problems))

STARTED_S = time.time()
JOB_SERVERS = []  # of this process; they run until it ends
PATHS = ResultPaths(Path(CONFIGURATION.results))
MODEL = str(CONFIGURATION.model_folder)
METHOD = CONFIGURATION.predicting_method
COMPARED = compared_models(CONFIGURATION)
OUTLINES = PATHS.outlines("{slide}", compressed=CONFIGURATION.export.compress)


wildcard_constraints:
    slide=ID_PATTERN,
    method="|".join([*COMPARABLE, START_MODEL]),


# GPUs are counted on each machine: on a cluster, `--resources gpu=1` must not allow only one GPU
# job for all machines.
resource_scopes:
    gpu="local",


include: "workflow/rules/records.smk"
include: "workflow/rules/common.smk"
include: "workflow/rules/demo.smk"
include: "workflow/rules/slides.smk"


if not CONFIGURATION.model:

    # A given model may be in the folder of results. Without these rules no rule writes it, so
    # Snakemake cannot delete it.
    include: "workflow/rules/training.smk"


include: "workflow/rules/predict.smk"
include: "workflow/rules/glands.smk"
include: "workflow/rules/tables.smk"


if CONFIGURATION.benchmark.data:

    include: "workflow/rules/benchmark.smk"


localrules:
    all,
    qupath_scripts,


rule all:
    input:
        PATHS.report,
        PATHS.preview_page,
        PATHS.metrics_table,
        PATHS.cohort_table,
        expand(OUTLINES, slide=SHEET.ids()),
        expand(
            PATHS.label_mask("{slide}"),
            slide=SHEET.ids() if CONFIGURATION.export.label_mask else [],
        ),
        expand(PATHS.overview("{slide}"), slide=SHEET.ids()),
        expand(PATHS.proposals("{slide}"), slide=SHEET.ids()),
        expand(PATHS.tiles_removed("{slide}"), slide=SLIDES_WITH_REMOVED_TILES),
        PATHS.qupath_import,
        PATHS.qupath_export,


if workflow.is_main_process:
    speed_up_planning(workflow)
    typed_wrongly = misspelt_target(
        sys.argv[1:],
        [
            *(rule.name for rule in workflow.rules),
            *(str(path) for rule in workflow.rules for path in rule.output),
        ],
        is_made=lambda target: any(rule.is_producer(target) for rule in workflow.rules),
    )
    if typed_wrongly:
        sys.exit(typed_wrongly)


onstart:
    # The process of each job reads this file too: there the checks would be imported in vain.
    from workflow.reporting.annotation_fit import misfits

    gpu_limit = workflow.global_resources.get("gpu")
    if not workflow.local_exec and gpu_limit is not None and gpu_limit.value == 0:
        # Snakemake does not tell the limit to the jobs, which would ask for a GPU again.
        without_gpu = [
            f"{rule.name}:gpu=0"
            for rule in workflow.rules
            if "gpu" in rule.resources
        ]
        raise WorkflowError(
            "on a cluster, `--resources gpu=0` does not reach the jobs; give "
            f"`--set-resources {' '.join(without_gpu)}` in its place"
        )
    jobs = planned_jobs(workflow.dag, with_finished=True)
    expected = forecast(
        SHEET,
        CONFIGURATION.tiles.mpp_um,
        jobs,
        explained=INPUTS.explained,
        removed=SLIDES_WITH_REMOVED_TILES if slides_follow_each_other() else (),
    )
    free_bytes = free_space(PATHS.folder)
    reason = refusal(
        expected,
        free_bytes,
        CONFIGURATION.max_disk_gb,
        resolution_is_free=not CONFIGURATION.model,
    )
    if reason:
        raise WorkflowError(reason)
    problems, warnings = misfits(
        SHEET, CONFIGURATION, jobs, INPUTS.annotation_checks
    )
    if problems:
        raise WorkflowError(problems_text(problems))
    for warning in warnings:
        print(f"WARNING {warning}", file=sys.stderr)
    if SHEET.rows:
        print(forecast_text(expected, free_bytes), file=sys.stderr)
    trainings = {} if CONFIGURATION.model else planned_trainings(workflow.dag)
    if trainings:
        # All trainings have the same resources.
        example = next(iter(trainings.values()))
        text = expected_training(
            list(trainings),
            CONFIGURATION,
            SHEET,
            gpu=int(example.resources.get("gpu", 0)) > 0,
            threads=example.threads,
        )
        print(text, file=sys.stderr)
    if workflow.local_exec and (server := start_job_server()):
        JOB_SERVERS.append(server)
        # Snakemake formats it, and puts it before the command of each script.
        shell.prefix(server.prefix.replace("{", "{{").replace("}", "}}") + " ")


onsuccess:
    rules_of_run = {
        job.rule for job in planned_jobs(workflow.dag, with_finished=True)
    }
    if "report" in rules_of_run:
        print(run_text(SHEET.ids(), CONFIGURATION), file=sys.stderr)
    elif "preview" in rules_of_run:
        text, all_usable = preview_text(SHEET, CONFIGURATION)
        if not all_usable:
            # The message is printed without a traceback, and the status is 1.
            sys.exit(text)
        print(text, file=sys.stderr)


onerror:
    unfinished = planned_jobs(workflow.dag, with_finished=False)
    text = report_after_failure(
        SHEET, CONFIGURATION, unfinished, started_s=STARTED_S
    )
    print(text, file=sys.stderr)
