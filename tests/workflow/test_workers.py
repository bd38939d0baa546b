"""Two spawned workers inside a rule: the script is guarded, and the workers open the stores."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from small_run import REPO, Run, environment

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("run")]

SCRIPT = """
from pathlib import Path


def main() -> None:
    import json

    from torch.utils.data import DataLoader

    from tiling.tiles.tile_source import StoredTiles
    from tiling.tiles.training_windows import tile_windows


    store = Path(snakemake.input[0])
    tiles = StoredTiles(store, tile_windows(store)[:8])
    loader = DataLoader(tiles, batch_size=None, num_workers=2, multiprocessing_context="spawn")
    sums = [int(tile.image.sum()) for tile in loader]
    alone = [int(tiles[i].image.sum()) for i in range(len(tiles))]
    Path(snakemake.output[0]).write_text(json.dumps([sums, alone]))


if __name__ == "__main__":
    main()
"""


def test_two_spawned_workers_read_the_same_tiles(run: Run, tmp_path: Path) -> None:
    (tmp_path / "read.py").write_text(SCRIPT)
    store = run.folder / "results" / "tiles" / "lab.zarr"
    (tmp_path / "Snakefile").write_text(
        f"rule read:\n    input: {str(store)!r}\n    output: 'sums.json'\n    script: 'read.py'\n"
    )
    command = [
        sys.executable,
        "-m",
        "snakemake",
        "--snakefile",
        str(tmp_path / "Snakefile"),
        "--directory",
        str(tmp_path),
        "--cores",
        "2",
    ]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        env={**environment(), "PYTHONPATH": str(REPO)},
        timeout=180,
    )
    assert done.returncode == 0, done.stderr
    sums, alone = json.loads((tmp_path / "sums.json").read_text())
    assert sums == alone
    assert len(set(sums)) > 1


@pytest.mark.skipif("PYTEST_XDIST_WORKER" not in os.environ, reason="one process")
def test_tests_of_a_group_stay_on_one_worker(request: pytest.FixtureRequest) -> None:
    """Some versions of pytest and xdist ignore groups without a message.

    A shared run would then be made twice.
    """
    assert request.node.nodeid.endswith("@run")
