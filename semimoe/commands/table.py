"""`table`: results of `evaluate --json` side by side."""

import argparse

from semimoe.evaluation.result_tables import Result, result_tables
from semimoe.evaluation.results import read_evaluation
from semimoe.model_errors import DataError


def run(arguments: argparse.Namespace) -> None:
    """Print one table per protocol and test part."""
    results: dict[str, Result] = {}
    for path in arguments.results:
        text = path.read_text(encoding="utf-8")
        try:
            results[str(path.with_suffix(""))] = read_evaluation(text)
        except DataError as error:
            raise DataError(f"{path}: not a result of `evaluate --json` ({error})") from error
    print(result_tables(results))
