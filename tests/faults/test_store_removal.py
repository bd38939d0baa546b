"""A store that is removed never looks like a finished one, whenever the process is killed."""

import json
import subprocess
import sys
from pathlib import Path

_FILES = 12
# Kills a process before each operation of a removal in turn, and looks at what is left.
_SCRIPT = """
import json, os, shutil, sys
from pathlib import Path
from tiling.stores.atomic_store import remove_store

store, files = Path(sys.argv[1]), int(sys.argv[2])


def make() -> None:
    shutil.rmtree(store.parent, ignore_errors=True)
    for number in range(files):
        path = store / f"c{number % 3}" / str(number)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def remove_until(operation: int) -> bool:
    if pid := os.fork():
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 9
    done = 0

    def kill(event: str, _: object) -> None:
        nonlocal done
        if event in ("os.remove", "os.rmdir", "os.rename"):
            if done == operation:
                os._exit(9)
            done += 1

    sys.addaudithook(kill)
    remove_store(store)
    os._exit(0)


left = []
while True:
    make()
    was_killed = remove_until(len(left))
    left.append(sum(path.is_file() for path in store.rglob("*")) if store.exists() else None)
    if not was_killed:
        break
    remove_store(store)
    assert list(store.parent.iterdir()) == [], "the next removal leaves nothing"
print(json.dumps(left))
"""


def test_a_store_is_complete_or_absent_whenever_its_removal_is_killed(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT, str(tmp_path / "r" / "a.zarr"), str(_FILES)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    left = json.loads(done.stdout)
    assert len(left) >= _FILES + 4, "the files, their folders, and the renaming"
    assert left[0] == _FILES
    assert set(left[1:]) == {None}
