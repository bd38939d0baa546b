"""What people type after `snakemake`: read as meant, or refused by name."""

import tomllib
from pathlib import Path

import pytest

from workflow.command_line import (
    CommandLineError,
    check_configuration_files,
    check_folders,
    check_if_bypassed,
    corrected,
)
from workflow.config.checks import read_configuration

REPO = Path(__file__).parents[3]


def values_of(*words: str) -> dict:
    """The configuration values that Snakemake reads from a corrected command line."""
    from snakemake.cli import parse_config

    line = corrected(words).words
    start = line.index("--config") + 1
    end = line.index("--") if "--" in line else len(line)
    return parse_config(line[start:end])


def test_dotted_keys_have_the_effect_of_nested_ones() -> None:
    dotted = values_of(
        "--config", "tiles.mpp_um=2", "tiles.tile_px=128", "glands.threshold=",
        "export.color=[1, 2, 3]", "export.gland_class=a, {b}: c", "results=out",
    )  # fmt: skip
    nested = {
        "tiles": {"mpp_um": 2, "tile_px": 128},
        "glands": {"threshold": None},
        "export": {"color": [1, 2, 3], "gland_class": "a, {b}: c"},
        "results": "out",
    }
    assert read_configuration(dotted) == read_configuration(nested)


def test_dotted_keys_join_the_group_that_is_given_whole() -> None:
    values = values_of("--config", "tiles={tile_px: 128}", "tiles.mpp_um=2")
    tiles = read_configuration(values).tiles
    assert (tiles.tile_px, tiles.mpp_um) == (128, 2)


def test_the_values_of_every_config_are_used_and_this_is_said() -> None:
    line = corrected(["--config", "seed=1", "-n", "-C", "results=out", "--config=slides=s.tsv"])
    assert line.words == ["-n", "--config", "seed=1", "results=out", "slides=s.tsv"]
    assert line.remarks == ["the values of all --config are used"]


@pytest.mark.parametrize("target", ["preview", "results/report.html"])
def test_a_target_among_the_values_is_a_target_and_this_is_said(target: str) -> None:
    line = corrected(["--cores", "2", "--config", "slides=s.tsv", target, "-n"])
    assert line.words == ["--cores", "2", "-n", "--config", "slides=s.tsv", "--", target]
    assert f"-- {target}" in line.remarks[0]


@pytest.mark.parametrize(
    "words",
    [
        ["-n", "--cores", "8", "--config", "slides=s.tsv", "results=r", "--", "preview"],
        ["preview", "--cores", "2"],
        ["--resources", "gpu=0", "--configfile", "pyproject.toml"],
        [],
    ],
)
def test_other_command_lines_stay_as_they_are(words: list[str]) -> None:
    line = corrected(words)
    assert sorted(line.words) == sorted(words)
    assert line.words[-2:] == words[-2:]
    assert line.remarks == []


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (["slides", "=", "s.tsv"], "without blanks"),
        (["slides=", "s.tsv"], "without blanks"),
        (["s.tsv"], "KEY=VALUE is needed"),
        (["study.yaml"], "given with --configfile"),
        (["tiles/mpp_um=1"], "'tiles/mpp_um' is no key"),
        (["tiles..mpp_um=1"], "is no key"),
        (["tiles.=1"], "is no key"),
    ],
)
def test_words_that_are_neither_values_nor_targets_are_refused(
    values: list[str], message: str
) -> None:
    with pytest.raises(CommandLineError, match=message):
        corrected(["-n", "--config", *values])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such file"),
        (b"\xff\x00", "is no YAML file"),
        (b"tiles:\n\tmpp_um: 1\n", "is no YAML file"),
        (b"tiles: {mpp_um: 1}\nseed: 1\ntiles: {tile_px: 64}\n", "tiles is given twice"),
        (b"tiles: {mpp_um: 1, mpp_um: 2}\n", r"tiles\.mpp_um is given twice"),
        (b"[" * 600, "is no YAML file"),
        (b"#" * 2_000_000, "too large"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_files_of_settings_that_snakemake_would_misread_are_named(
    tmp_path: Path, content: bytes | None, message: str
) -> None:
    path = tmp_path / "study.yaml"
    if content is not None:
        path.write_bytes(content)
    for words in (["--configfile", str(path)], [f"--configfile={path}"]):
        with pytest.raises(CommandLineError, match=message):
            check_configuration_files(words)


def test_the_command_snakemake_is_the_checked_one() -> None:
    project = tomllib.loads((REPO / "pyproject.toml").read_text())["project"]
    assert project["scripts"] == {"snakemake": "workflow.command_line:main"}


def test_without_the_check_of_the_command_line_this_is_said() -> None:
    remark = check_if_bypassed(["-n", "--directory", "out", "--configfile", "elsewhere.yaml"])
    assert remark is not None
    assert "start it as `.venv/bin/snakemake`" in remark
    with pytest.raises(CommandLineError, match="no such file"):
        check_if_bypassed(["-n", "--configfile", "elsewhere.yaml"])


@pytest.mark.parametrize("variable", ["TMPDIR", "XDG_CACHE_HOME"])
def test_a_folder_that_snakemake_cannot_write_is_named(
    variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv(variable, str(tmp_path))
    check_folders()
    monkeypatch.setenv(variable, str(tmp_path / "file"))
    with pytest.raises(CommandLineError, match=f"cannot be written.*{variable}") as raised:
        check_folders()
    assert "free some space" not in str(raised.value), "the folder is not full"
