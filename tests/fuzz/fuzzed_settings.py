"""Sheets, configuration, command lines and files of settings with random content."""

import copy
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from changed_inputs import JSON_VALUES, changed_text
from fuzzed_parser import FuzzedParser

from semimoe.model_errors import SettingsError
from semimoe.setting_overrides import overridden
from semimoe.settings import NetworkSettings, TrainingSettings
from workflow.command_line import CommandLineError, check_configuration_files, corrected
from workflow.config.checks import ConfigurationError, read_configuration
from workflow.config.documentation import leaves
from workflow.sheet_reader import read_sheet

_COLUMNS = ("slide", "path", "split", "annotation", "mpp", "tissue", "roi", "patient", "site")
_CELLS = (
    "slide", "path", "split", "annotation", "patient", "mpp", "tissue", "roi", "annotated", "site",
    "labelled", "test", "predict", "a.svs", "b.svs", "a.geojson", "\t", "\t", ",", ";", "\n", "\n",
    "\r\n", "\r", '"', '""', "\0", "{slide}", "<results>", "~", "~x", "\\", "C:\\", "0.5", "nan",
    "=1+1", "\u2028", "\x85", "\ufeff", "\u00e9", "x" * 300, "../", "/", " ", "sep=;", "#",
)  # fmt: skip
_WORDS = (
    "--config", "-C", "--", "=", "a=b", "tiles.mpp_um=1", "preview", "slides=", "--config=x=1",
    "-n", "--configfile", "s.yaml", "x", "", "\u00e9=", "=x", "a.b.c={[", "--cores", "8", "\n",
    "tiles={a: 1}", "glands.threshold=.nan", "keep=[tiles]", "--configfiles", "results=~x", "all",
    "model={x}", "tiles={", "seed=1", "--resources", "gpu=1",
)  # fmt: skip
_YAML = (
    "tiles:", "  mpp_um: 1\n", "\n", "{", "}", "[", "]", "&a ", "*a", "<<: ", "? ", "- ", ": ",
    "!!python/object:x", "\t", ":", "#", "\0", "\u00e9", "|", "'", '"', "slides: s.tsv\n", "%",
)  # fmt: skip
_VALUES: tuple[Any, ...] = (*JSON_VALUES, b"x", (1,), ".nan", "~", "~x", "0x10", "[", "\ud800")
_SETTINGS = ("network.width", "training.epochs", "training.batch", "network.encoder", "x", "a.b")


def _prepare_sheet(folder: Path) -> Callable[[random.Random], None]:
    for name in ("a.svs", "b.svs", "a.geojson"):
        (folder / name).write_text(name)
    path = folder / "s.tsv"

    def input_from(rng: random.Random) -> None:
        os.chdir(folder)
        header = "\t".join(rng.sample(_COLUMNS, rng.randint(3, 9))) if rng.random() < 0.7 else ""
        text = header + "\n" + "".join(rng.choice(_CELLS) for _ in range(rng.randint(0, 40)))
        content = bytearray(text.encode())
        for _ in range(rng.choice((0, 0, 0, 3))):
            content[rng.randrange(len(content))] = rng.randrange(256)
        path.write_bytes(content)
        sheet = read_sheet(path)
        assert sheet.rows or sheet.problems

    return input_from


def _prepare_configuration(folder: Path) -> Callable[[random.Random], None]:
    keys = [*(key for key, _ in leaves()), "foo", "tiles.x.y", "", ".", "a.b"]

    def input_from(rng: random.Random) -> None:
        os.chdir(folder)
        values: dict[Any, Any] = {}
        for _ in range(rng.randint(1, 4)):
            key = rng.choice(keys)
            *groups, last = key.split(".") if rng.random() < 0.9 else [key]
            owner = values
            for group in groups:
                if not isinstance(owner.get(group), dict):
                    owner[group] = {}
                owner = owner[group]
            owner[last] = copy.deepcopy(rng.choice(_VALUES))
        read_configuration(values)

    return input_from


def _prepare_command_line(folder: Path) -> Callable[[random.Random], None]:
    def input_from(rng: random.Random) -> None:
        os.chdir(folder)
        words = [rng.choice(_WORDS) for _ in range(rng.randint(0, 8))]
        if rng.random() < 0.2:
            words = [changed_text(word, rng, _YAML) for word in words]
        corrected(words)

    return input_from


def _prepare_yaml(folder: Path) -> Callable[[random.Random], None]:
    path = folder / "s.yaml"

    def input_from(rng: random.Random) -> None:
        text = "".join(rng.choice(_YAML) for _ in range(rng.randint(0, 20)))
        path.write_bytes(text.encode() + rng.choice((b"", b"", b"\xff")))
        check_configuration_files(["--configfile", str(path)])

    return input_from


def _prepare_overrides(folder: Path) -> Callable[[random.Random], None]:
    del folder  # no file

    def input_from(rng: random.Random) -> None:
        text = f"{rng.choice(_SETTINGS)}={rng.choice(_VALUES)}"
        overridden(NetworkSettings(), TrainingSettings(), [text] * rng.choice((1, 1, 2)))

    return input_from


PARSERS = [
    FuzzedParser("sheet", "sheets of slides", _prepare_sheet, (), 60_000),
    FuzzedParser(
        "configuration", "values of the configuration", _prepare_configuration,
        (ConfigurationError,), 60_000,
    ),
    FuzzedParser(
        "command-line", "command lines", _prepare_command_line, (CommandLineError,), 200_000
    ),
    FuzzedParser("yaml", "files of settings (YAML)", _prepare_yaml, (CommandLineError,), 60_000),
    FuzzedParser("set", "`--set` of semimoe", _prepare_overrides, (SettingsError,), 40_000),
]  # fmt: skip
