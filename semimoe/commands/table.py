"""`table`: results side by side; with `--data`, it also makes them."""

import argparse

from semimoe.commands.table_runs import run_table
from semimoe.evaluation.result_tables import Result, result_tables
from semimoe.evaluation.results import read_evaluation
from semimoe.model_errors import DataError, SettingsError


def run(arguments: argparse.Namespace) -> int | None:
    """Print results side by side, or run the cells of a table.

    Returns
    -------
    int or None
        Exit status: 1 if a cell failed.
    """
    if arguments.results and arguments.data:
        raise SettingsError(f"{arguments.results[0]}: give either files of results or --data")
    if arguments.data:
        return run_table(arguments)
    if not arguments.results:
        raise SettingsError("give files written by `evaluate --json`, or --data and --out")
    results: dict[str, Result] = {}
    for path in arguments.results:
        text = path.read_text(encoding="utf-8")
        try:
            results[str(path.with_suffix(""))] = read_evaluation(text)
        except DataError as error:
            raise DataError(f"{path}: not a result of `evaluate --json` ({error})") from error
    print(result_tables(results))
    return None
