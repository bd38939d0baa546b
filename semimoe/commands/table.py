"""`table`: results of `evaluate --json` side by side."""

import argparse
import json

from semimoe.evaluation.result_tables import tables
from semimoe.model_errors import DataError


def run(given: argparse.Namespace) -> None:
    """Print one table per protocol and test part."""
    results = {}
    for path in given.results:
        try:
            result = json.loads(path.read_text(encoding="utf-8"))
            tables({path.stem: result})  # has every figure
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(f"{path}: not a result of `evaluate --json` ({error})") from error
        results[str(path.with_suffix(""))] = result
    print(tables(results))
