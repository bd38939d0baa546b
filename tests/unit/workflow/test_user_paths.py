"""Messages about paths that users give."""

from pathlib import Path

import pytest

from workflow.user_paths import problem_of_file, problem_of_interpreter


def test_the_place_of_a_missing_file_is_named_if_the_user_did_not_type_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert problem_of_file("a.svs", "a.svs") == "does not exist"
    assert problem_of_file("study/a.svs", "a.svs") == "does not exist (expected at study/a.svs)"


def test_the_remedy_of_a_renamed_folder_deletes_the_environment_only() -> None:
    problem = problem_of_interpreter("/my slides/.venv/bin/python")
    assert problem is not None
    assert problem.endswith("set up again (`rm -rf .venv`, then `make demo`)")
