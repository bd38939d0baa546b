"""Wheels that the workflow needs on a bare GPU machine with Python 3.12, torch and no registry.

python benchmarks/gpu/collect_wheels.py --out WHEELS
python benchmarks/gpu/collect_wheels.py --out WHEELS --training

With --training, only those that trainings need. The versions are those of requirements.lock.
Files that are not loaded there (codecs of imagecodecs, solver programs of PuLP for other systems,
tests of PyWavelets, debugging symbols) are removed from the wheels.
On the machine: python3 -m pip install --no-index --no-deps WHEELS/*.whl
"""

import argparse
import base64
import csv
import hashlib
import io
import re
import stat
import subprocess
import sys
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

LOCK = Path(__file__).parents[2] / "requirements.lock"
# Settings; packages of the methods xnet, toposemiseg and match.
TRAINING_NAMES = (
    *("pydantic", "pydantic_core", "annotated-types", "typing-inspection"),
    *("PyWavelets", "gudhi"),
)
NAMES = (
    *TRAINING_NAMES,
    # Stores, slides and outlines.
    *("zarr", "numcodecs", "donfig", "google-crc32c", "imagecodecs", "shapely"),
    *("openslide-python", "openslide-bin", "tiffslide"),
    # Snakemake and what it imports.
    *("snakemake", "snakemake-interface-common", "snakemake-interface-executor-plugins"),
    *("snakemake-interface-logger-plugins", "snakemake-interface-report-plugins"),
    *("snakemake-interface-scheduler-plugins", "snakemake-interface-storage-plugins"),
    *("argparse-dataclass", "conda-inject", "ConfigArgParse", "connection_pool", "docutils"),
    *("dpath", "fastjsonschema", "gitdb", "GitPython", "greenlet", "humanfriendly", "immutables"),
    *("jsonschema", "jsonschema-specifications", "jupyter_core", "nbformat", "platformdirs"),
    *("PuLP", "referencing", "rpds-py", "smart_open", "smmap", "SQLAlchemy", "sqlmodel"),
    *("tenacity", "throttler", "traitlets", "yte"),
)  # fmt: skip
# These have no wheel in the registry.
_BUILT = ("connection_pool",)
_PLATFORMS = ("2_28", "2_27", "2_26", "2_24", "2_17", "2_12", "2_5")
# Files of a wheel that are kept: the rest is not loaded.
_IMAGECODECS = re.compile(
    r"imagecodecs/.*\.pyi?$|imagecodecs/licenses/|imagecodecs-.*dist-info/"
    r"|imagecodecs/_(shared|shared_cython|imcd|zstd|deflate|jpeg8|jpeg2k)\.abi3"
    r"|imagecodecs\.libs/lib(zstd|jpeg|openjp2|lcms2|deflate)-"
)
_PULP = re.compile(r"(?!pulp/(solverdir|tests)/)|pulp/solverdir/(__init__|cbc/linux/i64/)")
_PYWAVELETS = re.compile(r"(?!pywt/tests/)")
KEPT: Mapping[str, re.Pattern[str]] = {
    "imagecodecs": _IMAGECODECS,
    "pulp": _PULP,
    "pywavelets": _PYWAVELETS,
}
_WITH_SYMBOLS = ("numcodecs", "sqlalchemy", "greenlet")


def download(out: Path, names: Sequence[str]) -> None:
    """Download the wheels of packages in the versions of the lock file."""
    lock = dict(line.split("==") for line in LOCK.read_text().splitlines() if "==" in line)
    pins = [f"{name}=={lock[name]}" for name in names]
    pip = [sys.executable, "-m", "pip"]
    target = ["--python-version=3.12", "--implementation=cp", "--only-binary=:all:"]
    target += [f"--platform=manylinux_{version}_x86_64" for version in _PLATFORMS]
    target += ["--platform=manylinux2014_x86_64", "--platform=manylinux1_x86_64"]
    wheels = [pin for pin in pins if not pin.startswith(_BUILT)]
    command = [*pip, "download", "--quiet", "--no-deps", *target, "-d", str(out), *wheels]
    subprocess.run(command, check=True)
    if built := [pin for pin in pins if pin.startswith(_BUILT)]:
        wheel = [*pip, "wheel", "--quiet", "--no-deps", "-w", str(out)]
        subprocess.run([*wheel, *built], check=True)


def rewrite(wheel: Path, keep: Callable[[str], bool], *, strip: bool) -> None:
    """Keep some files of a wheel, without debugging symbols, and list them in its RECORD."""
    files: dict[str, bytes] = {}
    with zipfile.ZipFile(wheel) as archive:
        for info in archive.infolist():
            if not info.is_dir() and keep(info.filename):
                files[info.filename] = archive.read(info)
    record = next(name for name in files if name.endswith(".dist-info/RECORD"))
    if strip:
        files |= {name: stripped(data) for name, data in files.items() if name.endswith(".so")}
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for name, data in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        writer.writerow([name, *(["", ""] if name == record else [f"sha256={digest}", len(data)])])
    files[record] = text.getvalue().encode()
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, data in files.items():
            entry = zipfile.ZipInfo(name)
            # The solver of PuLP is a program.
            entry.external_attr = (stat.S_IFREG | (0o755 if name.endswith("/cbc") else 0o644)) << 16
            archive.writestr(entry, data, zipfile.ZIP_DEFLATED)


def stripped(library: bytes) -> bytes:
    """A shared library without debugging symbols (program `strip`)."""
    import tempfile

    with tempfile.NamedTemporaryFile(suffix=".so") as file:
        file.write(library)
        file.flush()
        subprocess.run(["strip", "--strip-unneeded", file.name], check=True)
        return Path(file.name).read_bytes()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--training", action="store_true", help="only what trainings need")
    arguments = parser.parse_args()
    out = arguments.out
    out.mkdir(parents=True, exist_ok=True)
    download(out, TRAINING_NAMES if arguments.training else NAMES)
    for wheel in sorted(out.glob("*.whl")):
        name = wheel.name.split("-")[0]
        kept = KEPT.get(name)
        if kept or name in _WITH_SYMBOLS:
            # Libraries with a changed dynamic section must not be stripped: those of auditwheel.
            rewrite(
                wheel,
                lambda file, kept=kept: kept is None or bool(kept.match(file)),
                strip=name in _WITH_SYMBOLS,
            )
    size = sum(wheel.stat().st_size for wheel in out.glob("*.whl"))
    print(f"{len(list(out.glob('*.whl')))} wheels, {size / 2**20:.1f} MiB")


if __name__ == "__main__":
    main()
