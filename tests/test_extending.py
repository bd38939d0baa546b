"""docs/extending.md is followed word by word on a copy of the project, and what it adds works."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

REPO = Path(__file__).parents[1]
COPIED = (
    "semimoe",
    "tiling",
    "workflow",
    "profiles",
    "Snakefile",
    "config.yaml",
    "environment.yml",
)
_BLOCK = re.compile(
    r"^(New file|Add to|Append to) `([^`]+)`(?: in `([^`]+)`)?:\n\n```python\n(.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project with everything that docs/extending.md adds."""
    folder = tmp_path_factory.mktemp("project")
    for name in COPIED:
        source = REPO / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder / name)
    blocks = _BLOCK.findall((REPO / "docs" / "extending.md").read_text())
    assert len(blocks) == 7
    for action, target, file, text in blocks:
        if action == "New file":
            assert not (folder / target).exists()
            (folder / target).write_text(text)
        elif action == "Append to":
            path = folder / target
            path.write_text(f"{path.read_text()}\n\n{text}")
        else:
            add_entry(folder / file, target, text)
    return folder


def add_entry(path: Path, table: str, entry: str) -> None:
    """Insert an entry before the bracket that ends a table."""
    text = path.read_text()
    start = re.search(rf"^{table}\b.*= \($", text, re.MULTILINE)
    assert start is not None
    end = text.index("\n)\n", start.end()) + 1
    path.write_text(text[:end] + entry + text[end:])


def python(project: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, *arguments],
        capture_output=True, text=True, check=False, cwd=project,
        env={**os.environ, "PYTHONPATH": str(project), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_method_and_an_encoder_are_trained_and_predict(project: Path, tmp_path: Path) -> None:
    data, model = tmp_path / "data", tmp_path / "model"
    data.mkdir()
    y, x = np.mgrid[:64, :64]
    disc = (y - 32) ** 2 + (x - 32) ** 2 < 18**2
    for number in range(6):
        noise = np.random.default_rng(number).integers(0, 20, (64, 64, 3))
        picture = np.where(disc[..., None], 90, 200) + noise
        Image.fromarray(picture.astype(np.uint8)).save(data / f"disc_{number}.png")
        Image.fromarray(disc.astype(np.uint8)).save(data / f"disc_{number}_anno.png")
    python(
        project, "-m", "semimoe", "train", "--data", str(data), "--method", "noisy-unet",
        "--mpp", "1", "--set", "network.encoder=one-level", "--width", "4", "--tile", "32",
        "--epochs", "1", "--steps", "2", "--batch", "2", "--labelled", "0.5", "--out", str(model),
    )  # fmt: skip
    card = json.loads((model / "model.json").read_text())
    assert (card["method"], card["network"]["encoder"]) == ("noisy-unet", "one-level")
    out = tmp_path / "masks"
    python(project, "-m", "semimoe", "predict", "--model", str(model), "--images", str(data),
           "--out", str(out))  # fmt: skip
    assert len(list(out.glob("*.png"))) == 6


def test_a_method_is_compared_and_a_stage_is_run_by_the_workflow(project: Path) -> None:
    plan = python(
        project, "-m", "snakemake", "-n", "--cores", "2", "--resources", "gpu=0", "--quiet", "host",
        "--configfile", "workflow/demo.yaml", "--config", "compare=[noisy-unet]",
        "network={encoder: one-level, width: 8}",
        "--", "results/report.html", "results/counts/demo-predict-1.txt",
    )  # fmt: skip
    assert "train_noisy_unet" in plan
    assert "count_glands" in plan
    (project / "results" / "glands").mkdir(parents=True)
    (project / "results" / "glands" / "a.csv").write_text("area_um2\n1\n2\n")
    python(
        project, "-m", "snakemake", "--cores", "1", "--resources", "gpu=0",
        "--configfile", "workflow/demo.yaml", "--allowed-rules", "count_glands",
        "--", "results/counts/a.txt",
    )  # fmt: skip
    assert (project / "results" / "counts" / "a.txt").read_text() == "2\n"


def test_an_annotation_class_is_read_and_exported(project: Path, tmp_path: Path) -> None:
    square = [[0, 0], [10, 0], [10, 10], [0, 10], [0, 0]]
    feature = {
        "type": "Feature",
        "geometry": {"type": "Polygon", "coordinates": [square]},
        "properties": {"objectType": "annotation", "classification": {"name": "Artefact"}},
    }
    path = tmp_path / "a.geojson"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}))
    code = (
        "import sys; from pathlib import Path; "
        "from tiling.qupath.annotations import read_annotations; "
        "print(len(read_annotations(Path(sys.argv[1])).ignored))"
    )
    assert python(project, "-c", code, str(path)).strip() == "1"


def test_the_table_of_the_page_counts_its_files() -> None:
    text = (REPO / "docs" / "extending.md").read_text()
    counts: dict[str, tuple[int, int]] = {}
    for section in text.split("\n## ")[1:]:
        actions = [match[0] for match in _BLOCK.findall(section)]
        new = actions.count("New file")
        counts[section.splitlines()[0]] = new, len(actions) - new
    assert counts == {
        "A training method": (1, 1),
        "An encoder": (1, 1),
        "An annotation class": (0, 1),
        "A stage of the workflow": (1, 1),
    }
