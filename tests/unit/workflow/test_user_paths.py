"""Messages about paths that users give."""

from pathlib import Path

import pytest

from workflow.user_paths import problem_of_file


def test_the_place_of_a_missing_file_is_named_if_the_user_did_not_type_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert problem_of_file("a.svs", "a.svs") == "does not exist"
    assert problem_of_file("study/a.svs", "a.svs") == "does not exist (expected at study/a.svs)"
