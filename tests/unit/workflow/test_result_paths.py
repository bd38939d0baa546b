"""Names in the folder of results."""

import inspect
from pathlib import Path

from workflow.result_paths import NAMES_IN_RESULTS, ResultPaths


def all_paths(paths: ResultPaths) -> list[Path]:
    """The result of each method, with an id for each argument, and each property."""
    written: list[Path] = []
    for name, member in vars(ResultPaths).items():
        if isinstance(member, property):
            written.append(getattr(paths, name))
        elif inspect.isfunction(member) and not name.startswith("_") and name != "compared":
            parameters = list(inspect.signature(member).parameters.values())[1:]
            words = [p for p in parameters if p.kind is not p.KEYWORD_ONLY]
            flags = {p.name: True for p in parameters if p.kind is p.KEYWORD_ONLY}
            written.append(member(paths, *("x" for _ in words), **flags))
    return written


def test_all_names_in_the_folder_of_results_are_listed() -> None:
    folder = Path("results")
    paths = ResultPaths(folder)
    written = all_paths(paths) + all_paths(paths.compared("unet"))
    assert len(written) > 40
    assert {path.relative_to(folder).parts[0] for path in written} == NAMES_IN_RESULTS
