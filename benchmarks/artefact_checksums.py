"""Compare the artefacts of two runs of the workflow, byte by byte.

python benchmarks/artefact_checksums.py RESULTS            # checksums, one line for each file
python benchmarks/artefact_checksums.py RESULTS OTHER      # the files that differ

Logs, timings and lock files are left out: they differ from run to run.
"""

import argparse
import re
from pathlib import Path

from tiling.raster.atomic_files import file_checksum

_LEFT_OUT = re.compile(r"(^|/)(logs|\.snakemake_timestamp|timing\.csv)(/|$)|\.lock$|\.resume/")


def checksums(results: Path) -> dict[str, str]:
    """SHA-256 of every artefact by its path below the folder of results."""
    files = sorted(path for path in results.rglob("*") if path.is_file())
    names = {path.relative_to(results).as_posix(): path for path in files}
    return {name: file_checksum(path) for name, path in names.items() if not _LEFT_OUT.search(name)}


def main() -> int:
    """Print checksums or differences; status 1 if the runs differ."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", type=Path)
    parser.add_argument("other", type=Path, nargs="?")
    arguments = parser.parse_args()
    first = checksums(arguments.results)
    if arguments.other is None:
        print(*(f"{checksum}  {name}" for name, checksum in first.items()), sep="\n")
        return 0
    second = checksums(arguments.other)
    different = [name for name in first if name in second and first[name] != second[name]]
    for title, names in (
        ("differs", different),
        ("only in the first", [name for name in first if name not in second]),
        ("only in the second", [name for name in second if name not in first]),
    ):
        print(*(f"{title}: {name}" for name in names), sep="\n", end="\n" if names else "")
    equal = sum(first[name] == second.get(name) for name in first)
    print(f"{equal} of {len(first)} and {len(second)} artefacts are equal")
    return 0 if first == second else 1


if __name__ == "__main__":
    raise SystemExit(main())
