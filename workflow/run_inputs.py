"""What a run is started with: the configuration and the sheet, checked together."""

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from tiling.messages import counted
from workflow.config.checks import ConfigurationError, read_configuration
from workflow.config.configuration import DEFAULT_MPP_UM, Configuration
from workflow.config.configuration_remarks import configuration_remarks
from workflow.earlier_model import earlier_model_warning
from workflow.sheet import Sheet
from workflow.sheet_annotations import check_annotations
from workflow.sheet_probes import probe_report, probe_rows
from workflow.sheet_reader import read_sheet
from workflow.stages.job_resources import scratch_folder
from workflow.typed_targets import misspelt_target, typed_targets
from workflow.user_paths import (
    SNAKEMAKE_FOLDER,
    foreign_results,
    problem_in_results,
    problem_of_interpreter,
    problem_of_output_folder,
)

if TYPE_CHECKING:
    from tiling.qupath.file_check import FileCheck

_PREVIEW = "preview"
# The rule that needs no sheet of slides.
BENCHMARK = "benchmark"
_MAX_LISTED = 200
_DRY_RUN = re.compile(r"-[a-zA-Z]*n[a-zA-Z]*|--dry-?run")
# A dry run takes seconds. Slides that are not probed then are probed at the start of the run.
_PROBE_BUDGET_S = 15.0
_GIVE_SHEET = (
    "config slides: no sheet of slides is given. Make one with `python -m tiling sheet FOLDER --out"
    " my_slides.tsv`, then give it with `--config slides=my_slides.tsv`, or as `slides:` in a file"
    " for `--configfile` (the slides of the demo: `make demo`)"
)


class RunInputs(NamedTuple):
    """What a run is started with.

    Attributes
    ----------
    problems : what is wrong with configuration, sheet and annotations; they are usable if there is
        none
    remarks : what the user should know before the run, a line for each
    asks_for_preview : the preview is a target: no slide needs to be labelled
    annotation_checks : of the annotation files that exist, by slide
    explained : slides that cannot be used, and whose reason is among the remarks or follows
    """

    configuration: Configuration
    sheet: Sheet
    problems: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    asks_for_preview: bool = False
    annotation_checks: "Mapping[str, FileCheck]" = MappingProxyType({})
    explained: frozenset[str] = frozenset()


