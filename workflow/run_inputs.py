"""What a run is started with: the configuration and the sheet, checked together."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from workflow.config.checks import ConfigurationError, read_configuration
from workflow.config.configuration import Configuration
from workflow.sheet import Sheet
from workflow.sheet_reader import read_sheet

_MOST_LISTED = 200
_GIVE_SHEET = (
    "config slides: no sheet of slides is given. Make one with `python -m tiling sheet FOLDER --out"
    " my_slides.tsv`, then give it with `--config slides=my_slides.tsv`, or as `slides:` in a file"
    " for `--configfile` (the slides of the demo: `make demo`)"
)


class RunInputs(NamedTuple):
    """What a run is started with.

    Attributes
    ----------
    problems : what is wrong with configuration and sheet; they are usable if there is none
    """

    configuration: Configuration
    sheet: Sheet
    problems: tuple[str, ...] = ()


def read_run_inputs(
    values: Mapping[str, Any], command_line: Sequence[str], *, is_main_process: bool
) -> RunInputs:
    """Read and check the configuration and the sheet that it names.

    Parameters
    ----------
    values : as Snakemake gives them, see `read_configuration`
    command_line : of Snakemake
    is_main_process : whether this is the process that plans the run: a job on another machine
        needs its own files only
    """
    if is_main_process and "--unlock" in command_line:
        # The lock does not depend on the slides.
        return RunInputs(Configuration(), Sheet(()))
    problems = list(_command_line_problems(command_line)) if is_main_process else []
    try:
        configuration = read_configuration(values)
    except ConfigurationError as error:
        return RunInputs(Configuration(), Sheet(()), (*problems, *error.problems))
    if not configuration.slides:
        return RunInputs(configuration, Sheet(()), (*problems, _GIVE_SHEET))
    asks_for_preview = any(Path(word).stem == "preview" for word in command_line)
    sheet = read_sheet(
        Path(configuration.slides),
        allow_patients=tuple(configuration.allow_patients),
        # A preview needs no labelled slide: users look at the slides before they outline glands.
        training=is_main_process and not configuration.model and not asks_for_preview,
        check_files=is_main_process,
    )
    return RunInputs(configuration, sheet, (*problems, *sheet.problems))


def problems_text(problems: Sequence[str]) -> str:
    """The problems for the user, one on each line."""
    title = f"{len(problems)} problem(s) in configuration and sheet; nothing was started:"
    lines = [title, *problems[:_MOST_LISTED]]
    if len(problems) > _MOST_LISTED:
        lines.append(f"... and {len(problems) - _MOST_LISTED} more")
    return "\n".join(lines)


def _command_line_problems(command_line: Sequence[str]) -> Iterator[str]:
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
