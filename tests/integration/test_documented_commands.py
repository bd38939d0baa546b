"""The commands of docs/glas.md, on a small folder of images: they run, in the stated memory."""

import re
import resource
import shlex
from pathlib import Path

import numpy as np
import pytest
from disc_pictures import Discs
from PIL import Image

from semimoe.__main__ import _parser, main

pytestmark = pytest.mark.xdist_group("trained_models")

TEXT = (Path(__file__).parents[2] / "docs" / "glas.md").read_text()
BLOCKS = re.findall(r"```\n(.*?)```", TEXT, flags=re.DOTALL)
# Of all blocks, in the order of the document.
COMMANDS = [
    [word for word in shlex.split(line, comments=True) if word != ">"]
    for block in BLOCKS
    for line in block.splitlines()
    if line.startswith("python -m semimoe ")
]
COST = re.compile(r"about half a minute of one core, and (\d+) GB of memory")


@pytest.fixture
def glas(tmp_path: Path) -> Path:
    """Images of the layout of GlaS, smaller and fewer."""
    for part, count, seed in (("train", 6, 1), ("testA", 1, 2)):
        folder = tmp_path / "GLAS" / part
        folder.mkdir(parents=True)
        for number in range(count):
            one = Discs(count, 160, seed=seed)[number]
            pixels = np.ascontiguousarray(one.image.transpose(1, 2, 0))
            Image.fromarray(pixels).save(folder / f"{part}_{number + 1}.bmp")
            mask = Image.fromarray(one.labels.astype(np.uint8))
            mask.save(folder / f"{part}_{number + 1}_anno.bmp")
    return tmp_path / "GLAS"


def test_every_command_is_accepted() -> None:
    names = [words[3] for words in COMMANDS]
    assert names == [
        *("data-check", "train", "evaluate", "evaluate", "table", "train", "predict"),
        *("table", "table", "table", "table", "table", "data-check", "table"),
    ]
    for words in COMMANDS:
        arguments = words[3:]
        if arguments[-1].endswith(".json") and arguments[0] == "evaluate":
            arguments = arguments[:-1]  # the file to which the shell writes
        assert _parser().parse_args(arguments).command == arguments[0]


def test_the_commands_to_try_run_in_their_stated_memory(
    glas: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(glas.parent)
    stated = COST.search(TEXT)
    assert stated is not None
    first = next(n for n, words in enumerate(COMMANDS) if "models/try" in words)
    for words in COMMANDS[first : first + 2]:
        assert main(words[3:]) == 0
    assert sorted(path.name for path in Path("masks").iterdir()) == ["overlays", "testA_1.png"]
    peak_gb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    assert peak_gb < 4 * float(stated[1])  # other tests of this process are in it
