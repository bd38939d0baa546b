"""The arrows of docs/architecture.md: who may import whom, and how large a thing may grow."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

REPO = Path(__file__).parents[1]
PACKAGES = ("tiling", "semimoe", "workflow")
FORBIDDEN = {
    "tiling": {"semimoe", "workflow", "torch", "lightning", "snakemake"},
    "semimoe": {
        "workflow",
        "zarr",
        "openslide",
        "tiffslide",
        "snakemake",
        "shapely",
        "rasterio",
        "dask",
    },
    "workflow": set(),
}
# Installed, or used by another name, on purpose.
NAMED_BY_THE_USER = (
    "torch",
    "openslide-python",
    "tiffslide",
    "zarr",
    "dask",
    "scipy",
    "scikit-image",
    "snakemake",
    "pytest",
)


def modules(package: str) -> Iterator[Path]:
    yield from (path for path in (REPO / package).rglob("*.py") if "scripts" not in path.parts)


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found.add(node.module or "")
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize("package", PACKAGES)
def test_arrows_point_one_way(package: str) -> None:
    for path in modules(package):
        tops = {name.split(".")[0] for name in imports(path)}
        assert not tops & FORBIDDEN[package], (
            f"{path.relative_to(REPO)} imports {tops & FORBIDDEN[package]}"
        )


def test_no_cycles_between_modules() -> None:
    names = {
        ".".join(path.relative_to(REPO).with_suffix("").parts).removesuffix(".__init__"): path
        for p in PACKAGES
        for path in modules(p)
    }
    arrows = {
        name: {i for i in imports(path) if i in names and i != name} for name, path in names.items()
    }
    done: set[str] = set()

    def visit(name: str, above: tuple[str, ...]) -> None:
        assert name not in above, " -> ".join((*above, name))
        if name not in done:
            for other in sorted(arrows[name]):
                visit(other, (*above, name))
            done.add(name)

    for name in names:
        visit(name, ())


def test_modules_can_be_read_in_a_sitting() -> None:
    long = {
        str(path.relative_to(REPO)): n
        for p in PACKAGES
        for path in modules(p)
        if (n := len(path.read_text().splitlines())) > 450
    }
    assert long == {}


def test_scripts_are_thin() -> None:
    scripts = sorted((REPO / "workflow" / "scripts").glob("*.py"))
    assert len(scripts) >= 13
    for script in scripts:
        lines = [line for line in script.read_text().splitlines() if line.strip()]
        assert len(lines) <= 25, script.name


def test_every_script_has_a_rule_of_its_name_and_guards_its_main() -> None:
    rules = "\n".join(path.read_text() for path in (REPO / "workflow" / "rules").glob("*.smk"))
    for script in (REPO / "workflow" / "scripts").glob("*.py"):
        named = re.search(rf"^rule {script.stem}:", rules, re.MULTILINE)
        assert named or f'"../scripts/{script.stem}.py"' in rules, script.stem
        assert 'if __name__ == "__main__":' in script.read_text()


def test_every_package_folder_is_listed_for_installation() -> None:
    import tomllib

    listed = set(
        tomllib.loads((REPO / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    )
    found = {
        ".".join(path.parent.relative_to(REPO).parts)
        for p in PACKAGES
        for path in (REPO / p).rglob("__init__.py")
    }
    assert found == listed


def test_environment_and_lock_pin_the_same_packages() -> None:
    import tomllib

    lock = [
        line.strip()
        for line in (REPO / "requirements.lock").read_text().splitlines()
        if line.strip()
    ]
    conda = yaml.safe_load((REPO / "environment.yml").read_text())
    assert next(entry["pip"] for entry in conda["dependencies"] if isinstance(entry, dict)) == lock
    pinned = {line.split("==")[0].lower().replace("_", "-") for line in lock}
    project = tomllib.loads((REPO / "pyproject.toml").read_text())["project"]
    wanted = [
        *project["dependencies"],
        *(name for extra in project["optional-dependencies"].values() for name in extra),
    ]
    assert {re.split(r"[<>=]", name)[0].lower().replace("_", "-") for name in wanted} <= pinned
    assert set(NAMED_BY_THE_USER) <= pinned


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        ("import semimoe.evaluation.metrics", ("torch", "lightning")),
        ("import semimoe.settings", ("torch", "lightning")),
        (
            "import workflow.sheet_reader, workflow.config.configuration, workflow.reporting.report",
            ("torch", "lightning", "matplotlib", "zarr"),
        ),
        ("import tiling.__main__", ("zarr", "rasterio", "matplotlib")),
    ],
)
def test_cheap_imports_stay_cheap(statement: str, absent: tuple[str, ...]) -> None:
    code = f"import sys; {statement}; print(*[name for name in {absent} if name in sys.modules])"
    loaded = subprocess.run(
        [sys.executable, "-c", code], cwd=REPO, capture_output=True, text=True, check=True
    ).stdout
    assert loaded.strip() == ""