def read_run_inputs(
    values: Mapping[str, Any],
    command_line: Sequence[str],
    *,
    is_main_process: bool,
    jobs_run_here: bool = True,
) -> RunInputs:
    """Read and check the configuration and the sheet that it names.

    Parameters
    ----------
    values : as Snakemake gives them, see `read_configuration`
    command_line : of Snakemake
    is_main_process : whether this is the process that plans the run: a job on another machine
        needs its own files only
    jobs_run_here : whether the jobs run on this machine, with its folders and its environment
    """
    if is_main_process and "--unlock" in command_line:
        # The lock does not depend on the slides.
        return RunInputs(Configuration(), Sheet(()))
    problems = list(_command_line_problems(command_line)) if is_main_process else []
    if is_main_process and (problem := problem_of_interpreter(sys.executable)):
        problems.append(f"Python: {problem}")
    if is_main_process and (problem := problem_of_output_folder(SNAKEMAKE_FOLDER)):
        problems.append(
            f"working directory: {SNAKEMAKE_FOLDER}, in which Snakemake keeps its state,"
            f" {problem}: `--directory DIR` (slides, results, model and start_from are then"
            " relative to DIR)"
        )
    try:
        configuration = read_configuration(values)
    except ConfigurationError as error:
        return RunInputs(Configuration(), Sheet(()), (*problems, *error.problems))
    if is_main_process and jobs_run_here:
        problems += _scratch_problems(configuration.scratch)
    if not configuration.slides:
        is_benchmark = configuration.benchmark.data is not None and (
            not is_main_process or BENCHMARK in typed_targets(command_line)
        )
        if not is_benchmark:
            problems.append(_GIVE_SHEET)
        return RunInputs(configuration, Sheet(()), tuple(problems))
    if is_main_process:
        results = Path(configuration.results)
        if problem := problem_in_results(configuration.slides, results):
            problems.append(f"config slides: {configuration.slides} {problem}")
        problems += foreign_results(results)
    asks_for_preview = _asks_for_preview(command_line)
    # A preview needs no labelled slide: users look at the slides before they outline glands.
    training = is_main_process and not configuration.model and not asks_for_preview
    sheet = read_sheet(
        Path(configuration.slides),
        allow_patients=tuple(configuration.allow_patients),
        training=training,
        check_files=is_main_process,
        results=Path(configuration.results) if is_main_process else None,
    )
    problems += sheet.problems
    if not is_main_process:
        return RunInputs(configuration, sheet, tuple(problems), asks_for_preview=asks_for_preview)
    annotations = check_annotations(sheet, configuration, preview=asks_for_preview)
    remarks = [
        *configuration_remarks(configuration),
        *sheet.remarks,
        *annotations.lines(),
    ]
    explained: frozenset[str] = frozenset()
    if not (problems or annotations.problems):
        mpp_um = configuration.tiles.mpp_um or DEFAULT_MPP_UM
        probes = probe_rows(sheet.rows, mpp_um, budget_s=_PROBE_BUDGET_S)
        report = probe_report(
            sheet.rows,
            probes,
            reasons_follow=asks_for_preview and not _is_dry_run(command_line),
        )
        remarks += report.lines
        explained = report.explained
    warning = None if asks_for_preview else earlier_model_warning(configuration)
    if warning:
        remarks.append(f"\nWARNING: {warning}\n")
    return RunInputs(
        configuration,
        sheet,
        (*problems, *annotations.problems),
        tuple(remarks),
        asks_for_preview,
        annotations.checks,
        explained,
    )


def problems_text(problems: Sequence[str]) -> str:
    """The problems for the user, one on each line."""
    count = counted(len(problems), "problem")
    title = f"{count} in configuration and sheet; nothing was started:"
    lines = [title, *problems[:_MAX_LISTED]]
    if len(problems) > _MAX_LISTED:
        lines.append(f"... and {len(problems) - _MAX_LISTED} more")
    return "\n".join(lines)


def _asks_for_preview(command_line: Sequence[str]) -> bool:
    """Whether the preview is a target; other words name files, folders and values."""
    return any(
        Path(word).stem == _PREVIEW
        and "=" not in word
        and Path(word).suffix not in (".yaml", ".yml")
        for option, word in pairwise(["", *command_line])
        if option not in ("--directory", "-d")
    )


def _is_dry_run(command_line: Sequence[str]) -> bool:
    return any(_DRY_RUN.fullmatch(word) for word in _before_targets(command_line))


def _scratch_problems(scratch: str | None) -> Iterator[str]:
    try:
        folder = scratch_folder(scratch)
    except ValueError as error:
        yield str(error)
        return
    if folder is not None and (problem := problem_of_output_folder(str(folder))):
        yield f"config scratch: {folder} {problem}"


def _command_line_problems(command_line: Sequence[str]) -> Iterator[str]:
    # Other targets are compared when the rules are known. For the preview, less is checked.
    if problem := misspelt_target(command_line, [_PREVIEW]):
        yield f"command line: {problem}"
    options = [word.partition("=")[0] for word in _before_targets(command_line)]
    if sum(option in ("--config", "-C") for option in options) > 1:
        yield (
            "command line: --config is given twice, and Snakemake ignores the first one; give all"
            " values after one --config"
        )


def _before_targets(command_line: Sequence[str]) -> Sequence[str]:
    """The options of a command line; what follows `--` are files and rules to make."""
    words = list(command_line)
    return words[: words.index("--")] if "--" in words else words
